//! Streams under a storm of signals, and on one processor shared with busy programs.
#![allow(unsafe_code, reason = "sigaction and setitimer")]

use std::io::IoSlice;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ipc_transports::{AnyConnection, Listener, Receiver, Sender, Wait, listen};

use super::cell::{Cell, DEADLINE, Role, Violation, violated};
use super::journal::Journal;
use super::kill::{Victim, journal_of};
use super::victim::Series;

/// Set in a victim's environment: it is to be interrupted, too.
pub const STORM_VARIABLE: &str = "IPC_CHAOS_STORM";

/// Set in a victim's environment: it is to run on CPU 0 only.
pub const PIN_VARIABLE: &str = "IPC_CHAOS_PIN";

/// Between two signals: 5 kHz.
const EVERY_US: libc::suseconds_t = 200;

/// Busy programs beside the two that talk.
const HOGS: usize = 4;

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, SeqCst);
}

/// From now on a signal interrupts this process every 200 µs, and no system call is restarted.
pub fn begin_storm() {
    // SAFETY: `sigaction` is plain integers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does one atomic addition, which is async-signal-safe; SA_RESTART is not set.
    let set = unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) };
    assert_eq!(set, 0, "sigaction: {}", std::io::Error::last_os_error());
    storm(EVERY_US);
}

fn storm(every: libc::suseconds_t) {
    let every = libc::timeval { tv_sec: 0, tv_usec: every };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: `timer` is a valid itimerval for the length of the call.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(set, 0, "setitimer: {}", std::io::Error::last_os_error());
}

/// Keeps this process, and what it starts, on CPU 0.
pub fn pin() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(0);
    rustix::thread::sched_setaffinity(None, &set).expect("CPU 0 is allowed");
}

/// The storm: `messages` in one direction between two processes that are both interrupted all the time.
pub fn interrupted(cell: &mut Cell, messages: u64) {
    let journal = Journal::at(&journal_of(cell));
    begin_storm();
    let before = SIGNALS.load(SeqCst);
    let began = Instant::now();
    let outcome = stream(cell, &journal, messages, &[(STORM_VARIABLE, "1".into())]).map(drop);
    storm(0);
    let signals = SIGNALS.load(SeqCst) - before;
    let rate = signals as f64 / began.elapsed().as_secs_f64();
    cell.notes.push(format!("{messages} messages, {signals} signals in the survivor ({rate:.0}/s)"));
    cell.count(outcome);
}

/// The hogs: `messages` in one direction on one processor, with and without four busy programs beside.
pub fn crowded(cell: &mut Cell, messages: u64) {
    // One message per switch between the two processes, and each switch waits for its turn among six.
    let messages = if cell.mechanism == "shm-direct" { messages / 20 } else { messages };
    let journal = Journal::at(&journal_of(cell));
    pin();
    let pinned = [(PIN_VARIABLE, "1".to_owned())];
    let alone = stream(cell, &journal, messages / 10, &pinned);
    let hogs: Vec<Hog> = (0..HOGS).map(|_| Hog::start(cell)).collect();
    let among = stream(cell, &journal, messages, &pinned);
    drop(hogs);
    if let (Ok(alone), Ok(among)) = (&alone, &among) {
        cell.notes.push(format!(
            "{messages} messages on one CPU: {:.0}/s alone, {:.0}/s beside {HOGS} hogs ({:.0} %), longest stall {:.0} ms",
            alone.rate,
            among.rate,
            100.0 * among.rate / alone.rate,
            among.stall.as_secs_f64() * 1000.0
        ));
    }
    let calm = among.and_then(|among| match among.stall {
        stall if stall > DEADLINE => violated("I1", format!("no message for {stall:?}")),
        _ => Ok(()),
    });
    cell.count(alone.and(calm));
}

/// What a stream came to.
struct Streamed {
    rate: f64,
    stall: Duration,
}

fn stream(
    cell: &mut Cell,
    journal: &Journal,
    messages: u64,
    environment: &[(&str, String)],
) -> Result<Streamed, Violation> {
    journal.clear();
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let seed = cell.random.next();
    let victim = Victim::start(cell, listener.address(), seed, environment);
    let mut connection = match listener.accept(Wait::within(20 * DEADLINE)) {
        Ok(connection) => connection,
        Err(error) => {
            victim.end();
            return violated("I5", format!("no connection: {error}"));
        }
    };
    let streamed = pass(cell.role, &mut connection, seed, messages);
    // What a stream still holds goes out before the other side is ended.
    let _ = connection.tx.flush(Wait::within(3 * DEADLINE));
    if streamed.is_ok() && cell.role == Role::Receiver {
        let began = Instant::now();
        while journal.received().load(SeqCst) < messages && began.elapsed() < 20 * DEADLINE {
            std::thread::yield_now();
        }
    }
    let received = journal.received().load(SeqCst);
    victim.end();
    let streamed = streamed?;
    if journal.wrong().load(SeqCst) != 0 {
        return violated("I2", "the other side saw a wrong message or an error");
    }
    if cell.role == Role::Receiver && received != messages {
        return violated("I2", format!("{received} of {messages} messages arrived"));
    }
    Ok(streamed)
}

fn pass(role: Role, connection: &mut AnyConnection, seed: u64, messages: u64) -> Result<Streamed, Violation> {
    let mut series = Series::of(seed);
    let mut buf = Vec::new();
    let began = Instant::now();
    let (mut last, mut stall) = (began, Duration::ZERO);
    while series.count() < messages {
        // Every way of waiting has its own system calls to be interrupted in.
        let wait = if series.count().is_multiple_of(3) { Wait::Forever } else { Wait::within(3 * DEADLINE) };
        let passed = match role {
            Role::Sender => match connection.rx.recv_with(&mut buf, wait) {
                Ok(_) if buf == series.next() => Ok(()),
                Ok(_) => Err(format!("message {} is not what was sent", series.count())),
                Err(error) => Err(format!("after {} messages: {error:?}", series.count())),
            },
            _ => {
                let bytes = series.next();
                let sent = connection.tx.send_with(&[IoSlice::new(&bytes)], wait);
                sent.map_err(|error| format!("after {} messages: {error:?}", series.count()))
            }
        };
        if let Err(what) = passed {
            return violated("I2", what);
        }
        let now = Instant::now();
        stall = stall.max(now - last);
        last = now;
    }
    Ok(Streamed { rate: messages as f64 / began.elapsed().as_secs_f64(), stall })
}

/// A program that does nothing but run.
struct Hog(Child);

impl Hog {
    fn start(cell: &Cell) -> Hog {
        let child = Command::new(&cell.program).arg("hog").stdin(Stdio::null()).spawn();
        Hog(child.unwrap_or_else(|error| panic!("{}: {error}", cell.program.display())))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays a hog, for two minutes at most.
pub fn hog() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        std::hint::spin_loop();
    }
}
