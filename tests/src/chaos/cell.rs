//! One cell of the matrix: a fault, a mechanism, a role, and what came of its rounds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipc_transports::{Address, Target};
use tempfile::TempDir;

use super::victim::LONG;
use crate::end::Random;
use crate::traces::{THREAD, Traces};

/// A mechanism between processes, by its scheme.
pub type Mechanism = &'static str;

/// Those there are.
pub const MECHANISMS: &[Mechanism] = &["uds", "uds-seqpacket", "tcp", "pipe", "shm", "shm-direct", "mq"];

/// Who the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that sends.
    Sender,
    /// The side that receives.
    Receiver,
    /// The side that listens.
    Listener,
    /// A client on its way in.
    Connector,
}

impl Role {
    /// Those there are.
    pub const ALL: [Role; 4] = [Role::Sender, Role::Receiver, Role::Listener, Role::Connector];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Sender => "sender",
            Role::Receiver => "receiver",
            Role::Listener => "listener",
            Role::Connector => "connector",
        }
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which of I1 to I8.
    pub of: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.of, self.what)
    }
}

/// Fails the round.
pub fn violated<T>(of: &'static str, what: impl fmt::Display) -> Result<T, Violation> {
    Err(Violation { of, what: what.to_string() })
}

/// How often a crash point has killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// All of them.
    pub all: u64,
    /// Those that struck who took over, or repaired, after another kill.
    pub second: u64,
}

/// How often which duration was seen, to one part in 32; as large after a billion of them as before the first.
#[derive(Clone, Debug)]
pub struct Durations {
    counts: Vec<u64>,
}

/// Classes per power of two.
const CLASSES: u64 = 32;

impl Durations {
    /// None seen so far.
    #[expect(clippy::new_without_default, reason = "takes 15 KiB")]
    pub fn new() -> Durations {
        // Written to, so that its memory is there from now on.
        let mut counts = vec![u64::MAX; 60 * CLASSES as usize];
        counts.fill(0);
        Durations { counts }
    }

    fn add(&mut self, took: Duration) {
        let nanos = (took.as_nanos() as u64).max(CLASSES);
        let power = u64::from(nanos.ilog2() - CLASSES.ilog2());
        self.counts[(power * CLASSES + (nanos >> power) - CLASSES) as usize] += 1;
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that the share `part` of all does not exceed; of none, none at all.
    pub fn quantile(&self, part: f64) -> Duration {
        let want = (self.count() as f64 * part).ceil() as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= want
        });
        let (power, class) = (found.unwrap_or(0) as u64 / CLASSES, found.unwrap_or(0) as u64 % CLASSES);
        Duration::from_nanos((CLASSES + class) << power)
    }
}

/// What a cell has to work with, and what it has seen.
#[derive(Debug)]
pub struct Cell {
    /// Scheme under test.
    pub mechanism: Mechanism,
    /// Who is struck.
    pub role: Role,
    /// The program `chaos` itself, which also plays the victims.
    pub program: PathBuf,
    /// Where the numbers come from; printed, so that a cell can be repeated.
    pub random: Random,
    /// The first round's seed.
    pub seed: u64,
    /// Rounds without a violation.
    pub passed: u64,
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// Time from the blow to the survivor's error, in nanoseconds.
    pub notices: Vec<u64>,
    /// Time from the survivor's error to the next working connection, in nanoseconds, with the start of a process.
    pub reconnects: Vec<u64>,
    /// Rounds whose fault did not happen, such as a crash point that was not reached.
    pub missed: u64,
    /// How often each crash point killed, and how often the second one of a round did.
    pub points: BTreeMap<&'static str, Kills>,
    /// How long the survivor's calls took that passed a message, where somebody wants to know.
    pub calls: Option<Durations>,
    /// The crash points to aim at, by the beginnings of their names; none: all.
    pub only: Vec<String>,
    /// Senders that died when they had begun to send a long message, and it had not been received.
    pub died_in_long: u64,
    /// What else is worth writing down.
    pub notes: Vec<String>,
    directory: TempDir,
    before: Option<Traces>,
}

impl Cell {
    /// A cell in a fresh directory.
    pub fn new(mechanism: Mechanism, role: Role, program: &Path, seed: u64) -> Cell {
        // Short, so that a socket address has room for the rest.
        let directory = tempfile::Builder::new().prefix("ic-").tempdir().expect("a temporary directory");
        Cell {
            mechanism,
            role,
            program: program.to_path_buf(),
            random: Random(seed),
            seed,
            passed: 0,
            violations: Vec::new(),
            notices: Vec::new(),
            reconnects: Vec::new(),
            missed: 0,
            points: BTreeMap::new(),
            calls: None,
            only: Vec::new(),
            died_in_long: 0,
            notes: Vec::new(),
            directory,
            before: None,
        }
    }

    /// The cell's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The seed of a round with short messages.
    pub fn seed_of_short(&mut self) -> u64 {
        self.random.next() & !LONG
    }

    /// The seed of a round: in every other one, where the mechanism takes such, some messages are long.
    pub fn seed_of_any(&mut self) -> u64 {
        if self.mechanism == "mq" { self.seed_of_short() } else { self.random.next() }
    }

    /// An address to listen at.
    pub fn address(&self) -> Address {
        let target = match self.mechanism {
            "tcp" => Target::Inet(([127, 0, 0, 1], 0).into()),
            _ => Target::Path(self.directory().join("s")),
        };
        Address::new(self.mechanism, target).expect("a temporary directory can be written as an address")
    }

    /// A call that began then has passed a message.
    pub fn call_took(&mut self, began: Instant) {
        if let Some(calls) = &mut self.calls {
            calls.add(began.elapsed());
        }
    }

    /// Notes how many senders died with a long message begun and not received, if any did.
    pub fn note_deaths_in_long(&mut self) {
        if self.died_in_long > 0 {
            self.notes.push(format!("of these rounds {} died with a long message begun", self.died_in_long));
        }
    }

    /// Counts a round.
    pub fn count(&mut self, outcome: Result<(), Violation>) {
        got_on();
        match outcome {
            Ok(()) => self.passed += 1,
            Err(violation) => {
                eprintln!(
                    "{} {} round {}: {violation} (seed {})",
                    self.mechanism,
                    self.role.name(),
                    self.passed + self.violations.len() as u64,
                    self.seed
                );
                self.violations.push(violation);
            }
        }
    }

    /// Counts a round that was played without its fault.
    pub fn miss(&mut self) {
        got_on();
        self.missed += 1;
    }

    /// I4: nothing is there that was not there after the first round.
    ///
    /// # Errors
    /// What there is more of.
    pub fn check_traces(&mut self) -> Result<(), Violation> {
        let Some(before) = &self.before else {
            self.before = Some(Traces::now());
            return Ok(());
        };
        let began = Instant::now();
        loop {
            match Traces::now().beyond(before) {
                more if more.is_empty() => return Ok(()),
                // A thread that was joined stays in procfs for a moment: the kernel tells of its end before that.
                more if more.contains(THREAD) && began.elapsed() < DEADLINE => std::thread::yield_now(),
                more => return violated("I4", more),
            }
        }
    }

    /// The next look at traces is the one that later ones are compared with.
    pub fn forget_traces(&mut self) {
        self.before = None;
    }

    /// I4 at the end of a cell, when everything is dropped: files in the directory.
    ///
    /// # Errors
    /// What is left.
    pub fn check_names(&self) -> Result<(), Violation> {
        let mut left: Vec<String> = names_in(self.directory());
        left.retain(|name| name != "journal");
        if !left.is_empty() {
            return violated("I4", format!("files left: {}", left.join(", ")));
        }
        Ok(())
    }
}

/// What this process has done so far: a cell in which nothing happens any more hangs.
pub static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// A round has ended, or a message has passed.
pub fn got_on() {
    PROGRESS.fetch_add(1, Relaxed);
}

/// Names of the files in a directory; empty if it cannot be read.
pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A deadline no call may miss: one second, and what a machine full of builds may add.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// How much later than its deadline a call may return on a machine that is not ours alone.
pub const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_to_one_part_in_thirty_two() {
        let mut durations = Durations::new();
        (1..=100_000).for_each(|micros| durations.add(Duration::from_micros(micros)));
        assert_eq!(durations.count(), 100_000);
        for (part, micros) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.0001, 10.0)] {
            let told = durations.quantile(part).as_secs_f64() * 1e6;
            assert!((told / micros - 1.0).abs() <= 1.0 / 32.0, "{part}: {told} instead of {micros}");
        }
        durations.add(Duration::MAX / 2);
        durations.add(Duration::ZERO);
        assert_eq!(durations.count(), 100_002);
    }
}
