//! Doses: which cells there are, how often each is run, and what all of them came to.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::cell::{Cell, MECHANISMS, Mechanism, Role, Violation};
use super::{
    crash, forks, fuzz, growth, hostile, kill, limits, orphans, results, soak, spaces, stop, storm, wrong_uid,
};

/// One kind of fault.
#[derive(Debug)]
pub struct Fault {
    /// Its word on the command line.
    pub name: &'static str,
    /// What it does, for the help and the page.
    pub what: &'static str,
    /// Mechanisms it concerns; none: all.
    pub mechanisms: &'static [Mechanism],
    /// Who it strikes.
    pub roles: &'static [Role],
    /// Rounds (or messages) per cell in CI.
    pub ci: u64,
    /// Rounds (or messages) per cell in a full dose.
    pub full: u64,
    /// One cell at a time: it wants the processors to itself.
    pub alone: bool,
    /// Runs the rounds of one cell.
    pub run: fn(&mut Cell, u64),
}

const ENDS: &[Role] = &[Role::Sender, Role::Receiver];

/// All of them.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "kill9",
        what: "SIGKILL at a random moment of a stream",
        mechanisms: &[],
        roles: ENDS,
        ci: 200,
        full: 10_000,
        alone: false,
        run: kill::run,
    },
    Fault {
        name: "kill9-hogs",
        what: "the same beside four busy programs",
        mechanisms: &[],
        roles: ENDS,
        ci: 10,
        full: 1000,
        alone: true,
        run: storm::kill_among_hogs,
    },
    Fault {
        name: "kill9-setup",
        what: "SIGKILL of clients on their way in, and of listeners",
        mechanisms: &[],
        roles: &[Role::Listener, Role::Connector],
        ci: 20,
        full: 1000,
        alone: false,
        run: kill::run,
    },
    Fault {
        name: "stop",
        what: "SIGSTOP for 0.2 to 0.4 s, every 16th time for up to 5 s, then SIGCONT; every fourth time another client attaches \
               meanwhile",
        mechanisms: &[],
        roles: ENDS,
        ci: 6,
        full: 250,
        alone: false,
        run: stop::run,
    },
    Fault {
        name: "eintr",
        what: "both sides interrupted, the survivor at least 5000 times a second; counted in messages",
        mechanisms: &[],
        roles: ENDS,
        ci: 50_000,
        full: 5_000_000,
        alone: true,
        run: storm::interrupted,
    },
    Fault {
        name: "hogs",
        what: "both sides on one CPU beside four busy programs; counted in messages",
        mechanisms: &[],
        roles: ENDS,
        ci: 25_000,
        full: 500_000,
        alone: true,
        run: storm::crowded,
    },
    Fault {
        name: "outranked",
        what: "both sides on one CPU, the struck one of the class SCHED_FIFO; counted in messages",
        mechanisms: &[],
        roles: ENDS,
        ci: 2_000,
        full: 100_000,
        alone: true,
        run: storm::outranked,
    },
    Fault {
        name: "fork",
        what: "the sender forks as it sends, and is killed while a child lives",
        mechanisms: &[],
        roles: &[Role::Sender],
        ci: 5,
        full: 200,
        alone: false,
        run: forks::run,
    },
    Fault {
        name: "limits",
        what: "every limit of the system that the mechanism can meet; counted in limits met, each with its typed error, its \
               numbers and its fix, and all well when it lifts",
        mechanisms: &[],
        roles: &[Role::Listener],
        ci: 1,
        full: 20,
        alone: true,
        run: limits::run,
    },
    Fault {
        name: "pid-reuse",
        what: "the number of a dead peer goes to another process before anybody looks, and so does that of one that died \
               before it was accepted; in a namespace of processes, as root",
        mechanisms: &[],
        roles: &[Role::Sender],
        ci: 2,
        full: 100,
        alone: false,
        run: spaces::other_process,
    },
    Fault {
        name: "time-namespace",
        what: "as stop, and then as kill9, with a peer whose monotonic clock is a day ahead; as root",
        mechanisms: &[],
        roles: ENDS,
        ci: 1,
        full: 50,
        alone: false,
        run: spaces::other_clocks,
    },
    Fault {
        name: "wrong-uid",
        what: "another user's process connects (through the library and past it) or listens where ours connects",
        mechanisms: &[],
        roles: &[Role::Listener, Role::Connector],
        ci: 4,
        full: 20,
        alone: false,
        run: wrong_uid::run,
    },
    Fault {
        name: "hostile",
        what: "peers that break the protocol, from the first byte of the hello to words of shared memory that change all the \
               time; wrong descriptors, squatted names; counted in attacks",
        mechanisms: &[],
        roles: &[Role::Listener, Role::Connector],
        ci: 1,
        full: 20,
        alone: false,
        run: hostile::run,
    },
    Fault {
        name: "crash-points",
        what: "killed at a named store or system call, at its n-th hit; listeners also a second time while they take over \
               from a dead one",
        mechanisms: &[],
        roles: &[Role::Sender, Role::Receiver, Role::Listener],
        ci: 30,
        full: 5_000,
        alone: false,
        run: crash::run,
    },
    Fault {
        name: "results",
        what: "the writer of a result file killed, then a full disk (at every 64 bytes) and a directory that may not be written",
        mechanisms: &["results"],
        roles: &[Role::Sender],
        ci: 50,
        full: 1000,
        alone: false,
        run: results::run,
    },
    Fault {
        name: "orphans",
        what: "the runner of benchmarks killed with its workers at work; the time is until the last worker is gone",
        mechanisms: &["runner"],
        roles: &[Role::Sender],
        ci: 20,
        full: 1000,
        alone: false,
        run: orphans::run,
    },
    Fault {
        name: "growth",
        what: "many messages over one connection, after a tenth as many; memory may grow by 128 KiB; counted in messages",
        mechanisms: &[],
        roles: ENDS,
        ci: 100_000,
        full: 5_000_000,
        alone: false,
        run: growth::run,
    },
    Fault {
        name: "soak",
        what: "peers that come, talk and are killed, for a long time; memory may not grow; counted in seconds",
        mechanisms: &[],
        roles: ENDS,
        ci: 5,
        full: 1800,
        alone: false,
        run: soak::run,
    },
    Fault {
        name: "fuzz",
        what: "random input for the harness of that name, as in `fuzz/`; counted in inputs",
        mechanisms: fuzz::TARGETS,
        roles: &[Role::Receiver],
        ci: 20_000,
        full: 10_000_000,
        alone: false,
        run: fuzz::run,
    },
];

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Names of faults; none: all.
    pub faults: Vec<String>,
    /// This mechanism only.
    pub mechanism: Option<Mechanism>,
    /// This role only.
    pub role: Option<Role>,
    /// Rounds (or messages) per cell, instead of the dose's.
    pub rounds: Option<u64>,
    /// The full dose instead of CI's.
    pub full: bool,
    /// The crash points to aim at, by the beginnings of their names; none: all. Cells that have none of them are left out.
    pub points: Vec<String>,
    /// The seed of every cell, instead of a random one each.
    pub seed: Option<u64>,
    /// The lines go into the ledger.
    pub record: Option<super::ledger::Origin>,
    /// One cell at a time; the lines say that nothing else ran, which is the caller's to see to.
    pub idle: bool,
    /// No further cell is started after this long.
    pub budget: Option<Duration>,
}

/// A cell in which nothing has happened for this long, or up to twice as long, hangs, which its end by SIGABRT tells. The longest that is waited for
/// on purpose is a stop of five seconds; the rest is for machines full of other work.
const STUCK: Duration = Duration::from_secs(60);

/// Cells that run at once: most of their time is waiting.
const AT_ONCE: usize = 4;

/// Runs the cells asked for, each in a process of its own, and prints their lines as they come. The lines, and how many
/// cells failed.
pub fn run(program: &Path, asked: &Asked) -> (Vec<String>, usize) {
    let began = Instant::now();
    let chosen =
        |fault: &&Fault| asked.faults.is_empty() || asked.faults.iter().any(|name| name == fault.name);
    let mut jobs = Vec::new();
    for fault in FAULTS.iter().filter(chosen) {
        let concerned = if fault.mechanisms.is_empty() { MECHANISMS } else { fault.mechanisms };
        for &mechanism in concerned.iter().filter(|known| asked.mechanism.is_none_or(|only| only == **known))
        {
            for &role in fault.roles.iter().filter(|role| asked.role.is_none_or(|only| only == **role)) {
                let none = crash::points_of(mechanism, role, &asked.points).is_empty();
                if fault.name == "crash-points" && !asked.points.is_empty() && none {
                    continue;
                }
                jobs.push((fault, mechanism, role));
            }
        }
    }
    let (lines, failed) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let skipped = AtomicUsize::new(0);
    let (alone, together): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|(fault, ..)| fault.alone);
    // Those alone first: they are short. What a budget leaves out is said.
    for (jobs, at_once) in [(alone, 1), (together, if asked.idle { 1 } else { AT_ONCE })] {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while let Some(job) = jobs.get(next.fetch_add(1, SeqCst)) {
                        if asked.budget.is_some_and(|budget| began.elapsed() > budget) {
                            skipped.fetch_add(1, SeqCst);
                            continue;
                        }
                        let (line, passed) = one_cell(program, job, asked);
                        println!("{line}");
                        failed.fetch_add(usize::from(!passed), SeqCst);
                        lines.lock().expect("no other holder panics").push(line);
                    }
                });
            }
        });
    }
    match skipped.into_inner() {
        0 => {}
        cells => println!("{cells} cells not started within the budget"),
    }
    (lines.into_inner().unwrap_or_default(), failed.into_inner())
}

type Job = (&'static Fault, Mechanism, Role);

/// One cell in a process of its own: a survivor that is killed by a signal or hangs shows in its exit status. Its line,
/// and whether it passed.
fn one_cell(program: &Path, &(fault, mechanism, role): &Job, asked: &Asked) -> (String, bool) {
    let dose = if asked.full { fault.full } else { fault.ci };
    let rounds = asked.rounds.unwrap_or(dose);
    let seed = asked.seed.unwrap_or_else(|| crate::end::Random::seed() >> 16);
    let mut command = Command::new(program);
    command.args(["cell", fault.name, mechanism, role.name(), &rounds.to_string(), &seed.to_string()]);
    command.args(&asked.points);
    // Names of its own, so that what is left there is the cell's.
    let names = tempfile::Builder::new().prefix("ix-").tempdir().expect("a temporary directory");
    command.env("XDG_RUNTIME_DIR", names.path());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let ended = match output {
        Ok(output) => {
            let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if matches!(output.status.code(), Some(0 | 1)) && line.starts_with('{') {
                return (line, output.status.success());
            }
            output.status.to_string()
        }
        Err(error) => error.to_string(),
    };
    let mut cell = Cell::new(mechanism, role, program, seed);
    cell.violations.push(Violation { of: "I6", what: ended.clone() });
    cell.notes.push(format!("I6: the survivor ended with {ended}"));
    (super::ledger::line(fault.name, &mut cell), false)
}

/// Plays one cell in this process: `cell FAULT MECHANISM ROLE ROUNDS SEED [POINT…]`.
pub fn play(arguments: &[String]) -> Option<bool> {
    let [fault, mechanism, role, rounds, seed, points @ ..] = arguments else { return None };
    let fault = FAULTS.iter().find(|known| known.name == fault)?;
    let known = MECHANISMS.iter().chain(fault.mechanisms);
    let mechanism = known.into_iter().find(|known| *known == mechanism)?;
    let role = Role::ALL.into_iter().find(|known| known.name() == role)?;
    let seed = seed.parse().ok()?;
    super::own_sigpipe();
    let program = std::env::current_exe().ok()?;
    let _turn = (*mechanism == "mq").then(|| crate::turn::Turn::of::<ipc_transports::Mq>(""));
    // The harnesses of `fuzz` take their inputs in one call.
    if fault.name != "fuzz" {
        crate::watchdog::over_progress(&super::cell::PROGRESS, STUCK);
    }
    let mut cell = Cell::new(mechanism, role, &program, seed);
    cell.only = points.to_vec();
    (fault.run)(&mut cell, rounds.parse().ok()?);
    println!("{}", super::ledger::line(fault.name, &mut cell));
    let _ = std::io::stdout().flush();
    Some(cell.violations.is_empty())
}
