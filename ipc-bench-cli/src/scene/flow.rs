//! Messages one way in a given [`Shape`], their latency taken at the receiver from the stamp of the sender.
//!
//! Each step of the shape ends with a marked message and an answer, so that both sides know which step they are in. The
//! receiver knows the size of every message before it comes and checks the sequence within each size: loss, duplication
//! and reordering fail the trial.

use std::thread;
use std::time::Duration;

use ipc_results::Recorder;
use ipc_transports::{Address, Connection, RecvError, SendError, Sender, Transport};

use super::idle::effective;
use super::shape::{Draw, Oversize, Pace, Shape, Step};
use crate::clock::now_ns;
use crate::mechanism::{Ended, meet, too_long};
use crate::payload::{Incoming, MIN_SIZE, Outgoing, Phase, sent_ns};
use crate::protocol::{Job, Outcome, Role};
use crate::ways::Ways;
use crate::worker::{Session, Watch, histogram};
use crate::workload::{
    Blocking, Broken, Endpoint, Executor, Length, Observer, PROGRESS_NS, Task, Warmup, Work,
};

/// How long a call waits before it counts as an error of a steady flow and the runner hears from us.
const SILENCE: Duration = Duration::from_secs(1);

/// Coefficient of variation and share of errors beyond which a flow is called unstable.
const MOST_VARIATION: f64 = 0.2;
const MOST_ERRORS: f64 = 0.001;

pub(crate) fn run<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    shape: &Shape,
    oversize: Option<Oversize>,
) -> Result<Outcome, Ended> {
    let connection = meet::<T>(session, job, address)?;
    let (longest, max) = (shape.longest(job.work.size), connection.tx.max_message());
    if longest > max {
        return Err(too_long(T::NAME, longest, max).into());
    }
    session.ready(effective::<T>(&connection));
    let Connection { tx, rx, .. } = connection;
    let sides = Sides { role: job.role, work: &job.work, shape, oversize, max, watch: session.watch() };
    W::perform(&job.work, Blocking { tx, rx }, sides)?.1
}

struct Sides<'a> {
    role: Role,
    work: &'a Work,
    shape: &'a Shape,
    oversize: Option<Oversize>,
    /// Longest message of the connection.
    max: usize,
    watch: Watch<'a>,
}

impl Task for Sides<'_> {
    type Output = Result<Outcome, Ended>;

    fn over<E: Endpoint>(mut self, end: &mut E, executor: &mut impl Executor) -> Self::Output {
        let outcome = match self.role {
            Role::Client => executor.run(self.send(end)),
            _ => executor.run(self.receive(end)),
        };
        let outcome = outcome.map_err(Ended::lost)?;
        Ok(Outcome { cpu: self.watch.during, ..outcome })
    }
}

impl Sides<'_> {
    fn warm_up(&self) -> Step {
        let time = match self.work.warmup {
            Warmup::Fixed(time) => time,
            // Windows of a load that is not even say nothing.
            Warmup::Steady { window, .. } => window * 4,
        };
        Step { pace: Pace::Full, length: Length::Time(time) }
    }

    async fn send<E: Endpoint>(&mut self, end: &mut E) -> Result<Outcome, Broken> {
        let warm_up = self.warm_up();
        let watch = &mut self.watch;
        let sizes = self.shape.sizes(self.work.size);
        let mut sending = Sending {
            outgoing: sizes.iter().map(|(size, _)| Outgoing::new(*size, self.work.seed)).collect(),
            draw: Draw::new(&sizes, self.work.seed),
            oversize: None,
            // Pages of a fresh zeroed vector take no memory until somebody reads them, and nobody reads these.
            excess: self.oversize.map(|_| vec![0; self.max + 1]).unwrap_or_default(),
            told: now_ns(),
            refused: 0,
            timeouts: 0,
            sent: 0,
        };
        sending.step(end, Phase::WarmUp, warm_up, watch).await?;
        answered(end, watch).await?;
        sending.oversize = self.oversize;
        (sending.sent, sending.timeouts) = (0, 0);
        watch.boundary(false);
        let first_send_ns = now_ns();
        for step in self.shape.steps(self.work.length) {
            sending.step(end, Phase::Measured, step, watch).await?;
            answered(end, watch).await?;
        }
        watch.boundary(true);
        let mut outcome = Outcome { first_send_ns: Some(first_send_ns), ..Outcome::default() };
        if self.oversize.is_some() {
            outcome.measures.insert("too_long_refused_count".into(), sending.refused as f64);
        }
        if let Shape::Stability { .. } = self.shape {
            let errors = sending.timeouts as f64 / (sending.sent + sending.timeouts) as f64;
            outcome.measures.insert("error_percent".into(), errors * 100.0);
            if errors > MOST_ERRORS {
                outcome.flags.push("errors".into());
            }
        }
        Ok(outcome)
    }

    async fn receive<E: Endpoint>(&mut self, end: &mut E) -> Result<Outcome, Broken> {
        let watch = &mut self.watch;
        let sizes = self.shape.sizes(self.work.size);
        let mut arriving = Arriving {
            incoming: sizes.iter().map(|(size, _)| Incoming::new(*size, self.work.seed)).collect(),
            draw: Draw::new(&sizes, self.work.seed),
            buf: Vec::with_capacity(self.shape.longest(self.work.size)),
            answers: Outgoing::new(MIN_SIZE, self.work.seed),
        };
        let mut figures = Figures::new(self.shape, &sizes);
        arriving.step(end, watch, |_, _, _, _| {}).await?;
        watch.boundary(false);
        for step in 0..self.shape.steps(self.work.length).len() {
            let take = |class, message: &[u8], now, last| figures.take(step, class, message, now, last);
            arriving.step(end, watch, take).await?;
        }
        watch.boundary(true);
        Ok(figures.outcome(self.shape, &sizes))
    }
}

/// Waits until the receiver has had the whole step.
async fn answered<E: Endpoint>(end: &mut E, watch: &mut Watch<'_>) -> Result<(), Broken> {
    receive(end, &mut Vec::new(), 0, watch).await
}

/// Receives one message, telling the runner every second that nothing has come yet.
async fn receive<E: Endpoint>(
    end: &mut E,
    buf: &mut Vec<u8>,
    messages: u64,
    watch: &mut Watch<'_>,
) -> Result<(), Broken> {
    loop {
        match end.recv_within(buf, SILENCE).await {
            Ok(()) => return Ok(()),
            Err(RecvError::TimedOut) => watch.progress(messages),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The sender's state over all steps.
struct Sending {
    /// The next message of each size.
    outgoing: Vec<Outgoing>,
    draw: Draw,
    oversize: Option<Oversize>,
    /// A message that is one byte too long.
    excess: Vec<u8>,
    told: u64,
    refused: u64,
    timeouts: u64,
    /// Measured messages that were taken.
    sent: u64,
}

impl Sending {
    async fn step<E: Endpoint>(
        &mut self,
        end: &mut E,
        phase: Phase,
        step: Step,
        watch: &mut Watch<'_>,
    ) -> Result<(), Broken> {
        let start_ns = now_ns();
        let over = step.length.from(start_ns);
        // A step that is silent still has a message, its last.
        let mut messages = 0;
        loop {
            self.wait(step, start_ns, messages, watch);
            let now = now_ns();
            let last = match step.pace {
                Pace::Silent => true,
                // Whole bursts; the pause behind the last one is left out.
                Pace::Bursts { burst, gap } => {
                    let whole =
                        (messages + 1).is_multiple_of(burst) && over.is_next(0, now + gap.as_nanos() as u64);
                    whole || over.is_next(messages, start_ns)
                }
                Pace::Full | Pace::PerSecond(_) => over.is_next(messages, now),
            };
            self.refuse(end).await?;
            let class = self.draw.next();
            let outgoing = &mut self.outgoing[class];
            let marks = outgoing.stamp(phase, last, now);
            loop {
                match end.send_within(outgoing.bytes(), SILENCE).await {
                    Ok(()) => break,
                    Err(SendError::TimedOut) => {
                        self.timeouts += 1;
                        watch.progress(messages);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if marks.is_inspected() {
                outgoing.refill();
            }
            messages += 1;
            self.sent += 1;
            if now - self.told >= PROGRESS_NS {
                watch.progress(messages);
                self.told = now;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Waits until the next message may be sent.
    fn wait(&self, step: Step, start_ns: u64, messages: u64, watch: &mut Watch<'_>) {
        match step.pace {
            Pace::Full => {}
            Pace::PerSecond(rate) => sleep_until(start_ns + messages * 1_000_000_000 / rate, watch),
            Pace::Silent => {
                if let Length::Time(time) = step.length {
                    sleep_until(start_ns + time.as_nanos() as u64, watch);
                }
            }
            Pace::Bursts { burst, gap } if messages > 0 && messages.is_multiple_of(burst) => {
                sleep_until(now_ns() + gap.as_nanos() as u64, watch);
            }
            Pace::Bursts { .. } => {}
        }
    }

    /// Tries what is too long as often as it is due by now. Each must be refused at once.
    async fn refuse<E: Endpoint>(&mut self, end: &mut E) -> Result<(), Broken> {
        let Some(oversize) = self.oversize else { return Ok(()) };
        while self.refused < oversize.due(self.sent + 1) {
            match end.send_within(&self.excess, SILENCE).await {
                Err(SendError::TooLong { .. }) => self.refused += 1,
                Err(error) => return Err(error.into()),
                Ok(()) => return Err(Broken::TooLongTaken { len: self.excess.len() }),
            }
        }
        Ok(())
    }
}

/// The pace of a sender.
fn sleep_until(due_ns: u64, watch: &mut Watch<'_>) {
    while let Some(left) = due_ns.checked_sub(now_ns()).filter(|left| *left > 0) {
        // A paced sender, not a handshake.
        thread::sleep(Duration::from_nanos(left).min(SILENCE));
        if left > PROGRESS_NS {
            watch.progress(0);
        }
    }
}

struct Arriving {
    incoming: Vec<Incoming>,
    draw: Draw,
    buf: Vec<u8>,
    answers: Outgoing,
}

impl Arriving {
    /// Receives until the message that ends a step, and answers it.
    async fn step<E: Endpoint>(
        &mut self,
        end: &mut E,
        watch: &mut Watch<'_>,
        mut take: impl FnMut(usize, &[u8], u64, bool),
    ) -> Result<(), Broken> {
        let mut messages = 0;
        loop {
            receive(end, &mut self.buf, messages, watch).await?;
            let now = now_ns();
            let class = self.draw.next();
            let marks = self.incoming[class].check(&self.buf)?;
            if marks.is_inspected() {
                self.incoming[class].inspect(&self.buf)?;
            }
            messages += 1;
            take(class, &self.buf, now, marks.last);
            if marks.last {
                self.answers.stamp(marks.phase, true, 0);
                end.send(self.answers.bytes()).await?;
                self.answers.refill();
                return Ok(());
            }
        }
    }
}

/// What the receiver sees.
struct Figures {
    all: Recorder,
    /// By size, or by step of a ramp.
    apart: Vec<Recorder>,
    by_step: bool,
    /// First stamp, last arrival and messages of each step of a ramp.
    steps: Vec<(u64, u64, u64)>,
    bytes: u64,
    messages: u64,
    last_recv_ns: u64,
    burst: Option<Burst>,
    windows: Option<Windows>,
}

/// From the first stamp of a burst to the arrival of its last message.
struct Burst {
    size: u64,
    began_ns: u64,
    drains: Recorder,
}

/// Messages in each window of a flow.
struct Windows {
    length_ns: u64,
    began_ns: Option<u64>,
    counts: Vec<u64>,
}

impl Figures {
    fn new(shape: &Shape, sizes: &[(usize, u32)]) -> Figures {
        let (apart, by_step) = match shape {
            Shape::Ramp(legs) => (legs.len(), true),
            Shape::Mixed(_) => (sizes.len(), false),
            _ => (0, false),
        };
        let burst = match shape {
            Shape::Burst { burst, .. } => Some(Burst { size: *burst, began_ns: 0, drains: Recorder::new() }),
            _ => None,
        };
        let windows = match shape {
            Shape::Stability { observe } => Some(Windows::new(*observe)),
            _ => None,
        };
        Figures {
            all: Recorder::new(),
            apart: (0..apart).map(|_| Recorder::new()).collect(),
            by_step,
            steps: vec![(0, 0, 0); if by_step { apart } else { 0 }],
            bytes: 0,
            messages: 0,
            last_recv_ns: 0,
            burst,
            windows,
        }
    }

    fn take(&mut self, step: usize, class: usize, message: &[u8], now: u64, last: bool) {
        let sent = sent_ns(message);
        let latency = now.saturating_sub(sent);
        self.all.record(latency);
        if let Some(apart) = self.apart.get_mut(if self.by_step { step } else { class }) {
            apart.record(latency);
        }
        if let Some((first, end, count)) = self.steps.get_mut(step) {
            if *count == 0 {
                *first = sent;
            }
            (*end, *count) = (now, *count + 1);
        }
        if let Some(burst) = &mut self.burst {
            if self.messages.is_multiple_of(burst.size) {
                burst.began_ns = sent;
            }
            if (self.messages + 1).is_multiple_of(burst.size) || last {
                burst.drains.record(now.saturating_sub(burst.began_ns));
            }
        }
        if let Some(windows) = &mut self.windows {
            windows.count(now);
        }
        self.messages += 1;
        self.bytes += message.len() as u64;
        self.last_recv_ns = now;
    }

    fn outcome(self, shape: &Shape, sizes: &[(usize, u32)]) -> Outcome {
        let mut outcome = Outcome {
            messages: self.messages,
            bytes: Some(self.bytes),
            last_recv_ns: Some(self.last_recv_ns),
            latency: Some(histogram(&self.all)),
            ..Outcome::default()
        };
        let mut tell = |name: String, value: Option<f64>| {
            if let Some(value) = value {
                outcome.measures.insert(name, value);
            }
        };
        let percentile = |recorder: &Recorder, percent| recorder.percentile_ns(percent).map(|ns| ns as f64);
        if let Some(burst) = self.burst {
            tell("burst_drain_p50_ns".into(), percentile(&burst.drains, 50.0));
            tell("burst_drain_max_ns".into(), burst.drains.max_ns().map(|ns| ns as f64));
        }
        if let Shape::Mixed(_) = shape {
            for ((size, _), recorder) in sizes.iter().zip(&self.apart) {
                tell(format!("size_{size}_p50_ns"), percentile(recorder, 50.0));
                tell(format!("size_{size}_p99_ns"), percentile(recorder, 99.0));
            }
        }
        if let Shape::Ramp(legs) = shape {
            for (index, leg) in legs.iter().enumerate().filter(|(_, leg)| leg.pace != Pace::Silent) {
                let (first, end, count) = self.steps[index];
                let rate = (end > first).then(|| count as f64 * 1e9 / (end - first) as f64);
                let key = format!("step_{}_{}", index + 1, leg.name);
                tell(format!("{key}_msgs_per_s"), rate);
                tell(format!("{key}_p50_ns"), percentile(&self.apart[index], 50.0));
                tell(format!("{key}_p99_ns"), percentile(&self.apart[index], 99.0));
            }
        }
        let mut flags = Vec::new();
        if let Some(windows) = self.windows {
            let variation = windows.variation();
            tell("throughput_cv_percent".into(), variation.map(|cv| cv * 100.0));
            tell("window_ns".into(), Some(windows.length_ns as f64));
            if variation.is_some_and(|cv| cv > MOST_VARIATION) {
                flags.push("unstable".to_owned());
            }
        }
        outcome.flags = flags;
        outcome
    }
}

impl Windows {
    /// A second each; tenths of a time that has not five of them.
    fn new(observe: Duration) -> Windows {
        let second = Duration::from_secs(1);
        let length =
            if observe >= second * 5 { second } else { (observe / 10).max(Duration::from_micros(1)) };
        Windows { length_ns: length.as_nanos() as u64, began_ns: None, counts: Vec::with_capacity(1 << 17) }
    }

    fn count(&mut self, now: u64) {
        let began = *self.began_ns.get_or_insert(now);
        let index = ((now - began) / self.length_ns) as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
    }

    /// Standard deviation of the whole windows, as a share of their mean.
    fn variation(&self) -> Option<f64> {
        let whole = &self.counts[..self.counts.len().saturating_sub(1)];
        let n = whole.len() as f64;
        let mean = whole.iter().sum::<u64>() as f64 / n;
        let square = |count: &u64| (*count as f64 - mean).powi(2);
        let variance = whole.iter().map(square).sum::<f64>() / (n - 1.0);
        (n >= 2.0 && mean > 0.0).then(|| variance.sqrt() / mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variation_is_that_of_the_whole_windows() {
        let mut windows = Windows::new(Duration::from_secs(5));
        for (second, count) in [(0, 10), (1, 20), (2, 30), (3, 1)] {
            (0..count).for_each(|message| windows.count(7 + second * 1_000_000_000 + message));
        }
        assert_eq!(windows.variation(), Some(0.5));
        assert_eq!(Windows::new(Duration::from_secs(1)).length_ns, 100_000_000);
    }
}
