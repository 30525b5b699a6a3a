//! The steps of `cargo xtask ci`, in the order in which each lane runs them.

use crate::bench::cargo;
use std::process::Command;

/// What tests have beyond what everybody gets: those of `cargo xtask chaos` ([`crate::chaos::FEATURES`]), and those of
/// ipc-actors, on which nothing else depends.
const FEATURES: &str = "ipc-tests/fault-points,ipc-actors/__fail-points,ipc-actors/tracing";

/// One check. The budget is what it takes with a warm target directory on two cores; going over is shown, not failed,
/// because a cold build goes over and says nothing about the code.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) budget_s: u64,
    pub(super) what: &'static str,
    pub(super) needs: &'static [Need],
    /// Runs only when asked for by `--full` or `--only`.
    pub(super) full: bool,
    pub(super) lane: Lane,
    pub(super) action: Action,
}

/// The steps of a lane run one after the other, the two lanes side by side: half of the time of most steps is one core
/// waiting for the other, or for a timer. They build in directories of their own, so that no cargo waits for the other:
/// only `chaos` is of what the tests are of, and comes when that is built.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Lane {
    /// `target/debug`: what the sources are and whether they are right.
    Checks,
    /// `target/loom` and `target/release`: models and the program that people run; then the faults.
    Program,
}

/// A cargo subcommand that a toolchain may come without, and the rustup component that brings it.
pub(super) struct Need {
    pub(super) subcommand: &'static str,
    pub(super) component: &'static str,
}

impl Need {
    pub(super) fn is_met(&self) -> bool {
        let version = Command::new(cargo()).args([self.subcommand, "--version"]).output();
        version.is_ok_and(|output| output.status.success())
    }
}

pub(super) enum Action {
    /// Arguments of cargo, for one call after the other.
    Cargo(&'static [&'static [&'static str]]),
    Tidy,
    /// Compares the public items, after the documentation was built.
    Api,
    /// `cargo xtask loom`.
    Loom,
    /// `cargo xtask chaos`, with the doses of every day.
    Chaos,
    /// `cargo xtask callgrind`.
    Callgrind,
    /// The reports in a browser.
    Html,
    /// The commands of the README and the docs.
    Docs,
}

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        budget_s: 10,
        what: "the sources are formatted",
        needs: &[Need { subcommand: "fmt", component: "rustfmt" }],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[&["fmt", "--all", "--check", "--", "--color", "never"]]),
    },
    Step {
        name: "tidy",
        budget_s: 5,
        what: "arrows between crates, invariants of absence, docs that name what exists",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Tidy,
    },
    Step {
        name: "clippy",
        budget_s: 110,
        what: "no warning in any target",
        needs: &[Need { subcommand: "clippy", component: "clippy" }],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]]),
    },
    Step {
        name: "build",
        budget_s: 90,
        what: "all programs, tests and examples build from the lock file",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        // No benches: clippy has seen them, and whoever runs one builds it for speed.
        action: Action::Cargo(&[&[
            "build",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
            "--features",
            FEATURES,
            "--locked",
        ]]),
    },
    Step {
        name: "tests",
        budget_s: 180,
        what: "unit, contract and two-process tests",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[
            // Tests run the examples, and `--tests` alone does not build those.
            &["build", "--workspace", "--examples", "--features", FEATURES, "--locked"],
            &[
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--features",
                FEATURES,
                "--locked",
                "--no-fail-fast",
            ],
        ]),
    },
    Step {
        name: "ignored",
        budget_s: 300,
        what: "the tests that are too slow for every day",
        needs: &[],
        full: true,
        lane: Lane::Checks,
        action: Action::Cargo(&[&[
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--features",
            FEATURES,
            "--locked",
            "--",
            "--ignored",
        ]]),
    },
    Step {
        name: "codecs",
        budget_s: 150,
        what: "ipc-bench built with the codecs: no warning, each document survives each of them and is measured",
        needs: &[],
        full: true,
        lane: Lane::Checks,
        action: Action::Cargo(&[
            &[
                "clippy",
                "--package",
                "ipc-bench-cli",
                "--features",
                "codecs",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
            &[
                "test",
                "--package",
                "ipc-bench-cli",
                "--features",
                "codecs",
                "--lib",
                "--test",
                "codecs",
                "--locked",
            ],
        ]),
    },
    Step {
        name: "loom",
        budget_s: 60,
        what: "every interleaving of the models of ring, bell, slot and waker table, two or three preemptions deep",
        needs: &[],
        full: false,
        lane: Lane::Program,
        action: Action::Loom,
    },
    Step {
        name: "doctests",
        budget_s: 30,
        what: "the examples in the documentation compile and run",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[&["test", "--workspace", "--doc", "--features", FEATURES, "--locked"]]),
    },
    Step {
        name: "docs",
        budget_s: 60,
        what: "the documentation builds without a warning",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[&["doc", "--workspace", "--no-deps", "--locked"]]),
    },
    Step {
        name: "api",
        budget_s: 5,
        what: "the public items are those of docs/public-api.txt",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Api,
    },
    Step {
        name: "package",
        budget_s: 60,
        what: "each library crate builds from what would be published of it",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[&[
            "package",
            "--package=ipc-core",
            "--package=ipc-transports",
            "--package=ipc-async",
            "--package=ipc-limits",
            "--package=ipc-results",
            "--package=ipc-actors",
            "--locked",
            // What is checked is the tree as it stands, committed or not.
            "--allow-dirty",
        ]]),
    },
    Step {
        name: "schema",
        budget_s: 10,
        what: "the JSON schema in schemas/ is the one the code writes",
        needs: &[],
        full: false,
        lane: Lane::Checks,
        action: Action::Cargo(&[&[
            "test",
            "--workspace",
            "--test",
            "schema",
            "--features",
            FEATURES,
            "--locked",
        ]]),
    },
    Step {
        name: "bench-build",
        budget_s: 150,
        what: "ipc-bench builds with the profile its numbers come from",
        needs: &[],
        full: false,
        lane: Lane::Program,
        action: Action::Cargo(&[&["build", "--profile", "bench", "--package", "ipc-bench-cli", "--locked"]]),
    },
    Step {
        name: "callgrind",
        budget_s: 90,
        what: "instructions per message of the hot paths are those of targets/instructions.tsv, within 1 %",
        needs: &[],
        full: false,
        lane: Lane::Program,
        action: Action::Callgrind,
    },
    Step {
        name: "selftest",
        budget_s: 60,
        what: "ab of a build against itself stays green, ab with 10 % more turns red: a slice of the dose",
        needs: &[],
        full: true,
        lane: Lane::Program,
        action: Action::Cargo(&[&[
            "xtask",
            "selftest-stats",
            "--null",
            "2",
            "--power",
            "2",
            "--resamples",
            "0",
        ]]),
    },
    Step {
        name: "html",
        budget_s: 60,
        what: "the reports in headless Chromium with scripts off: every table visible, nothing from elsewhere, small",
        needs: &[],
        full: false,
        lane: Lane::Program,
        action: Action::Html,
    },
    Step {
        name: "readme",
        budget_s: 60,
        what: "the commands of README.md and docs/ run; cargo xtask bench shortened, with --full as written",
        needs: &[],
        full: false,
        lane: Lane::Program,
        action: Action::Docs,
    },
    Step {
        name: "chaos",
        budget_s: 180,
        what: "processes killed, stopped, interrupted, starved and hostile; random input for the fuzz harnesses",
        needs: &[],
        full: false,
        lane: Lane::Program,
        action: Action::Chaos,
    },
];
