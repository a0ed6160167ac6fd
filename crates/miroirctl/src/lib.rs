//! Miroir's command line, over gRPC; drills and imports of dumps also speak to a proxy, as clients do.
//!
//! A command asks the coordinators ([`connect`]), turns the answer into a document of its own
//! ([`view`]) and prints that as a table or as JSON ([`output`]). What is printed is no protobuf:
//! scripts go on working when the protocol changes.

pub mod args;
mod commands;
pub mod connect;
mod drill;
mod dump;
pub mod exit;
pub mod format;
pub mod output;
pub mod progress;
mod proxy;
mod table;
pub mod view;

use std::ffi::OsString;
use std::process::ExitCode;

pub use args::Args;
use connect::Coordinators;
pub use exit::{Error, Exit};
use output::Output;

/// Runs one command; answers the status to exit with. What went wrong is on standard error, as one
/// line.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(args, |name| std::env::var_os(name))),
        Err(error) => Err(Error::Local(format!("cannot start the runtime: {error}"))),
    };
    match ended {
        Ok(()) => Exit::Ok.into(),
        // The reader went away, as `head` does: it has what it wanted.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Exit::Ok.into()
        }
        Err(error) => {
            eprintln!("error: {}", format::one_line(&error.to_string()));
            error.exit().into()
        }
    }
}

/// Runs one command. `env` gives the variables that hold the token.
///
/// # Errors
/// [`Error`], which knows the status to exit with.
pub async fn run(args: &Args, env: impl Fn(&str) -> Option<OsString>) -> Result<(), Error> {
    let coordinators = Coordinators::new(&args.connection, env)?;
    let mut output = Output::new(args.output);
    Box::pin(commands::run(&args.command, &coordinators, &mut output)).await
}
