//! `miroir-dev` as the tests run it: with failpoints, set by the environment variable `FAILPOINTS`, or by the file that
//! `FAILPOINTS_FILE` names, which may change while it runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _failpoints = fail::FailScenario::setup();
    miroir_tests::obey_points();
    miroir_dev::cli::main()
}
