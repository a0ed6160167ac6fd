//! `miroirctl` as the tests run it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    miroirctl::main(&miroirctl::Args::parse())
}
