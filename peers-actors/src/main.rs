//! `ipc-peers-actors run [--trials N] [--rows A,B] [--libraries A,B] [--json FILE]`: ipc-actors and the actor libraries
//! people use today, in one program. `ipc-peers-actors spike`: three mailboxes, outside any runtime.
//!
//! Each trial is a process of its own (`trial LIBRARY ROW`), and the libraries take turns (A B C … A B C …), so that
//! whatever the machine does meets all of them. `--rows savina`: the programs of that suite, which run only when they are named. Same profile, same allocator (glibc's), same messages, two threads.

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
mod savina;
mod spike;
mod xtra;

use fixture::Fixture;
use rows::{Outcome, ROWS, Row};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How long a trial may take. On a machine that does nothing else the longest takes less than a third of it.
const TRIAL_MAX: Duration = Duration::from_secs(20);

/// One column of the table.
pub struct Library {
    pub name: &'static str,
    /// What the ratio is against; the others are for orientation.
    pub peer: bool,
    /// Whether an actor is a thread.
    threads: bool,
    restarts: bool,
    run: fn(&str) -> Outcome,
}

const fn actors<F: Fixture>(name: &'static str) -> Library {
    Library { name, peer: true, threads: false, restarts: F::RESTARTS, run: rows::run::<F> }
}

const fn threads<F: Fixture>(name: &'static str) -> Library {
    Library { peer: false, threads: true, ..actors::<F>(name) }
}

pub const LIBRARIES: &[Library] = &[
    Library { peer: false, ..actors::<ours::Ours>("ipc-actors") },
    actors::<kompact::Kompact>("kompact"),
    actors::<actix::Actix>("actix"),
    actors::<xtra::Xtra>("xtra"),
    actors::<kameo::Kameo>("kameo"),
    actors::<ractor::Ractor>("ractor"),
    Library { peer: false, ..actors::<bare::Task>("tokio-task") },
    threads::<bare::StdThread>("std-mpsc"),
    threads::<bare::CrossbeamThread>("crossbeam"),
];

impl Library {
    pub fn takes(&self, row: &Row) -> bool {
        (!self.threads || row.for_threads) && (self.restarts || !row.for_restarts)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["trial", library, row] => trial(library, row),
        ["spike"] => spike::run(9),
        ["spike", mailbox, row] => spike::trial(mailbox, row),
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

/// Runs one trial and prints messages, nanoseconds and values.
fn trial(library: &str, row: &str) -> ExitCode {
    let Some(library) = LIBRARIES.iter().find(|known| known.name == library) else {
        return ExitCode::from(2);
    };
    std::thread::spawn(|| {
        // Not a handshake but a bound: whoever ends in time ends this with the process.
        std::thread::sleep(TRIAL_MAX);
        eprintln!("not over after {TRIAL_MAX:?}");
        std::process::exit(3)
    });
    // A panic that is asked for is not a message on the terminal; one that is not is the trial's end, and is told.
    if row == "panic" || row == "ten-thousand" {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let Outcome { messages, elapsed, values } = (library.run)(row);
    let values: Vec<String> = values.iter().map(f64::to_string).collect();
    println!("\n{OUTCOME}{messages} {} {}", elapsed.as_nanos(), values.join(" "));
    // Threads of the libraries may still run; what they do is not our business any more.
    std::process::exit(0)
}

/// What the line of the outcome begins with: a library may print more.
const OUTCOME: &str = "outcome ";

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
            rows: all_rows().filter(|row| !row.on_demand).collect(),
            libraries: LIBRARIES.iter().collect(),
            json: None,
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let value = flags.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match *flag {
                "--trials" => plan.trials = value.parse().map_err(|_| format!("{value} is no number"))?,
                "--rows" if *value == "savina" => plan.rows = savina::ROWS.iter().collect(),
                "--rows" => plan.rows = chosen(all_rows(), value, |row| row.name)?,
                "--libraries" => plan.libraries = chosen(LIBRARIES.iter(), value, |library| library.name)?,
                "--json" => plan.json = Some((*value).into()),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(plan)
    }
}

/// Every row, those that run only when they are named last.
fn all_rows() -> impl Iterator<Item = &'static Row> + Clone {
    ROWS.iter().chain(savina::ROWS)
}

fn chosen<T>(
    all: impl Iterator<Item = &'static T> + Clone,
    list: &str,
    name: fn(&T) -> &'static str,
) -> Result<Vec<&'static T>, String> {
    let find = |wanted: &str| {
        let names = || all.clone().map(name).collect::<Vec<_>>().join(", ");
        all.clone()
            .find(|one| name(one) == wanted)
            .ok_or_else(|| format!("no {wanted}; there are {}", names()))
    };
    list.split(',').map(find).collect()
}

/// One trial in a process of its own: messages, nanoseconds and values.
pub fn trial_of(library: &Library, row: &Row) -> Result<(u64, u64, Vec<f64>), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["trial", library.name, row.name])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = text.lines().find_map(|line| line.strip_prefix(OUTCOME)).and_then(|numbers| {
        let mut numbers = numbers.split(' ');
        let (messages, elapsed) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let values: Vec<f64> = numbers.map(|value| value.parse().ok()).collect::<Option<_>>()?;
        (values.len() == row.measures.len()).then_some((messages, elapsed, values))
    });
    outcome.filter(|_| output.status.success()).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{}: {}", output.status, said.lines().next().unwrap_or("it said nothing"))
    })
}
