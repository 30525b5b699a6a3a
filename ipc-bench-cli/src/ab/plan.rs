//! From what is compared to one plan with two arms.

use std::collections::BTreeMap;

use ipc_results::Environment;
use ipc_results::statistics::Session;
use ipc_results::verdict::ALPHA;

use super::injected;
use crate::args::{AbArgs, Global, RunArgs};
use crate::arm::{Arm, Hold, Side};
use crate::config::Config;
use crate::error::Failure;
use crate::lists;
use crate::matrix::PlannedCell;
use crate::mechanism::Mechanism;
use crate::output;
use crate::plan::{Context, Plan, SHORTEST_TRIAL};
use crate::settings::{Origin, Settings, separator};
use crate::workload::{Length, Mode};

/// Settings of a whole run: both sides have the same, or they would not be trials of one session.
const OF_THE_RUN: [&str; 27] = [
    "preset",
    "transport",
    "size",
    "mode",
    "messages",
    "trials",
    "ci",
    "time-budget",
    "pin",
    "keep-awake",
    "order",
    "buffer",
    "include-first",
    "percentiles",
    "clock",
    "interval",
    "reference",
    "sched",
    "mlock",
    "hugepages",
    "perf",
    "require",
    "fail-fast",
    "retry-flagged",
    "setup",
    "prepare",
    "cleanup",
];

/// What is compared.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) a: Half,
    pub(super) b: Half,
}

/// One side.
#[derive(Debug)]
pub(super) struct Half {
    /// What people know it by.
    pub(super) name: String,
    pub(super) arm: Arm,
    /// Settings that only this side has.
    settings: BTreeMap<&'static str, String>,
}

/// The sides that the command line names.
///
/// # Errors
/// It names none, or a setting that cannot differ.
pub(super) fn pair(args: &AbArgs) -> Result<Pair, Failure> {
    let injected = injected(args.inject.as_deref())?;
    let half = |side, name: String, program, settings| {
        let hold = if side == Side::B { injected } else { Hold::Time(0) };
        Half { name, arm: Arm { side, program, hold }, settings }
    };
    if let Some(vary) = &args.vary {
        let [a, b] = varied(vary)?;
        return Ok(Pair { a: half(Side::A, a.0, None, a.1), b: half(Side::B, b.0, None, b.1) });
    }
    if let (Some(a), Some(b)) = (&args.a, &args.b) {
        let words = |text: &str| Some(text.split_whitespace().map(str::to_owned).collect());
        return Ok(Pair {
            a: half(Side::A, a.clone(), words(a), BTreeMap::new()),
            b: half(Side::B, b.clone(), words(b), BTreeMap::new()),
        });
    }
    if let Some(text) = &args.inject {
        let none = BTreeMap::new;
        return Ok(Pair {
            a: half(Side::A, "as it is".into(), None, none()),
            b: half(Side::B, format!("+ {text} per message"), None, none()),
        });
    }
    Err(Failure::usage("ab does not know what to compare")
        .why("neither two builds nor two settings are named")
        .fix("ab --a OLD/ipc-bench --b NEW/ipc-bench, or ab --vary shm.wait=park,spin"))
}

type Named = (String, BTreeMap<&'static str, String>);

/// `shm.wait=park,spin`: what each side is called and which settings it has.
fn varied(text: &str) -> Result<[Named; 2], Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("--vary {text}: not understood"))
            .why(why)
            .fix("as in --vary shm.wait=park,spin, --vary io=sync,async or --vary uds.sndbuf=64K,1M")
    };
    let (name, values) = text.split_once('=').ok_or_else(|| wrong("it has no values".into()))?;
    let values: Vec<&str> = values.split(',').collect();
    let [a, b] = values[..] else { return Err(wrong(format!("{} values, not two", values.len()))) };
    if a == b {
        return Err(wrong("both sides would be the same".into()));
    }
    let of = |value: &str| -> Result<Named, Failure> {
        let settings = match name.split_once('.') {
            Some((transport, "wait")) => {
                BTreeMap::from([("transport", transport.to_owned()), ("wait", value.to_owned())])
            }
            Some((transport, _)) => {
                BTreeMap::from([("transport", transport.to_owned()), ("buffer", format!("{name}={value}"))])
            }
            None => {
                let known = crate::settings::names().find(|known| *known == name);
                let known = known.ok_or_else(|| wrong(format!("there is no setting {name:?}")))?;
                if OF_THE_RUN.contains(&known) {
                    return Err(wrong(format!("{known} belongs to the whole run, not to one side")));
                }
                BTreeMap::from([(known, value.to_owned())])
            }
        };
        Ok((format!("{name}={value}"), settings))
    };
    Ok([of(a)?, of(b)?])
}

impl Pair {
    /// One plan for both.
    ///
    /// # Errors
    /// As [`Plan::new`], and where the sides do not have the same cells.
    pub(super) fn plan(
        &self,
        mechanisms: &[Mechanism],
        global: &Global,
        args: &RunArgs,
        mut given: BTreeMap<&'static str, String>,
        environment: &Environment,
    ) -> Result<Plan, Failure> {
        let config = Config::load(global.config.as_deref())?;
        // Enough trials for verdicts, unless somebody says otherwise.
        let settings = Settings::complete(given.clone(), &config)?;
        if settings.text("preset").is_none_or(|(_, origin)| *origin == Origin::Default) {
            given.insert("preset", "ci".into());
        }
        // The budget is for both sides together, so it is kept once there is one plan.
        let settings = Settings::complete(given.clone(), &config)?;
        let shorter = more_and_shorter(&settings)?;
        let budget = settings.parse("time-budget", lists::duration)?;
        let asked = settings.text("time-budget").is_some_and(|(_, origin)| *origin == Origin::CommandLine);
        let directory = output::root(global.dir.as_deref());
        let half = |half: &Half, seed| -> Result<Plan, Failure> {
            let mut given = given.clone();
            for (key, value) in &half.settings {
                let own = given.entry(key).or_default();
                // Parameters beside the varied one stay.
                *own = if *key == "buffer" && !own.is_empty() {
                    format!("{own}{}{value}", separator(key))
                } else {
                    value.clone()
                };
            }
            let mut settings = Settings::complete(given, &config)?.without("time-budget");
            for (key, value) in &shorter {
                settings = settings.with(key, value.clone(), Origin::Pairs);
            }
            let context = Context { mechanisms, environment, seed, directory: &directory };
            let mut plan = Plan::new(settings, &context)?;
            if plan.enough.is_some() {
                return Err(Failure::usage("ab needs a fixed number of trials")
                    .why("the sides alternate, so both need the same")
                    .fix("use --trials N"));
            }
            for cell in &mut plan.cells {
                cell.arm = Some(half.arm.clone());
            }
            Ok(plan)
        };
        let a = half(&self.a, args.seed)?;
        let b = half(&self.b, Some(a.seed))?;
        let mut plan = join(a, b)?;
        if self.b.arm.hold != Hold::Time(0) {
            refuse_where_nothing_is_held(&plan)?;
        }
        // That of a preset says nothing about a number of messages.
        if let Some(budget) = budget.filter(|_| asked || matches!(plan.length, Length::Time(_))) {
            let figures = plan.cells.iter().filter(|cell| cell.impossible.is_none()).count();
            // Fewer could not show anything, with two figures of each pair of cells.
            let fewest = Session::Alternating.trials_for(figures, ALPHA) as u32;
            plan.fit(budget, fewest)?;
        }
        Ok(plan)
    }
}

/// Trials of each side, unless somebody says otherwise.
const TRIALS: u32 = 21;

/// The measured time of a preset in more and shorter trials: what is compared are pairs of neighbours, so that a machine
/// which changes its mind from second to second does it between them, and there are enough for it.
fn more_and_shorter(settings: &Settings) -> Result<Vec<(&'static str, String)>, Failure> {
    let said = |key| {
        let (_, origin) = settings.text(key)?;
        (!matches!(origin, Origin::Preset(_) | Origin::Default)).then_some(())
    };
    let Some(each) = settings.parse("duration", lists::duration)?.filter(|_| said("trials").is_none()) else {
        return Ok(Vec::new());
    };
    let mut shorter = vec![("trials", TRIALS.to_string())];
    // Of a preset's range the fewest; whoever names a duration wants that one.
    let of_preset =
        settings.text("trials").and_then(|(text, _)| text.split("..").next()?.parse::<u32>().ok());
    if let Some(trials) = of_preset.filter(|trials| *trials < TRIALS && said("duration").is_none()) {
        let each = (each * trials / TRIALS).max(SHORTEST_TRIAL);
        shorter.push(("duration", format!("{}ms", each.as_millis())));
    }
    Ok(shorter)
}

/// Puts each cell of B behind its twin of A.
fn join(mut a: Plan, b: Plan) -> Result<Plan, Failure> {
    if (a.length, a.warmup) != (b.length, b.warmup) {
        return Err(Failure::usage("both sides need trials of the same length")
            .why("a longer trial has a longer tail")
            .fix("vary something else"));
    }
    let yardstick = |index: usize, all: &mut Vec<_>| {
        let wanted = b.yardsticks[index];
        all.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            all.push(wanted);
            all.len() - 1
        })
    };
    let mut cells = Vec::new();
    for (mut old, mut new) in std::mem::take(&mut a.cells).into_iter().zip(b.cells.iter().cloned()) {
        let key = |cell: &PlannedCell| (cell.point.transport.clone(), cell.point.mode, cell.point.size);
        if key(&old) != key(&new) {
            return Err(different_cells());
        }
        new.ceiling = new.ceiling.map(|ceiling| ceiling + a.ceilings.len());
        new.limit = new.limit.map(|limit| yardstick(limit, &mut a.yardsticks));
        // What both have names the cell; what only one has is what is compared.
        let (ours, theirs) = (old.point.dimensions.clone(), new.point.dimensions.clone());
        for (cell, others) in [(&mut old, &theirs), (&mut new, &ours)] {
            cell.point.dimensions.retain(|key, value| others.get(key) == Some(value));
            let side = cell.arm.as_ref().map(|arm| arm.side.to_string()).unwrap_or_default();
            cell.point.dimensions.insert("arm".into(), side);
        }
        // One side alone has nothing to be compared with.
        if let Some(impossible) = old.impossible.clone().or(new.impossible.clone()) {
            old.impossible.get_or_insert(impossible.clone());
            new.impossible.get_or_insert(impossible);
        }
        cells.extend([old, new]);
    }
    if cells.len() != 2 * b.cells.len() {
        return Err(different_cells());
    }
    if cells.iter().all(|cell| cell.impossible.is_some()) {
        return Err(Failure::usage("no cell can be measured on both sides")
            .fix("ipc-bench plan shows what each side can do"));
    }
    a.cells = cells;
    // Cell i of A is now 2 i, and its twin 2 i + 1.
    let theirs = b.ceilings.iter().map(|cell| 2 * cell + 1);
    a.ceilings = a.ceilings.iter().map(|cell| 2 * cell).chain(theirs).collect();
    a.order_steps();
    Ok(a)
}

fn different_cells() -> Failure {
    Failure::usage("the sides do not have the same cells")
        .why("each trial of one side needs its twin on the other")
        .fix("name one value of everything but what is varied")
}

/// A delay that reaches nobody would be an option that does nothing.
fn refuse_where_nothing_is_held(plan: &Plan) -> Result<(), Failure> {
    let deaf = plan.cells.iter().find(|cell| !matches!(cell.point.mode, Mode::Rtt | Mode::Stream));
    deaf.map_or(Ok(()), |cell| {
        Err(Failure::usage(format!("--inject does not reach {}", cell.point.mode))
            .why("messages are held back by the receiver of rtt and of stream")
            .fix("add --mode rtt,stream"))
    })
}
