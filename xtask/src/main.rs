//! `cargo xtask COMMAND`: the commands a person types while working on this workspace.
//!
//! xtask runs programs and reads files; it computes nothing itself and imports no crate of ours, so that it builds
//! in seconds and still runs when everything else is broken.

mod against;
mod api;
mod bench;
mod bench_actors;
mod callgrind;
mod chaos;
mod ci;
mod console;
mod coverage;
mod dist;
mod fuzz;
mod loom;
mod miri;
mod peers;
mod sanitize;
mod selftest;
mod status;
mod tidy;
mod workspace;

use std::process::ExitCode;

/// Every command, its own flags and its line in the help. `tidy` looks up the commands and flags that the docs name
/// in here, so a command cannot be documented without existing.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "against",
        usage: "against COMMIT [--rounds N] [--millis MS] [--only TRANSPORT]",
        flags: &["--rounds", "--millis", "--only"],
        what: "round trips and streams of the transports of this tree and of a commit, in turns, and what they cost now",
        run: against::main,
    },
    Command {
        name: "api",
        usage: "api [--write]",
        flags: &["--write"],
        what: "compare the public items of the library crates with docs/public-api.txt, or write it",
        run: api::main,
    },
    Command {
        name: "bench",
        usage: "bench [-- ARGS…]",
        flags: &[],
        what: "build ipc-bench (profile bench) and run it; without ARGS: ipc-bench run",
        run: bench::main,
    },
    Command {
        name: "bench-actors",
        usage: "bench-actors [--trials N] [--rows LIST] [--libraries LIST] [--json FILE]",
        flags: &["--trials", "--rows", "--libraries", "--json"],
        what: "measure ipc-actors beside the actor libraries people use, interleaved in one run, and hold the floors",
        run: bench_actors::main,
    },
    Command {
        name: "callgrind",
        usage: "callgrind [--write]",
        flags: &["--write"],
        what: "count the instructions of the hot paths and hold them to targets/instructions.tsv, or write it",
        run: callgrind::main,
    },
    Command {
        name: "chaos",
        usage: "chaos [FAULT…] [--mechanism M] [--victim ROLE] [--n N] [--seed S] [--points P,…] [--full] [--budget S] [--idle] [--record] [--page]",
        flags: &[
            "--mechanism",
            "--victim",
            "--n",
            "--seed",
            "--points",
            "--full",
            "--budget",
            "--idle",
            "--record",
            "--page",
        ],
        what: "kill, stop, interrupt and starve processes that talk, and check what the survivor is told",
        run: chaos::main,
    },
    Command {
        name: "ci",
        usage: "ci [--only STEP] [--list] [--full] [--install]",
        flags: &["--only", "--list", "--full", "--install"],
        what: "run every check that CI runs, one line per step",
        run: ci::main,
    },
    Command {
        name: "coverage",
        usage: "coverage [--missed]",
        flags: &["--missed"],
        what: "line coverage of the actor runtime, held to 95 %; --missed: which lines; needs cargo-tarpaulin, or says so",
        run: coverage::main,
    },
    Command {
        name: "dist",
        usage: "dist",
        flags: &[],
        what: "make a release: the program, completions, manual, licences, checksums, and an archive of them",
        run: dist::main,
    },
    Command {
        name: "fuzz",
        usage: "fuzz [TARGET…] [--seconds S] [--runs N]",
        flags: &["--seconds", "--runs"],
        what: "libFuzzer over the harnesses of ipc-transports; needs nightly and cargo-fuzz",
        run: fuzz::main,
    },
    Command {
        name: "loom",
        usage: "loom [--mutants [PART]]",
        flags: &["--mutants"],
        what: "explore the models of ring, bell, slot, waker table and mailbox; --mutants: seeded bugs they must catch, all or those with PART in their names",
        run: loom::main,
    },
    Command {
        name: "miri",
        usage: "miri [PACKAGE]",
        flags: &[],
        what: "what is pure, the ring and the actors under Miri; needs nightly with its component miri, or says so",
        run: miri::main,
    },
    Command {
        name: "peers",
        usage: "peers [--trials N] [--size LIST]",
        flags: &["--trials", "--size"],
        what: "measure what people use today beside ours, interleaved in one run, and print the ratios",
        run: peers::main,
    },
    Command {
        name: "sanitize",
        usage: "sanitize [address|thread]",
        flags: &[],
        what: "the transports under the address and the thread sanitizer; needs nightly with rust-src, or says so",
        run: sanitize::sanitize,
    },
    Command {
        name: "selftest-stats",
        usage: "selftest-stats [--null N] [--power N] [--resamples N] [--seed S] [--only CELL] [--program FILE]",
        flags: &["--null", "--power", "--resamples", "--seed", "--only", "--program"],
        what: "ab without a difference must stay green, ab with 10 % more must turn red",
        run: selftest::main,
    },
    Command {
        name: "status",
        usage: "status [--only seeds|limits|scenes] [--program FILE]",
        flags: &["--only", "--program"],
        what: "measure the files of targets and write docs/status.md: verdicts, what is ready and what is not",
        run: status::main,
    },
    Command {
        name: "tidy",
        usage: "tidy",
        flags: &[],
        what: "hold the rules of the tree that no compiler checks",
        run: tidy::main,
    },
];

pub(crate) struct Command {
    pub(crate) name: &'static str,
    usage: &'static str,
    pub(crate) flags: &'static [&'static str],
    what: &'static str,
    run: fn(Vec<String>) -> anyhow::Result<ExitCode>,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let outcome = match args.next().as_deref() {
        None | Some("help" | "--help" | "-h") => {
            print!("{}", help());
            return ExitCode::SUCCESS;
        }
        Some(name) => match COMMANDS.iter().find(|command| command.name == name) {
            Some(command) => (command.run)(args.collect()),
            None => {
                eprint!("error: no command {name}\n{}", help());
                return ExitCode::from(2);
            }
        },
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:48} {}\n", command.usage, command.what));
    }
    text
}
