//! SIGSTOP in the middle of a stream, SIGCONT later: a slow peer is not a dead one.

use std::io::IoSlice;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use ipc_transports::{
    AnyConnection, AnyListener, Listener, Receiver, RecvError, SendError, Sender, Wait, listen,
};
use rustix::process::Signal;

use super::cell::{Cell, DEADLINE, Role, Violation, violated};
use super::journal::Journal;
use super::kill::{Victim, journal_of, moment};
use super::victim::Series;

/// Messages that must still flow after SIGCONT.
const AFTERWARDS: u64 = 100;

/// `rounds` rounds of the cell.
pub fn run(cell: &mut Cell, rounds: u64) {
    let journal = Journal::at(&journal_of(cell));
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let mut most_cpu: f64 = 0.0;
    for round in 0..rounds {
        let outcome = one_round(cell, &journal, &mut listener, round, &mut most_cpu);
        cell.count(outcome);
    }
    cell.notes.push(format!("waiting took at most {:.1} % of a processor", 100.0 * most_cpu));
}

fn one_round(
    cell: &mut Cell,
    journal: &Journal,
    listener: &mut AnyListener,
    round: u64,
    most_cpu: &mut f64,
) -> Result<(), Violation> {
    journal.clear();
    let seed = cell.seed_of_any();
    let victim = Victim::start(cell, listener.address(), seed, &[]);
    let connection = listener.accept(Wait::within(10 * DEADLINE));
    let mut stream = match connection {
        Ok(connection) => Stream { connection, role: cell.role, series: Series::of(seed), held: None },
        Err(error) => {
            victim.end();
            return violated("I5", format!("no new connection: {error}"));
        }
    };
    let until = Instant::now() + moment(&mut cell.random);
    let outcome = stream
        .pass_until(until)
        .and_then(|()| {
            send_signal(&victim, Signal::STOP);
            let long = if round.is_multiple_of(16) { 4800 } else { 200 };
            let pause = Duration::from_millis(200 + cell.random.below(long) as u64);
            stream.wait_in_vain(pause, most_cpu)
        })
        .and_then(|()| if round.is_multiple_of(4) { attach_another(cell, listener) } else { Ok(()) });
    send_signal(&victim, Signal::CONT);
    let outcome = outcome.and_then(|()| stream.pass(AFTERWARDS));
    victim.end();
    outcome?;
    if journal.wrong().load(SeqCst) != 0 {
        return violated("I2", "the stopped process saw a wrong message or an error");
    }
    drop(stream);
    cell.check_traces()
}

fn send_signal(victim: &Victim, signal: Signal) {
    // Our own child, not reaped yet: its number is nobody else's.
    let _ = rustix::process::kill_process(victim.pid(), signal);
}

/// Another client comes, talks and goes while the first one is stopped.
fn attach_another(cell: &mut Cell, listener: &mut AnyListener) -> Result<(), Violation> {
    let address = listener.address().clone();
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            let mut connection = ipc_transports::connect(&address, Wait::within(5 * DEADLINE))?;
            connection.tx.send(b"another").map_err(std::io::Error::from)?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(connection)
        });
        let mut buf = Vec::new();
        let heard = match listener.accept(Wait::within(5 * DEADLINE)) {
            Ok(mut connection) => connection.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE)).is_ok(),
            Err(_) => false,
        };
        match (client.join(), heard && buf == b"another") {
            (Ok(Ok(_)), true) => Ok(()),
            (end, _) => violated(
                "I5",
                format!("{}: no second client while the first is stopped: {end:?}", cell.mechanism),
            ),
        }
    })
}

/// The survivor's part of a stream of numbered messages.
struct Stream {
    connection: AnyConnection,
    role: Role,
    series: Series,
    /// A message that was not taken yet.
    held: Option<Vec<u8>>,
}

impl Stream {
    /// One message, within `wait`. False: the call timed out.
    fn step(&mut self, wait: Wait) -> Result<bool, Violation> {
        if self.role == Role::Sender {
            let mut buf = Vec::new();
            return match self.connection.rx.recv_with(&mut buf, wait) {
                Ok(_) if buf == self.series.next() => Ok(true),
                Ok(_) => violated("I2", format!("message {} is not what was sent", self.series.count())),
                Err(RecvError::TimedOut) => Ok(false),
                Err(error) => violated("I3", format!("a stopped sender is told as {error:?}")),
            };
        }
        let bytes = self.held.take().unwrap_or_else(|| self.series.next());
        match self.connection.tx.send_with(&[IoSlice::new(&bytes)], wait) {
            Ok(()) => Ok(true),
            Err(SendError::TimedOut) => {
                self.held = Some(bytes);
                Ok(false)
            }
            Err(error) => violated("I3", format!("a stopped receiver is told as {error:?}")),
        }
    }

    fn pass_until(&mut self, end: Instant) -> Result<(), Violation> {
        while Instant::now() < end {
            self.step(Wait::within(Duration::from_millis(1)))?;
        }
        Ok(())
    }

    /// Messages go on flowing.
    fn pass(&mut self, count: u64) -> Result<(), Violation> {
        let began = Instant::now();
        for _ in 0..count {
            while !self.step(Wait::within(DEADLINE))? {
                if began.elapsed() > 10 * DEADLINE {
                    return violated("I5", "the stream does not go on after SIGCONT");
                }
            }
        }
        Ok(())
    }

    /// With the peer stopped: what is there is passed, then every call times out, at its deadline and at no cost.
    fn wait_in_vain(&mut self, pause: Duration, most_cpu: &mut f64) -> Result<(), Violation> {
        let end = Instant::now() + pause;
        while self.step(Wait::within(Duration::from_millis(20)))? {
            if Instant::now() > end + 10 * DEADLINE {
                return violated("I1", "a stopped peer goes on talking");
            }
        }
        let (began, cpu) = (Instant::now(), processor_time());
        while began.elapsed() < pause {
            // A kernel may find more room for what is sent to a stopped process; nothing can come from one.
            if self.step(Wait::within(Duration::from_millis(100)))? && self.role == Role::Sender {
                return violated("I2", "a message from a stopped peer that was not there before");
            }
        }
        let used = (processor_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        *most_cpu = most_cpu.max(used);
        if used > 0.05 {
            return violated("I7", format!("waiting took {:.1} % of a processor", 100.0 * used));
        }
        Ok(())
    }
}

/// Processor time of this process.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
