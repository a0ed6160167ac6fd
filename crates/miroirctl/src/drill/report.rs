//! What a drill saw, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::loss::NodeLoss;
use super::tally::{Figures, Kept};
use crate::format;
use crate::output::View;
use crate::table;

/// What a drill saw.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    drill: &'static str,
    /// Whether nothing went wrong that may not.
    passed: bool,
    /// What went wrong.
    complaints: Vec<String>,
    /// What was drilled on: ids, by name.
    facts: Map<String, Value>,
    /// When what happened, in milliseconds since the drill began.
    steps: Vec<Step>,
    /// How long what took, in milliseconds.
    durations: Vec<Step>,
    /// What was to be expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    foreseen: Option<NodeLoss>,
    load: Option<Seen>,
    #[serde(skip)]
    began: Option<Instant>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Step {
    step: String,
    ms: u64,
}

/// What the load saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// The scratch index.
    pub index: String,
    /// Failed requests that are no reason to complain.
    pub allowed_failed: u64,
    /// By those that wrote.
    pub writes: Figures,
    /// By those that searched.
    pub searches: Figures,
    /// What became of acknowledged writes; `None` when it could not be looked at.
    pub kept: Option<Kept>,
    /// What else went wrong: the look at the documents, the deletion of the scratch index.
    pub complaints: Vec<String>,
}

impl Report {
    /// An empty report; times count from now.
    #[must_use]
    pub fn begin(drill: &'static str) -> Self {
        Self {
            drill,
            passed: true,
            complaints: Vec::new(),
            facts: Map::new(),
            steps: Vec::new(),
            durations: Vec::new(),
            foreseen: None,
            load: None,
            began: Some(Instant::now()),
        }
    }

    /// Notes what was drilled on.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Notes what was to be expected.
    pub fn foresee(&mut self, foreseen: NodeLoss) {
        self.foreseen = Some(foreseen);
    }

    /// Notes that something happened now.
    pub fn mark(&mut self, step: &str) {
        self.mark_at(step, Instant::now());
    }

    /// Notes when something happened.
    pub fn mark_at(&mut self, step: &str, at: Instant) {
        let began = *self.began.get_or_insert(at);
        self.steps.push(Step {
            step: step.to_owned(),
            ms: millis(at.saturating_duration_since(began)),
        });
        self.steps.sort_by_key(|step| step.ms);
    }

    /// Notes how long something took.
    pub fn took(&mut self, step: &str, ms: u64) {
        let step = step.to_owned();
        self.durations.push(Step { step, ms });
    }

    /// Notes that something went wrong.
    pub fn complain(&mut self, what: impl Into<String>) {
        self.passed = false;
        self.complaints.push(what.into());
    }

    /// Adds what the load saw, and complains of it.
    pub fn add_load(&mut self, seen: Seen) {
        for complaint in seen.reasons() {
            self.complain(complaint);
        }
        self.load = Some(seen);
    }

    /// Why the drill failed, if it did.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let why = self.complaints.join("; ");
        (!self.passed).then(|| format!("the drill failed: {why}"))
    }
}

/// Whole milliseconds.
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Seen {
    /// Why the drill failed, as far as the load tells.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(kept) = &self.kept {
            let figures = [
                (kept.lost, "lost"),
                (kept.duplicated, "found more than once"),
                (kept.wrong, "not found as written"),
            ];
            for (count, what) in figures.iter().filter(|(count, _)| *count > 0) {
                let all = kept.acknowledged;
                reasons.push(format!("{count} of {all} acknowledged writes were {what}"));
            }
        }
        let failed = self.writes.failed + self.searches.failed;
        if failed > self.allowed_failed {
            let sent = self.writes.sent + self.searches.sent;
            let allowed = self.allowed_failed;
            let codes = codes([&self.writes.errors, &self.searches.errors]);
            reasons.push(format!(
                "{failed} of {sent} requests failed, {allowed} may ({codes})"
            ));
        }
        reasons.extend(self.complaints.iter().cloned());
        reasons
    }
}

/// Errors with how often each came: `503 no_leader: 4, no answer: 1`.
fn codes<const N: usize>(all: [&BTreeMap<String, u64>; N]) -> String {
    let mut sum: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, count) in all.into_iter().flatten() {
        *sum.entry(code).or_default() += count;
    }
    let each: Vec<String> = sum.iter().map(|(code, n)| format!("{code}: {n}")).collect();
    each.join(", ")
}

impl View for Report {
    fn table(&self) -> String {
        let mut parts = Vec::new();
        if let Some(foreseen) = &self.foreseen {
            parts.push(foreseen.table());
        }
        let verdict = if self.passed { "passed" } else { "failed" };
        let mut pairs = vec![(self.drill, verdict.to_owned())];
        let facts = self.facts.iter().map(|(name, value)| {
            let text = value.as_str().map(ToOwned::to_owned);
            (name.as_str(), text.unwrap_or_else(|| value.to_string()))
        });
        pairs.extend(facts);
        parts.push(table::pairs(pairs));
        let lists = [
            ("STEP", "AFTER", &self.steps),
            ("PHASE", "TOOK", &self.durations),
        ];
        for (what, time, steps) in lists.into_iter().filter(|(_, _, steps)| !steps.is_empty()) {
            let row = |step: &Step| vec![step.step.clone(), format::duration(step.ms)];
            let rows = steps.iter().map(row).collect();
            parts.push(table::list(&[what, time], rows, ""));
        }
        if let Some(seen) = &self.load {
            parts.push(seen.table());
        }
        parts.join("\n\n")
    }
}

impl Seen {
    fn table(&self) -> String {
        let row = |name: &str, figures: &Figures| {
            vec![
                name.to_owned(),
                format::count(figures.sent),
                format::count(figures.failed),
                format::duration(figures.longest_pause_ms),
                format::duration(figures.slowest_ms),
                table::text(&codes([&figures.errors])),
            ]
        };
        let rows = vec![row("writes", &self.writes), row("searches", &self.searches)];
        let header = [
            "LOAD",
            "SENT",
            "FAILED",
            "LONGEST PAUSE",
            "SLOWEST",
            "ERRORS",
        ];
        let figures = table::list(&header, rows, "");
        match &self.kept {
            Some(kept) => format!("{figures}\n\n{}", kept.line()),
            None => figures,
        }
    }
}

impl Kept {
    fn line(&self) -> String {
        let some = match self.ids.as_slice() {
            [] => String::new(),
            ids => format!(" (such as {})", ids.join(", ")),
        };
        format!(
            "{} acknowledged writes: {} lost, {} found more than once, {} not as written{some}",
            format::count(self.acknowledged),
            self.lost,
            self.duplicated,
            self.wrong
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(sent: u64, failed: u64) -> Figures {
        Figures {
            sent,
            failed,
            errors: (failed > 0)
                .then(|| ("503 no_leader".to_owned(), failed))
                .into_iter()
                .collect(),
            longest_pause_ms: 1_900,
            slowest_ms: 1_850,
        }
    }

    fn seen(failed: u64, allowed_failed: u64, lost: u64, duplicated: u64) -> Seen {
        Seen {
            index: "miroir-drill-1".to_owned(),
            allowed_failed,
            writes: figures(40, failed),
            searches: figures(60, 0),
            kept: Some(Kept {
                acknowledged: 40 - failed,
                lost,
                duplicated,
                ..Kept::default()
            }),
            complaints: Vec::new(),
        }
    }

    #[test]
    fn a_drill_fails_by_what_was_lost_and_by_more_errors_than_it_may_have() {
        let table = [
            (seen(0, 0, 0, 0), None),
            (seen(2, 2, 0, 0), None),
            (
                seen(3, 2, 0, 0),
                Some("3 of 100 requests failed, 2 may (503 no_leader: 3)"),
            ),
            (
                seen(0, 9, 1, 0),
                Some("1 of 40 acknowledged writes were lost"),
            ),
            (
                seen(0, 0, 0, 2),
                Some("2 of 40 acknowledged writes were found more than once"),
            ),
        ];
        for (seen, expected) in table {
            let mut report = Report::begin("move");
            report.add_load(seen);
            let found = report.complaint();
            let expected = expected.map(|what| format!("the drill failed: {what}"));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_report_is_a_table_and_a_document() {
        let mut report = Report::begin("leader-failover");
        report.fact("old_leader", 1);
        let later = report.began.expect("it began") + std::time::Duration::from_millis(2_300);
        report.mark_at("new leader", later);
        report.took("there: Fenced", 40);
        report.add_load(seen(0, 0, 0, 0));
        let expected = "\
leader-failover  passed
old_leader       1

STEP        AFTER
new leader  2.3s

PHASE          TOOK
there: Fenced  40ms

LOAD      SENT  FAILED  LONGEST PAUSE  SLOWEST  ERRORS
writes    40    0       1.9s           1.8s     -
searches  60    0       1.9s           1.8s     -

40 acknowledged writes: 0 lost, 0 found more than once, 0 not as written";
        assert_eq!(report.table(), expected);
        report.complain("no new leader within 1.0s");
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(json["passed"], false);
        assert_eq!(json["complaints"][0], "no new leader within 1.0s");
        assert_eq!(json["facts"]["old_leader"], 1);
        assert_eq!(json["steps"][0]["ms"], 2_300);
        assert_eq!(json["durations"][0]["ms"], 40);
        assert_eq!(json["load"]["writes"]["longest_pause_ms"], 1_900);
        assert_eq!(json["load"]["kept"]["lost"], 0);
    }
}
