//! `miroir-dev` as the tests run it: with failpoints, set by the environment variable `FAILPOINTS`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _failpoints = fail::FailScenario::setup();
    miroir_dev::cli::main()
}
