//! `status`: whether the cluster works.

use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;
use crate::view;

/// Prints what is known, whatever that is, and fails unless there is a cluster with a leader.
pub async fn status(coordinators: &Coordinators, output: &mut Output) -> Result<(), Error> {
    let survey = coordinators.survey(false).await;
    let view = view::Status::new(&survey);
    output.print(&view)?;
    if survey.answers().is_empty() {
        return Err(survey
            .refusal()
            .unwrap_or(Error::Unreachable(survey.failures)));
    }
    if !view.is_initialised() {
        return Err(Error::NotInitialised);
    }
    if !view.has_leader() {
        return Err(Error::NoLeader(survey.leaderless()));
    }
    Ok(())
}
