//! A worker process: one side of one trial.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use ipc_limits::{Bare, Driver, End, cost};
use ipc_results::Recorder;
use ipc_results::run::CpuUse;
use ipc_transports::{Address, Transport};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::Signal;

use crate::clock;
use crate::counters::Counters;
use crate::error::Failure;
use crate::logging;
use crate::mechanism::{Ended, Mechanism};
use crate::os;
use crate::pattern::shared;
use crate::pattern::{Duty, Node};
use crate::pin;
use crate::protocol::{
    self, Alone, Complaint, Histogram, Job, Link, Outcome, PROTOCOL, Ready, Reply, Request, Role, Window,
};
use crate::records::CHUNK;
use crate::scratch;
use crate::ways::{Halves, Ways};
use crate::workload::windows::Windows;
use crate::workload::{
    BareEnd, Broken, Endpoint, Executor, InPlace, Mode, Observer, Sent, Task, Work, arrivals, load, oneway,
    rtt, stream,
};

/// Name of the hidden subcommand that runs a worker.
pub(crate) const COMMAND: &str = "__worker";

/// Runs the one job that the runner sends, and exits.
pub(crate) fn main(mechanisms: &[Mechanism]) -> ExitCode {
    let role = std::env::args().nth(2).unwrap_or_default();
    logging::start_in_worker(role.split(' ').next().unwrap_or_default());
    let mut session = match Session::start() {
        Ok(session) => session,
        Err(error) => {
            eprintln!("worker: no control pipe: {error}");
            return ExitCode::FAILURE;
        }
    };
    session.reply(&Reply::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() });
    let job = session.job();
    log::debug!("{:?} over {:?}", job.work, job.link);
    match run(&mut session, &job, mechanisms) {
        Ok(mut outcome) => {
            outcome.counted = session.counters.take().map(Counters::read);
            for rows in outcome.records.chunks(CHUNK) {
                session.reply(&Reply::Records(rows.to_vec()));
            }
            session.reply(&Reply::Done(Box::new(outcome)));
            ExitCode::SUCCESS
        }
        Err(Ended { failure: Failure { what, why, fix, .. }, blames_the_peer }) => {
            log::info!(
                "gives up: {what}{}",
                why.as_deref().map(|why| format!(": {why}")).unwrap_or_default()
            );
            session.reply(&Reply::Failed(Complaint { what, why, fix, blames_the_peer }));
            ExitCode::FAILURE
        }
    }
}

fn run(session: &mut Session, job: &Job, mechanisms: &[Mechanism]) -> Result<Outcome, Ended> {
    // Both sides of one process pin themselves.
    if !matches!(job.link, Link::Inside { .. }) {
        pin(job.role, job.cpu)?;
    }
    if let Some(counter) = job.work.counter {
        clock::read_from(counter);
    }
    // A process beside the measurement is not the one that is meant.
    if !matches!(job.role, Role::Hog(_)) {
        session.granted = conditions(&job.work);
        session.counters = job.work.counts.then(Counters::open);
    }
    if let Some(path) = &job.scratch {
        session.make_scratch(path).map_err(|error| {
            Failure::failed(format!("the directory {} cannot be made", path.display()))
                .why(error)
                .fix("let XDG_RUNTIME_DIR or TMPDIR name a directory of yours")
        })?;
    }
    match &job.link {
        Link::Transport { name, address } => {
            let (mechanism, address) = find(mechanisms, name, address)?;
            (mechanism.work)(session, job, &address)
        }
        Link::Inside { name, address, far_cpu } => {
            let (mechanism, address) = find(mechanisms, name, address)?;
            let inside =
                mechanism.inside.ok_or_else(|| Failure::failed(format!("{name} joins processes")))?;
            inside(session, job, &address, *far_cpu)
        }
        Link::Remote { name, address, patience, echo } => {
            let (mechanism, address) = find(mechanisms, name, address)?;
            (mechanism.visit)(session, job, &address, *patience, *echo)
        }
        Link::Hall { name, address, clients } => {
            let (mechanism, address) = find(mechanisms, name, address)?;
            (mechanism.host)(session, &address, *clients)
        }
        Link::Bare { end, size } => {
            let link = End::inherited(end).and_then(End::open).map_err(bare_failure)?;
            session.ready(Vec::new());
            link.drive(BareTrial { session, job, size: *size })
        }
        Link::Alone(alone) => {
            session.ready(Vec::new());
            session.go();
            Ok(Outcome { cost: Some(measure_alone(*alone)), ..Outcome::default() })
        }
        Link::Node { address, node: Node { inbound, duty: Duty::Publish, .. }, .. } => {
            shared::publish(session, job, &address.parse().map_err(Failure::failed)?, *inbound)
        }
        Link::Node { node: Node { duty: Duty::Subscribe, .. }, .. } => shared::subscribe(session, job),
        Link::Node { name, address, node, looks, .. } => {
            let (mechanism, address) = find(mechanisms, name, address)?;
            (mechanism.node)(session, job, &address, node, *looks)
        }
        Link::Scene { name, address, scene } => {
            let (mechanism, address) = find(mechanisms, name, address)?;
            (mechanism.scene)(session, job, &address, scene)
        }
        Link::Hog(hog) => {
            hog.prepare().map_err(|error| Failure::failed("the background cannot be made").why(error))?;
            end_with_the_runner();
            session.ready(Vec::new());
            hog.work()
        }
    }
}

/// Pins the calling thread, which is this side's, if it is to be.
pub(crate) fn pin(role: Role, cpu: Option<u32>) -> Result<(), Failure> {
    let Some(cpu) = cpu else { return Ok(()) };
    pin::pin_this_thread(cpu).map_err(|error| {
        Failure::failed(format!("the {} cannot be pinned to cpu {cpu}", role.name())).why(error)
    })
}

/// Takes the priority and locks the memory that are asked for, as far as the system lets us; what it granted, read back.
fn conditions(work: &Work) -> Vec<(String, u64)> {
    let mut granted = Vec::new();
    if work.priority > 0 {
        // A refusal shows in what is read back.
        let _ = os::run_in_real_time(work.priority);
        granted.push((PRIORITY.to_owned(), os::real_time_priority()));
    }
    if work.locked {
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE);
        granted.push((LOCKED.to_owned(), locked_bytes()));
    }
    granted
}

/// Names of what [`conditions`] reads back.
pub(crate) const PRIORITY: &str = "sched_fifo";
pub(crate) const LOCKED: &str = "locked_bytes";

/// `VmLck` of this process.
fn locked_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn find<'a>(
    mechanisms: &'a [Mechanism],
    name: &str,
    address: &str,
) -> Result<(&'a Mechanism, Address), Failure> {
    let mechanism = mechanisms
        .iter()
        .find(|mechanism| mechanism.name == name)
        .ok_or_else(|| Failure::failed(format!("this program has no transport {name}")))?;
    Ok((mechanism, address.parse().map_err(Failure::failed)?))
}

fn bare_failure(error: io::Error) -> Failure {
    Failure::failed("the bare loop cannot be set up").why(error)
}

/// A trial over a bare loop, compiled once per kind.
struct BareTrial<'a> {
    session: &'a mut Session,
    job: &'a Job,
    size: usize,
}

impl Driver for BareTrial<'_> {
    type Output = Result<Outcome, Ended>;

    fn drive<B: Bare>(self, link: B) -> Self::Output {
        let mut end = BareEnd { link, size: self.size };
        self.session.begin(self.job).over(&mut end, &mut InPlace)
    }
}

/// The worker's side of the control protocol.
#[derive(Debug)]
pub(crate) struct Session {
    out: File,
    requests: mpsc::Receiver<Request>,
    /// What to remove if the runner dies.
    scratch: Arc<Mutex<Option<PathBuf>>>,
    /// What the system granted this process.
    granted: Vec<(String, u64)>,
    /// What counts the measured part.
    counters: Option<Counters>,
}

impl Session {
    /// Takes over stdin and stdout. What anything else prints to stdout goes to stderr, not between our frames.
    fn start() -> io::Result<Session> {
        let out: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
        let scratch = Arc::new(Mutex::new(None));
        let (sender, requests) = mpsc::channel();
        let lifeline = Lifeline { sender, scratch: Arc::clone(&scratch) };
        thread::Builder::new().name("lifeline".into()).spawn(move || lifeline.watch())?;
        Ok(Session { out: File::from(out), requests, scratch, granted: Vec::new(), counters: None })
    }

    fn reply(&mut self, reply: &Reply) {
        // A runner that cannot be told anything is dead, and the lifeline is about to end this process.
        let _ = protocol::write(&mut self.out, reply);
    }

    fn job(&mut self) -> Job {
        match self.request() {
            Request::Job(job) => *job,
            Request::Peers(_) | Request::Go => self.confused("something else before Job"),
        }
    }

    /// Makes the trial's directory, of which the lifeline knows from then on.
    fn make_scratch(&self, path: &Path) -> io::Result<()> {
        // Held while it is made: a lifeline that has begun to end the process keeps the lock for ever, and one that
        // begins later finds the directory.
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch::make(path)?;
        *scratch = Some(path.to_owned());
        Ok(())
    }

    /// Waits for the runner's permission to send the first message.
    fn go(&mut self) {
        match self.request() {
            Request::Go => *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Request::Job(_) | Request::Peers(_) => self.confused("something else than Go"),
        }
        // From here on nothing has to be removed.
        end_with_the_runner();
    }

    fn request(&mut self) -> Request {
        match self.requests.recv() {
            Ok(request) => request,
            // The lifeline thread drops its sender only by ending the process.
            Err(mpsc::RecvError) => loop {
                thread::park();
            },
        }
    }

    fn confused(&self, what: &str) -> ! {
        eprintln!("worker: the runner broke the control protocol: {what}");
        std::process::exit(1)
    }

    /// The server accepts connections at `address`.
    pub(crate) fn listening(&mut self, address: &Address) {
        log::debug!("listens at {address}");
        self.reply(&Reply::Listening { address: address.to_string() });
    }

    /// The processes of a pattern that this one connects to: number and address.
    pub(crate) fn peers(&mut self) -> Vec<(usize, String)> {
        match self.request() {
            Request::Peers(peers) => peers,
            Request::Job(_) | Request::Go => self.confused("something else than Peers"),
        }
    }

    /// Connected.
    pub(crate) fn ready(&mut self, effective: Vec<(String, u64)>) {
        self.ready_knowing(Ready { effective, ..Ready::default() });
    }

    /// Connected, and `known` says what the connection and the other side say.
    pub(crate) fn ready_knowing(&mut self, known: Ready) {
        let mut ready = Ready { cpus: pin::allowed_cpus().unwrap_or_default(), ..known };
        ready.effective.append(&mut self.granted);
        log::debug!("connected, on cpus {:?}, with {:?}", ready.cpus, ready.effective);
        self.reply(&Reply::Ready(ready));
    }

    /// This side of the workload over a connection, which is given back.
    pub(crate) fn measure<T: Transport, W: Ways<T>>(
        &mut self,
        halves: Halves<T>,
        job: &Job,
    ) -> Result<(Halves<T>, Outcome), Ended> {
        let (halves, outcome) = W::perform(&job.work, halves, self.begin(job))?;
        Ok((halves, outcome?))
    }

    /// Waits for the permission to begin; what a process of a pattern tells the runner meanwhile.
    pub(crate) fn watch(&mut self) -> Watch<'_> {
        self.go();
        Watch { out: &mut self.out, counters: self.counters.as_mut(), before: None, during: None }
    }

    /// The same for a workload whose listener stays: the lifeline goes on guarding its directory, so the kernel must not
    /// end this process before that was removed.
    pub(crate) fn watch_with_names(&mut self) -> Watch<'_> {
        match self.request() {
            Request::Go => {
                Watch { out: &mut self.out, counters: self.counters.as_mut(), before: None, during: None }
            }
            Request::Job(_) | Request::Peers(_) => self.confused("something else than Go"),
        }
    }

    /// Waits for the permission to begin.
    fn begin<'a>(&'a mut self, job: &'a Job) -> Side<'a> {
        Side { job, watch: self.watch() }
    }
}

/// One side of a workload.
struct Side<'a> {
    job: &'a Job,
    watch: Watch<'a>,
}

impl Task for Side<'_> {
    type Output = Result<Outcome, Ended>;

    fn over<E: Endpoint>(self, end: &mut E, executor: &mut impl Executor) -> Self::Output {
        let Side { job, mut watch } = self;
        let work = &job.work;
        let measured = match (job.role, work.mode) {
            (Role::Client, Mode::Rtt) => executor.run(rtt::client(end, work, &mut watch)).map(rtt_outcome),
            (Role::Client, Mode::Stream) => {
                executor.run(stream::client(end, work, &mut watch)).map(sent_outcome)
            }
            (Role::Client, Mode::OneWay) => {
                executor.run(oneway::client(end, work, &mut watch)).map(sent_outcome)
            }
            (Role::Client, Mode::Load) => executor.run(load::client(end, work, &mut watch)).map(sent_outcome),
            (Role::Server | Role::Hog(_) | Role::Node(_), _) | (_, Mode::Pattern(_) | Mode::Scene(_)) => {
                Serve { work, observer: &mut watch }.over(end, executor)
            }
        };
        let during = watch.during;
        measured
            .map(|outcome| Outcome { cpu: during, ..outcome })
            .map_err(|broken| broken_trial(job.role, &broken))
    }
}

/// Lets the kernel end this process together with the runner, even if it is stopped or never gets the CPU. The runner
/// starts workers from its main thread, whose end this means.
fn end_with_the_runner() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// The server's side of any workload.
pub(crate) struct Serve<'a, O> {
    pub(crate) work: &'a Work,
    pub(crate) observer: &'a mut O,
}

impl<O: Observer> Task for Serve<'_, O> {
    type Output = Result<Outcome, Broken>;

    fn over<E: Endpoint>(self, end: &mut E, executor: &mut impl Executor) -> Self::Output {
        let Serve { work, observer } = self;
        match work.mode {
            Mode::Rtt => executor.run(rtt::server(end, work, observer)).map(|()| Outcome::default()),
            Mode::Stream => executor.run(stream::server(end, work, observer)).map(delivered_outcome),
            Mode::OneWay | Mode::Load => {
                executor.run(arrivals::server(end, work, observer)).map(arrived_outcome)
            }
            Mode::Pattern(_) | Mode::Scene(_) => Err(Broken::NoPair),
        }
    }
}

fn rtt_outcome(trips: rtt::RoundTrips) -> Outcome {
    let (records, records_lost) = trips.tape.records.unwrap_or_default().into_rows();
    Outcome {
        timeline: timeline(trips.tape.windows),
        records,
        records_lost,
        messages: trips.measured.messages,
        first_send_ns: Some(trips.measured.start_ns),
        last_recv_ns: Some(trips.measured.end_ns),
        warmup_steady: trips.warmup.steady,
        warmup_messages: trips.warmup.span.messages,
        warmup_ns: trips.warmup.span.end_ns - trips.warmup.span.start_ns,
        first_message_ns: Some(trips.first_message_ns),
        latency: Some(histogram(&trips.tape.latency)),
        ..Outcome::default()
    }
}

fn sent_outcome(sent: Sent) -> Outcome {
    Outcome {
        first_send_ns: Some(sent.measured.start_ns),
        // The answer to the last message; what the receiver says is better where both read the same clock.
        last_recv_ns: Some(sent.measured.end_ns),
        warmup_steady: sent.warmup.steady,
        warmup_messages: sent.warmup.span.messages,
        warmup_ns: sent.warmup.span.end_ns - sent.warmup.span.start_ns,
        kept: sent.achieved.map(|achieved| match achieved.taken_ns {
            0 => 1.0,
            taken => (achieved.planned_ns as f64 / taken as f64).min(1.0),
        }),
        ..Outcome::default()
    }
}

fn arrived_outcome(arrived: arrivals::Arrived) -> Outcome {
    let (records, records_lost) = arrived.tape.records.unwrap_or_default().into_rows();
    Outcome {
        timeline: timeline(arrived.tape.windows),
        records,
        records_lost,
        messages: arrived.messages,
        last_recv_ns: Some(arrived.last_recv_ns),
        first_message_ns: Some(arrived.first_message_ns),
        latency: Some(histogram(&arrived.tape.latency)),
        service: arrived.tape.service.as_ref().map(histogram),
        ..Outcome::default()
    }
}

fn timeline(windows: Option<Windows>) -> Vec<Window> {
    let intervals = windows.map(Windows::into_intervals).unwrap_or_default();
    let window =
        |(start_ns, elapsed_ns, recorder)| Window { start_ns, elapsed_ns, latency: histogram(&recorder) };
    intervals.into_iter().map(window).collect()
}

fn delivered_outcome(delivered: stream::Delivered) -> Outcome {
    Outcome { messages: delivered.messages, last_recv_ns: Some(delivered.last_recv_ns), ..Outcome::default() }
}

pub(crate) fn histogram(recorder: &Recorder) -> Histogram {
    Histogram { bytes: recorder.to_bytes(), saturated: recorder.saturated() }
}

pub(crate) fn broken_trial(role: Role, broken: &Broken) -> Ended {
    let what = match broken {
        Broken::Message(flaw) => format!("the {} got a wrong message: {flaw}", role.name()),
        other => format!("the {} lost its connection: {other}", role.name()),
    };
    Ended { failure: Failure::failed(what), blames_the_peer: broken.blames_the_peer() }
}

/// Takes the resource counters at the ends of the measured part.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    out: &'a mut File,
    counters: Option<&'a mut Counters>,
    before: Option<CpuUse>,
    pub(crate) during: Option<CpuUse>,
}

#[cfg(test)]
impl<'a> Watch<'a> {
    /// One that tells it to a file.
    pub(crate) fn to(out: &'a mut File) -> Watch<'a> {
        Watch { out, counters: None, before: None, during: None }
    }
}

impl Observer for Watch<'_> {
    fn progress(&mut self, messages: u64) {
        // See `Session::reply`.
        let _ = protocol::write(self.out, &Reply::Progress { messages });
    }

    fn boundary(&mut self, over: bool) {
        // Within the readings of the usage, which are system calls too.
        if let (Some(counters), true) = (&mut self.counters, over) {
            counters.boundary(over);
        }
        let now = os::cpu_use().ok();
        if over {
            self.during = now.zip(self.before).map(|(after, before)| os::difference(after, before));
        } else {
            self.before = now;
        }
        if let (Some(counters), false) = (&mut self.counters, over) {
            counters.boundary(over);
        }
    }
}

/// The thread that reads the runner's requests and ends the process when the runner is gone.
struct Lifeline {
    sender: mpsc::Sender<Request>,
    scratch: Arc<Mutex<Option<PathBuf>>>,
}

impl Lifeline {
    fn watch(self) {
        let mut stdin = io::stdin().lock();
        loop {
            match protocol::read(&mut stdin) {
                Ok(Some(request)) => {
                    let _ = self.sender.send(request);
                }
                Ok(None) => self.end(0),
                Err(error) => {
                    eprintln!("worker: the runner broke the control protocol: {error}");
                    self.end(1)
                }
            }
        }
    }

    /// Ends the process, whatever its main thread is doing.
    fn end(&self, code: i32) -> ! {
        let scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = scratch.as_deref() {
            scratch::remove(path);
        }
        // With the lock held, so that the main thread makes nothing any more.
        std::process::exit(code)
    }
}

/// Samples behind each cost; a sample is the mean of many operations.
const COST_SAMPLES: usize = 101;

/// Bytes copied by [`Alone::Memcpy`]: in the second-level cache of any machine we know, beyond the first.
const MEMCPY_BYTES: usize = 64 << 10;

/// Nanoseconds per operation, for memcpy bytes per second; the median of the samples.
fn measure_alone(alone: Alone) -> f64 {
    match alone {
        Alone::Clock => middle((0..COST_SAMPLES).map(|_| clock::reading_ns()).collect()),
        Alone::Syscall => middle(cost::syscall(COST_SAMPLES)),
        Alone::Memcpy => MEMCPY_BYTES as f64 * 1e9 / middle(cost::memcpy(MEMCPY_BYTES, COST_SAMPLES)),
    }
}

fn middle(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
