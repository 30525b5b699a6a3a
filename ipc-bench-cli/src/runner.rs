//! Makes the trials of a plan, each with processes of its own.

mod again;
mod crowd;
mod events;
mod explain;
mod held;
mod inside;
mod outcomes;
mod pattern;
mod yardsticks;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ipc_results::estimate::Estimate;
use ipc_results::run::{Cell, CellStatus, Limit, Method, Side, Trial, throughput_is_primary};
use ipc_results::statistics::median;
use ipc_results::summarise_with;
use serde_json::Value;

use crate::background::Background;
use crate::counters;
use crate::crew::{Crew, Trouble};
use crate::error::Failure;
use crate::hog::Hog;
use crate::hooks;
use crate::lookout::Lookout;
use crate::matrix::PlannedCell;
use crate::plan::{Plan, Remote, Step, YARDSTICK_LENGTH, YARDSTICK_WARMUP};
use crate::protocol::{Job, Link, Outcome, PROTOCOL, Reply, Request, Role};
use crate::records::{CAPACITY, Files, Origin};
use crate::scene::{Kind, Scene};
use crate::scratch::Scratch;
use crate::signals::Signals;
use crate::steal;
use crate::throttle;
use crate::workload::{Access, Io, Mode, OpenLoop, Work};
pub(crate) use explain::explain;
use explain::{other_protocol, out_of_turn};
use outcomes::{Outcomes, recorder};

/// How long a worker may take to start, to listen or to connect.
pub(crate) const SETUP_PATIENCE: Duration = Duration::from_secs(10);

/// How long nobody may say anything while measuring; a worker that gets on says so every second.
const MEASURING_PATIENCE: Duration = Duration::from_secs(10);

/// Between two messages on purpose: nobody says anything in it.
fn longest_pause(work: &Work) -> Duration {
    // A Poisson gap is longer than 40 times its mean once in e^40 messages.
    let gap = work.open_loop.map_or(Duration::ZERO, |open| open.mean_gap().saturating_mul(40));
    work.pace.unwrap_or_default().saturating_add(gap)
}

/// Everything that was measured so far.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) cells: Vec<Cell>,
    /// Values of each yardstick of the plan.
    pub(crate) yardsticks: Vec<Vec<f64>>,
    /// Messages per second of each maximum of the plan.
    pub(crate) ceilings: Vec<Option<f64>>,
    /// Servers that were there already, each once.
    pub(crate) servers: Vec<Side>,
    /// The first failure and the cell it happened in.
    pub(crate) failure: Option<(Failure, String)>,
    /// Yardsticks that could not be measured, each once: its index and why.
    pub(crate) broken_yardsticks: BTreeMap<usize, String>,
    /// The signal that ended the run.
    pub(crate) interrupted: Option<i32>,
}

impl Measured {
    /// Median and interval of a yardstick; `None` before its first measurement.
    pub(crate) fn yardstick(&self, index: usize) -> Option<Estimate> {
        median(&self.yardsticks[index])
    }
}

/// Works through the steps of a plan.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    plan: &'a Plan,
    signals: &'a Signals,
    files: Files,
    measured: Measured,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(plan: &'a Plan, signals: &'a Signals) -> Runner<'a> {
        let cells = plan.cells.iter().map(|planned| empty_cell(planned, plan)).collect();
        let yardsticks = vec![Vec::new(); plan.yardsticks.len()];
        let broken_yardsticks = BTreeMap::new();
        let ceilings = vec![None; plan.ceilings.len()];
        let measured = Measured {
            cells,
            yardsticks,
            ceilings,
            servers: Vec::new(),
            failure: None,
            broken_yardsticks,
            interrupted: None,
        };
        Runner { plan, signals, files: Files::default(), measured }
    }

    /// Writes one row per message to these files.
    pub(crate) fn recording(self, files: Files) -> Runner<'a> {
        Runner { files, ..self }
    }

    /// Makes every step, calling `between` before each and never during one. A failed trial fails its cell, whose other
    /// trials are then left out; the others go on.
    pub(crate) fn run(mut self, mut between: impl FnMut(usize, Step, &Measured)) -> Measured {
        for (number, step) in self.plan.steps.iter().enumerate() {
            between(number, *step, &self.measured);
            let done = match *step {
                Step::Yardstick(index) if self.is_wanted(index) => self.yardstick(index),
                Step::Ceiling(index) => self.ceiling(index),
                Step::Trial { cell, index } if !self.is_done(cell) => self.trial(cell, index, number as u32),
                _ => continue,
            };
            if let Err(Trouble::Interrupted(signal)) = done {
                self.measured.interrupted = Some(signal);
                break;
            }
            if self.plan.fail_fast && self.measured.failure.is_some() {
                break;
            }
        }
        if let Err(Trouble::Interrupted(signal)) = self.retry() {
            self.measured.interrupted = Some(signal);
        }
        for cell in &mut self.measured.cells {
            // Our own histograms decode.
            cell.summary = summarise_with(cell, &self.plan.percentiles).ok().flatten();
        }
        self.measured
    }

    /// Whether a cell needs no more trials: it failed, or its interval is narrow enough.
    fn is_done(&self, cell: usize) -> bool {
        let cell = &self.measured.cells[cell];
        let Some(enough) = self.plan.enough.filter(|enough| cell.trials.len() >= enough.trials as usize)
        else {
            return cell.status == CellStatus::Failed;
        };
        // Our own histograms decode.
        let summary = summarise_with(cell, &[]).ok().flatten();
        let primary = summary.and_then(|summary| {
            if throughput_is_primary(&cell.mode) { summary.msgs_per_s } else { summary.latency.p50_ns }
        });
        let width = primary.and_then(|estimate| estimate.relative_error());
        cell.status == CellStatus::Failed || width.is_some_and(|width| width <= enough.interval)
    }

    /// One trial of a cell.
    fn trial(&mut self, cell: usize, index: u32, order: u32) -> Result<(), Trouble> {
        let planned = &self.plan.cells[cell];
        let prepared = self.prepare(planned, index);
        let steal = steal::Clock::start(&self.cpus_in_use());
        let throttled = throttle::count(&self.cpus_in_use());
        let limit = planned.limit.and_then(|limit| {
            let value = *self.measured.yardsticks[limit].last()?;
            Some(Limit { name: self.plan.yardsticks[limit].name(), value })
        });
        let id = planned.point.to_string();
        let work = Work { hold_ns: self.hold_ns(cell), ..self.work(planned, index) };
        match prepared.and_then(|()| self.measure_work(planned, work)) {
            Err(Trouble::Interrupted(signal)) => Err(Trouble::Interrupted(signal)),
            Err(trouble) => {
                // By now the others are ended and reaped, and the names of the trial are gone.
                let cleanup = match &trouble {
                    Trouble::Died { seen, .. } => {
                        Some(("cleanup_ns".to_owned(), seen.elapsed().as_nanos() as f64))
                    }
                    _ => None,
                };
                let failure = explain(&id, trouble);
                let cell = &mut self.measured.cells[cell];
                cell.status = CellStatus::Failed;
                cell.reason = Some(failure.what.clone());
                cell.trials.push(Trial {
                    index,
                    order,
                    error: Some(failure.what.clone()),
                    measures: cleanup.into_iter().collect(),
                    ..Trial::default()
                });
                self.measured.failure.get_or_insert((failure, id));
                Ok(())
            }
            Ok(mut outcomes) => {
                let steal_ns = steal.and_then(steal::Clock::stop);
                let slowed = throttle::count(&self.cpus_in_use()) > throttled;
                let rows = std::mem::take(&mut outcomes.client.records);
                let (transport, size_bytes) = (&*planned.point.transport, planned.point.size);
                if let Err(failure) =
                    self.files.append(&rows, Origin { transport, size_bytes, cell: &id, trial: index })
                {
                    self.measured.failure.get_or_insert((failure, id));
                }
                for server in std::mem::take(&mut outcomes.servers) {
                    if !self.measured.servers.contains(&server) {
                        self.measured.servers.push(server);
                    }
                }
                let cell = &mut self.measured.cells[cell];
                outcomes.describe(cell);
                if let Some(ceiling) = planned.ceiling.and_then(|index| self.measured.ceilings[index]) {
                    cell.params.insert("maximum_msgs_per_s".into(), Value::from(ceiling.round()));
                }
                let mut trial = outcomes.into_trial(&work, limit, steal_ns);
                if slowed {
                    trial.flags.push("throttled".to_owned());
                }
                cell.trials.push(Trial { index, order, ..trial });
                Ok(())
            }
        }
    }

    /// What the user wants done before each trial.
    fn prepare(&self, planned: &PlannedCell, index: u32) -> Result<(), Trouble> {
        let Some(command) = &self.plan.hooks.prepare else { return Ok(()) };
        let cell = [("IPC_BENCH_CELL", planned.point.to_string()), ("IPC_BENCH_TRIAL", index.to_string())];
        hooks::run("prepare", command, &cell, Some(self.signals))
    }

    fn measure_work(&self, planned: &PlannedCell, work: Work) -> Result<Outcomes, Trouble> {
        if let Some(crowd) = planned.crowd {
            return self.gather(planned, crowd, work);
        }
        if planned.one_process {
            return self.inside(planned, work);
        }
        if let Some(remote) = &self.plan.remote {
            return self.visit(planned, work, remote);
        }
        if let Some(Scene::Events { rate, directory }) = &planned.scene {
            return self.log_events(planned, directory, *rate, work);
        }
        if let Mode::Pattern(pattern) = planned.point.mode {
            return self.perform(planned, pattern, work);
        }
        // Before the crew, so that it is dropped after it: a server that lives on could make the directory again.
        let scratch = Scratch::choose()?;
        let name = planned.point.transport.clone();
        let mut crew = Crew::of(planned.arm.as_ref(), self.signals);
        let id = planned.point.to_string();
        let hogs = self.hogs(planned);
        crew.start_hogs(hogs.len(), &id)?;
        crew.start(Role::Server, &id, None)?;
        crew.start(Role::Client, &id, None)?;
        let own = address(planned, scratch.path(), "s");
        let link = |_: Role, address: Option<&str>| {
            let address = address.map_or_else(|| own.clone(), |given| with_options(given, planned));
            match planned.scene.clone() {
                Some(scene) => Link::Scene { name: name.clone(), address, scene },
                None => Link::Transport { name: name.clone(), address },
            }
        };
        let outcomes = self.converse(&mut crew, link, work, Some(&scratch), &hogs)?;
        crew.dismiss();
        outcomes.check_pins(self.plan)?;
        if planned.scene.as_ref().is_none_or(Scene::counts_messages) {
            outcomes.check_count(&work)?;
        }
        Ok(outcomes)
    }

    fn work(&self, planned: &PlannedCell, index: u32) -> Work {
        let ceiling = planned.ceiling.and_then(|index| self.measured.ceilings[index]);
        let open_loop = planned.load.and_then(|(rate, arrivals)| {
            Some(OpenLoop { per_s: rate.per_s(ceiling).filter(|rate| *rate > 0.0)?, arrivals })
        });
        Work {
            mode: planned.point.mode,
            io: planned.io,
            size: planned.point.size,
            length: self.plan.length,
            warmup: self.plan.warmup,
            seed: self.plan.seed.wrapping_add(u64::from(index)),
            pace: planned.pace,
            open_loop,
            shares_cpu: self.plan.alone,
            batch: planned.batch,
            access: planned.access,
            include_first: self.plan.include_first,
            records: if self.files.is_wanted() { CAPACITY } else { 0 },
            interval: self.plan.interval,
            counter: self.plan.counter,
            hold_ns: 0,
            priority: self.plan.priority,
            locked: self.plan.locked,
            counts: self.plan.counts,
        }
    }

    /// A trial with a server that is there already.
    fn visit(&self, planned: &PlannedCell, work: Work, remote: &Remote) -> Result<Outcomes, Trouble> {
        let mut crew = Crew::new(self.signals);
        let (id, hogs) = (planned.point.to_string(), self.hogs(planned));
        crew.start_hogs(hogs.len(), &id)?;
        crew.start(Role::Client, &id, None)?;
        let link = |_: Role, _: Option<&str>| Link::Remote {
            name: planned.point.transport.clone(),
            address: with_options(&remote.address, planned),
            patience: remote.patience,
            echo: remote.echo,
        };
        let mut outcomes = self.converse(&mut crew, link, work, None, &hogs)?;
        crew.dismiss();
        outcomes.server = outcomes.client.peer.take().map(|peer| *peer).unwrap_or_default();
        outcomes.server_ready.cpus = std::mem::take(&mut outcomes.client_ready.far_cpus);
        outcomes.servers.extend(outcomes.client_ready.server.take());
        counters::none(
            &mut outcomes.client.counted,
            "the server was not started by this run, and counts nothing",
        );
        outcomes.check_count(&work)?;
        Ok(outcomes)
    }

    /// The conversation of [`protocol`](crate::protocol) with one or two workers.
    fn converse(
        &self,
        crew: &mut Crew<'_>,
        link: impl Fn(Role, Option<&str>) -> Link,
        work: Work,
        scratch: Option<&Scratch>,
        hogs: &[(Hog, Option<u32>)],
    ) -> Result<Outcomes, Trouble> {
        let pins = self.plan.pins;
        let keeps_names = matches!(work.mode, Mode::Scene(kind) if kind.keeps_names());
        let job = |role: Role, address: Option<&str>| {
            let cpu = if role == Role::Client { pins.client } else { pins.server };
            // Only one side makes and guards it.
            let scratch = scratch.filter(|_| role == Role::Server).map(|scratch| scratch.path().to_owned());
            Request::Job(Box::new(Job { role, link: link(role, address), work, cpu, scratch }))
        };
        let roles = greet(crew, work, hogs)?;
        // A client of a transport needs to know where the server listens; an inherited end knows its peer.
        let listens = scratch.is_some();
        let mut address = None;
        if listens {
            crew.tell(Role::Server, &job(Role::Server, None))?;
            match crew.next(SETUP_PATIENCE)? {
                (Role::Server, Reply::Listening { address: at }) => address = Some(at),
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        for role in roles.iter().filter(|role| !(listens && **role == Role::Server)) {
            crew.tell(*role, &job(*role, address.as_deref()))?;
        }
        let mut outcomes = Outcomes::default();
        for _ in &roles {
            match crew.next(self.patience())? {
                (Role::Client, Reply::Ready(ready)) => outcomes.client_ready = ready,
                (Role::Server, Reply::Ready(ready)) => outcomes.server_ready = ready,
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        // Connected: no name is needed any more, and none is left should this process be killed from here on.
        if let Some(scratch) = scratch.filter(|_| !keeps_names) {
            scratch.vacate();
        }
        let lookout = self.lookout(crew, &work);
        for role in &roles {
            crew.tell(*role, &Request::Go)?;
        }
        let mut missing = roles.len();
        while missing > 0 {
            match crew.next(MEASURING_PATIENCE + longest_pause(&work))? {
                (_, Reply::Progress { .. }) => {}
                (_, Reply::Records(rows)) => outcomes.client.records.extend(rows),
                (role, Reply::Done(outcome)) => {
                    missing -= 1;
                    match role {
                        Role::Client => {
                            let records = std::mem::take(&mut outcomes.client.records);
                            outcomes.client = Outcome { records, ..*outcome };
                        }
                        Role::Server => outcomes.server = *outcome,
                        Role::Hog(_) | Role::Node(_) => {}
                    }
                }
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        outcomes.looks = lookout.map(Lookout::end).unwrap_or_default();
        Ok(outcomes)
    }

    /// Looks at what happens to a trial that is told in intervals, if its sides are ours and leave a CPU to look from.
    fn lookout(&self, crew: &Crew<'_>, work: &Work) -> Option<Lookout> {
        let interval = work.interval.filter(|_| self.plan.remote.is_none())?;
        Lookout::start(&self.plan.topology, &self.cpus_in_use(), crew.measuring(), interval)
    }

    /// How long a connection may take.
    fn patience(&self) -> Duration {
        SETUP_PATIENCE + self.plan.remote.as_ref().map_or(Duration::ZERO, |remote| remote.patience)
    }

    /// What runs beside a cell's trials, each with its CPU.
    fn hogs(&self, planned: &PlannedCell) -> Vec<(Hog, Option<u32>)> {
        let awake = self.awake().filter(|_| planned.sleeps());
        awake.chain(planned.background.into_iter().flat_map(Background::hogs)).collect()
    }

    /// What keeps the CPUs of a sleeping pair from halting.
    fn awake(&self) -> impl Iterator<Item = (Hog, Option<u32>)> {
        self.plan.awake.iter().map(|cpu| (Hog::Awake, Some(*cpu)))
    }

    fn cpus_in_use(&self) -> Vec<u32> {
        let pins = self.plan.pins;
        let pinned: Vec<u32> = pins.client.into_iter().chain(pins.server).collect();
        if pinned.is_empty() { self.plan.topology.allowed.clone() } else { pinned }
    }
}

/// Hears that everybody is there and of our version, and sets the hogs to work; who is left to be told something.
fn greet(crew: &mut Crew<'_>, work: Work, hogs: &[(Hog, Option<u32>)]) -> Result<Vec<Role>, Trouble> {
    let mut roles = crew.roles();
    for _ in &roles {
        match crew.next(SETUP_PATIENCE)? {
            (_, Reply::Hello { protocol: PROTOCOL, .. }) => {}
            (_, Reply::Hello { protocol, version }) => return Err(other_protocol(protocol, &version)),
            (role, reply) => return Err(out_of_turn(role, &reply)),
        }
    }
    roles.retain(|role| !matches!(role, Role::Hog(_)));
    for (number, (hog, cpu)) in (0..).zip(hogs) {
        let role = Role::Hog(number);
        let job = Job { role, link: Link::Hog(*hog), work, cpu: *cpu, scratch: None };
        crew.tell(role, &Request::Job(Box::new(job)))?;
    }
    for _ in hogs {
        match crew.next(SETUP_PATIENCE)? {
            (Role::Hog(_), Reply::Ready(_)) => {}
            (role, reply) => return Err(out_of_turn(role, &reply)),
        }
    }
    Ok(roles)
}

/// The work of a yardstick, but for its size.
pub(crate) const STANDARD_WORK: Work = Work {
    mode: Mode::Rtt,
    io: Io::Sync,
    size: 8,
    length: YARDSTICK_LENGTH,
    warmup: YARDSTICK_WARMUP,
    seed: 0,
    pace: None,
    open_loop: None,
    shares_cpu: false,
    batch: 1,
    access: Access::Copy,
    include_first: false,
    records: 0,
    interval: None,
    counter: None,
    hold_ns: 0,
    priority: 0,
    locked: false,
    counts: false,
};

/// A cell before its first trial.
fn empty_cell(planned: &PlannedCell, plan: &Plan) -> Cell {
    let point = &planned.point;
    let mut cell = Cell::new(point.to_string(), &point.transport, point.mode.name(), point.size as u64);
    cell.wait.clone_from(&planned.wait);
    cell.io = planned.io.name().to_owned();
    cell.clients = planned.connections() as u32;
    cell.one_process = planned.one_process;
    cell.background = planned.background.map(|background| background.to_string());
    if planned.sleeps() {
        cell.kept_awake.clone_from(&plan.awake);
    }
    for (key, value) in planned.options.iter().filter(|(key, _)| *key != "wait") {
        let value = value.parse::<u64>().map_or_else(|_| Value::from(value.clone()), Value::from);
        cell.params.insert(format!("{}.{key}", point.transport), value);
    }
    cell.rate = planned.load.map(|(rate, _)| rate.label());
    let (t0, t1) = match point.mode {
        Mode::Rtt if planned.pace.is_some() => ("before_send", "after_recv"),
        Mode::OneWay => ("before_send", "after_recv"),
        Mode::Load => ("intended", "after_recv"),
        Mode::Rtt => ("previous_t1", "after_recv"),
        Mode::Stream => ("first_send", "last_recv"),
        Mode::Scene(Kind::Idle | Kind::Leak | Kind::Codec) => ("previous_t1", "after_recv"),
        Mode::Pattern(_) | Mode::Scene(_) => ("stamp_of_sender", "after_recv"),
    };
    let clock = if plan.counter.is_some() { "tsc" } else { "monotonic" };
    cell.method = Method { clock: clock.into(), t0: t0.into(), t1: t1.into() };
    match &planned.impossible {
        Some(impossible) => cell.skipped(format!("{}: {}", impossible.what, impossible.why)),
        None => cell,
    }
}

/// Where a server of a trial listens.
fn address(planned: &PlannedCell, directory: &Path, file: &str) -> String {
    let name = &planned.point.transport;
    match name.as_str() {
        "tcp" => with_options("tcp:127.0.0.1:0", planned),
        _ => with_options(&format!("{name}:{}", directory.join(file).display()), planned),
    }
}

fn with_options(address: &str, planned: &PlannedCell) -> String {
    let (bare, given) = address.split_once('?').unwrap_or((address, ""));
    // What the address says itself wins: it may be a server's, and that knows.
    let has = |key: &str| given.split('&').any(|option| option.split('=').next() == Some(key));
    let ours =
        planned.options.iter().filter(|(key, _)| !has(key)).map(|(key, value)| format!("{key}={value}"));
    let query: Vec<String> =
        given.split('&').filter(|option| !option.is_empty()).map(str::to_owned).chain(ours).collect();
    if query.is_empty() { bare.to_owned() } else { format!("{bare}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Arrivals, OpenLoop};

    #[test]
    fn a_pace_or_a_rate_slower_than_our_patience_is_no_hang() {
        let paced = Work { pace: Some(Duration::from_secs(11)), ..STANDARD_WORK };
        assert_eq!(longest_pause(&paced), Duration::from_secs(11));
        let open = OpenLoop { per_s: 0.05, arrivals: Arrivals::Constant };
        assert!(longest_pause(&Work { open_loop: Some(open), ..STANDARD_WORK }) >= Duration::from_secs(20));
        let flood = OpenLoop { per_s: 0.0, ..open };
        assert_eq!(longest_pause(&Work { open_loop: Some(flood), ..STANDARD_WORK }), Duration::ZERO);
    }
}
