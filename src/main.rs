//! The program. What it can do stands in `cortex_core::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cortex_core::cli::run()
}
