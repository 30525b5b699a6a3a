//! SIGKILL at a random moment.

use std::io::IoSlice;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver as Inbox, Sender as Outbox, channel};
use std::thread;
use std::time::{Duration, Instant};

use ipc_transports::{
    Address, AnyConnection, AnyListener, Listener, Receiver, RecvError, SendError, Sender, SetupErrorKind,
    Target, Wait, connect, listen,
};

use super::cell::{Cell, DEADLINE, GRACE, Role, Violation, violated};
use super::journal::Journal;
use super::victim::{LONGEST, Series};
use crate::end::Random;

/// A victim on its way to its end.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    /// Reports the time of the blow, once.
    blow: Option<Inbox<Instant>>,
    /// It was seen to be dead.
    dead: bool,
    /// How long this thread had waited for a processor when it started it.
    waited: Duration,
}

impl Victim {
    /// Starts the victim of `cell` at `address`; `extra` goes into its environment.
    pub fn start(cell: &Cell, address: &Address, seed: u64, extra: &[(&str, String)]) -> Victim {
        Victim::start_as(cell.role, cell, address, seed, extra)
    }

    /// The same in another role than the cell's.
    pub fn start_as(
        role: Role,
        cell: &Cell,
        address: &Address,
        seed: u64,
        extra: &[(&str, String)],
    ) -> Victim {
        let child = Command::new(&cell.program)
            .args(["victim", role.name(), &address.to_string()])
            .arg(journal_of(cell))
            .arg(seed.to_string())
            .envs(extra.iter().map(|(key, value)| (*key, value)))
            .stdin(Stdio::null())
            .stderr(if extra.is_empty() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", cell.program.display()));
        Victim { child, blow: None, dead: false, waited: waited_for_a_processor() }
    }

    /// Process id.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Processor time of its first thread, which does all of its work.
    pub fn processor_time(&self) -> Duration {
        // "<nanoseconds on a processor> <nanoseconds waiting for one> <slices>"
        let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()));
        let nanos = stat.ok().and_then(|stat| stat.split_whitespace().next()?.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    /// Has somebody else kill it `after` a while.
    pub fn doom(&mut self, killer: &Killer, after: Duration) {
        let (tell, told) = channel();
        self.blow = Some(told);
        let pidfd = rustix::process::pidfd_open(self.pid(), rustix::process::PidfdFlags::empty());
        killer.0.send((pidfd.expect("our own child"), after, tell)).expect("the killer lives");
    }

    /// When it was killed; waits until it is.
    pub fn blow(&mut self) -> Option<Instant> {
        self.blow.take()?.recv().ok()
    }

    /// Whether the blow has fallen.
    pub fn is_struck(&mut self) -> Option<Instant> {
        self.blow.as_ref()?.try_recv().ok()
    }

    /// Whether it is dead, and stays for its parent to ask about: a killed process needs a processor to die.
    fn is_dead(&self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error: it was reaped.
        !matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    /// Whether it is dead, or will be in a moment: its sockets close before it has died.
    fn dies(&self) -> bool {
        let began = Instant::now();
        while !self.is_dead() && began.elapsed() < DEADLINE / 20 {
            thread::yield_now();
        }
        self.is_dead()
    }

    /// Kills it now and reaps it; harmless if it has ended.
    pub fn end(mut self) -> std::process::ExitStatus {
        let _ = self.child.kill();
        self.child.wait().expect("our own child")
    }

    /// True once it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

/// The journal of the victims of a cell.
pub fn journal_of(cell: &Cell) -> PathBuf {
    cell.directory().join("journal")
}

/// A thread that kills at given times, so that the survivor can be anywhere when it happens.
#[derive(Debug)]
pub struct Killer(Outbox<(rustix::fd::OwnedFd, Duration, Outbox<Instant>)>);

impl Killer {
    /// Starts it; it ends with the process.
    pub fn start() -> Killer {
        let (order, orders) = channel::<(rustix::fd::OwnedFd, Duration, Outbox<Instant>)>();
        thread::spawn(move || {
            for (pidfd, after, tell) in orders {
                // The random moment itself, not a handshake.
                thread::sleep(after);
                let blow = Instant::now();
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
                // Before the blow is told: whoever hears of it counts descriptors.
                drop(pidfd);
                let _ = tell.send(blow);
            }
        });
        Killer(order)
    }
}

/// A random moment within the first milliseconds of a connection, now and then much later.
pub fn moment(random: &mut Random) -> Duration {
    match random.below(20) {
        0 => Duration::from_micros(random.below(30_000) as u64),
        1..4 => Duration::ZERO,
        _ => Duration::from_micros(random.below(3000) as u64),
    }
}

/// `rounds` rounds of the cell.
pub fn run(cell: &mut Cell, rounds: u64) {
    if matches!(cell.role, Role::Sender | Role::Receiver) {
        return survive_a_peer(cell, rounds);
    }
    let journal = Journal::at(&journal_of(cell));
    let killer = Killer::start();
    match cell.role {
        Role::Connector => survive_clients(cell, &journal, &killer, rounds),
        _ => survive_listeners(cell, &journal, &killer, rounds),
    }
}

fn survive_a_peer(cell: &mut Cell, rounds: u64) {
    let mut survivor = Survivor::new(cell);
    for _ in 0..rounds {
        let seed = cell.seed_of_any();
        let outcome = survivor.one_round(cell, seed);
        cell.count(outcome);
    }
    survivor.end(cell);
    cell.note_deaths_in_long();
}

/// A listener whose peers are killed one after the other.
#[derive(Debug)]
pub struct Survivor {
    journal: Journal,
    killer: Killer,
    listener: AnyListener,
    told_at: Option<Instant>,
}

impl Survivor {
    /// Listens at the cell's address.
    pub fn new(cell: &Cell) -> Survivor {
        let listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
        Survivor { journal: Journal::at(&journal_of(cell)), killer: Killer::start(), listener, told_at: None }
    }

    /// One peer with the messages of `seed`, killed at a random moment.
    ///
    /// # Errors
    /// A promise that was not kept.
    pub fn one_round(&mut self, cell: &mut Cell, seed: u64) -> Result<(), Violation> {
        let after = moment(&mut cell.random);
        let Survivor { journal, killer, listener, told_at } = self;
        one_peer(cell, journal, listener, seed, told_at, |victim| victim.doom(killer, after))
    }

    /// Stops listening; nothing may be left.
    pub fn end(self, cell: &mut Cell) {
        drop(self.listener);
        let names = cell.check_names();
        if names.is_err() {
            cell.count(names);
        }
    }
}

/// One connection whose other end is struck. `strike` is called once it is established.
fn one_peer(
    cell: &mut Cell,
    journal: &Journal,
    listener: &mut AnyListener,
    seed: u64,
    told_at: &mut Option<Instant>,
    strike: impl FnOnce(&mut Victim),
) -> Result<(), Violation> {
    journal.clear();
    let mut victim = Victim::start(cell, listener.address(), seed, &[]);
    let accepted = listener.accept(Wait::within(10 * DEADLINE));
    let mut connection = match accepted {
        Ok(connection) => connection,
        Err(error) => {
            victim.end();
            return violated("I5", format!("no new connection: {error}"));
        }
    };
    if let Some(told_at) = told_at.take() {
        cell.reconnects.push(Instant::now().saturating_duration_since(told_at).as_nanos() as u64);
    }
    strike(&mut victim);
    let survived = match cell.role {
        Role::Sender => outlive_a_sender(cell, &mut connection, journal, seed, &mut victim),
        _ => outlive_a_receiver(cell, &mut connection, journal, seed, &mut victim),
    };
    let now = Instant::now();
    *told_at = Some(now);
    let struck = victim.blow();
    let status = victim.end();
    drop(connection);
    let notice = survived?;
    if let Some(struck) = struck {
        // A peer that died before our call was told by that call.
        let notice = notice.saturating_duration_since(struck);
        cell.notices.push(notice.as_nanos() as u64);
    }
    if std::os::unix::process::ExitStatusExt::signal(&status) != Some(libc::SIGKILL) {
        return violated("I6", format!("the victim ended by itself: {status}"));
    }
    if journal.wrong().load(SeqCst) != 0 {
        return violated("I2", "the victim saw a wrong message or an error before it was killed");
    }
    cell.check_traces()
}

/// I1: a call that began when the peer was seen dead already and still ended with its deadline, or one that overran it
/// by more than the time that we waited for a processor.
fn in_time(began: Instant, victim: &mut Victim, struck: &mut Option<Instant>) -> Result<(), Violation> {
    let took = began.elapsed();
    let waited = waited_for_a_processor().saturating_sub(victim.waited);
    if took > DEADLINE + GRACE + waited {
        let what = format!(
            "a call with a deadline of {DEADLINE:?} returned after {took:?} ({waited:?} for a processor)"
        );
        return violated("I1", what);
    }
    *struck = struck.or_else(|| victim.is_struck());
    let was_dead = victim.dead;
    victim.dead = victim.is_dead();
    if was_dead {
        return violated("I1", format!("not told of the death within {took:?}"));
    }
    Ok(())
}

/// How long this thread was ready to run and did not, so far.
fn waited_for_a_processor() -> Duration {
    // "<nanoseconds on a processor> <nanoseconds waiting for one> <slices>"
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

pub(super) fn outlive_a_sender(
    cell: &mut Cell,
    connection: &mut AnyConnection,
    journal: &Journal,
    seed: u64,
    victim: &mut Victim,
) -> Result<Instant, Violation> {
    let mut series = Series::of(seed);
    let (mut buf, mut struck) = (Vec::new(), None);
    let answer = loop {
        let began = Instant::now();
        match connection.rx.recv_with(&mut buf, Wait::Until(began + DEADLINE)) {
            Ok(_) => {
                cell.call_took(began);
                if buf != series.next() {
                    return violated("I2", format!("message {} is not what was sent", series.count()));
                }
            }
            Err(RecvError::TimedOut) => in_time(began, victim, &mut struck)?,
            Err(error) => break error,
        }
    };
    let now = Instant::now();
    if let Some(blow) = struck {
        victim.blow = Some(already(blow));
    }
    if !matches!(answer, RecvError::PeerDied { .. }) {
        return violated("I3", format!("a killed sender is told as {answer:?}"));
    }
    let (received, begun) = (series.count(), journal.begun().load(SeqCst));
    let committed = journal.committed().load(SeqCst);
    // tcp: what the kernel has accepted from a killed process may still be lost on the way.
    let committed = if cell.mechanism == "tcp" { 0 } else { committed };
    if !(committed..=begun).contains(&received) {
        return violated("I2", format!("{received} received, {committed} committed, {begun} begun"));
    }
    if begun > received {
        while series.count() + 1 < begun {
            series.next();
        }
        cell.died_in_long += u64::from(series.next().len() > LONGEST);
    }
    Ok(now)
}

pub(super) fn outlive_a_receiver(
    cell: &mut Cell,
    connection: &mut AnyConnection,
    journal: &Journal,
    seed: u64,
    victim: &mut Victim,
) -> Result<Instant, Violation> {
    let (mut series, mut struck) = (Series::of(seed), None);
    let mut bytes = series.next();
    let answer = loop {
        let began = Instant::now();
        match connection.tx.send_with(&[IoSlice::new(&bytes)], Wait::Until(began + DEADLINE)) {
            Ok(()) => {
                cell.call_took(began);
                bytes = series.next();
            }
            Err(SendError::TimedOut) => in_time(began, victim, &mut struck)?,
            Err(error) => break error,
        }
    };
    let now = Instant::now();
    if let Some(blow) = struck {
        victim.blow = Some(already(blow));
    }
    if !matches!(answer, SendError::PeerDied) {
        return violated("I3", format!("a killed receiver is told as {answer:?}"));
    }
    let received = journal.received().load(SeqCst);
    if received > series.count() {
        return violated("I2", format!("{received} received, {} sent", series.count()));
    }
    Ok(now)
}

fn already(blow: Instant) -> Inbox<Instant> {
    let (tell, told) = channel();
    let _ = tell.send(blow);
    told
}

/// Clients are killed on their way in; the listener serves the next one.
fn survive_clients(cell: &mut Cell, journal: &Journal, killer: &Killer, rounds: u64) {
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..rounds {
        journal.clear();
        let after = moment(&mut cell.random) / 2;
        let mut victim = Victim::start(cell, listener.address(), 0, &[]);
        victim.doom(killer, after + Duration::from_micros(800));
        let mut struck = None;
        // Serves whoever comes until the blow has fallen.
        while struck.is_none() {
            if let Ok(mut connection) = listener.accept(Wait::within(Duration::from_millis(5))) {
                let _ = connection.rx.recv_with(&mut Vec::new(), Wait::within(DEADLINE));
            }
            struck = victim.is_struck();
        }
        victim.end();
        let outcome = serve_a_good_client(&mut listener);
        // Who hung up in the middle of its hello is sent away by the next look, and has a descriptor until then.
        while listener.accept(Wait::Never).is_ok() {}
        let outcome = outcome.and_then(|()| cell.check_traces());
        cell.count(outcome);
    }
    drop(listener);
    let names = cell.check_names();
    if names.is_err() {
        cell.count(names);
    }
}

/// A client of our own is let in and answered, whoever died before it in the queue.
pub(super) fn serve_a_good_client(listener: &mut AnyListener) -> Result<(), Violation> {
    let address = listener.address().clone();
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            let mut connection = connect(&address, Wait::within(5 * DEADLINE))?;
            connection.tx.send(b"good").map_err(std::io::Error::from)?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(connection)
        });
        let began = Instant::now();
        let mut buf = Vec::new();
        loop {
            if began.elapsed() > 5 * DEADLINE {
                let end = client.join();
                return violated("I5", format!("a client is not let in behind killed ones: {end:?}"));
            }
            let Ok(mut connection) = listener.accept(Wait::within(DEADLINE)) else { continue };
            if connection.rx.recv_with(&mut buf, Wait::within(DEADLINE)).is_ok() && buf == b"good" {
                break;
            }
        }
        match client.join() {
            Ok(Ok(_)) => Ok(()),
            other => violated("I5", format!("{other:?}")),
        }
    })
}

/// Listeners are killed under their clients; the next listener takes the address over.
fn survive_listeners(cell: &mut Cell, journal: &Journal, killer: &Killer, rounds: u64) {
    for _ in 0..rounds {
        let outcome = one_listener(cell, journal, killer);
        cell.count(outcome);
    }
    // The last dead listener's files are there for the next one to take over; ours are taken away.
    let listener = listen(&cell.address());
    drop(listener);
    let names = cell.check_names();
    if names.is_err() {
        cell.count(names);
    }
}

/// Starts a process that listens at the cell's address and answers what it is told; its address.
///
/// # Errors
/// It does not come up.
pub fn start_listener(cell: &Cell, journal: &Journal) -> Result<(Victim, Address), Violation> {
    journal.clear();
    let began = Instant::now();
    let at = cell.address();
    let mut victim = Victim::start_as(Role::Listener, cell, &at, 0, &[]);
    while journal.begun().load(SeqCst) == 0 {
        if victim.has_ended() || began.elapsed() > 10 * DEADLINE {
            victim.end();
            return violated("I5", "the next listener cannot take the address over");
        }
        thread::yield_now();
    }
    let port = journal.begun().load(SeqCst) as u16;
    let address = match at.target() {
        Target::Inet(any) => at.with_target(Target::Inet((any.ip(), port).into())),
        _ => at.clone(),
    };
    Ok((victim, address))
}

fn one_listener(cell: &mut Cell, journal: &Journal, killer: &Killer) -> Result<(), Violation> {
    let (mut victim, address) = start_listener(cell, journal)?;
    victim.doom(killer, moment(&mut cell.random));
    let outcome = call_until_it_dies(&address, &mut victim);
    // Its killer holds a descriptor until the blow has fallen.
    let _ = victim.blow();
    victim.end();
    outcome?;
    cell.check_traces()
}

/// Connects and calls the echo again and again, until it is told that nobody is there.
pub(super) fn call_until_it_dies(address: &Address, victim: &mut Victim) -> Result<(), Violation> {
    let mut struck = None;
    let mut buf = Vec::new();
    loop {
        let began = Instant::now();
        let mut connection = match connect(address, Wait::Until(began + DEADLINE)) {
            Ok(connection) => connection,
            Err(error) => match error.kind.clone() {
                SetupErrorKind::TimedOut => {
                    in_time(began, victim, &mut struck)?;
                    continue;
                }
                SetupErrorKind::NotFound => break,
                // It died in the middle of our handshake.
                SetupErrorKind::HungUp if struck.is_some() || victim.dies() || victim.blow().is_some() => {
                    break;
                }
                other => return violated("I3", format!("a killed listener is told as {other:?}: {error}")),
            },
        };
        for _ in 0..1 + began.elapsed().subsec_nanos() % 8 {
            let called = Instant::now();
            match connection.tx.send_timeout(b"echo", DEADLINE) {
                Ok(()) => {}
                Err(SendError::PeerDied) => break,
                // It lives, and has no processor to receive with.
                Err(SendError::TimedOut) => {
                    in_time(called, victim, &mut struck)?;
                    break;
                }
                Err(error) => return violated("I3", format!("a killed listener is told as {error:?}")),
            }
            match connection.rx.recv_with(&mut buf, Wait::Until(called + DEADLINE)) {
                Ok(_) if buf == b"echo" => {}
                Ok(_) => return violated("I2", "the echo is not what was said"),
                Err(RecvError::PeerDied { .. }) => break,
                Err(RecvError::TimedOut) => in_time(called, victim, &mut struck)?,
                Err(error) => return violated("I3", format!("a killed listener is told as {error:?}")),
            }
        }
    }
    Ok(())
}
