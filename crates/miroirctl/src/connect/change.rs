//! Changing something: at the leader, wherever it is, until it is known what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Response, Status};

use super::{Client, Coordinators, Fault};
use crate::exit::{Error, Failures};

/// Pause between two rounds over all endpoints: an election takes a second or two.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// What a change is called when its outcome is unknown.
#[derive(Debug, Clone)]
pub struct Change {
    /// What was asked for, as part of "it is unknown whether … took place".
    pub what: String,
    /// How to find out, and how to repeat it without harm.
    pub advice: String,
    /// Whether to try again when the cluster is not ready for it, as long as there is time.
    pub waits: bool,
}

/// A change that the cluster answered.
#[derive(Debug)]
pub struct Sent<T> {
    /// Its answer, or its refusal.
    pub answer: Result<T, Error>,
    /// Whether an earlier try of the same change may have been done too.
    pub repeated: bool,
}

/// A try that brought no answer.
enum Miss {
    /// Nobody was there: nothing was sent.
    Absent(String),
    /// It was sent, and time ran out.
    Silent,
    /// It was answered otherwise, or the connection broke.
    Fault(Fault),
}

/// What is known so far.
#[derive(Default)]
struct Tries {
    failures: Failures,
    /// Some try may have been done.
    unknown: bool,
    /// Somebody answered, if only that it does not lead.
    answered: bool,
    /// The last refusal that may pass, for a change that waits.
    not_yet: Option<Error>,
    /// Whether to wait when a refusal may pass.
    waits: bool,
}

impl Coordinators {
    /// Sends a change until the leader answers it. Every try is the same request: it must carry a
    /// request id, or do no harm when it is done twice.
    ///
    /// # Errors
    /// [`Error::UnknownOutcome`] when time ran out after it was sent; [`Error::Unreachable`] or
    /// [`Error::NoLeader`] when certainly nothing was done.
    pub async fn change<T>(
        &self,
        change: &Change,
        call: impl AsyncFn(Client) -> Result<Response<T>, Status>,
    ) -> Result<Sent<T>, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut tries = Tries {
            waits: change.waits,
            ..Tries::default()
        };
        loop {
            match self.round(&mut tries, deadline, &call).await {
                Some(Err(refused)) if tries.doubts(&refused) => {
                    return Err(tries.give_up(change));
                }
                Some(answer) => {
                    return Ok(Sent {
                        answer,
                        repeated: tries.unknown,
                    });
                }
                None => {}
            }
            let next = Instant::now() + ROUND_PAUSE;
            if next >= deadline {
                return Err(tries.give_up(change));
            }
            sleep_until(next).await;
        }
    }

    /// Asks every endpoint once, and the leaders they name.
    async fn round<T>(
        &self,
        tries: &mut Tries,
        deadline: Instant,
        call: &impl AsyncFn(Client) -> Result<Response<T>, Status>,
    ) -> Option<Result<T, Error>> {
        let mut turn: VecDeque<String> = self.endpoints.iter().cloned().collect();
        let mut asked = BTreeSet::new();
        while let Some(endpoint) = turn.pop_front() {
            if Instant::now() >= deadline {
                return None;
            }
            if !asked.insert(endpoint.clone()) {
                continue;
            }
            match self.attempt(&endpoint, deadline, call).await {
                Ok(answer) => return Some(Ok(answer)),
                Err(miss) => match tries.learn(&endpoint, miss) {
                    Ok(Some(leader)) => turn.push_front(leader),
                    Ok(None) => {}
                    Err(refused) => return Some(Err(refused)),
                },
            }
        }
        None
    }

    async fn attempt<T>(
        &self,
        endpoint: &str,
        deadline: Instant,
        call: &impl AsyncFn(Client) -> Result<Response<T>, Status>,
    ) -> Result<T, Miss> {
        let client = match timeout_at(deadline, self.connect(endpoint)).await {
            Ok(connected) => connected.map_err(Miss::Absent)?,
            Err(_) => return Err(Miss::Absent("no answer to the connection".to_owned())),
        };
        match timeout_at(deadline, call(client)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Miss::Fault(Fault::of(&status))),
            Err(_) => Err(Miss::Silent),
        }
    }
}

impl Tries {
    /// Notes a failed try; answers the leader to ask next, if one was named, or the refusal.
    fn learn(&mut self, endpoint: &str, miss: Miss) -> Result<Option<String>, Error> {
        let fault = match miss {
            Miss::Absent(what) => {
                self.failures.note(endpoint, what);
                return Ok(None);
            }
            Miss::Silent => Fault::Unknown {
                what: "no answer in time".to_owned(),
            },
            Miss::Fault(fault) => fault,
        };
        self.failures.note(endpoint, fault.what());
        match fault {
            Fault::Elsewhere { leader, .. } => {
                self.answered = true;
                Ok(leader)
            }
            Fault::Unknown { .. } => {
                self.unknown = true;
                Ok(None)
            }
            Fault::Refused {
                what,
                rejection,
                not_yet,
            } => {
                let refused = Error::Refused { what, rejection };
                if !(not_yet && self.waits) {
                    return Err(refused);
                }
                if self.not_yet.is_none() {
                    eprintln!("waiting: {refused}");
                }
                self.not_yet = Some(refused);
                Ok(None)
            }
        }
    }

    /// A refusal by the log is the answer to every try of the request. One that was given before
    /// the log was asked says nothing of an earlier try.
    fn doubts(&self, refused: &Error) -> bool {
        self.unknown
            && !matches!(
                refused,
                Error::Refused {
                    rejection: Some(_),
                    ..
                }
            )
    }

    fn give_up(self, change: &Change) -> Error {
        let failures = self.failures;
        if self.unknown {
            let Change { what, advice, .. } = change.clone();
            return Error::UnknownOutcome {
                what,
                failures,
                advice,
            };
        }
        if let Some(refused) = self.not_yet {
            return refused;
        }
        if self.answered {
            Error::NoLeader(failures)
        } else {
            Error::Unreachable(failures)
        }
    }
}
