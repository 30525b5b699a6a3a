//! A fork without exec in the middle of a stream: the child may not use what it inherited, the parent goes on, and the
//! parent's death is seen although the child still holds its descriptors.
#![allow(unsafe_code, reason = "fork")]

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ipc_transports::{AnyConnection, Listener, Receiver, RecvError, SendError, Sender, Wait, listen};

use super::cell::{Cell, DEADLINE, GRACE, Violation, violated};
use super::journal::Journal;
use super::kill::{Victim, journal_of};
use super::victim::Series;

/// Set in a victim's environment: it forks as it sends.
pub const FORK_VARIABLE: &str = "IPC_CHAOS_FORK";

/// The victim forks after so many messages.
const EVERY: u64 = 40;

/// Messages after which the survivor has the victim killed.
const ENOUGH: u64 = 200;

/// How long the last child outlives its parent.
const LONGER: Duration = Duration::from_millis(1500);

/// `rounds` rounds of the cell.
pub fn run(cell: &mut Cell, rounds: u64) {
    let journal = Journal::at(&journal_of(cell));
    for _ in 0..rounds {
        let outcome = one_round(cell, &journal);
        if cell.mechanism == "mq" {
            // The last child holds two of the user's few queues as long as it lives: its life, not a handshake.
            std::thread::sleep(LONGER);
        }
        let outcome = outcome.and_then(|()| cell.check_traces()).and_then(|()| cell.check_names());
        cell.count(outcome);
    }
}

fn one_round(cell: &mut Cell, journal: &Journal) -> Result<(), Violation> {
    journal.clear();
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let seed = cell.seed_of_any();
    let victim = Victim::start(cell, listener.address(), seed, &[(FORK_VARIABLE, "1".into())]);
    let mut connection = match listener.accept(Wait::within(10 * DEADLINE)) {
        Ok(connection) => connection,
        Err(error) => {
            victim.end();
            return violated("I5", format!("no connection: {error}"));
        }
    };
    let outcome = receive(&mut connection, seed);
    let forks = journal.events().load(SeqCst);
    let blow = Instant::now();
    victim.end();
    let mut series = outcome?;
    if journal.wrong().load(SeqCst) != 0 {
        return violated("I3", "a forked child could use its parent's connection");
    }
    if forks == 0 {
        return violated("I3", "nothing was forked");
    }
    // The child that is still there holds copies of all descriptors; the parent's pidfd tells all the same.
    let mut buf = Vec::new();
    let told = loop {
        match connection.rx.recv_with(&mut buf, Wait::within(DEADLINE)) {
            Ok(_) if buf == series.next() => {}
            Ok(_) => return violated("I2", "a message that was not sent"),
            Err(RecvError::PeerDied { .. }) => break Instant::now(),
            // Its kernel connection has no pidfd to go with it (documented).
            Err(RecvError::TimedOut) if cell.mechanism == "tcp" && blow.elapsed() < LONGER + 5 * GRACE => {}
            Err(error) => return violated("I3", format!("a killed parent is told as {error:?}")),
        }
    };
    cell.notices.push((told - blow).as_nanos() as u64);
    Ok(())
}

fn receive(connection: &mut AnyConnection, seed: u64) -> Result<Series, Violation> {
    let (mut series, mut buf) = (Series::of(seed), Vec::new());
    while series.count() < ENOUGH {
        match connection.rx.recv_with(&mut buf, Wait::within(10 * DEADLINE)) {
            Ok(_) if buf == series.next() => {}
            Ok(_) => return violated("I2", format!("message {} is not what was sent", series.count())),
            Err(error) => return violated("I3", format!("a forking sender is told as {error:?}")),
        }
    }
    Ok(series)
}

/// Called by a victim before each message.
pub fn fork_now_and_then(connection: &mut AnyConnection, journal: &Journal, sent: u64) {
    if !sent.is_multiple_of(EVERY) {
        return;
    }
    journal.events().fetch_add(1, SeqCst);
    let stays = sent == EVERY;
    // SAFETY: a victim that forks has one thread, so the child may do whatever the parent may.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = matches!(connection.tx.try_send(b"child"), Err(SendError::Forked))
            && matches!(connection.rx.try_recv(&mut Vec::new()), Err(RecvError::Forked));
        if !refused {
            journal.wrong().fetch_add(1, SeqCst);
        }
        if stays {
            // Outlives its parent, which is the fault itself and not a handshake.
            std::thread::sleep(LONGER);
        }
        // SAFETY: ends the child here, without the parent's destructors and exit handlers.
        unsafe { libc::_exit(0) };
    }
    if !stays {
        // SAFETY: a null status is allowed; `pid` is our own child.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
}
