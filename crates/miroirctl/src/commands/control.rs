//! Acting on migrations and operations that are under way.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;

use super::change::{self, Wish};
use crate::args::{ControlCommand, Sending, ThrottleArgs};
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;

/// `migration pause` and its like.
pub async fn migration(
    command: &ControlCommand,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    use v1::control_migration::Action;
    let (id, word, sending) = parts(command);
    let action = match command {
        ControlCommand::Pause(_) => Action::Pause(v1::Pause {}),
        ControlCommand::Resume(_) => Action::Resume(v1::Resume {}),
        ControlCommand::Cancel(_) => Action::Cancel(v1::Cancel {}),
        ControlCommand::Reverse(_) => Action::Reverse(v1::Reverse {}),
        ControlCommand::Throttle(args) => Action::Throttle(limits(args)),
    };
    let action = Some(action);
    let wish = Wish {
        what: format!("the {word} of migration {id}"),
        look: "miroirctl migration list --all",
        change: Change::ControlMigration(v1::ControlMigration { id, action }),
    };
    change::at_once(wish, sending, coordinators, output).await
}

/// `operation pause` and its like.
pub async fn operation(
    command: &ControlCommand,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    use v1::control_operation::Action;
    let (id, word, sending) = parts(command);
    let action = match command {
        ControlCommand::Pause(_) => Action::Pause(v1::Pause {}),
        ControlCommand::Resume(_) => Action::Resume(v1::Resume {}),
        ControlCommand::Cancel(_) => Action::Cancel(v1::Cancel {}),
        ControlCommand::Reverse(_) => Action::Reverse(v1::Reverse {}),
        ControlCommand::Throttle(args) => Action::Throttle(limits(args)),
    };
    let action = Some(action);
    let wish = Wish {
        what: format!("the {word} of operation {id}"),
        look: "miroirctl operation list",
        change: Change::ControlOperation(v1::ControlOperation { id, action }),
    };
    change::at_once(wish, sending, coordinators, output).await
}

fn parts(command: &ControlCommand) -> (u64, &'static str, &Sending) {
    match command {
        ControlCommand::Pause(args) => (args.id, "pause", &args.sending),
        ControlCommand::Resume(args) => (args.id, "resumption", &args.sending),
        ControlCommand::Cancel(args) => (args.id, "cancellation", &args.sending),
        ControlCommand::Reverse(args) => (args.id, "reversal", &args.sending),
        ControlCommand::Throttle(args) => (args.id, "throttling", &args.sending),
    }
}

fn limits(args: &ThrottleArgs) -> v1::Throttle {
    v1::Throttle {
        docs_per_s: args.docs_per_s,
        bytes_per_s: args.bytes_per_s,
    }
}
