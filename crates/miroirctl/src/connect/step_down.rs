//! Having the leader give leadership up: once, and only the leader that was seen.

use miroir_proto::v1;
use tokio::time::{Instant, timeout_at};

use super::{Coordinators, Fault};
use crate::exit::{Error, Failures};

impl Coordinators {
    /// Has the present leader be silent until another is elected; answers what it said of itself
    /// before, and what it will do.
    ///
    /// # Errors
    /// [`Error::NoLeader`] and [`Error::Refused`] when nothing was done; [`Error::UnknownOutcome`]
    /// when it may be silent.
    pub async fn step_down(&self) -> Result<(v1::StatusReply, v1::StepDownReply), Error> {
        let survey = self.survey(true).await;
        if let Some(refusal) = survey.refusal() {
            return Err(refusal);
        }
        if survey.answers().is_empty() {
            return Err(Error::Unreachable(survey.failures));
        }
        let Some(leader) = survey.leader() else {
            return Err(Error::NoLeader(survey.leaderless()));
        };
        let request = v1::StepDownRequest {
            term: leader.status.term,
            for_ms: 0,
        };
        let mut client = leader.client();
        let deadline = Instant::now() + self.timeout();
        let what = match timeout_at(deadline, client.step_down(request)).await {
            Ok(Ok(reply)) => return Ok((leader.status.clone(), reply.into_inner())),
            Ok(Err(status)) => match Fault::of(&status) {
                Fault::Refused {
                    what, rejection, ..
                } => return Err(Error::Refused { what, rejection }),
                Fault::Elsewhere { what, .. } => {
                    let what = format!("{what}; nothing was done");
                    return Err(Error::Refused {
                        what,
                        rejection: None,
                    });
                }
                Fault::Unknown { what } => what,
            },
            Err(_) => "no answer in time".to_owned(),
        };
        let mut failures = Failures::default();
        failures.note(&leader.endpoint, what);
        Err(Error::UnknownOutcome {
            what: "the change of leader".to_owned(),
            failures,
            advice: "it ends by itself within seconds; `miroirctl status` shows who leads"
                .to_owned(),
        })
    }
}
