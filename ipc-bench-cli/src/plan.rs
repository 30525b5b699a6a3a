//! From settings to trials. Every refusal and every skip happens here, with its reason, before anything is measured.

use std::path::Path;
use std::time::Duration;

use ipc_results::Environment;
use ipc_results::run::throughput_is_primary;

use crate::arm::Side;
use crate::clock::Counter;
use crate::error::{Exit, Failure};
use crate::fit::Impossible;
use crate::hooks::Hooks;
use crate::lists;
use crate::matrix::{self, PlannedCell};
use crate::mechanism::Mechanism;
use crate::order::Order;
use crate::pin::{Pin, Pins, Topology};
use crate::rate::Rate;
use crate::scene::{self, Scene};
use crate::settings::{Settings, unknown};
use crate::workload::windows;
use crate::workload::{Io, Length, Mode, Warmup};
use crate::yardstick::Yardstick;

/// What a run will do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) cells: Vec<PlannedCell>,
    pub(crate) yardsticks: Vec<Yardstick>,
    /// Open loops whose maximum is measured, by index of one of the cells that ask for a share of it.
    pub(crate) ceilings: Vec<usize>,
    pub(crate) steps: Vec<Step>,
    /// Most trials of a cell.
    pub(crate) trials: u32,
    /// When a cell needs no more of them.
    pub(crate) enough: Option<Enough>,
    pub(crate) length: Length,
    pub(crate) warmup: Warmup,
    /// The first message of a connection counts like any other.
    pub(crate) include_first: bool,
    /// Percentiles that were asked for beside those that every summary has.
    pub(crate) percentiles: Vec<f64>,
    /// Commands around the run.
    pub(crate) hooks: Hooks,
    /// Real-time priority of the measuring threads, 0 for none.
    pub(crate) priority: u8,
    /// The memory of the measuring processes is locked.
    pub(crate) locked: bool,
    /// What the kernel and the processor count is counted.
    pub(crate) counts: bool,
    /// What is read instead of `CLOCK_MONOTONIC`.
    pub(crate) counter: Option<Counter>,
    /// Length of the intervals that trials are told in as well.
    pub(crate) interval: Option<Duration>,
    /// The cell that the ratios of the summary are taken against.
    pub(crate) reference: Option<String>,
    /// The first cell that fails ends the run.
    pub(crate) fail_fast: bool,
    /// Most trials of a cell that are made again because something disturbed them.
    pub(crate) retry_flagged: u32,
    /// What was cut to fit the time budget.
    pub(crate) cut: Option<String>,
    pub(crate) pins: Pins,
    /// Both sides run on one CPU.
    pub(crate) alone: bool,
    pub(crate) order: Order,
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    /// CPUs that are kept from halting while a side sleeps.
    pub(crate) awake: Vec<u32>,
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
    /// It is none of ours, and sends back what it gets.
    pub(crate) echo: bool,
}

/// One thing the runner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Yardstick(usize),
    Ceiling(usize),
    Trial { cell: usize, index: u32 },
}

/// What the machine and the user have to say beside the settings.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) mechanisms: &'a [Mechanism],
    pub(crate) environment: &'a Environment,
    pub(crate) seed: Option<u64>,
    /// Where results go.
    pub(crate) directory: &'a Path,
}

/// Measured part and warm-up of a yardstick.
pub(crate) const YARDSTICK_LENGTH: Length = Length::Time(Duration::from_millis(80));
pub(crate) const YARDSTICK_WARMUP: Warmup = Warmup::Fixed(Duration::from_millis(20));

/// Measured part and warm-up of a maximum, and how often it is measured; the middle one counts.
pub(crate) const CEILING_LENGTH: Length = Length::Time(Duration::from_millis(150));
pub(crate) const CEILING_WARMUP: Warmup = Warmup::Fixed(Duration::from_millis(30));
pub(crate) const CEILING_TRIALS: u32 = 3;

/// A time budget cuts no deeper than this.
const FEWEST_TRIALS: u32 = 3;
pub(crate) const SHORTEST_TRIAL: Duration = Duration::from_millis(50);

/// What a trial costs beside its measured part and its warm-up: two processes started, connected and ended.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(15);

impl Plan {
    /// Decides what will be done.
    ///
    /// # Errors
    /// A setting that does not parse, a CPU that cannot be used, or no cell that can be measured here.
    pub(crate) fn new(settings: Settings, context: &Context<'_>) -> Result<Plan, Failure> {
        let (fewest, trials) = settings.parse("trials", trials)?.unwrap_or((1, 1));
        let enough = enough(&settings, fewest, trials)?;
        let budget = settings.parse("time-budget", lists::duration)?;
        let order: Order = settings.parse("order", str::parse)?.unwrap_or(Order::Interleave);
        let pin: Pin = settings.parse("pin", str::parse)?.unwrap_or(Pin::Auto);
        let length = match settings.parse("messages", lists::count)? {
            Some(messages) => Length::Messages(messages),
            None => Length::Time(settings.parse("duration", lists::some_time)?.unwrap_or_default()),
        };
        let warmup = settings.parse("warmup", warmup)?.unwrap_or(STEADY);
        let include_first = settings.parse("include-first", yes_or_no)?.unwrap_or(false);
        let percentiles = settings.parse("percentiles", lists::percentiles)?.unwrap_or_default();
        let hooks = Hooks::of(&settings)?;
        let priority = settings.parse("sched", real_time)?.unwrap_or(0);
        let locked = settings.parse("mlock", yes_or_no)?.unwrap_or(false);
        let counts = settings.parse("perf", yes_or_no)?.unwrap_or(false);
        let counter = settings.parse("clock", |text| counter(text, context.environment))?.flatten();
        let interval = settings.parse("interval", |text| {
            let interval = lists::some_time(text)?;
            windows::count(length, interval).map(|_| interval)
        })?;
        let fail_fast = settings.parse("fail-fast", yes_or_no)?.unwrap_or(false);
        let retry_flagged = settings.parse("retry-flagged", retries)?.unwrap_or(0);
        let topology = Topology::read(&context.environment.cpu)
            .map_err(|error| Failure::failed("the CPUs of this process cannot be read").why(error))?;
        let pins = topology.resolve(pin)?;
        let alone = pins.share_a_cpu(&topology.allowed);
        let awake = awake(&settings, &pins, context.environment)?;
        let mut cells = matrix::cells(&settings, context.mechanisms, &topology, alone)?;
        required(&settings, &cells)?;
        let reference = reference(&settings, &cells)?;
        scene::plan::place_journals(&mut cells, context.directory);
        if cells.iter().all(|cell| cell.impossible.is_some()) {
            return Err(nothing_to_measure(&cells));
        }
        let mut yardsticks: Vec<Yardstick> = Yardstick::standard();
        yardsticks.retain(|yardstick| !(alone && yardstick.spins()));
        // The limits wait in their calls; held against one of them, awaiting would be taken for the transport.
        // They are of one pair alone, too.
        let has_limit = |cell: &&mut PlannedCell| {
            cell.point.mode == Mode::Rtt && cell.io == Io::Sync && cell.crowd.is_none()
        };
        for cell in cells.iter_mut().filter(|cell| cell.impossible.is_none()).filter(has_limit) {
            let behind = Yardstick::behind(&cell.point.transport, &cell.wait, cell.point.size);
            cell.limit = behind.filter(|yardstick| !(alone && yardstick.spins())).map(|yardstick| {
                yardsticks.iter().position(|known| *known == yardstick).unwrap_or_else(|| {
                    yardsticks.push(yardstick);
                    yardsticks.len() - 1
                })
            });
        }
        let ceilings = ceilings(&mut cells);
        let seed = context.seed.unwrap_or_else(|| fastrand::u64(0..1 << 32));
        let steps = steps(&cells, yardsticks.len(), ceilings.len(), order, trials, seed);
        let mut plan = Plan {
            settings,
            cells,
            yardsticks,
            ceilings,
            steps,
            trials,
            enough,
            length,
            warmup,
            include_first,
            percentiles,
            hooks,
            priority,
            locked,
            counts,
            counter,
            interval,
            reference,
            fail_fast,
            retry_flagged,
            cut: None,
            pins,
            alone,
            order,
            seed,
            topology,
            awake,
            remote: None,
        };
        if let Some(budget) = budget {
            plan.fit(budget, FEWEST_TRIALS)?;
        }
        Ok(plan)
    }

    /// Cuts trials down to `fewest`, then their length, until the plan fits.
    pub(crate) fn fit(&mut self, budget: Duration, fewest: u32) -> Result<(), Failure> {
        let (trials, length) = (self.trials, self.length);
        let Some(whole) = self.estimate() else {
            return Err(Failure::usage("a time budget cannot be kept with a number of messages")
                .why("how long a message takes is what is to be measured")
                .fix("use -d instead of -n"));
        };
        let fewest = self.enough.map_or(fewest, |enough| enough.trials).min(trials);
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
            self.order_steps();
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

    /// Leaves out the cells that are not wanted; [`order_steps`](Self::order_steps) has to follow.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&PlannedCell) -> bool) {
        self.cells.retain(wanted);
        // Maxima are measured by cells that may be gone, and are numbered.
        let mut kept: Vec<usize> = Vec::new();
        self.ceilings.clear();
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let Some(old) = cell.ceiling else { continue };
            let known = kept.iter().position(|known| *known == old);
            cell.ceiling = Some(known.unwrap_or_else(|| {
                kept.push(old);
                self.ceilings.push(index);
                kept.len() - 1
            }));
        }
    }

    /// Puts the trials in their order, after the cells, the yardsticks or their number changed.
    pub(crate) fn order_steps(&mut self) {
        let (yardsticks, ceilings) = (self.yardsticks.len(), self.ceilings.len());
        self.steps = steps(&self.cells, yardsticks, ceilings, self.order, self.trials, self.seed);
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
            Step::Ceiling(_) => (CEILING_LENGTH, CEILING_WARMUP),
            Step::Trial { cell, .. } => {
                let own = self.cells[cell].scene.as_ref().and_then(Scene::takes).map(Length::Time);
                (own.unwrap_or(self.length), self.warmup)
            }
        };
        let times = if matches!(step, Step::Ceiling(_)) { CEILING_TRIALS } else { 1 };
        match length {
            Length::Time(time) => Some((time + warmup.about() + TRIAL_OVERHEAD) * times),
            Length::Messages(_) => None,
        }
    }
}

pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{text:?} is not yes or no")),
    }
}

fn retries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of trials; 0 makes none again"))
}

/// Refuses where a transport that is required has no cell that can be measured.
fn required(settings: &Settings, cells: &[PlannedCell]) -> Result<(), Failure> {
    let Some((text, _)) = settings.text("require") else { return Ok(()) };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let planned = |name: &str| cells.iter().any(|cell| cell.point.transport == name);
    if let Some(name) = names.iter().find(|name| **name != "all" && !planned(name)) {
        return Err(Failure::usage(format!("--require {name}: it is not measured"))
            .why("only a transport of -t can be required")
            .fix(format!("add {name} to -t, or leave it out of --require")));
    }
    for cell in cells {
        let name = &cell.point.transport;
        let mut own = cells.iter().filter(|other| other.point.transport == *name);
        let is_required = names.iter().any(|required| required == name || *required == "all");
        if let Some(impossible) = cell.impossible.as_ref().filter(|_| is_required)
            && own.all(|other| other.impossible.is_some())
        {
            let what = format!("{name} is required, and {}", impossible.what);
            return Err(Failure::new(Exit::Unsupported, what).why(&impossible.why).fix(&impossible.fix));
        }
    }
    Ok(())
}

/// `monotonic`, `tsc`, or `auto`: the counter where this machine has one that can be trusted.
fn counter(text: &str, environment: &Environment) -> Result<Option<Counter>, String> {
    let counter = || Counter::calibrate(environment.clocksource.as_deref());
    match text {
        "monotonic" => Ok(None),
        "tsc" => counter().map(Some),
        "auto" => Ok(counter().ok()),
        _ => Err(format!("{text:?} is not a clock; there are monotonic, tsc, auto")),
    }
}

/// The cell of the plan that is to be the reference; of those whose latencies are ranked.
fn reference(settings: &Settings, cells: &[PlannedCell]) -> Result<Option<String>, Failure> {
    let Some((text, origin)) = settings.text("reference") else { return Ok(None) };
    let ranked = |cell: &&PlannedCell| {
        cell.impossible.is_none()
            && cell.point.rate.is_none()
            && !throughput_is_primary(cell.point.mode.name())
    };
    let ids: Vec<String> = cells.iter().filter(ranked).map(|cell| cell.point.to_string()).collect();
    match ids.iter().any(|id| id == text) {
        true => Ok(Some(text.to_owned())),
        false => Err(unknown("reference", text, ids.iter().map(String::as_str), origin)),
    }
}

/// `fifo:N`.
fn real_time(text: &str) -> Result<u8, String> {
    let priority = text.strip_prefix("fifo:").and_then(|number| number.parse().ok());
    let wrong =
        || format!("{text:?} is no policy; use fifo:N with N from 1 to 99, the higher one runs first");
    priority.filter(|priority| (1..=99).contains(priority)).ok_or_else(wrong)
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

/// The CPUs to keep from halting. On a virtual machine a halted CPU is the host's, and waking it is a matter of its
/// scheduler: it decides what a sleeping transport costs, and by how much two trials differ.
fn awake(settings: &Settings, pins: &Pins, environment: &Environment) -> Result<Vec<u32>, Failure> {
    let keep = settings.parse("keep-awake", |text| match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        "auto" => Ok(environment.is_virtual_machine()),
        _ => Err(format!("{text:?} is not yes, no or auto")),
    })?;
    let mut cpus: Vec<u32> = pins.client.into_iter().chain(pins.server).collect();
    cpus.dedup();
    let asked = settings.text("keep-awake").is_some_and(|(text, _)| text == "yes");
    if asked && cpus.is_empty() {
        return Err(Failure::usage("--keep-awake yes needs pinned CPUs")
            .why("without --pin nobody knows which CPUs the sides will sleep on")
            .fix("drop --pin none, or use --keep-awake no"));
    }
    Ok(if keep == Some(true) { cpus } else { Vec::new() })
}

/// Warm-up until the machine is in a steady state.
const STEADY: Warmup = Warmup::Steady { window: Duration::from_millis(25), longest: Duration::from_secs(1) };

fn warmup(text: &str) -> Result<Warmup, String> {
    if text == "auto" { Ok(STEADY) } else { lists::duration(text).map(Warmup::Fixed) }
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

/// Gives every open loop whose rate is a share its maximum, and tells by which cell each is measured.
fn ceilings(cells: &mut [PlannedCell]) -> Vec<usize> {
    let mut ceilings: Vec<usize> = Vec::new();
    for index in 0..cells.len() {
        let cell = &cells[index];
        if !matches!(cell.load, Some((Rate::Share(_), _))) || cell.impossible.is_some() {
            continue;
        }
        let known = ceilings.iter().position(|other| cells[*other].has_ceiling_of(cell));
        let ceiling = known.unwrap_or_else(|| {
            ceilings.push(index);
            ceilings.len() - 1
        });
        cells[index].ceiling = Some(ceiling);
    }
    ceilings
}

/// The trials in their order, with yardsticks where they are needed.
fn steps(
    cells: &[PlannedCell],
    yardsticks: usize,
    ceilings: usize,
    order: Order,
    trials: u32,
    seed: u64,
) -> Vec<Step> {
    let runnable: Vec<usize> = (0..cells.len()).filter(|cell| cells[*cell].impossible.is_none()).collect();
    let groups = groups(cells, &runnable);
    let rounds = order.rounds(groups.len(), trials, seed);
    let needed: Vec<usize> = runnable.iter().filter_map(|cell| cells[*cell].limit).collect();
    let mut steps: Vec<Step> = (0..ceilings).map(Step::Ceiling).collect();
    let last = rounds.len() - 1;
    // Twins are held against each other, not against a limit: there it is only shown, and once in a while is enough.
    let pairs = cells.iter().any(|cell| cell.arm.is_some());
    for (number, round) in rounds.into_iter().enumerate() {
        // A limit is measured once per round, right before its first user. The others three times in all: at the
        // beginning, in the middle and at the end of the run, which shows a machine that drifts.
        let once_in_a_while = number == 0 || number == last / 2 || number == last;
        let mut fresh = vec![pairs && !once_in_a_while; yardsticks];
        if once_in_a_while {
            let others = (0..yardsticks).filter(|yardstick| !needed.contains(yardstick));
            steps.extend(others.map(Step::Yardstick));
        }
        for (position, index) in round {
            let group = &groups[position];
            for limit in group.iter().filter_map(|cell| cells[*cell].limit) {
                if !std::mem::replace(&mut fresh[limit], true) {
                    steps.push(Step::Yardstick(limit));
                }
            }
            let trial = |cell: &usize| Step::Trial { cell: *cell, index };
            // A B B A: whatever one trial leaves behind, both sides meet equally often.
            if index % 2 == 0 {
                steps.extend(group.iter().map(trial));
            } else {
                steps.extend(group.iter().rev().map(trial));
            }
        }
    }
    steps
}

/// What is measured together: the two sides of a pair of an `ab`, which follow each other; every other cell by itself.
fn groups(cells: &[PlannedCell], runnable: &[usize]) -> Vec<Vec<usize>> {
    let side = |cell: usize| cells[cell].arm.as_ref().map(|arm| arm.side);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for cell in runnable {
        match groups.last_mut() {
            Some(group) if side(*cell) == Some(Side::B) && side(group[0]) == Some(Side::A) => {
                group.push(*cell);
            }
            _ => groups.push(vec![*cell]),
        }
    }
    groups
}
