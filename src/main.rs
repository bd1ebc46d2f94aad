//! The binary `roost`.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost::cli::main()
}
