//! The coordinator as a program.

use std::process::ExitCode;

use clap::Parser;
use miroir_coordinator::cli;

#[derive(Debug, Parser)]
#[command(name = "miroir-coordinator", version, about)]
struct Cli {
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    cli::main(&Cli::parse().args)
}
