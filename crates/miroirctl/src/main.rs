//! The program.

use std::process::ExitCode;

use clap::Parser;
use miroirctl::Args;

fn main() -> ExitCode {
    miroirctl::main(&Args::parse())
}
