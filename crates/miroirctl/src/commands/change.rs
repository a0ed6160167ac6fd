//! Sending a change, trying it, and waiting for what it began.

use miroir_core::cluster::Rejection;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use uuid::Uuid;

use super::watch;
use crate::args::{Sending, Waiting};
use crate::connect::{self, Coordinators};
use crate::exit::Error;
use crate::output::{Output, View};
use crate::view::Changed;

/// A change, and what people call it.
pub struct Wish {
    /// As part of "it is unknown whether … took place", and in front of what came of it.
    pub what: String,
    /// The command that shows whether it took place.
    pub look: &'static str,
    /// The change.
    pub change: Change,
}

/// Sends a change; with `--wait`, until its operation is done.
pub async fn run(
    wish: Wish,
    waiting: &Waiting,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let what = wish.what.clone();
    let reply = send(wish, &waiting.sending, coordinators).await?;
    let operation = reply.operation;
    let mut changed = Changed::new(what, reply);
    let Some(operation) = operation.filter(|_| waiting.wait) else {
        return output.print(&changed);
    };
    if output.is_table() {
        output.line(&changed.table())?;
    }
    let waited = done(operation, coordinators, output).await;
    // What was begun is told whatever becomes of the waiting.
    changed.done = Some(waited.is_ok());
    if !output.is_table() {
        output.print(&changed)?;
    }
    waited
}

/// Sends a change that is done when it is answered.
pub async fn at_once(
    wish: Wish,
    sending: &Sending,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let waiting = Waiting {
        sending: sending.clone(),
        wait: false,
    };
    run(wish, &waiting, coordinators, output).await
}

/// Sends a change; answers what the cluster did, or would do.
pub async fn send(
    wish: Wish,
    sending: &Sending,
    coordinators: &Coordinators,
) -> Result<v1::ChangeReply, Error> {
    let request_id = sending.request_id.unwrap_or_else(Uuid::new_v4);
    let request = v1::ChangeRequest {
        request_id: request_id.to_string(),
        dry_run: sending.dry_run,
        change: Some(wish.change),
    };
    let change = connect::Change {
        what: wish.what,
        advice: format!(
            "`{}` shows it; the same command with --request-id {request_id} repeats it without harm",
            wish.look
        ),
        waits: false,
    };
    let sent = coordinators
        .change(&change, async |mut c| c.change(request.clone()).await)
        .await?;
    sent.answer
}

/// Waits for the end of an operation. One that was given up is no success.
pub async fn done(
    operation: u64,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    watch::wait(operation, coordinators, output).await?;
    let request = v1::GetOperationRequest { id: operation };
    let ended = coordinators
        .read(async |mut c| c.get_operation(request).await)
        .await;
    match ended {
        Ok(ended) if ended.state == "cancelled" => Err(Error::Refused {
            what: format!("operation {operation} was cancelled"),
            rejection: None,
        }),
        // It was followed to its end; finished operations are forgotten one day.
        Ok(_)
        | Err(Error::Refused {
            rejection: Some(Rejection::UnknownOperation(_)),
            ..
        }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses what cannot be taken back unless it was confirmed.
pub fn confirmed(yes: bool, sending: &Sending, consequence: &str) -> Result<(), Error> {
    if yes || sending.dry_run {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{consequence}; confirm with --yes, or look at it first with --dry-run"
    )))
}
