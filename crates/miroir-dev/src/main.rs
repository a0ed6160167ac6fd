//! `miroir-dev up` runs a cluster on this machine; `miroir-dev demo` shows and checks its main job.

use std::process::ExitCode;

fn main() -> ExitCode {
    miroir_dev::cli::main()
}
