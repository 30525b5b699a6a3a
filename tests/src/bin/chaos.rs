//! Faults on purpose: `chaos FAULT --mechanism M --victim ROLE --n N --seed S` runs one cell and prints its line of the
//! ledger; `chaos victim …` plays the process that the fault strikes. `cargo xtask chaos` runs whole doses.

use std::process::ExitCode;

use ipc_tests::chaos::cell::{Cell, MECHANISMS, Role};
use ipc_tests::chaos::{kill, ledger, victim};
use ipc_tests::end::Random;
use ipc_transports::Address;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, role, address, journal, seed] = &arguments[..]
        && word == "victim"
    {
        let address: Address = address.parse().unwrap_or_else(|error| panic!("{error}"));
        victim::play(role, &address, journal.as_ref(), seed.parse().expect("a seed"));
        return ExitCode::SUCCESS;
    }
    let Some(asked) = Asked::parse(&arguments) else {
        eprintln!("usage: chaos FAULT --mechanism M --victim ROLE [--n N] [--seed S]");
        return ExitCode::from(2);
    };
    let program = std::env::current_exe().expect("procfs");
    let mut cell = Cell::new(asked.mechanism, asked.role, &program, asked.seed);
    ipc_tests::chaos::own_sigpipe();
    match asked.fault.as_str() {
        "kill9" => kill::run(&mut cell, asked.rounds),
        other => {
            eprintln!("no fault is called {other}");
            return ExitCode::from(2);
        }
    }
    println!("{}", ledger::line(&asked.fault, &mut cell));
    ExitCode::from(u8::from(!cell.violations.is_empty()))
}

struct Asked {
    fault: String,
    mechanism: &'static str,
    role: Role,
    rounds: u64,
    seed: u64,
}

impl Asked {
    fn parse(arguments: &[String]) -> Option<Asked> {
        let (fault, flags) = arguments.split_first()?;
        let seed = Random::seed() >> 16;
        let mut asked =
            Asked { fault: fault.clone(), mechanism: "shm", role: Role::Sender, rounds: 100, seed };
        for pair in flags.chunks(2) {
            let [flag, value] = pair else { return None };
            match flag.as_str() {
                "--mechanism" => asked.mechanism = MECHANISMS.iter().find(|known| *known == value)?,
                "--victim" => asked.role = Role::ALL.into_iter().find(|role| role.name() == value)?,
                "--n" => asked.rounds = value.parse().ok()?,
                "--seed" => asked.seed = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(asked)
    }
}
