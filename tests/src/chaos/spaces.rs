//! Namespaces: a peer whose clocks are not ours, and a dead peer whose number another process has got.

use std::path::Path;
use std::time::{Duration, Instant};

use ipc_transports::{
    Address, AnyConnection, AnyListener, Listener, Receiver, RecvError, SetupErrorKind, Target, Wait, listen,
};

use super::cell::{Cell, DEADLINE, GRACE, Role, names_in};
use super::guest::{self, Ground, Place, mount, unshare};
use super::journal::Journal;
use super::kill::{self, Victim, journal_of, serve_a_good_client};
use super::stop;
use super::victim::Series;

/// What the clocks of a peer are ahead of ours, in seconds: a day and a bit.
const AHEAD: u64 = 100_000;

/// `rounds` rounds as in `stop`, and as many as in `kill9`, with all peers in a time namespace of their own.
pub fn other_clocks(cell: &mut Cell, rounds: u64) {
    let clocks = format!("monotonic {AHEAD} 0\nboottime {AHEAD} 0\n");
    let moved = unshare(libc::CLONE_NEWTIME).and_then(|()| {
        std::fs::write("/proc/self/timens_offsets", clocks).map_err(|error| error.to_string())
    });
    if let Err(why) = moved {
        cell.missed = rounds;
        cell.notes.push(format!("skipped: no time namespace: {why}"));
        return;
    }
    let is = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).expect("procfs");
    assert_ne!(is("time"), is("time_for_children"), "children have the clocks of their parent");
    stop::run(cell, rounds);
    cell.forget_traces();
    kill::run(cell, rounds);
    cell.notes.push(format!("the peer's clocks are {AHEAD} s ahead"));
}

/// `rounds` dead peers whose number goes to another process before we look, and as many that die before we accept them.
pub fn other_process(cell: &mut Cell, rounds: u64) {
    let ground = Ground::new();
    for round in 0..rounds {
        let seed = cell.random.next().to_string();
        match guest::ask_at(cell, "pid-reuse", &ground, &seed) {
            Ok(told) if told.starts_with("skipped: ") => {
                cell.miss();
                if round == 0 {
                    cell.notes.push(told);
                }
            }
            Ok(told) => {
                if round == 0 {
                    eprintln!("{} pid-reuse: {told}", cell.mechanism);
                }
                cell.count(Ok(()));
            }
            Err(violation) => cell.count(Err(violation)),
        }
    }
    let names = cell.check_names();
    if names.is_err() {
        cell.count(names);
    }
}

/// Has [`reuse_numbers`] run as the first process of a namespace of its own, with an own procfs.
pub(super) fn in_a_pid_namespace(place: &Place) -> Result<String, String> {
    if let Err(why) = unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS) {
        return Ok(format!("skipped: no namespace of processes: {why}"));
    }
    mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = std::process::Command::new(program)
        .args(["guest", "pid-reuse-inside", place.mechanism])
        .arg(&place.ground)
        .arg(&place.at)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(told) } else { Err(format!("{told} ({})", output.status)) }
}

/// The first process of a namespace: it alone says which number is next.
pub(super) fn reuse_numbers(place: &Place) -> Result<String, String> {
    mount("proc", Path::new("/proc"), "proc", 0, "")?;
    let seed: u64 = place.at.parse().map_err(|_| "no seed".to_owned())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut cell = Cell::new(place.mechanism, Role::Sender, &program, seed);
    let journal = Journal::at(&journal_of(&cell));
    let mut listener = listen(&cell.address()).map_err(|error| error.to_string())?;
    let after = dies_connected(&mut cell, &journal, &mut listener)?;
    dies_before_it_is_accepted(&mut cell, &journal, &mut listener)?;
    serve_a_good_client(&mut listener).map_err(|violation| violation.to_string())?;
    drop(listener);
    let mut left = names_in(cell.directory());
    left.retain(|name| name != "journal" && !name.starts_with("other"));
    if left.is_empty() {
        Ok(format!("told after {after:?}, with its number taken"))
    } else {
        Err(format!("left: {left:?}"))
    }
}

/// Kills `victim`; the process that has its number then, and lives on.
fn replace(cell: &Cell, journal: &Journal, victim: Victim) -> Result<Victim, String> {
    let number = victim.pid().as_raw_nonzero().get();
    victim.end();
    std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string())
        .map_err(|error| error.to_string())?;
    let target = match cell.mechanism {
        "tcp" => Target::Inet(([127, 0, 0, 1], 0).into()),
        _ => Target::Path(cell.directory().join("other")),
    };
    let at = Address::new(cell.mechanism, target).map_err(|error| error.to_string())?;
    journal.clear();
    let mut other = Victim::start_as(Role::Listener, cell, &at, 0, &[]);
    let (began, has) = (Instant::now(), other.pid().as_raw_nonzero().get());
    while has == number && journal.begun().load(std::sync::atomic::Ordering::SeqCst) == 0 {
        if other.has_ended() || began.elapsed() > 10 * DEADLINE {
            other.end();
            return Err("the next process with the number does not come up".into());
        }
        std::thread::yield_now();
    }
    if has == number {
        return Ok(other);
    }
    other.end();
    Err(format!("the next process has the number {has} and not {number}"))
}

fn dies_connected(
    cell: &mut Cell,
    journal: &Journal,
    listener: &mut AnyListener,
) -> Result<Duration, String> {
    let seed = cell.seed_of_short();
    let victim = Victim::start(cell, listener.address(), seed, &[]);
    let mut connection = match listener.accept(Wait::within(10 * DEADLINE)) {
        Ok(connection) => connection,
        Err(error) => {
            victim.end();
            return Err(format!("no connection: {error}"));
        }
    };
    let mut series = Series::of(seed);
    let mut buf = Vec::new();
    let first = connection.rx.recv_with(&mut buf, Wait::within(10 * DEADLINE));
    let first = first.map_err(|error| error.to_string()).map(|_| buf == series.next());
    let other = replace(cell, journal, victim)?;
    let told = first.and_then(|right| {
        if right { told_of_the_death(&mut connection, &mut series) } else { Err("wrong".into()) }
    });
    other.end();
    told
}

/// What is there is passed, and then the death is told.
fn told_of_the_death(connection: &mut AnyConnection, series: &mut Series) -> Result<Duration, String> {
    let mut buf = Vec::new();
    loop {
        let began = Instant::now();
        match connection.rx.recv_with(&mut buf, Wait::Until(began + DEADLINE)) {
            Ok(_) if buf == series.next() => {}
            Ok(_) => return Err(format!("message {} is not what was sent", series.count())),
            Err(RecvError::PeerDied { .. }) if began.elapsed() <= DEADLINE + GRACE => {
                return Ok(began.elapsed());
            }
            Err(error) => return Err(format!("told {error:?} after {:?}", began.elapsed())),
        }
    }
}

fn dies_before_it_is_accepted(
    cell: &mut Cell,
    journal: &Journal,
    listener: &mut AnyListener,
) -> Result<(), String> {
    let seed = cell.seed_of_short();
    let victim = Victim::start(cell, listener.address(), seed, &[]);
    // Until it knocks.
    ipc_transports::Pollable::arm(listener).map_err(|error| error.to_string())?;
    let knocks = rustix::event::PollFlags::IN;
    let mut knock = [rustix::event::PollFd::from_borrowed_fd(ipc_transports::Pollable::fd(listener), knocks)];
    let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    let knocked = rustix::event::poll(&mut knock, Some(&patience));
    ipc_transports::Pollable::disarm(listener);
    if knocked != Ok(1) {
        victim.end();
        return Err("no client within ten seconds".into());
    }
    let other = replace(cell, journal, victim)?;
    let began = Instant::now();
    let outcome = match listener.accept(Wait::Until(began + DEADLINE)) {
        // It had said all there is to say before it died.
        Ok(mut connection) => told_of_the_death(&mut connection, &mut Series::of(seed)).map(drop),
        Err(error) if error.kind == SetupErrorKind::TimedOut => Ok(()),
        Err(error) => Err(format!("a client that died in the queue is told as {:?}: {error}", error.kind)),
    };
    other.end();
    if began.elapsed() > 2 * DEADLINE + GRACE {
        Err(format!("accepting took {:?}", began.elapsed()))
    } else {
        outcome
    }
}
