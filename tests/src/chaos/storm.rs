//! Streams under a storm of signals, and on one processor shared with busy programs.
#![allow(unsafe_code, reason = "sigaction and setitimer")]

use std::io::IoSlice;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ipc_transports::{AnyConnection, Listener, Receiver, Sender, Wait, listen};

use super::cell::{Cell, DEADLINE, Role, Violation, got_on, violated};
use super::journal::Journal;
use super::kill::{Victim, journal_of};
use super::stop::processor_time;
use super::victim::Series;

/// Set in a victim's environment: it is to be interrupted, too.
pub const STORM_VARIABLE: &str = "IPC_CHAOS_STORM";

/// Set in a victim's environment: it is to run on CPU 0 only.
pub const PIN_VARIABLE: &str = "IPC_CHAOS_PIN";

/// Between two signals, if the process runs all the time. One that has to wait for its processor gets one for all that it
/// missed, and is still to be interrupted 5000 times a second.
const EVERY_US: libc::suseconds_t = 50;

/// Signals in a second below which it is no storm.
const STORM: f64 = 5000.0;

/// Messages of a first stream, after which a process has what it keeps.
const WARM_UP: u64 = 200;

/// Busy programs beside the two that talk.
const HOGS: usize = 4;

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, SeqCst);
}

/// From now on signals interrupt this process 5000 times a second and more, and no system call is restarted.
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
    let environment = [(STORM_VARIABLE, "1".to_owned())];
    begin_storm();
    let warm = stream(cell, &journal, WARM_UP, &environment).and_then(|_| cell.check_traces());
    let before = SIGNALS.load(SeqCst);
    let began = Instant::now();
    let outcome = warm.and_then(|()| stream(cell, &journal, messages, &environment)).map(drop);
    let (signals, took) = (SIGNALS.load(SeqCst) - before, began.elapsed());
    storm(0);
    let rate = signals as f64 / took.as_secs_f64();
    match nothing_left(cell, outcome) {
        Ok(()) if rate < STORM => {
            cell.missed = messages;
            cell.notes.push(format!("no storm: {rate:.0} signals a second in the survivor"));
        }
        outcome => {
            cell.notes.push(format!("{messages} messages, {signals} signals in the survivor ({rate:.0}/s)"));
            cell.count(outcome);
        }
    }
}

/// The hogs: `messages` in one direction on one processor, with and without four busy programs beside.
pub fn crowded(cell: &mut Cell, messages: u64) {
    // Enough of them for a rate.
    let few = (messages / 10).max(10_000);
    // One message per switch between the two processes, and each switch waits for its turn among six.
    let messages = if cell.mechanism == "shm-direct" { messages / 20 } else { messages };
    let journal = Journal::at(&journal_of(cell));
    pin();
    let pinned = [(PIN_VARIABLE, "1".to_owned())];
    let alone = stream(cell, &journal, few, &pinned).and_then(|alone| cell.check_traces().map(|()| alone));
    let hogs = Hogs::start(cell);
    let among = stream(cell, &journal, messages, &pinned);
    drop(hogs);
    if let (Ok(alone), Ok(among)) = (&alone, &among) {
        cell.notes.push(format!(
            "{messages} messages on one CPU: {:.0}/s alone, {:.0}/s beside {HOGS} hogs ({:.0} %), longest stall {:.0} ms; \
             the pair got {:.0} % of the CPU, alone {:.0} %, and made {:.0} % of the messages per second of it",
            alone.rate,
            among.rate,
            100.0 * among.rate / alone.rate,
            among.stall.as_secs_f64() * 1000.0,
            100.0 * among.share,
            100.0 * alone.share,
            100.0 * (among.rate / among.share) / (alone.rate / alone.share)
        ));
    }
    let calm = among.and_then(|among| among.calm());
    let outcome = nothing_left(cell, alone.and(calm));
    cell.count(outcome);
}

/// Set in a victim's environment: it runs before everybody who is not of the real-time class.
pub const FIFO_VARIABLE: &str = "IPC_CHAOS_FIFO";

/// A message that took longer than this waited for a turn it should have had.
const LATE: Duration = Duration::from_millis(50);

/// Makes this process one of the class SCHED_FIFO, or an ordinary one again; false: it may not.
pub fn set_fifo(on: bool) -> bool {
    let (class, priority) = if on { (libc::SCHED_FIFO, 1) } else { (libc::SCHED_OTHER, 0) };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters are valid for the length of the call.
    unsafe { libc::sched_setscheduler(0, class, &parameters) == 0 }
}

/// Priority inversion: `messages` on one processor between the victim, which goes before everybody else, and us, who do
/// not. Whoever waits for the other by spinning, or holding a lock, stops both.
pub fn outranked(cell: &mut Cell, messages: u64) {
    if !set_fifo(true) {
        cell.missed = messages;
        cell.notes.push("skipped: this user may not use SCHED_FIFO (needs CAP_SYS_NICE)".into());
        return;
    }
    assert!(set_fifo(false), "back to SCHED_OTHER: {}", std::io::Error::last_os_error());
    let journal = Journal::at(&journal_of(cell));
    pin();
    let environment = [(PIN_VARIABLE, "1".to_owned()), (FIFO_VARIABLE, "1".to_owned())];
    let warm = stream(cell, &journal, WARM_UP, &environment).and_then(|_| cell.check_traces());
    let streamed = warm.and_then(|()| stream(cell, &journal, messages, &environment));
    if let Ok(streamed) = &streamed {
        cell.notes.push(format!(
            "{messages} messages, {:.0}/s, {} of them over {} ms ({:.3} %), longest {:.0} ms",
            streamed.rate,
            streamed.late,
            LATE.as_millis(),
            100.0 * streamed.late as f64 / messages as f64,
            streamed.stall.as_secs_f64() * 1000.0
        ));
    }
    let outcome = nothing_left(cell, streamed.and_then(|streamed| streamed.calm()));
    cell.count(outcome);
}

/// I4 after a stream, compared with the first look.
fn nothing_left(cell: &mut Cell, outcome: Result<(), Violation>) -> Result<(), Violation> {
    outcome.and_then(|()| cell.check_traces()).and_then(|()| cell.check_names())
}

/// What a stream came to.
#[derive(Debug)]
pub(super) struct Streamed {
    rate: f64,
    stall: Duration,
    /// Messages that took longer than [`LATE`].
    late: u64,
    /// Processor time of both sides, as a part of the time it took.
    share: f64,
}

impl Streamed {
    fn calm(&self) -> Result<(), Violation> {
        match self.stall {
            stall if stall > DEADLINE => violated("I1", format!("no message for {stall:?}")),
            _ => Ok(()),
        }
    }
}

fn stream(
    cell: &mut Cell,
    journal: &Journal,
    messages: u64,
    environment: &[(&str, String)],
) -> Result<Streamed, Violation> {
    let role = cell.role;
    let talk = |connection: &mut _, series: &mut _| pass(role, connection, series, messages);
    let (streamed, share) = converse(cell, journal, messages, environment, talk)?;
    Ok(Streamed { share, ..streamed })
}

/// Connects a victim, has `talk` pass `messages` of the series, and ends it when all of them have arrived. What `talk`
/// returns, and the processor time of both sides as a part of the time it took.
pub(super) fn converse<T>(
    cell: &mut Cell,
    journal: &Journal,
    messages: u64,
    environment: &[(&str, String)],
    talk: impl FnOnce(&mut AnyConnection, &mut Series) -> Result<T, Violation>,
) -> Result<(T, f64), Violation> {
    journal.clear();
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let seed = cell.seed_of_short();
    let victim = Victim::start(cell, listener.address(), seed, environment);
    let mut connection = match listener.accept(Wait::within(20 * DEADLINE)) {
        Ok(connection) => connection,
        Err(error) => {
            victim.end();
            return violated("I5", format!("no connection: {error}"));
        }
    };
    let (began, ours, theirs) = (Instant::now(), processor_time(), victim.processor_time());
    let talked = talk(&mut connection, &mut Series::of(seed));
    // Of a victim that was reaped nothing can be asked.
    let used = processor_time() - ours + victim.processor_time().saturating_sub(theirs);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    // What a stream still holds goes out before the other side is ended.
    let _ = connection.tx.flush(Wait::within(3 * DEADLINE));
    if talked.is_ok() && cell.role == Role::Receiver {
        let began = Instant::now();
        while journal.received().load(SeqCst) < messages && began.elapsed() < 20 * DEADLINE {
            std::thread::yield_now();
        }
    }
    let received = journal.received().load(SeqCst);
    victim.end();
    let talked = talked?;
    if journal.wrong().load(SeqCst) != 0 {
        return violated("I2", "the other side saw a wrong message or an error");
    }
    if cell.role == Role::Receiver && received != messages {
        return violated("I2", format!("{received} of {messages} messages arrived"));
    }
    Ok((talked, share))
}

/// Passes messages until `messages` of the series have been.
pub(super) fn pass(
    role: Role,
    connection: &mut AnyConnection,
    series: &mut Series,
    messages: u64,
) -> Result<Streamed, Violation> {
    let before = series.count();
    let mut buf = Vec::new();
    let began = Instant::now();
    let (mut last, mut stall, mut late) = (began, Duration::ZERO, 0);
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
        got_on();
        let now = Instant::now();
        stall = stall.max(now - last);
        late += u64::from(now - last > LATE);
        last = now;
    }
    Ok(Streamed { rate: (messages - before) as f64 / began.elapsed().as_secs_f64(), stall, late, share: 0.0 })
}

/// Programs that do nothing but run, until dropped.
#[derive(Debug)]
pub struct Hogs(Vec<Child>);

impl Hogs {
    /// Starts four.
    pub fn start(cell: &Cell) -> Hogs {
        let one = || Command::new(&cell.program).arg("hog").stdin(Stdio::null()).spawn();
        let started =
            (0..HOGS).map(|_| one().unwrap_or_else(|error| panic!("{}: {error}", cell.program.display())));
        Hogs(started.collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// Plays a hog, until it is killed or has lost its driver.
pub fn hog() {
    let driver = rustix::process::getppid();
    while rustix::process::getppid() == driver {
        (0..1 << 22).for_each(|_| std::hint::spin_loop());
    }
}

/// SIGKILL at random moments beside four busy programs.
pub fn kill_among_hogs(cell: &mut Cell, rounds: u64) {
    let hogs = Hogs::start(cell);
    super::kill::run(cell, rounds);
    drop(hogs);
}
