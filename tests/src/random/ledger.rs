//! What the documents of one worker may be by now.

use std::collections::BTreeMap;

use miroir_dev::demo::{Client, Fields, Refusal, States};
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::Value;

/// What came of a write.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Acknowledged, with the number of its task.
    Done(u64),
    /// It may have happened, or may happen yet.
    Unknown(String),
    /// It was refused, and nothing of it will happen.
    Refused(String),
}

/// Sends a write to one of the proxies.
pub async fn send(
    client: &Client,
    rng: &mut StdRng,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Outcome {
    let proxies = client.proxies();
    let Some(proxy) = proxies.get(rng.random_range(0..proxies.len().max(1))) else {
        return Outcome::Refused("there is no proxy".to_owned());
    };
    let body = body.map(|body| ("application/json", body.to_string()));
    match client.send_to(proxy, method, path, body).await {
        Ok(answer) => match answer["taskUid"].as_u64() {
            Some(task) => Outcome::Done(task),
            None => Outcome::Unknown(format!("no task in {answer}")),
        },
        Err(error) => {
            let text = format!("{error:#}");
            if is_without_effect(&error) {
                Outcome::Refused(text)
            } else {
                Outcome::Unknown(text)
            }
        }
    }
}

/// Whether an error says that nothing happened: the request was found wrong, or there was nobody to send it to.
fn is_without_effect(error: &anyhow::Error) -> bool {
    let status = error
        .downcast_ref::<Refusal>()
        .map(|refusal| refusal.status);
    let unsent = error.downcast_ref::<reqwest::Error>();
    status.is_some_and(|status| (400..500).contains(&status) && status != 408 && status != 429)
        || unsent.is_some_and(reqwest::Error::is_connect)
}

/// One document.
#[derive(Debug, Clone)]
struct Document {
    states: States,
    /// Whether nothing is under way that may still change it behind its worker's back.
    settled: bool,
}

/// The documents of one worker in one index. Their order of writes is the worker's own.
#[derive(Debug, Default)]
pub struct Ledger {
    documents: BTreeMap<String, Document>,
}

impl Ledger {
    /// Notes a write to one document: `write` is what it makes of the document.
    pub fn note(
        &mut self,
        outcome: &Outcome,
        id: &str,
        write: impl Fn(Option<&Fields>) -> Option<Fields>,
    ) {
        let absent = || Document {
            states: vec![None],
            settled: true,
        };
        let document = self.documents.entry(id.to_owned()).or_insert_with(absent);
        let after: States = document
            .states
            .iter()
            .map(|state| write(state.as_ref()))
            .collect();
        if after == document.states {
            return;
        }
        match outcome {
            Outcome::Refused(_) => {}
            Outcome::Done(_) if document.settled => document.states = after,
            // A write of unknown fate may come before this one or after it.
            Outcome::Done(_) | Outcome::Unknown(_) => {
                for state in after {
                    if !document.states.contains(&state) {
                        document.states.push(state);
                    }
                }
                document.settled = false;
            }
        }
    }

    /// Notes a write to whatever documents it concerns.
    pub fn note_all(
        &mut self,
        outcome: &Outcome,
        write: impl Fn(Option<&Fields>) -> Option<Fields>,
    ) {
        let ids: Vec<String> = self.documents.keys().cloned().collect();
        for id in ids {
            self.note(outcome, &id, &write);
        }
    }

    /// Documents that may be written: nothing of unknown fate is under way to them. Deleted ones are among them.
    pub fn writable(&self) -> Vec<String> {
        let settled = self.documents.iter().filter(|(_, d)| d.settled);
        settled.map(|(id, _)| id.clone()).collect()
    }

    /// Whether the fate of some write is unknown.
    pub fn is_unsettled(&self) -> bool {
        self.documents.values().any(|document| !document.settled)
    }

    /// What every document may be, by id.
    pub fn states(&self) -> impl Iterator<Item = (&String, &States)> {
        self.documents.iter().map(|(id, d)| (id, &d.states))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn fields(version: u32) -> Option<Fields> {
        let fields = json!({"id": "a", "version": version});
        fields.as_object().cloned().map(Arc::new)
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("lost".to_owned())
    }

    #[test]
    fn what_is_unknown_stays_possible_and_is_not_written_again() {
        let mut ledger = Ledger::default();
        ledger.note(&Outcome::Done(1), "a", |_| fields(1));
        ledger.note(&Outcome::Refused("bad".to_owned()), "a", |_| fields(2));
        assert_eq!(ledger.documents["a"].states, [fields(1)]);
        assert_eq!(ledger.writable(), ["a"]);
        ledger.note(&unknown(), "a", |_| fields(3));
        assert_eq!(ledger.documents["a"].states, [fields(1), fields(3)]);
        assert!(ledger.is_unsettled() && ledger.writable().is_empty());
        ledger.note_all(&Outcome::Done(2), |_| None);
        assert_eq!(
            ledger.documents["a"].states,
            [fields(1), fields(3), None],
            "the write may come after the deletion"
        );
    }

    #[test]
    fn a_write_that_does_not_concern_a_document_leaves_it_settled() {
        let mut ledger = Ledger::default();
        ledger.note(&Outcome::Done(1), "a", |_| fields(1));
        ledger.note_all(&unknown(), |state| state.cloned());
        assert_eq!(ledger.writable(), ["a"]);
    }
}
