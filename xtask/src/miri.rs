//! `cargo xtask miri [PACKAGE]`: tests under an interpreter that knows undefined behaviour when it meets it. It needs nightly
//! with its component miri; without it the command says so, and ends well: what did not run is not a failure, and not a
//! success either.

use crate::sanitize::{Suite, nightly, passes, skipped, target, without, without_nightly};
use anyhow::{Result, bail, ensure};
use std::process::ExitCode;

/// What Miri can run: it has no memfd, epoll, socket nor pidfd of another process, so what is pure, the ring on memory of the
/// heap, and the parts of actors with unsafe code.
const SUITES: &[Suite] = &[
    Suite {
        package: "ipc-core",
        arguments: &["--lib"],
        what: "frames, hellos, addresses, options, messages, codecs",
    },
    Suite { package: "ipc-transports", arguments: &["--lib", "ring::"], what: "the ring on heap memory" },
    Suite {
        package: "ipc-transports",
        arguments: &[
            "--lib",
            "--",
            "fuzz::tests::f2",
            "fuzz::tests::f3",
            "fuzz::tests::f4",
            "fuzz::tests::f6",
            "fuzz::tests::f7",
            "fuzz::tests::f8",
            "waiting::",
            "places::",
            "fault::",
            "fork::",
        ],
        what: "hostile rings, slots, frames, queue messages, addresses and envelopes; waiting and counting",
    },
    // Not the workers: their event loop wants a timerfd, and crossbeam-epoch breaks the rules of stacked borrows.
    Suite {
        package: "ipc-actors",
        arguments: &["--lib", "--", "pool::tests", "inbox::tests", "reply::tests", "status::tests"],
        what: "memory, mailboxes with their batches, answers, the control word",
    },
];

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let chosen: Vec<&Suite> = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => SUITES.iter().collect(),
        [package] => SUITES.iter().filter(|suite| suite.package == package).collect(),
        _ => bail!("usage: cargo xtask miri [PACKAGE]"),
    };
    ensure!(!chosen.is_empty(), "nothing of that package is run under Miri");
    if let Some(why) = without_nightly().or_else(|| without("miri")) {
        return skipped(&why);
    }
    let mut failed = 0;
    for suite in chosen {
        let mut command = nightly();
        command.args(["miri", "test", "--package", suite.package]).args(suite.arguments);
        // The system's clock and random numbers; and no old values of atomics, with which Miri itself panics on the ring: those
        // are what the models of loom are for.
        let flags = "-Zmiri-disable-isolation -Zmiri-disable-weak-memory-emulation";
        command.env("MIRIFLAGS", flags).env("CARGO_TARGET_DIR", target("miri")?);
        failed += u8::from(!passes("miri", suite, command)?);
    }
    Ok(ExitCode::from(failed))
}
