//! `ipc-peers-actors run [--trials N] [--rows A,B] [--libraries A,B] [--json FILE]`: ipc-actors and the actor libraries
//! people use today, in one program. `ipc-peers-actors spike`: three mailboxes, outside any runtime.
//!
//! Each trial is a process of its own (`trial LIBRARY ROW`), and the libraries take turns (A B C … A B C …), so that
//! whatever the machine does meets all of them. Same profile, same allocator (glibc's), same messages, two threads.

mod actix;
mod bare;
mod fixture;
mod kameo;
mod kompact;
mod on_tokio;
mod ours;
mod ractor;
mod report;
mod rows;
mod spike;
mod xtra;

use rows::{Outcome, ROWS, Row};
use std::process::{Command, ExitCode};

/// One column of the table.
pub struct Library {
    pub name: &'static str,
    /// What the ratio is against; the others are for orientation.
    pub peer: bool,
    /// Whether an actor is a thread.
    threads: bool,
    run: fn(&str) -> Outcome,
}

const fn library(name: &'static str, peer: bool, threads: bool, run: fn(&str) -> Outcome) -> Library {
    Library { name, peer, threads, run }
}

pub const LIBRARIES: &[Library] = &[
    library("ipc-actors", false, false, rows::run::<ours::Ours>),
    library("kompact", true, false, rows::run::<kompact::Kompact>),
    library("actix", true, false, rows::run::<actix::Actix>),
    library("xtra", true, false, rows::run::<xtra::Xtra>),
    library("kameo", true, false, rows::run::<kameo::Kameo>),
    library("ractor", true, false, rows::run::<ractor::Ractor>),
    library("tokio-task", false, false, rows::run::<bare::Task>),
    library("std-mpsc", false, true, rows::run::<bare::StdThread>),
    library("crossbeam", false, true, rows::run::<bare::CrossbeamThread>),
];

impl Library {
    pub fn takes(&self, row: &Row) -> bool {
        !self.threads || row.for_threads
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["trial", library, row] => trial(library, row),
        ["spike"] => {
            spike::run(9);
            ExitCode::SUCCESS
        }
        ["run", ref flags @ ..] => match Plan::parse(flags) {
            Ok(plan) => report::run(&plan),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!(
                "usage: ipc-peers-actors run [--trials N] [--rows A,B] [--libraries A,B] [--json FILE]"
            );
            ExitCode::from(2)
        }
    }
}

/// Runs one trial and prints messages, nanoseconds and value.
fn trial(library: &str, row: &str) -> ExitCode {
    let Some(library) = LIBRARIES.iter().find(|known| known.name == library) else {
        return ExitCode::from(2);
    };
    let Outcome { messages, elapsed, value } = (library.run)(row);
    println!("{messages} {} {value}", elapsed.as_nanos());
    // Threads of the libraries may still run; what they do is not our business any more.
    std::process::exit(0)
}

/// What a run is asked to do.
pub struct Plan {
    pub trials: u32,
    pub rows: Vec<&'static Row>,
    pub libraries: Vec<&'static Library>,
    pub json: Option<String>,
}

impl Plan {
    fn parse(flags: &[&str]) -> Result<Plan, String> {
        let mut plan = Plan {
            trials: 5,
            rows: ROWS.iter().collect(),
            libraries: LIBRARIES.iter().collect(),
            json: None,
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let value = flags.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match *flag {
                "--trials" => plan.trials = value.parse().map_err(|_| format!("{value} is no number"))?,
                "--rows" => plan.rows = chosen(ROWS, value, |row| row.name)?,
                "--libraries" => plan.libraries = chosen(LIBRARIES, value, |library| library.name)?,
                "--json" => plan.json = Some((*value).into()),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(plan)
    }
}

fn chosen<T>(all: &'static [T], list: &str, name: fn(&T) -> &'static str) -> Result<Vec<&'static T>, String> {
    let find = |wanted: &str| {
        let names = || all.iter().map(name).collect::<Vec<_>>().join(", ");
        all.iter()
            .find(|one| name(one) == wanted)
            .ok_or_else(|| format!("no {wanted}; there are {}", names()))
    };
    list.split(',').map(find).collect()
}

/// One trial in a process of its own.
pub fn trial_of(library: &Library, row: &Row) -> Result<(u64, u64, f64), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["trial", library.name, row.name])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<&str> = line.split(' ').collect();
    let parsed = match numbers[..] {
        [messages, elapsed, value] => {
            (|| Some((messages.parse().ok()?, elapsed.parse().ok()?, value.parse().ok()?)))()
        }
        _ => None,
    };
    parsed.filter(|_| output.status.success()).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{}: {}", output.status, said.lines().next().unwrap_or("it said nothing"))
    })
}
