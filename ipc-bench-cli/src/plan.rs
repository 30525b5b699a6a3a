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
use crate::workload::{Io, Length, Mode, Warmup};
use crate::yardstick::Yardstick;

/// What a run will do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) cells: Vec<PlannedCell>,
    pub(crate) yardsticks: Vec<Yardstick>,
    pub(crate) steps: Vec<Step>,
    /// Most trials of a cell.
    pub(crate) trials: u32,
    /// When a cell needs no more of them.
    pub(crate) enough: Option<Enough>,
    pub(crate) length: Length,
    pub(crate) warmup: Warmup,
    /// What was cut to fit the time budget.
    pub(crate) cut: Option<String>,
    pub(crate) pins: Pins,
    pub(crate) order: Order,
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    /// The server that is there already, when the plan is a client's.
    pub(crate) remote: Option<Remote>,
}

/// When a cell has been measured often enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Enough {
    /// Fewest trials.
    pub(crate) trials: u32,
    /// The larger half of the interval of the median, as a fraction of the median.
    pub(crate) interval: f64,
}

/// A server that somebody else started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) address: String,
    /// How long to look for it.
    pub(crate) patience: Duration,
}

/// One cell and how to measure it.
#[derive(Debug)]
pub(crate) struct PlannedCell {
    pub(crate) point: Point,
    /// In force, whether it is a dimension of the cell or not; empty when the transport has no such option or its calls
    /// do not wait.
    pub(crate) wait: String,
    pub(crate) io: Io,
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
pub(crate) const YARDSTICK_WARMUP: Warmup = Warmup::Fixed(Duration::from_millis(20));

/// A time budget cuts no deeper than this.
const FEWEST_TRIALS: u32 = 3;
const SHORTEST_TRIAL: Duration = Duration::from_millis(50);

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
        let ios = settings.parse("io", ios)?.unwrap_or_default();
        let waits = settings.parse("wait", waits)?.unwrap_or_default();
        let (fewest, trials) = settings.parse("trials", trials)?.unwrap_or((1, 1));
        let enough = enough(&settings, fewest, trials)?;
        let budget = settings.parse("time-budget", lists::duration)?;
        let order: Order = settings.parse("order", str::parse)?.unwrap_or(Order::Interleave);
        let pin: Pin = settings.parse("pin", str::parse)?.unwrap_or(Pin::Auto);
        let length = match settings.parse("messages", lists::count)? {
            Some(messages) => Length::Messages(messages),
            None => Length::Time(settings.parse("duration", lists::duration)?.unwrap_or_default()),
        };
        let warmup = settings.parse("warmup", warmup)?.unwrap_or(STEADY);
        let topology = Topology::read(&context.environment.cpu)
            .map_err(|error| Failure::failed("the CPUs of this process cannot be read").why(error))?;
        let pins = topology.resolve(pin)?;
        let alone = pins.share_a_cpu(&topology.allowed);
        let params =
            settings.parse("buffer", |text| parameters(text, context.mechanisms))?.unwrap_or_default();
        if let Some(param) =
            params.iter().find(|param| !transports.iter().any(|known| known.name == param.transport))
        {
            return Err(Failure::usage(format!("-L {}.{}: {0} is not measured", param.transport, param.key))
                .why("a parameter of a transport that is left out changes nothing")
                .fix(format!("drop it, or add {} to -t", param.transport)));
        }

        let mut cells = Vec::new();
        for mode in &modes {
            for size in &sizes {
                for transport in &transports {
                    for (io, wait) in ways_of(transport, &ios, &waits) {
                        for params in combinations(&params, transport.name) {
                            cells.push(plan_cell(transport, *mode, *size, (io, &wait), &params, alone));
                        }
                    }
                }
            }
        }
        if cells.iter().all(|cell| cell.impossible.is_some()) {
            return Err(nothing_to_measure(&cells));
        }
        let mut yardsticks: Vec<Yardstick> = Yardstick::standard();
        yardsticks.retain(|yardstick| !(alone && yardstick.spins()));
        // The limits wait in their calls; held against one of them, awaiting would be taken for the transport.
        let has_limit = |cell: &&mut PlannedCell| cell.point.mode == Mode::Rtt && cell.io == Io::Sync;
        for cell in cells.iter_mut().filter(|cell| cell.impossible.is_none()).filter(has_limit) {
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
        let mut plan = Plan {
            settings,
            cells,
            yardsticks,
            steps,
            trials,
            enough,
            length,
            warmup,
            cut: None,
            pins,
            order,
            seed,
            topology,
            remote: None,
        };
        if let Some(budget) = budget {
            plan.fit(budget)?;
        }
        Ok(plan)
    }

    /// Cuts trials, then their length, until the plan fits.
    fn fit(&mut self, budget: Duration) -> Result<(), Failure> {
        let (trials, length) = (self.trials, self.length);
        let Some(whole) = self.estimate() else {
            return Err(Failure::usage("a time budget cannot be kept with a number of messages")
                .why("how long a message takes is what is to be measured")
                .fix("use -d instead of -n"));
        };
        let fewest = self.enough.map_or(FEWEST_TRIALS, |enough| enough.trials).min(trials);
        let too_long = |plan: &Plan| plan.estimate().filter(|need| *need > budget);
        while let (Some(need), Length::Time(time)) = (too_long(self), self.length) {
            if self.trials > fewest {
                self.trials -= 1;
            } else if time > SHORTEST_TRIAL {
                self.length = Length::Time((time * 4 / 5).max(SHORTEST_TRIAL));
            } else {
                let text = |time| humantime::format_duration(Duration::from_secs(Duration::as_secs(&time)));
                return Err(Failure::usage(format!(
                    "{} cells do not fit into {}",
                    self.cells.len(),
                    text(budget)
                ))
                .why(format!("{fewest} trials of {SHORTEST_TRIAL:?} each take {} already", text(need)))
                .fix("measure fewer transports or sizes, or allow more time"));
            }
            self.steps = steps(&self.cells, self.yardsticks.len(), self.order, self.trials, self.seed);
        }
        if (self.trials, self.length) != (trials, length) {
            let Length::Time(time) = self.length else { return Ok(()) };
            self.cut = Some(format!(
                "to fit {budget:?} instead of {} s: {} of {trials} trials, of {time:?} each",
                whole.as_secs(),
                self.trials
            ));
        }
        Ok(())
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
            Length::Time(time) => Some(time + warmup_estimate(warmup) + TRIAL_OVERHEAD),
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

fn ios(text: &str) -> Result<Vec<Io>, String> {
    let io = |name: &str| {
        let found = Io::ALL.into_iter().find(|io| io.name() == name.trim());
        found.ok_or_else(|| format!("{name:?} is not a way to wait; there are sync, async"))
    };
    unique(text, io)
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

/// `N`, or `MIN..MAX`.
fn trials(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| -> Result<u32, String> {
        lists::count(text)?.try_into().map_err(|_| format!("{text} trials are more than a person waits for"))
    };
    let Some((fewest, most)) = text.split_once("..") else {
        return number(text).map(|trials| (trials, trials));
    };
    match (number(fewest)?, number(most)?) {
        (fewest, most) if fewest < most => Ok((fewest, most)),
        _ => Err(format!("{text:?} is no range; use MIN..MAX as in 5..20")),
    }
}

/// When a cell needs no more trials; only a range of trials leaves a choice.
fn enough(settings: &Settings, fewest: u32, most: u32) -> Result<Option<Enough>, Failure> {
    let interval = settings.parse("ci", |text| {
        let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
        let fraction =
            percent.map(|percent| percent / 100.0).filter(|fraction| *fraction > 0.0 && *fraction < 1.0);
        fraction.ok_or_else(|| format!("{text:?} is not a share; use a percentage as in 5%"))
    })?;
    if fewest < most {
        return Ok(Some(Enough { trials: fewest, interval: interval.unwrap_or(0.05) }));
    }
    match interval {
        None => Ok(None),
        Some(_) => Err(Failure::usage("--ci needs a range of trials")
            .why(format!("with exactly {most} trials there is nothing to decide"))
            .fix("add --trials MIN..MAX, as in --trials 5..20 --ci 5%")),
    }
}

/// Warm-up until the machine is in a steady state.
const STEADY: Warmup = Warmup::Steady { window: Duration::from_millis(25), longest: Duration::from_secs(1) };

fn warmup(text: &str) -> Result<Warmup, String> {
    if text == "auto" { Ok(STEADY) } else { lists::duration(text).map(Warmup::Fixed) }
}

fn warmup_estimate(warmup: Warmup) -> Duration {
    match warmup {
        Warmup::Fixed(time) => time,
        // Three windows that agree, and one before them that does not.
        Warmup::Steady { window, .. } => window * 4,
    }
}

/// One value of one option of one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    transport: String,
    key: String,
    values: Vec<String>,
}

/// `uds.sndbuf=64K,1M shm.capacity=4M`: every value of every parameter is measured.
fn parameters(text: &str, mechanisms: &[Mechanism]) -> Result<Vec<Parameter>, String> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for part in text.split_whitespace() {
        let parsed = part.split_once('=').and_then(|(name, values)| Some((name.split_once('.')?, values)));
        let Some(((transport, key), values)) = parsed else {
            return Err(format!(
                "{part:?} is not a parameter; use TRANSPORT.OPTION=VALUE,… as in uds.sndbuf=64K,1M"
            ));
        };
        let Some(mechanism) = mechanisms.iter().find(|mechanism| mechanism.name == transport) else {
            return Err(format!("there is no transport {transport:?}"));
        };
        if key == "wait" {
            return Err("the waiting policy has a flag of its own: --wait".into());
        }
        let values: Vec<String> = values.split(',').map(str::to_owned).collect();
        for value in &values {
            (mechanism.accepts)(key, value).map_err(|error| format!("{transport}: {error}"))?;
        }
        parameters.push(Parameter { transport: transport.into(), key: key.into(), values });
    }
    Ok(parameters)
}

/// Every combination of the values of a transport's parameters; one empty combination when it has none.
fn combinations(parameters: &[Parameter], transport: &str) -> Vec<BTreeMap<String, String>> {
    let mut combinations = vec![BTreeMap::new()];
    for parameter in parameters.iter().filter(|parameter| parameter.transport == transport) {
        let with = |map: &BTreeMap<String, String>, value: &String| {
            let mut map = map.clone();
            map.insert(parameter.key.clone(), value.clone());
            map
        };
        combinations = combinations
            .iter()
            .flat_map(|map| parameter.values.iter().map(move |value| with(map, value)))
            .collect();
    }
    combinations
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

/// Each way to wait with its policies. An awaited call never waits, so it has none.
fn ways_of(mechanism: &Mechanism, ios: &[Io], waits: &[String]) -> Vec<(Io, String)> {
    let ways = ios.iter().map(|io| match io {
        Io::Sync => waits_of(mechanism, waits).into_iter().map(|wait| (Io::Sync, wait)).collect(),
        Io::Async => vec![(Io::Async, String::new())],
    });
    ways.collect::<Vec<Vec<_>>>().concat()
}

fn plan_cell(
    mechanism: &Mechanism,
    mode: Mode,
    size: usize,
    (io, wait): (Io, &str),
    params: &BTreeMap<String, String>,
    alone: bool,
) -> PlannedCell {
    let mut dimensions = BTreeMap::new();
    let mut options = BTreeMap::new();
    if io == Io::Async {
        dimensions.insert("io".to_owned(), io.name().to_owned());
    } else if wait != default_wait(mechanism) {
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
    for (key, value) in params {
        dimensions.insert(format!("{}.{key}", mechanism.name), value.clone());
        options.insert(key.clone(), value.clone());
    }
    let point = Point { transport: mechanism.name.to_owned(), mode, size, dimensions };
    let impossible = cannot_await(mechanism, io).or_else(|| impossible(mechanism, size, wait, params, alone));
    PlannedCell { point, wait: wait.to_owned(), io, options, limit: None, impossible }
}

fn cannot_await(mechanism: &Mechanism, io: Io) -> Option<Impossible> {
    (!mechanism.ways.contains(&io)).then(|| Impossible {
        what: format!("{} cannot be awaited", mechanism.name),
        why: "it was added without a descriptor that says when it is ready".into(),
        fix: "make its halves Pollable and add it using with_pollable, or use --io sync".into(),
    })
}

fn impossible(
    mechanism: &Mechanism,
    size: usize,
    wait: &str,
    params: &BTreeMap<String, String>,
    alone: bool,
) -> Option<Impossible> {
    let name = mechanism.name;
    let asked = params.get("max_message").and_then(|text| ipc_transports::parse_bytes(text).ok());
    // With a capacity that we choose, a message of any size fits; with one that was asked for, the connection decides.
    let has_capacity = (mechanism.accepts)("capacity", "1M").is_ok();
    let max = asked.unwrap_or(if has_capacity { usize::MAX } else { (mechanism.capabilities)().max_message });
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
