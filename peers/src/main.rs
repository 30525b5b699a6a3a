//! `ipc-bench` with other people's transports added: the same processes, pinning, payload checks, clock and recorder,
//! interleaved with ours in one run. `cargo xtask peers` runs it.
//!
//! `ipc-peers ratios RUN.json…` prints what of ours each of theirs compares with; `ipc-peers threads` measures queues
//! between threads against `inproc`.
//!
//! Each peer is used as its authors recommend for speed; its file says how.

#[cfg(feature = "aeron")]
mod aeron;
mod buffered;
mod iceoryx;
mod interprocess;
mod ipc_channel;
mod peer;
mod ratios;
mod threads;
mod tokio_uds;
mod zeromq;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("ratios") => return ratios::main(args),
        Some("threads") => return threads::main(args),
        _ => {}
    }
    let bench = ipc_bench::Bench::default()
        .with::<iceoryx::Iceoryx2>()
        .with::<ipc_channel::IpcChannel>()
        .with::<interprocess::Interprocess>()
        .with::<tokio_uds::TokioUds>()
        .with::<zeromq::ZeroMq>()
        .with::<zeromq::ZeroMqTcp>()
        .with::<buffered::BufferedUds>()
        .with::<buffered::BufferedTcp>();
    #[cfg(feature = "aeron")]
    let bench = bench.with::<aeron::AeronIpc>();
    bench.main()
}
