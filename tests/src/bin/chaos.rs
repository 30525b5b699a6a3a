//! Faults on purpose; see `ipc_tests::chaos`. `chaos run …` runs doses, `chaos cell …` one cell in its own process, and
//! `chaos victim …` plays the process that the fault strikes. People type `cargo xtask chaos`.

use std::process::ExitCode;
use std::time::Duration;

use ipc_tests::chaos::cell::{MECHANISMS, Role};
use ipc_tests::chaos::dose::{self, Asked, FAULTS};
use ipc_tests::chaos::{guest, ledger, storm, victim};
use ipc_transports::Address;

/// The lines of every recorded run, from the root of the workspace.
const LEDGER: &str = "docs/faults.jsonl";

/// What is made of them.
const PAGE: &str = "docs/faults.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((word, rest)) = arguments.split_first() else { return usage() };
    match (word.as_str(), rest) {
        ("victim", [role, address, journal, seed]) => {
            let address: Address = address.parse().unwrap_or_else(|error| panic!("{error}"));
            victim::play(role, &address, journal.as_ref(), seed.parse().expect("a seed"));
            ExitCode::SUCCESS
        }
        ("hog", []) => {
            storm::hog();
            ExitCode::SUCCESS
        }
        ("guest", asked) => match guest::play(asked) {
            Some(outcome) => {
                let passed = outcome.is_ok();
                println!("{}", outcome.unwrap_or_else(|what| what));
                ExitCode::from(u8::from(!passed))
            }
            None => usage(),
        },
        ("cell", cell) => dose::play(cell).map_or_else(usage, |passed| ExitCode::from(u8::from(!passed))),
        ("run", asked) => match parse(asked) {
            Some(asked) => {
                let program = std::env::current_exe().expect("procfs");
                let (lines, failed) = dose::run(&program, &asked);
                if let Some(origin) = &asked.record {
                    let lines: Vec<String> =
                        lines.iter().map(|line| ledger::signed(line, origin, asked.idle)).collect();
                    ledger::append(LEDGER.as_ref(), &lines)
                        .unwrap_or_else(|error| panic!("{LEDGER}: {error}"));
                }
                println!("{} cells, {failed} with violations", lines.len());
                ExitCode::from(u8::from(failed > 0))
            }
            None => usage(),
        },
        ("page", []) => {
            let text = std::fs::read_to_string(LEDGER).unwrap_or_else(|error| panic!("{LEDGER}: {error}"));
            let page = ledger::page(&text).unwrap_or_else(|error| panic!("{LEDGER}: {error}"));
            std::fs::write(PAGE, page).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: chaos run [FAULT…] [--mechanism M] [--victim ROLE] [--n N] [--seed S] [--points P,…] [--full] [--budget SECONDS] [--idle] [--record COMMIT]"
    );
    for fault in FAULTS {
        eprintln!("  {:12} {}", fault.name, fault.what);
    }
    ExitCode::from(2)
}

fn parse(arguments: &[String]) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => asked.full = true,
            "--idle" => asked.idle = true,
            "--mechanism" => {
                let name = arguments.next()?;
                let mut known = FAULTS.iter().flat_map(|fault| fault.mechanisms).chain(MECHANISMS);
                asked.mechanism = Some(known.find(|known| *known == name)?);
            }
            "--victim" => {
                let name = arguments.next()?;
                asked.role = Some(Role::ALL.into_iter().find(|role| role.name() == name)?);
            }
            "--record" => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let time = since.map_or(0, |since| since.as_secs());
                asked.record = Some(ledger::Origin { commit: arguments.next()?.clone(), time });
            }
            "--n" => asked.rounds = Some(arguments.next()?.parse().ok()?),
            "--seed" => asked.seed = Some(arguments.next()?.parse().ok()?),
            "--points" => asked.points = arguments.next()?.split(',').map(str::to_owned).collect(),
            "--budget" => asked.budget = Some(Duration::from_secs(arguments.next()?.parse().ok()?)),
            name if FAULTS.iter().any(|fault| fault.name == name) => asked.faults.push(name.to_owned()),
            _ => return None,
        }
    }
    Some(asked)
}
