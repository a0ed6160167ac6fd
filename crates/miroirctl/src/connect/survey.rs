//! Asking the coordinators who they are, all at the same time, to find the one that leads.

use std::time::Duration;

use miroir_proto::v1;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tonic::{Response, Status};

use super::{Client, Coordinators, Fault, with_scheme};
use crate::exit::{Error, Failures};

/// How long one coordinator may take to answer a read. Less than all the time there is, so that
/// one that hangs does not hide the others.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// What one coordinator said of itself and of the cluster.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Where it was asked.
    pub endpoint: String,
    /// What it said.
    pub status: v1::StatusReply,
    client: Client,
}

/// What all of them said.
#[derive(Debug, Default)]
pub struct Survey {
    answers: Vec<Answer>,
    /// Where nobody answered.
    pub failures: Failures,
    /// A refusal, which every other coordinator would repeat.
    refused: Option<Fault>,
}

impl Answer {
    /// Whether it says that it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.status.leader != 0 && self.status.leader == self.status.coordinator
    }

    /// A client of this coordinator.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Survey {
    /// Whom to believe first: the leader of the newest term, then whoever has applied most.
    #[must_use]
    pub fn by_preference(&self) -> Vec<&Answer> {
        let newest = self.newest_term();
        let mut answers: Vec<&Answer> = self.answers.iter().collect();
        answers.sort_by_key(|answer| {
            let leads = answer.leads() && answer.status.term == newest;
            std::cmp::Reverse((leads, answer.status.applied, answer.status.term))
        });
        answers
    }

    /// The leader, if it answered.
    #[must_use]
    pub fn leader(&self) -> Option<&Answer> {
        let newest = self.newest_term();
        self.answers
            .iter()
            .find(|answer| answer.leads() && answer.status.term == newest)
    }

    /// Whether any coordinator is part of an initialised cluster, and of which.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        let ids = self
            .answers
            .iter()
            .map(|answer| answer.status.cluster_id.as_str());
        ids.into_iter().find(|id| !id.is_empty())
    }

    /// Everyone who answered.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The refusal that ends the command, if there was one and nobody answered.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        if self.answers.is_empty() {
            self.refused.clone()?.into()
        } else {
            None
        }
    }

    /// That nobody knows a leader, by endpoint.
    #[must_use]
    pub fn leaderless(&self) -> Failures {
        let mut failures = Failures::default();
        for answer in &self.answers {
            failures.note(&answer.endpoint, "knows no leader");
        }
        for (endpoint, what) in self.failures.iter() {
            failures.note(endpoint, what);
        }
        failures
    }

    fn newest_term(&self) -> u64 {
        self.answers
            .iter()
            .map(|answer| answer.status.term)
            .max()
            .unwrap_or(0)
    }

    fn add(&mut self, endpoint: String, result: Result<Answer, Fault>) {
        match result {
            Ok(answer) => {
                let known = |a: &Answer| a.status.coordinator == answer.status.coordinator;
                if !self.answers.iter().any(known) {
                    self.answers.push(answer);
                }
            }
            Err(fault) => {
                self.failures.note(&endpoint, fault.what());
                if !fault.retryable() {
                    self.refused = Some(fault);
                }
            }
        }
    }
}

impl Coordinators {
    /// Asks every endpoint, and the leaders they name; ends early once the leader has answered
    /// when `until_leader`.
    pub async fn survey(&self, until_leader: bool) -> Survey {
        let deadline = Instant::now() + self.timeout.min(READ_TIMEOUT);
        let mut survey = Survey::default();
        let mut asked = self.endpoints.clone();
        let mut asking = JoinSet::new();
        for endpoint in &self.endpoints {
            asking.spawn(ask(self.clone(), endpoint.clone(), deadline));
        }
        while let Some(joined) = asking.join_next().await {
            // A task that panicked is a bug of this program; the others still answer.
            let Ok((endpoint, result)) = joined else {
                continue;
            };
            if let Ok(answer) = &result {
                let named = with_scheme(&answer.status.leader_api_url);
                if !answer.status.leader_api_url.is_empty()
                    && !answer.leads()
                    && !asked.contains(&named)
                {
                    asked.push(named.clone());
                    asking.spawn(ask(self.clone(), named, deadline));
                }
            }
            survey.add(endpoint, result);
            if until_leader && survey.leader().is_some() {
                break;
            }
        }
        survey
    }

    /// A read: at the leader when it is within reach, else at whoever answers, with a warning.
    ///
    /// # Errors
    /// [`Error::Refused`] in the cluster's words, [`Error::Unreachable`] naming every endpoint.
    pub async fn read<T>(
        &self,
        call: impl AsyncFn(Client) -> Result<Response<T>, Status>,
    ) -> Result<T, Error> {
        let survey = self.survey(true).await;
        if let Some(refusal) = survey.refusal() {
            return Err(refusal);
        }
        let mut failures = survey.failures.clone();
        for answer in survey.by_preference() {
            let deadline = Instant::now() + self.timeout.min(READ_TIMEOUT);
            match timeout_at(deadline, call(answer.client())).await {
                Ok(Ok(response)) => {
                    warn_unless_leading(answer);
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => {
                    let fault = Fault::of(&status);
                    failures.note(&answer.endpoint, fault.what());
                    if let Some(error) = fault.into() {
                        return Err(error);
                    }
                }
                Err(_) => failures.note(&answer.endpoint, "no answer in time"),
            }
        }
        Err(Error::Unreachable(failures))
    }

    /// A stream of answers: at the leader when it is within reach, else at whoever answers.
    ///
    /// # Errors
    /// As [`Coordinators::read`].
    pub async fn stream<T>(
        &self,
        call: impl AsyncFn(Client) -> Result<Response<tonic::Streaming<T>>, Status>,
    ) -> Result<tonic::Streaming<T>, Error> {
        self.read(call).await
    }
}

fn warn_unless_leading(answer: &Answer) {
    if !answer.leads() {
        eprintln!(
            "warning: no leader within reach; coordinator {} at {} answered, and may be behind",
            answer.status.coordinator, answer.endpoint
        );
    }
}

async fn ask(
    coordinators: Coordinators,
    endpoint: String,
    deadline: Instant,
) -> (String, Result<Answer, Fault>) {
    let asked = timeout_at(deadline, async {
        let not_there = |what| Fault::Elsewhere { what, leader: None };
        let mut client = coordinators.connect(&endpoint).await.map_err(not_there)?;
        let reply = client
            .status(v1::StatusRequest {})
            .await
            .map_err(|status| Fault::of(&status))?;
        Ok(Answer {
            endpoint: endpoint.clone(),
            status: reply.into_inner(),
            client,
        })
    });
    let result = asked.await.unwrap_or_else(|_| {
        Err(Fault::Elsewhere {
            what: "no answer in time".to_owned(),
            leader: None,
        })
    });
    (endpoint, result)
}
