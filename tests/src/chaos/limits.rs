//! Limits: each is reached on purpose; the error names it with its numbers and the way out, and when it lifts all works.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_transports::{
    AnyConnection, Listener, Receiver, RecvError, Sender, SetupError, SetupErrorKind, Target, Wait, connect,
    listen,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cell::{Cell, DEADLINE, GRACE, Mechanism, Role, Violation, violated};
use super::guest::{self, Ground};
use super::journal::Journal;
use super::kill::{Victim, journal_of, start_listener};
use super::quota::Quota;
use super::victim::Series;

/// One limit.
struct Case {
    name: &'static str,
    /// Mechanisms it concerns.
    of: &'static [Mechanism],
    check: fn(&mut Cell, &Journal) -> Result<String, Violation>,
}

/// Those whose listener has a path.
const WITH_PATH: &[Mechanism] = &["uds", "uds-seqpacket", "pipe", "shm", "shm-direct", "mq"];

const CASES: &[Case] = &[
    Case { name: "descriptors, connecting", of: super::cell::MECHANISMS, check: descriptors_of_a_client },
    Case { name: "descriptors, accepting", of: super::cell::MECHANISMS, check: descriptors_of_a_listener },
    Case { name: "path lengths", of: WITH_PATH, check: path_lengths },
    Case { name: "port in use", of: &["tcp"], check: port_in_use },
    Case { name: "address space", of: &["shm", "shm-direct"], check: |cell, _| asked(cell, "address-space") },
    Case { name: "locked memory", of: &["shm"], check: |cell, _| asked(cell, "locked-memory") },
    Case { name: "/dev/shm", of: super::cell::MECHANISMS, check: |cell, _| asked(cell, "small-dev-shm") },
    Case { name: "queue bytes", of: &["mq"], check: |cell, _| asked(cell, "queue-bytes") },
    Case { name: "queue depth", of: &["mq"], check: |cell, _| asked(cell, "queue-depth") },
    Case { name: "queue message", of: &["mq"], check: |cell, _| asked(cell, "queue-message") },
    Case { name: "queues", of: &["mq"], check: |cell, _| asked(cell, "queues") },
    Case { name: "mappings", of: &["shm", "shm-direct"], check: |cell, _| asked_as_we_are(cell, "mappings") },
    Case { name: "threads", of: &["uds"], check: |cell, _| asked_as_we_are(cell, "threads") },
    Case { name: "processor quota", of: super::cell::MECHANISMS, check: processor_quota },
    Case { name: "pipe pages", of: &["pipe"], check: |cell, _| asked(cell, "pipe-pages") },
];

/// `rounds` rounds, each of every limit of the mechanism.
pub fn run(cell: &mut Cell, rounds: u64) {
    let journal = Journal::at(&journal_of(cell));
    let mechanism = cell.mechanism;
    for round in 0..rounds {
        for case in CASES.iter().filter(|case| case.of.contains(&mechanism)) {
            let outcome = (case.check)(cell, &journal).map_err(|violation| Violation {
                of: violation.of,
                what: format!("{}: {}", case.name, violation.what),
            });
            if let (Ok(told), 0) = (&outcome, round) {
                eprintln!("{} {}: {told}", cell.mechanism, case.name);
                let skipped = told.starts_with("skipped: ").then(|| format!("{}, {told}", case.name));
                cell.notes.push(skipped.unwrap_or_else(|| case.name.to_owned()));
            }
            match outcome {
                Ok(told) if told.starts_with("skipped: ") => cell.miss(),
                outcome => cell.count(outcome.map(drop)),
            }
        }
    }
    let names = cell.check_names();
    if names.is_err() {
        cell.count(names);
    }
}

/// Has a process of its own run into the limit: as another user, or in a namespace.
fn asked(cell: &mut Cell, case: &str) -> Result<String, Violation> {
    let ground = Ground::new();
    guest::ask(cell, case, &ground)
}

/// The same where no rights are needed.
fn asked_as_we_are(cell: &mut Cell, case: &str) -> Result<String, Violation> {
    let ground = Ground::new();
    guest::ask_as_we_are(cell, case, &ground, "")
}

/// `error` must be the limit `name`, with the numbers in it and a way out that mentions `fix`.
pub(super) fn expect_limit(error: &SetupError, name: &str, fix: &str) -> Result<(), String> {
    let told = error.to_string();
    match &error.kind {
        SetupErrorKind::Limit { name: named, .. } if *named == name && told.contains(fix) => Ok(()),
        _ => Err(format!("not the limit {name} with the fix {fix:?}: {told} ({:?})", error.kind)),
    }
}

/// A lowered soft limit, as it was again when dropped.
#[derive(Debug)]
pub(super) struct Lowered {
    of: Resource,
    before: Rlimit,
}

impl Lowered {
    pub(super) fn to(of: Resource, current: u64) -> Lowered {
        let before = getrlimit(of);
        setrlimit(of, Rlimit { current: Some(current), maximum: before.maximum }).expect("a lower limit");
        Lowered { of, before }
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(self.of, self.before).expect("the limit as it was");
    }
}

/// Leaves exactly `spare` descriptors to this process.
fn spare_descriptors(spare: u64) -> (Lowered, Vec<OwnedFd>) {
    let highest = std::fs::read_dir("/proc/self/fd").expect("procfs").flatten();
    let highest = highest.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).max();
    let null = File::open("/dev/null").expect("a device");
    let mut fill = Vec::new();
    // The lowest free number is always taken first: no gap is left below the last one.
    let last = loop {
        let fd = OwnedFd::from(null.try_clone().expect("a descriptor"));
        let number = fd.as_raw_fd();
        fill.push(fd);
        if Some(number) > highest {
            break number;
        }
    };
    (Lowered::to(Resource::Nofile, last as u64 + 1 + spare), fill)
}

/// Most descriptors that one end of a connection takes, with what it takes them from.
const ENOUGH: u64 = 16;

fn descriptors_of_a_client(cell: &mut Cell, journal: &Journal) -> Result<String, Violation> {
    let (victim, address) = start_listener(cell, journal)?;
    let mut told = String::new();
    let mut refused = 0;
    for spare in 0..=ENOUGH {
        let began = Instant::now();
        let (limit, fill) = spare_descriptors(spare);
        let outcome = connect(&address, Wait::within(DEADLINE));
        drop((limit, fill));
        match outcome {
            Ok(connection) => drop(connection),
            Err(error) => {
                expect_limit(&error, "RLIMIT_NOFILE", "ulimit -n")
                    .or_else(|what| violated("I3", format!("with {spare} descriptors left: {what}")))?;
                refused += 1;
                told = error.to_string();
            }
        }
        if began.elapsed() > DEADLINE + GRACE {
            return violated("I1", format!("with {spare} descriptors left: {:?}", began.elapsed()));
        }
        talk_to(&address)?;
    }
    victim.end();
    let dead = listen(&cell.address());
    drop(dead);
    match refused {
        0 => violated("I3", "no descriptor limit was met"),
        _ => cell.check_traces().map(|()| told),
    }
}

/// Connects to an echo and has one message echoed.
fn talk_to(address: &ipc_transports::Address) -> Result<(), Violation> {
    let talked = connect(address, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string());
    let talked = talked.and_then(|mut connection| {
        connection.tx.send_timeout(b"again", DEADLINE).map_err(|error| error.to_string())?;
        let mut buf = Vec::new();
        let received = connection.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE));
        received.map_err(|error| error.to_string()).map(|_| buf == b"again")
    });
    match talked {
        Ok(true) => Ok(()),
        other => violated("I5", format!("does not work when the limit has lifted: {other:?}")),
    }
}

fn descriptors_of_a_listener(cell: &mut Cell, journal: &Journal) -> Result<String, Violation> {
    journal.clear();
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let mut told = String::new();
    for spare in 0..=ENOUGH {
        let victim = Victim::start_as(Role::Connector, cell, listener.address(), 0, &[]);
        // Until it knocks: only then is there something to run out of.
        ipc_transports::Pollable::arm(&mut listener).ok();
        let mut knock = [rustix::event::PollFd::from_borrowed_fd(
            ipc_transports::Pollable::fd(&listener),
            rustix::event::PollFlags::IN,
        )];
        let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut knock, Some(&patience));
        ipc_transports::Pollable::disarm(&mut listener);
        let began = Instant::now();
        let (limit, fill) = spare_descriptors(spare);
        let outcome = listener.accept(Wait::within(DEADLINE));
        drop((limit, fill));
        if began.elapsed() > DEADLINE + GRACE {
            return violated("I1", format!("with {spare} descriptors left: {:?}", began.elapsed()));
        }
        let accepted = match outcome {
            Ok(connection) => Ok(connection),
            Err(error) => {
                if let Err(what) = expect_limit(&error, "RLIMIT_NOFILE", "ulimit -n") {
                    return violated("I3", format!("with {spare} descriptors left: {what}"));
                }
                told = error.to_string();
                // The client has kept its place.
                listener.accept(Wait::within(5 * DEADLINE))
            }
        };
        let outcome = accepted.map_err(|error| error.to_string()).and_then(greeting);
        victim.end();
        if let Err(what) = outcome {
            return violated("I5", format!("a client behind a limit that has lifted: {what}"));
        }
    }
    drop(listener);
    match told.is_empty() {
        true => violated("I3", "no descriptor limit was met"),
        false => Ok(told),
    }
}

/// The one word of a client that goes on its way.
fn greeting(mut connection: AnyConnection) -> Result<(), String> {
    let mut buf = Vec::new();
    connection.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
    if buf == b"hello" { Ok(()) } else { Err(format!("it said {buf:?}")) }
}

/// Longest path of a socket in bytes (unix(7)).
const LONGEST: usize = 107;

fn path_lengths(cell: &mut Cell, _: &Journal) -> Result<String, Violation> {
    let mut told = String::new();
    for len in 90..=230 {
        let directory = cell.directory().to_owned();
        let have = directory.as_os_str().len() + 1;
        // In one directory whose name makes up for what the file's does not.
        let deep = directory.join("d".repeat((len - have).saturating_sub(2).max(1)));
        std::fs::create_dir(&deep).expect("a directory");
        let path = deep.join("s".repeat(len.saturating_sub(deep.as_os_str().len() + 1).max(1)));
        let address = ipc_transports::Address::new(cell.mechanism, Target::Path(path.clone()));
        let outcome = listen(&address.expect("letters are allowed in a path"));
        let outcome = match (outcome, path.as_os_str().len() <= LONGEST) {
            (Ok(listener), true) => {
                drop(listener);
                Ok(())
            }
            (Err(error), false) if error.kind == SetupErrorKind::NameTooLong => {
                told = error.to_string();
                Ok(())
            }
            (outcome, _) => violated("I3", format!("a path of {len} bytes: {:?}", outcome.map(|_| ()))),
        };
        let left = super::cell::names_in(&deep);
        std::fs::remove_dir_all(&deep).expect("our own directory");
        outcome?;
        if !left.is_empty() {
            return violated("I4", format!("a path of {len} bytes leaves {left:?}"));
        }
    }
    Ok(told)
}

fn port_in_use(cell: &mut Cell, _: &Journal) -> Result<String, Violation> {
    let first = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let at = first.address().clone();
    let told = match listen(&at) {
        Err(error) if matches!(error.kind, SetupErrorKind::InUse { .. }) => error.to_string(),
        other => return violated("I3", format!("a port in use: {:?}", other.map(|_| ()))),
    };
    drop(first);
    // Again and again at one port, each time with a connection that lingers in TIME_WAIT.
    for _ in 0..200 {
        let mut listener = match listen(&at) {
            Ok(listener) => listener,
            Err(error) => return violated("I5", format!("a port that is free again: {error}")),
        };
        std::thread::scope(|scope| {
            let client = scope.spawn(|| connect(&at, Wait::within(5 * DEADLINE)).map(drop));
            let accepted = listener.accept(Wait::within(5 * DEADLINE));
            // Ours is the side that closes first.
            drop(accepted);
            client.join().expect("the client does not panic")
        })
        .or_else(|error| violated("I5", error))?;
    }
    Ok(told)
}

/// A sender that may run for 2 ms of every 100 is late, and not dead.
fn processor_quota(cell: &mut Cell, journal: &Journal) -> Result<String, Violation> {
    let group = match Quota::new() {
        Ok(group) => group,
        Err(why) => return Ok(format!("skipped: no group with a processor quota can be made: {why}")),
    };
    journal.clear();
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let seed = cell.seed_of_short();
    let mut victim = Victim::start_as(Role::Sender, cell, listener.address(), seed, &[]);
    let outcome = match listener.accept(Wait::within(10 * DEADLINE)) {
        Ok(connection) => receive_from_a_throttled_peer(connection, seed, &group, &mut victim),
        Err(error) => violated("I5", error),
    };
    victim.end();
    drop(listener);
    outcome
}

fn receive_from_a_throttled_peer(
    mut connection: AnyConnection,
    seed: u64,
    group: &Quota,
    victim: &mut Victim,
) -> Result<String, Violation> {
    let mut series = Series::of(seed);
    let mut buf = Vec::new();
    // Whether there was a message within `patience`.
    let mut step = |patience: Duration| match connection.rx.recv_with(&mut buf, Wait::within(patience)) {
        Ok(_) if buf == series.next() => Ok(true),
        Ok(_) => violated("I2", format!("message {} is not what was sent", series.count())),
        Err(RecvError::TimedOut) => Ok(false),
        Err(error) => violated("I3", format!("a throttled peer is told as {error:?}")),
    };
    let io = |error: std::io::Error| Violation { of: "I5", what: format!("the quota: {error}") };
    group.add(victim.pid()).map_err(io)?;
    group.set(Some(Duration::from_millis(2))).map_err(io)?;
    let (began, mut late, mut passed) = (Instant::now(), 0, 0);
    while late < 3 || group.throttled().map_err(io)? < 10 {
        match step(Duration::from_millis(20))? {
            true => passed += 1,
            false => late += 1,
        }
        if began.elapsed() > 60 * DEADLINE {
            let throttled = group.throttled().map_err(io)?;
            return violated(
                "I5",
                format!("{late} calls timed out in a minute, throttled {throttled} times"),
            );
        }
    }
    let throttled = group.throttled().map_err(io)?;
    group.set(None).map_err(io)?;
    let began = Instant::now();
    for _ in 0..1000 {
        while !step(DEADLINE)? {
            if began.elapsed() > 10 * DEADLINE {
                return violated("I5", "the stream does not go on when the quota has lifted");
            }
        }
    }
    let killed = rustix::process::kill_process(victim.pid(), rustix::process::Signal::KILL);
    killed.map_err(|error| io(error.into()))?;
    let began = Instant::now();
    loop {
        match step(DEADLINE) {
            Ok(_) if began.elapsed() > 10 * DEADLINE => return violated("I1", "not told of the death"),
            Ok(_) => {}
            // `step` takes a death for an error, as it was until here.
            Err(violation) if violation.what.contains("PeerDied") => break,
            Err(violation) => return Err(violation),
        }
    }
    Ok(format!(
        "throttled {throttled} times: {passed} messages came, {late} calls timed out, no death was told"
    ))
}
