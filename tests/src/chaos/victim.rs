//! The process that the fault strikes: `chaos victim ROLE ADDRESS JOURNAL SEED`.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipc_transports::{Address, Listener, Receiver, RecvError, Sender, Wait, connect, listen};

use super::journal::Journal;
use super::{forks, results, storm};
use crate::end::{Random, message};

/// Longest message in bytes, but where the seed says otherwise: several lines of a ring, less than a queue's default.
pub(super) const LONGEST: usize = 4000;

/// Longest message of a round whose seed has the bit [`LONG`]: a ring shows it in parts while it is written, a pipe takes it in several
/// calls, a datagram socket in one, whose default takes 212,952.
const LONGEST_OF_LONG: usize = 150_000;

/// The bit of a seed that makes one in eight of a round's messages a long one.
pub(super) const LONG: u64 = 1;

/// The numbers and lengths of the messages of one round: both sides count them off from the same seed.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    seed: u64,
    lengths: Random,
    next: u64,
}

impl Series {
    /// The series of a round.
    pub fn of(seed: u64) -> Series {
        Series { seed, lengths: Random(seed ^ 0x5E21), next: 0 }
    }

    /// Messages counted off so far.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// The next message: mostly short ones, one in eight of up to 4,000 bytes, or of as many as the seed says.
    #[expect(clippy::should_implement_trait, reason = "an iterator could end; this cannot")]
    pub fn next(&mut self) -> Vec<u8> {
        let longest = if self.seed & LONG == 0 { LONGEST } else { LONGEST_OF_LONG };
        let len = match self.lengths.below(8) {
            0 => 8 + self.lengths.below(longest - 8),
            1 => 0,
            _ => self.lengths.below(100),
        };
        self.next += 1;
        message(self.seed.wrapping_add(self.next), len)
    }
}

/// How long a victim goes on by itself. Its driver kills it long before; without a driver it ends.
const LIFE: Duration = Duration::from_secs(600);

/// Plays the victim in `role`.
pub fn play(role: &str, address: &Address, journal: &Path, seed: u64) {
    let journal = Journal::at(journal);
    let asked = |variable: &str| std::env::var_os(variable).is_some();
    if asked(storm::PIN_VARIABLE) {
        storm::pin();
    }
    if asked(storm::FIFO_VARIABLE) {
        assert!(storm::set_fifo(true), "SCHED_FIFO: {}", std::io::Error::last_os_error());
    }
    if asked(storm::STORM_VARIABLE) {
        storm::begin_storm();
    }
    if asked(forks::FORK_VARIABLE) {
        // With one thread only, as a fork demands; its driver ends it.
        return send_for_ever(address, &journal, seed, true);
    }
    if asked(results::VARIABLE) {
        let ipc_transports::Target::Path(path) = address.target() else { panic!("no path") };
        return results::write_for_ever(path, &journal, seed);
    }
    let _end = crate::watchdog::Watchdog::within(LIFE, "victim");
    match role {
        "sender" => send_for_ever(address, &journal, seed, false),
        "receiver" => receive_for_ever(address, &journal, seed),
        "listener" => listen_for_ever(address, &journal),
        "connector" => connect_for_ever(address, &journal),
        other => panic!("no victim is called {other}"),
    }
}

fn patience() -> Wait {
    Wait::within(LIFE)
}

fn send_for_ever(address: &Address, journal: &Journal, seed: u64, forks: bool) {
    let mut connection = connect(address, patience()).unwrap_or_else(|error| panic!("{error}"));
    let mut series = Series::of(seed);
    loop {
        if forks {
            forks::fork_now_and_then(&mut connection, journal, series.count() + 1);
        }
        let bytes = series.next();
        journal.begun().store(series.count(), SeqCst);
        if connection.tx.send_with(&[IoSlice::new(&bytes)], Wait::Forever).is_err() {
            journal.wrong().fetch_add(1, SeqCst);
            return;
        }
        journal.committed().store(series.count(), SeqCst);
    }
}

fn receive_for_ever(address: &Address, journal: &Journal, seed: u64) {
    let mut connection = connect(address, patience()).unwrap_or_else(|error| panic!("{error}"));
    let mut series = Series::of(seed);
    let mut buf = Vec::new();
    loop {
        match connection.rx.recv(&mut buf) {
            Ok(_) if buf == series.next() => journal.received().store(series.count(), SeqCst),
            Ok(_) => {
                journal.wrong().fetch_add(1, SeqCst);
                return;
            }
            Err(RecvError::Closed) => return,
            Err(_) => {
                journal.wrong().fetch_add(1, SeqCst);
                return;
            }
        }
    }
}

/// Accepts one client after the other and answers its messages.
fn listen_for_ever(address: &Address, journal: &Journal) {
    let mut listener = listen(address).unwrap_or_else(|error| panic!("{error}"));
    let port = match listener.address().target() {
        ipc_transports::Target::Inet(at) => u64::from(at.port()),
        _ => 0,
    };
    // Says that somebody listens, and where.
    journal.begun().store(1 << 32 | port, SeqCst);
    let mut buf = Vec::new();
    loop {
        let Ok(mut connection) = listener.accept(patience()) else { return };
        journal.events().fetch_add(1, SeqCst);
        while connection.rx.recv_with(&mut buf, patience()).is_ok() {
            if connection.tx.send(&buf).is_err() {
                break;
            }
        }
        if super::crash::is_to_leave() {
            return;
        }
    }
}

/// Connects, says a word, and goes, again and again: killed somewhere on the way in or out.
fn connect_for_ever(address: &Address, journal: &Journal) {
    loop {
        let Ok(mut connection) = connect(address, patience()) else { return };
        journal.events().fetch_add(1, SeqCst);
        let _ = connection.tx.send(b"hello");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_says_whether_some_messages_are_long() {
        let longest = |seed| {
            let mut series = Series::of(seed);
            (0..200).map(|_| series.next().len()).max().unwrap_or(0)
        };
        assert!((1..=LONGEST).contains(&longest(0x5eed & !LONG)));
        assert!((32 * 1024..=LONGEST_OF_LONG).contains(&longest(0x5eed | LONG)));
    }
}
