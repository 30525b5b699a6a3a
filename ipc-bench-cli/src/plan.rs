//! From settings to trials. Every refusal and every skip happens here, with its reason, before anything is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc_results::Environment;

use crate::cell::Point;
use crate::error::Failure;
use crate::lists;
use crate::mechanism::Mechanism;
use crate::order::Order;
use crate::pin::{Pin, Pins, Topology};
use crate::settings::{Origin, Settings, unknown};
use crate::workload::{Length, Mode};
use crate::yardstick::Yardstick;

/// What a run will do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) cells: Vec<PlannedCell>,
    pub(crate) yardsticks: Vec<Yardstick>,
    pub(crate) steps: Vec<Step>,
    pub(crate) trials: u32,
    pub(crate) length: Length,
    pub(crate) warmup: Duration,
    pub(crate) pins: Pins,
    pub(crate) order: Order,
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
}

/// One cell and how to measure it.
#[derive(Debug)]
pub(crate) struct PlannedCell {
    pub(crate) point: Point,
    /// In force, whether it is a dimension of the cell or not; empty when the transport has no such option.
    pub(crate) wait: String,
    /// Options of its address.
    pub(crate) options: BTreeMap<String, String>,
    /// Index of the limit it is held against.
    pub(crate) limit: Option<usize>,
    /// Why it cannot be measured here.
    pub(crate) impossible: Option<Impossible>,
}

/// Why a cell cannot be measured, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Impossible {
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) fix: String,
}

/// One thing the runner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Yardstick(usize),
    Trial { cell: usize, index: u32 },
}

/// What the machine and the user have to say beside the settings.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) mechanisms: &'a [Mechanism],
    pub(crate) environment: &'a Environment,
    pub(crate) seed: Option<u64>,
}

/// Transports with which `all` begins; the caller's own ones follow.
const NOT_IN_ALL: [&str; 2] = ["uds-seqpacket", "inproc"];

/// Transports that wait in the kernel unless told otherwise.
const PARKED: [&str; 5] = ["uds", "uds-seqpacket", "tcp", "pipe", "mq"];

/// Measured part and warm-up of a yardstick.
pub(crate) const YARDSTICK_LENGTH: Length = Length::Time(Duration::from_millis(80));
pub(crate) const YARDSTICK_WARMUP: Duration = Duration::from_millis(20);

/// What a trial costs beside its measured part and its warm-up: two processes started, connected and ended.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(15);

impl Plan {
    /// Decides what will be done.
    ///
    /// # Errors
    /// A setting that does not parse, a CPU that cannot be used, or no cell that can be measured here.
    pub(crate) fn new(settings: Settings, context: &Context<'_>) -> Result<Plan, Failure> {
        let transports = transports(&settings, context.mechanisms)?;
        let sizes = settings.parse("size", lists::sizes)?.unwrap_or_default();
        let modes = settings.parse("mode", modes)?.unwrap_or_default();
        let waits = settings.parse("wait", waits)?.unwrap_or_default();
        let trials = settings.parse("trials", trials)?.unwrap_or(1);
        let order: Order = settings.parse("order", str::parse)?.unwrap_or(Order::Interleave);
        let pin: Pin = settings.parse("pin", str::parse)?.unwrap_or(Pin::Auto);
        let length = match settings.parse("messages", lists::count)? {
            Some(messages) => Length::Messages(messages),
            None => Length::Time(settings.parse("duration", lists::duration)?.unwrap_or_default()),
        };
        let warmup = settings.parse("warmup", |text| warmup(text, length))?.unwrap_or_default();
        let topology = Topology::read(&context.environment.cpu)
            .map_err(|error| Failure::failed("the CPUs of this process cannot be read").why(error))?;
        let pins = topology.resolve(pin)?;
        let alone = pins.share_a_cpu(&topology.allowed);

        let mut cells = Vec::new();
        for mode in &modes {
            for size in &sizes {
                for transport in &transports {
                    for wait in waits_of(transport, &waits) {
                        cells.push(plan_cell(transport, *mode, *size, &wait, alone));
                    }
                }
            }
        }
        if cells.iter().all(|cell| cell.impossible.is_some()) {
            return Err(nothing_to_measure(&cells));
        }
        let mut yardsticks: Vec<Yardstick> = Yardstick::standard();
        yardsticks.retain(|yardstick| !(alone && yardstick.spins()));
        for cell in cells.iter_mut().filter(|cell| cell.impossible.is_none() && cell.point.mode == Mode::Rtt)
        {
            let behind = Yardstick::behind(&cell.point.transport, &cell.wait, cell.point.size);
            cell.limit = behind.filter(|yardstick| !(alone && yardstick.spins())).map(|yardstick| {
                yardsticks.iter().position(|known| *known == yardstick).unwrap_or_else(|| {
                    yardsticks.push(yardstick);
                    yardsticks.len() - 1
                })
            });
        }
        let seed = context.seed.unwrap_or_else(|| fastrand::u64(0..1 << 32));
        let steps = steps(&cells, yardsticks.len(), order, trials, seed);
        Ok(Plan { settings, cells, yardsticks, steps, trials, length, warmup, pins, order, seed, topology })
    }

    /// Trials of cells, without those of yardsticks.
    pub(crate) fn trial_count(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Trial { .. })).count()
    }

    /// About how long the steps take; `None` when the length is a number of messages.
    pub(crate) fn estimate(&self) -> Option<Duration> {
        self.steps.iter().map(|step| self.step_estimate(*step)).sum()
    }

    /// About how long one step takes.
    pub(crate) fn step_estimate(&self, step: Step) -> Option<Duration> {
        let (length, warmup) = match step {
            Step::Yardstick(_) => (YARDSTICK_LENGTH, YARDSTICK_WARMUP),
            Step::Trial { .. } => (self.length, self.warmup),
        };
        match length {
            Length::Time(time) => Some(time + warmup + TRIAL_OVERHEAD),
            Length::Messages(_) => None,
        }
    }
}

fn transports<'a>(settings: &Settings, mechanisms: &'a [Mechanism]) -> Result<Vec<&'a Mechanism>, Failure> {
    let (text, origin) = settings.text("transport").unwrap_or(("all", &Origin::Default));
    let find = |name: &str| {
        let name = if name == "pmq" { "mq" } else { name };
        mechanisms.iter().find(|mechanism| mechanism.name == name).ok_or_else(|| {
            unknown("transport", name, mechanisms.iter().map(|mechanism| mechanism.name), origin)
        })
    };
    let mut chosen: Vec<&Mechanism> = Vec::new();
    let mut add = |mechanism: &'a Mechanism| {
        if chosen.iter().all(|known| known.name != mechanism.name) {
            chosen.push(mechanism);
        }
    };
    let (left_out, named): (Vec<&str>, Vec<&str>) =
        text.split(',').map(str::trim).partition(|name| name.starts_with('-'));
    for name in &named {
        if *name == "all" {
            mechanisms.iter().filter(|mechanism| !NOT_IN_ALL.contains(&mechanism.name)).for_each(&mut add);
        } else {
            add(find(name)?);
        }
    }
    for name in left_out {
        let mechanism = find(name.trim_start_matches('-'))?;
        chosen.retain(|known| known.name != mechanism.name);
    }
    if chosen.is_empty() {
        return Err(Failure::usage(format!("-t {text} leaves no transport"))
            .why("a name after `-` is taken out of those before it")
            .fix("as in -t all,-tcp"));
    }
    Ok(chosen)
}

fn modes(text: &str) -> Result<Vec<Mode>, String> {
    let mode = |name: &str| {
        let found = Mode::ALL.into_iter().find(|mode| mode.name() == name.trim());
        found.ok_or_else(|| {
            let known = Mode::ALL.map(Mode::name);
            format!("{name:?} is not a mode; there are {}", known.join(", "))
        })
    };
    unique(text, mode)
}

/// Waiting policies; empty means each transport's own default.
fn waits(text: &str) -> Result<Vec<String>, String> {
    if text == "default" {
        return Ok(Vec::new());
    }
    unique(text, |name| {
        let policy: ipc_transports::WaitPolicy = name.trim().parse()?;
        Ok(policy.name().to_owned())
    })
}

fn trials(text: &str) -> Result<u32, String> {
    lists::count(text)?.try_into().map_err(|_| format!("{text} trials are more than a person waits for"))
}

fn warmup(text: &str, length: Length) -> Result<Duration, String> {
    match (text, length) {
        ("auto", Length::Time(time)) => {
            Ok((time / 4).clamp(Duration::from_millis(20), Duration::from_millis(100)))
        }
        ("auto", Length::Messages(_)) => Ok(Duration::from_millis(50)),
        _ => lists::duration(text),
    }
}

/// A comma-separated list of distinct values.
fn unique<T: PartialEq>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    for part in text.split(',') {
        let value = parse(part)?;
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Ok(values)
}

/// How a transport waits when nobody says how; empty when it has no such option.
fn default_wait(mechanism: &Mechanism) -> &'static str {
    let candidates =
        if PARKED.contains(&mechanism.name) { ["park", "adaptive"] } else { ["adaptive", "park"] };
    candidates.into_iter().find(|policy| mechanism.waits(policy)).unwrap_or("")
}

/// The policies to measure a transport with: kernel transports take `adaptive` for `park`, and one that cannot choose is
/// measured once.
fn waits_of(mechanism: &Mechanism, asked: &[String]) -> Vec<String> {
    let default = default_wait(mechanism);
    if asked.is_empty() || default.is_empty() {
        return vec![default.to_owned()];
    }
    let mut waits: Vec<String> = Vec::new();
    for policy in asked {
        let kernel = PARKED.contains(&mechanism.name);
        let policy = if kernel && policy == "adaptive" { "park" } else { policy };
        if !waits.iter().any(|known| known == policy) {
            waits.push(policy.to_owned());
        }
    }
    waits
}

fn plan_cell(mechanism: &Mechanism, mode: Mode, size: usize, wait: &str, alone: bool) -> PlannedCell {
    let mut dimensions = BTreeMap::new();
    let mut options = BTreeMap::new();
    if wait != default_wait(mechanism) {
        dimensions.insert("wait".to_owned(), wait.to_owned());
    }
    if !wait.is_empty() {
        options.insert("wait".to_owned(), wait.to_owned());
    }
    // A ring holds a few messages of any size, and at least its default.
    let capacity = (4 * size).max(1 << 20).to_string();
    if (mechanism.accepts)("capacity", &capacity).is_ok() {
        options.insert("capacity".to_owned(), capacity);
    }
    let point = Point { transport: mechanism.name.to_owned(), mode, size, dimensions };
    let impossible = impossible(mechanism, size, wait, alone);
    PlannedCell { point, wait: wait.to_owned(), options, limit: None, impossible }
}

fn impossible(mechanism: &Mechanism, size: usize, wait: &str, alone: bool) -> Option<Impossible> {
    let name = mechanism.name;
    let max = (mechanism.capabilities)().max_message;
    if size > max {
        let (why, fix) = if name == "mq" {
            (
                format!("fs.mqueue.msgsize_max is {max}"),
                format!("sudo sysctl -w fs.mqueue.msgsize_max={size}   (or drop mq: -t all,-mq)"),
            )
        } else {
            (format!("{name} carries at most {max} bytes per message"), format!("use sizes up to {max}"))
        };
        return Some(Impossible { what: format!("{name} cannot carry {size}-byte messages here"), why, fix });
    }
    if wait == "spin" && alone {
        return Some(Impossible {
            what: format!("{name} cannot spin here"),
            why: "client and server share one CPU, and a spinning side would keep the other from running"
                .into(),
            fix: "allow two CPUs, or use --wait park".into(),
        });
    }
    None
}

fn nothing_to_measure(cells: &[PlannedCell]) -> Failure {
    let mut reasons: Vec<&Impossible> = Vec::new();
    for impossible in cells.iter().filter_map(|cell| cell.impossible.as_ref()) {
        if !reasons.contains(&impossible) {
            reasons.push(impossible);
        }
    }
    match reasons[..] {
        [only] => Failure::usage(&only.what).why(&only.why).fix(&only.fix),
        _ => {
            let lines: Vec<String> = reasons.iter().map(|r| format!("{}: {}", r.what, r.why)).collect();
            let failure = Failure::usage("nothing of this can be measured here").why(lines.join("\n"));
            reasons.iter().fold(failure, |failure, reason| {
                let fix =
                    failure.fix.clone().map_or(reason.fix.clone(), |fix| format!("{fix}\n{}", reason.fix));
                failure.fix(fix)
            })
        }
    }
}

/// The trials in their order, with yardsticks where they are needed.
fn steps(cells: &[PlannedCell], yardsticks: usize, order: Order, trials: u32, seed: u64) -> Vec<Step> {
    let runnable: Vec<usize> = (0..cells.len()).filter(|cell| cells[*cell].impossible.is_none()).collect();
    let rounds = order.rounds(runnable.len(), trials, seed);
    let needed: Vec<usize> = runnable.iter().filter_map(|cell| cells[*cell].limit).collect();
    let mut steps = Vec::new();
    let last = rounds.len() - 1;
    for (number, round) in rounds.into_iter().enumerate() {
        // A limit is measured once per round, right before its first user. The others three times in all: at the
        // beginning, in the middle and at the end of the run, which shows a machine that drifts.
        let mut fresh = vec![false; yardsticks];
        if number == 0 || number == last / 2 || number == last {
            let others = (0..yardsticks).filter(|yardstick| !needed.contains(yardstick));
            steps.extend(others.map(Step::Yardstick));
        }
        for (position, index) in round {
            let cell = runnable[position];
            if let Some(limit) = cells[cell].limit.filter(|limit| !fresh[*limit]) {
                steps.push(Step::Yardstick(limit));
                fresh[limit] = true;
            }
            steps.push(Step::Trial { cell, index });
        }
    }
    steps
}
