//! The `ipc-bench` program with the transports of this workspace.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipc_bench::Bench::default().main()
}
