//! Migrations, and how far they are.

use miroir_proto::v1;
use serde::Serialize;

use super::some_text;
use crate::format;
use crate::output::View;
use crate::progress;
use crate::table;

/// A phase under the name of the documentation.
pub(super) fn phase(phase: v1::Phase) -> String {
    format::proto_name(phase.as_str_name(), "PHASE_")
}

/// A replica's state under the name of the documentation.
pub(super) fn replica_state(state: v1::ReplicaState) -> String {
    format::proto_name(state.as_str_name(), "REPLICA_STATE_")
}

/// One migration, without its history.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Migration {
    id: u64,
    operation: u64,
    index: String,
    shard: u32,
    group: u32,
    source: u64,
    target: u64,
    replaces: Option<u64>,
    pub(super) phase: String,
    documents_done: u64,
    documents_total: u64,
    bytes_done: u64,
    attempts: u32,
    last_error: Option<String>,
    throttle_docs_per_s: Option<u32>,
    kind: String,
    paused: bool,
    throttle_bytes_per_s: Option<u64>,
    documents_per_s: Option<u64>,
    eta_ms: Option<u64>,
    waits_for: Option<String>,
    /// Documents a second that it copies at most because nodes show load.
    pace_docs_per_s: Option<u32>,
    pace_reason: Option<String>,
    #[serde(skip)]
    fraction: f64,
}

impl From<&v1::Migration> for Migration {
    fn from(migration: &v1::Migration) -> Self {
        Self {
            id: migration.id,
            operation: migration.operation,
            index: migration.index.clone(),
            shard: migration.shard,
            group: migration.group,
            source: migration.source,
            target: migration.target,
            replaces: migration.replaces,
            phase: phase(migration.phase()),
            documents_done: migration.documents_done,
            documents_total: migration.documents_total,
            bytes_done: migration.bytes_done,
            attempts: migration.attempts,
            last_error: some_text(migration.last_error.clone()),
            throttle_docs_per_s: migration.throttle_docs_per_s,
            kind: migration.kind.clone(),
            paused: migration.paused,
            throttle_bytes_per_s: migration.throttle_bytes_per_s,
            documents_per_s: migration.documents_per_s,
            eta_ms: migration.eta_ms,
            waits_for: some_text(migration.waits_for.clone()),
            pace_docs_per_s: migration.pace_docs_per_s,
            pace_reason: some_text(migration.pace_reason.clone()),
            fraction: progress::fraction(migration),
        }
    }
}

impl Migration {
    fn documents(&self) -> String {
        let done = format::count(self.documents_done);
        if self.documents_total == 0 {
            done
        } else {
            format!("{done} of {}", format::count(self.documents_total))
        }
    }

    fn throttle(&self) -> String {
        let docs = self
            .throttle_docs_per_s
            .map(|limit| format!("{limit} documents/s"));
        let bytes = self
            .throttle_bytes_per_s
            .map(|limit| format!("{}/s", format::bytes(limit)));
        let limits: Vec<String> = docs.into_iter().chain(bytes).collect();
        if limits.is_empty() {
            "none".to_owned()
        } else {
            limits.join(", ")
        }
    }

    /// `at most 400 documents/s: a node refused a request for load`
    fn pace(&self) -> Option<String> {
        let limit = format::count(self.pace_docs_per_s?.into());
        let reason = table::opt(self.pace_reason.as_deref().map(table::text));
        Some(format!("at most {limit} documents/s: {reason}"))
    }

    fn speed(&self) -> Option<String> {
        let speed = format!("{} documents/s", format::count(self.documents_per_s?));
        Some(match self.eta_ms {
            Some(ms) => format!("{speed}, {} left", format::duration(ms)),
            None => speed,
        })
    }

    fn standing(&self) -> String {
        if self.paused {
            format!("{}, paused", self.phase)
        } else {
            self.phase.clone()
        }
    }

    /// `movies/12 1->4 Copying 37%`
    pub(super) fn short(&self) -> String {
        let Self {
            index,
            shard,
            source,
            target,
            phase,
            fraction,
            ..
        } = self;
        let slowed = match self.pace_docs_per_s {
            Some(limit) => format!(" (slowed to {}/s)", format::count(limit.into())),
            None => String::new(),
        };
        format!(
            "{index}/{shard} {source}->{target} {phase} {:.0}%{slowed}",
            fraction * 100.0
        )
    }
}

/// The migrations of an operation, or of all.
#[derive(Debug, Serialize)]
pub struct Migrations {
    migrations: Vec<Migration>,
    /// Of all that belong to it, whatever is listed.
    total: u32,
    done: u32,
}

impl From<v1::ListMigrationsReply> for Migrations {
    fn from(reply: v1::ListMigrationsReply) -> Self {
        let migrations = reply.migrations.iter().map(Migration::from).collect();
        Self {
            migrations,
            total: reply.total,
            done: reply.done,
        }
    }
}

impl View for Migrations {
    fn table(&self) -> String {
        let row = |m: &Migration| {
            vec![
                m.id.to_string(),
                m.operation.to_string(),
                m.index.clone(),
                m.shard.to_string(),
                m.source.to_string(),
                m.target.to_string(),
                m.standing(),
                m.documents(),
                m.attempts.to_string(),
                table::opt(m.last_error.as_deref().map(table::text)),
            ]
        };
        let header = [
            "ID",
            "OPERATION",
            "INDEX",
            "SHARD",
            "FROM",
            "TO",
            "PHASE",
            "DOCUMENTS",
            "ATTEMPTS",
            "ERROR",
        ];
        let counts = format!("{} of {} done", self.done, self.total);
        match self.migrations.is_empty() {
            true => format!("no unfinished migrations, {counts}"),
            false => format!(
                "{}\n\n{counts}",
                table::list(&header, self.migrations.iter().map(row).collect(), "")
            ),
        }
    }
}

/// One migration with its history.
#[derive(Debug, Serialize)]
pub struct MigrationShown {
    #[serde(flatten)]
    migration: Migration,
    phase_epoch: u64,
    step: u32,
    comparison: Option<Comparison>,
    history: Vec<Change>,
}

/// The last comparison of the new copy with its source.
#[derive(Debug, Serialize)]
struct Comparison {
    at_ms: u64,
    documents: u64,
    differing: u64,
    ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    phase: String,
    at_ms: u64,
    /// How long the phase took; `null` for the last one.
    took_ms: Option<u64>,
    /// What led into the phase.
    event: Option<String>,
}

impl From<v1::Migration> for MigrationShown {
    fn from(migration: v1::Migration) -> Self {
        let ends = migration
            .history
            .iter()
            .skip(1)
            .map(|change| Some(change.at_ms))
            .chain([None]);
        let history = migration
            .history
            .iter()
            .zip(ends)
            .map(|(change, end)| Change {
                phase: phase(change.phase()),
                at_ms: change.at_ms,
                took_ms: end.map(|end| end.saturating_sub(change.at_ms)),
                event: some_text(change.event.clone()),
            });
        Self {
            migration: Migration::from(&migration),
            phase_epoch: migration.phase_epoch,
            step: migration.step,
            comparison: migration.comparison.map(|known| Comparison {
                at_ms: known.at_ms,
                documents: known.documents,
                differing: known.differing,
                ids: known.ids,
            }),
            history: history.collect(),
        }
    }
}

impl View for MigrationShown {
    fn table(&self) -> String {
        let m = &self.migration;
        let replaces = m.replaces.map_or_else(
            || "nothing: it is one more copy".to_owned(),
            |node| format!("the copy on node {node}"),
        );
        let compared = self.comparison.as_ref().map(|known| {
            format!(
                "{} documents, {} differing",
                format::count(known.documents),
                format::count(known.differing)
            )
        });
        let pairs = table::pairs([
            (
                "migration",
                format!("{} ({}) of operation {}", m.id, m.kind, m.operation),
            ),
            (
                "shard",
                format!("{}/{}, group {}", m.index, m.shard, m.group),
            ),
            ("from", format!("node {}", m.source)),
            ("to", format!("node {}", m.target)),
            ("replaces", replaces),
            (
                "phase",
                format!("{}, since epoch {}", m.standing(), self.phase_epoch),
            ),
            ("now", table::opt(m.waits_for.as_deref())),
            ("documents", m.documents()),
            ("bytes", format::bytes(m.bytes_done)),
            ("speed", table::opt(m.speed())),
            ("throttle", m.throttle()),
            ("pace", table::opt(m.pace())),
            ("compared", table::opt(compared)),
            ("attempts", m.attempts.to_string()),
            (
                "last error",
                table::opt(m.last_error.as_deref().map(table::text)),
            ),
        ]);
        let row = |change: &Change| {
            vec![
                change.phase.clone(),
                format::time(change.at_ms),
                table::opt(change.took_ms.map(format::duration)),
                table::opt(change.event.as_deref()),
            ]
        };
        let history = self.history.iter().map(row).collect();
        format!(
            "{pairs}\n\n{}",
            table::list(
                &["PHASE", "SINCE", "TOOK", "BECAUSE OF"],
                history,
                "no history"
            )
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::view) fn migration() -> v1::Migration {
        let change = |phase: v1::Phase, at_ms, event: &str| v1::PhaseChange {
            phase: phase.into(),
            at_ms,
            event: event.to_owned(),
        };
        v1::Migration {
            id: 3,
            operation: 2,
            index: "movies".to_owned(),
            shard: 7,
            group: 1,
            source: 1,
            target: 4,
            replaces: Some(1),
            phase: v1::Phase::Copying.into(),
            documents_total: 1_000,
            documents_done: 500,
            last_error: "node 4:\n\u{1b}[31mbusy".to_owned(),
            history: vec![
                change(v1::Phase::Preparing, 1_000, "SlotGranted"),
                change(v1::Phase::Copying, 3_500, "TargetClean"),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn phases_have_their_times() {
        let shown = MigrationShown::from(migration());
        let table = shown.table();
        assert!(
            table.contains("Preparing  1970-01-01 00:00:01.000Z  2.5s  SlotGranted"),
            "{table}"
        );
        assert!(
            table.contains("Copying    1970-01-01 00:00:03.500Z  -     TargetClean"),
            "{table}"
        );
        assert!(table.contains("node 4: \\u{1b}[31mbusy"), "{table}");
        let json = serde_json::to_value(shown).expect("plain data");
        assert_eq!(
            (&json["id"], &json["phase"], &json["history"][0]["took_ms"]),
            (&3.into(), &"Copying".into(), &2_500.into())
        );
    }

    #[test]
    fn a_pace_is_shown_with_its_reason() {
        let slowed = v1::Migration {
            pace_docs_per_s: Some(1_200),
            pace_reason: "a node refused a request for load".to_owned(),
            ..migration()
        };
        let short = Migration::from(&slowed).short();
        assert_eq!(short, "movies/7 1->4 Copying 40% (slowed to 1,200/s)");
        let shown = MigrationShown::from(slowed);
        let line = "at most 1,200 documents/s: a node refused a request for load";
        assert!(shown.table().contains(line), "{}", shown.table());
        let json = serde_json::to_value(shown).expect("plain data");
        assert_eq!(json["pace_docs_per_s"], 1_200);
        let free = MigrationShown::from(migration());
        let json = serde_json::to_value(free).expect("plain data");
        assert!(json["pace_reason"].is_null() && json["pace_docs_per_s"].is_null());
    }

    #[test]
    fn an_empty_list_says_what_was_done() {
        let reply = v1::ListMigrationsReply {
            total: 16,
            done: 16,
            ..Default::default()
        };
        assert_eq!(
            Migrations::from(reply).table(),
            "no unfinished migrations, 16 of 16 done"
        );
    }
}
