//! Two runs side by side: what changed, by how much, and whether these trials can tell.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::environment::Environment;
use crate::estimate::{Estimate, number, short, short_option};
use crate::figures::Figures;
use crate::metric::Metric;
use crate::policy::Policy;
use crate::recorder::DecodeError;
use crate::recorder::samples_needed;
use crate::run::Run;
pub use crate::statistics::Session;
use crate::statistics::{holm, median, pairs, rank_sum};
use crate::units::yardstick;
use crate::verdict::{Evidence, Verdict};

/// Value of [`Comparison::schema`].
pub const SCHEMA: &str = "ipc-bench/compare";

/// How far a yardstick may move before the machine counts as changed.
pub const YARDSTICK_LIMIT: f64 = 0.05;

/// Verdicts that rest on disturbed trials and are told by name.
const MOST_DISTURBED: usize = 5;

/// Two runs, compared. Also a document: schema `ipc-bench/compare`, version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// `1.0`.
    pub schema_version: String,
    /// The old run.
    pub a: Side,
    /// The new run.
    pub b: Side,
    /// Whether both ran on one machine. Between machines there are no verdicts.
    pub same_host: bool,
    /// How the trials of both were made. Apart, a moved yardstick takes the red verdicts back; alternating, the machine is
    /// the same by construction.
    #[serde(default)]
    pub session: Session,
    /// Chance of a false red among all rows together.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub alpha: f64,
    /// Yardsticks that both runs have.
    pub yardsticks: Vec<YardstickChange>,
    /// Every compared figure, in the order of the old run.
    pub rows: Vec<Change>,
    /// Cells that only the old run measured.
    pub only_a: Vec<String>,
    /// Cells that only the new run measured.
    pub only_b: Vec<String>,
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// What the user calls it here: a path, a baseline, `last`.
    pub name: String,
    /// [`Run::run_id`].
    pub run_id: String,
    /// [`Run::started`].
    pub started: String,
    /// Commit of the measuring program, with `+dirty` when its tree was.
    pub version: Option<String>,
    /// Fewest and most completed trials of its compared cells.
    pub trials: (u32, u32),
    /// Its machine.
    pub hostname: Option<String>,
    /// Its kernel.
    pub kernel: Option<String>,
}

/// How a yardstick moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct YardstickChange {
    /// Its name in the run file.
    pub name: String,
    /// New over old, between the extremes of their intervals.
    pub ratio: Estimate,
    /// Whether that interval lies wholly more than 5 % away from 1.
    pub moved: bool,
}

/// One figure of one cell in both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Id of the cell.
    pub cell: String,
    /// The figure.
    pub metric: Metric,
    /// Median over the old trials.
    pub a: Estimate,
    /// Median over the new trials.
    pub b: Estimate,
    /// New over old, with its interval: Hodges–Lehmann over all trials, or in an alternating session the median over pairs.
    pub ratio: Estimate,
    /// The same of the figure as a multiple of the physical limit measured beside each trial, where both runs have it.
    pub normalised: Option<Estimate>,
    /// Two-sided exact p: Mann–Whitney, or in an alternating session the sign test.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub p: f64,
    /// `p` after Holm's adjustment for all rows.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub p_holm: f64,
    /// The smallest change that matters here, as a share.
    #[serde(default, serialize_with = "short_option")]
    pub limit: Option<f64>,
    /// The answer; absent between different machines.
    pub verdict: Option<Verdict>,
    /// Why the verdict is not what the numbers alone would give.
    pub reason: Option<String>,
    /// The verdict without the disturbed trials of either side, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undisturbed: Option<Verdict>,
    /// For an inconclusive verdict: trials on each side that would likely settle it.
    pub trials_to_settle: Option<u32>,
}

/// Why two runs are not compared.
#[derive(Debug)]
#[non_exhaustive]
pub enum CompareError {
    /// They ran on different machines, and that was not allowed.
    DifferentHost {
        /// Name of the old run's machine.
        a: String,
        /// Name of the new run's machine.
        b: String,
    },
    /// They share no measured cell.
    NothingInCommon,
    /// A histogram is damaged.
    Damaged(DecodeError),
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DifferentHost { a, b } => write!(
                f,
                "the runs are from different machines ({a} and {b}); --allow-different-host compares them without verdicts"
            ),
            Self::NothingInCommon => f.write_str("the runs have no measured cell in common"),
            Self::Damaged(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CompareError {}

impl From<DecodeError> for CompareError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error)
    }
}

impl Comparison {
    /// Compares the cells that both runs measured, by the metrics and limits of `policy`.
    ///
    /// # Errors
    /// [`CompareError`]: different machines unless `allow_different_host`, nothing in common, or a damaged file.
    pub fn new(
        (a_name, a): (&str, &Run),
        (b_name, b): (&str, &Run),
        policy: &Policy,
        session: Session,
        allow_different_host: bool,
    ) -> Result<Self, CompareError> {
        let same_host = a.environment.host_fingerprint == b.environment.host_fingerprint;
        if !same_host && !allow_different_host {
            let name =
                |environment: &Environment| environment.hostname.clone().unwrap_or_else(|| "unnamed".into());
            return Err(CompareError::DifferentHost { a: name(&a.environment), b: name(&b.environment) });
        }
        let measured = |cell: &&Cell| cell.summary.is_some() && !policy.ignores(&cell.id);
        let pairs: Vec<(&Cell, &Cell)> = a
            .cells
            .iter()
            .filter(measured)
            .filter_map(|cell| Some((cell, b.cell(&cell.id).filter(measured)?)))
            .collect();
        if pairs.is_empty() {
            return Err(CompareError::NothingInCommon);
        }
        let only = |run: &Run, other: &Run| -> Vec<String> {
            let missing = |cell: &&Cell| other.cell(&cell.id).filter(measured).is_none();
            run.cells.iter().filter(measured).filter(missing).map(|cell| cell.id.clone()).collect()
        };
        let judged = |trials| -> Result<Vec<Change>, DecodeError> {
            let mut rows = Vec::new();
            for (old, new) in &pairs {
                compare_cell(old, new, trials, policy, session, &mut rows)?;
            }
            judge(&mut rows, policy, session, same_host);
            Ok(rows)
        };
        let mut rows = judged(Trials::All)?;
        let disturbed = |cell: &Cell| cell.completed().any(|trial| !trial.flags.is_empty());
        if pairs.iter().any(|(old, new)| disturbed(old) || disturbed(new)) {
            let quiet = judged(Trials::Undisturbed)?;
            for row in &mut rows {
                let same = |other: &&Change| other.cell == row.cell && other.metric == row.metric;
                // A figure that nothing is left of decides nothing.
                let verdict =
                    quiet.iter().find(same).map_or(Some(Verdict::Inconclusive), |other| other.verdict);
                row.undisturbed = verdict.filter(|_| row.verdict.is_some() && verdict != row.verdict);
            }
        }
        Ok(Self {
            schema: SCHEMA.into(),
            schema_version: "1.0".into(),
            a: side(a_name, a, pairs.iter().map(|(cell, _)| *cell)),
            b: side(b_name, b, pairs.iter().map(|(_, cell)| *cell)),
            same_host,
            session,
            alpha: policy.alpha,
            // Both sides of one session have the same.
            yardsticks: if session == Session::Apart { yardsticks(a, b) } else { Vec::new() },
            rows,
            only_a: only(a, b),
            only_b: only(b, a),
        })
    }

    /// What a reader must know of the rows: a change that is no ratio of the two medians beside it.
    pub fn note(&self) -> Option<&'static str> {
        (self.session == Session::Alternating).then_some(
            "each trial is compared with its neighbour of the other side (sign test over pairs); a change need not be that of \
             the two medians",
        )
    }

    /// Which verdicts rest on trials that were disturbed (W03), if any does.
    pub fn disturbance(&self) -> Option<String> {
        let rests = |row: &Change| {
            let without = row.undisturbed?;
            Some(format!("{} {} (without them {without})", row.cell, row.metric))
        };
        let rows: Vec<String> = self.rows.iter().filter_map(rests).collect();
        let first = rows.iter().take(MOST_DISTURBED).cloned().collect::<Vec<_>>().join(", ");
        let more = rows.len().saturating_sub(MOST_DISTURBED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        (!rows.is_empty()).then(|| format!("W03 disturbed trials decide the verdict of {first}{more}"))
    }

    /// What is told where there is no row at all.
    pub(crate) fn nothing(&self) -> String {
        format!(
            "No figure is in both with messages enough: a median needs {} in a trial. Measure the same cells, or longer with -d",
            samples_needed(50.0)
        )
    }

    /// Rows with this verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Change> {
        self.rows.iter().filter(move |row| row.verdict == Some(verdict))
    }
}

fn side<'a>(name: &str, run: &Run, cells: impl Iterator<Item = &'a Cell>) -> Side {
    let counts: Vec<u32> = cells.map(|cell| cell.completed().count() as u32).collect();
    let dirty = if run.tool.dirty == Some(true) { "+dirty" } else { "" };
    Side {
        name: name.into(),
        run_id: run.run_id.clone(),
        started: run.started.clone(),
        version: run.tool.git.as_ref().map(|git| format!("{git}{dirty}")),
        trials: (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0)),
        hostname: run.environment.hostname.clone(),
        kernel: run.environment.kernel.clone(),
    }
}

/// Which trials are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trials {
    All,
    /// Those without flags: what a verdict rests on when it is the same as over all.
    Undisturbed,
}

/// Appends the rows of one cell, all but the verdicts, which need the p of every row.
fn compare_cell(
    old: &Cell,
    new: &Cell,
    trials: Trials,
    policy: &Policy,
    session: Session,
    rows: &mut Vec<Change>,
) -> Result<(), DecodeError> {
    let figures = |cell: &Cell| -> Result<Vec<Figures>, DecodeError> {
        let mut figures = Figures::of_cell(cell)?;
        figures.retain(|trial| trials == Trials::All || !trial.flagged);
        Ok(figures)
    };
    let (old_figures, new_figures) = (figures(old)?, figures(new)?);
    let (old_limits, new_limits) = (limits(old), limits(new));
    let moved = match session {
        Session::Alternating => None,
        Session::Apart => own_yardstick(old, &old_limits, new, &new_limits),
    };
    // A saturated cell claims no latency; what it still says is how much it carried.
    let saturated =
        [old, new].into_iter().any(|cell| cell.summary.as_ref().and_then(|all| all.saturated) == Some(true));
    let metrics = if saturated { [Metric::MsgsPerS].into() } else { policy.metrics(old) };
    for metric in metrics {
        let sides = samples(metric, session, &old_figures, &new_figures);
        let Some(mut row) = row(&old.id, metric, session, &sides) else { continue };
        let over_limit = |values: &[f64], limits: &[f64]| -> Vec<f64> {
            values.iter().zip(limits).map(|(value, limit)| value / limit).collect()
        };
        let (a, b) = sides;
        // Twins have the same limit beside them.
        row.normalised =
            (session == Session::Apart && old_limits.len() == a.len() && new_limits.len() == b.len())
                .then(|| rank_sum::ratio(&over_limit(&a, &old_limits), &over_limit(&b, &new_limits)))
                .flatten();
        row.reason.clone_from(&moved);
        rows.push(row);
    }
    Ok(())
}

/// The rows of one cell with their verdicts, by the figures of the trials of both sides: [`Comparison::new`] for who has
/// drawn them from their histograms already.
pub fn of_figures(
    cell: &Cell,
    (old, new): (&[Figures], &[Figures]),
    policy: &Policy,
    session: Session,
) -> Vec<Change> {
    let row = |metric| row(&cell.id, metric, session, &samples(metric, session, old, new));
    let mut rows: Vec<Change> = policy.metrics(cell).into_iter().filter_map(row).collect();
    judge(&mut rows, policy, session, true);
    rows
}

/// What is known of one figure, before all are judged together.
fn row(cell: &str, metric: Metric, session: Session, (a, b): &(Vec<f64>, Vec<f64>)) -> Option<Change> {
    let (ratio, p) = change(session, a, b)?;
    Some(Change {
        cell: cell.to_owned(),
        metric,
        a: median(a)?,
        b: median(b)?,
        ratio,
        normalised: None,
        p,
        p_holm: p,
        limit: None,
        verdict: None,
        reason: None,
        undisturbed: None,
        trials_to_settle: None,
    })
}

/// The values of one figure on both sides: all of them, or where the trials alternated those of pairs, place by place.
///
/// A pair without the figure, because one of its trials had too few messages for it, says nothing; where that is more than
/// half of them, neither do the others.
fn samples(metric: Metric, session: Session, old: &[Figures], new: &[Figures]) -> (Vec<f64>, Vec<f64>) {
    let steps = |figures: &[Figures]| figures.iter().map(|trial| trial.order).collect::<Vec<_>>();
    match session {
        Session::Apart => (metric.over(old), metric.over(new)),
        Session::Alternating => {
            let twins = pairs::twins(&steps(old), &steps(new));
            let values = |(a, b): &(usize, usize)| metric.of(&old[*a]).zip(metric.of(&new[*b]));
            let known: Vec<(f64, f64)> = twins.iter().filter_map(values).collect();
            if 2 * known.len() < twins.len() { <_>::default() } else { known.into_iter().unzip() }
        }
    }
}

/// New over old, and the p that they do not differ.
fn change(session: Session, a: &[f64], b: &[f64]) -> Option<(Estimate, f64)> {
    match session {
        Session::Apart => rank_sum::ratio(a, b).zip(rank_sum::p_value(a, b)),
        Session::Alternating => {
            let pairs: Vec<(f64, f64)> = a.iter().copied().zip(b.iter().copied()).collect();
            pairs::ratio(&pairs).zip(pairs::p_value(&pairs))
        }
    }
}

/// The limits measured beside the trials, when every trial has the same one.
fn limits(cell: &Cell) -> Vec<f64> {
    let name = cell.completed().find_map(|trial| Some(&trial.limit.as_ref()?.name));
    let value = |trial: &crate::cell::Trial| {
        trial.limit.as_ref().filter(|limit| Some(&limit.name) == name).map(|limit| limit.value)
    };
    cell.completed().map(value).collect::<Option<Vec<f64>>>().unwrap_or_default()
}

/// Says that the cell's own yardstick moved, if it did: only that one counts, since a slower system call says nothing
/// about a cache line.
fn own_yardstick(old: &Cell, old_limits: &[f64], new: &Cell, new_limits: &[f64]) -> Option<String> {
    let name = |cell: &Cell| cell.completed().find_map(|trial| Some(trial.limit.as_ref()?.name.clone()));
    let own = name(old).filter(|own| Some(own) == name(new).as_ref())?;
    let ratio = rank_sum::ratio(old_limits, new_limits)?;
    let change = (ratio.value - 1.0) * 100.0;
    moved(&ratio).then(|| format!("machine changed: {} {change:+.0} %", yardstick(&own, ratio.value).0))
}

/// Whether a ratio lies wholly more than [`YARDSTICK_LIMIT`] away from 1.
fn moved(ratio: &Estimate) -> bool {
    ratio.lo > 1.0 + YARDSTICK_LIMIT || ratio.hi < 1.0 - YARDSTICK_LIMIT
}

fn yardsticks(a: &Run, b: &Run) -> Vec<YardstickChange> {
    let change = |(name, old): (&String, &Estimate)| {
        let new = b.yardsticks.get(name)?;
        let ratio = new.over(old)?;
        Some(YardstickChange { name: name.clone(), ratio, moved: moved(&ratio) })
    };
    a.yardsticks.iter().filter_map(change).collect()
}

/// Adjusts the p of all rows together and gives each its verdict.
fn judge(rows: &mut [Change], policy: &Policy, session: Session, same_host: bool) {
    let adjusted = holm(&rows.iter().map(|row| row.p).collect::<Vec<f64>>());
    let compared = rows.len();
    for (row, p_holm) in rows.iter_mut().zip(adjusted) {
        row.p_holm = p_holm;
        let moved = row.reason.take();
        if !same_host {
            continue;
        }
        let threshold = policy.threshold(&row.cell, row.metric);
        let (metric, old, ratio) = (row.metric, row.a.value, row.ratio);
        let evidence = Evidence { metric, old, ratio, p_holm, compared, session };
        let (verdict, settle) = evidence.judge(policy.alpha, &threshold);
        row.limit = Some(threshold.at(row.a.value));
        row.trials_to_settle = settle.map(|trials| trials as u32);
        // Only red is taken back: an improvement or a sameness on a machine that moved costs nobody a build.
        (row.verdict, row.reason) = match moved {
            Some(reason) if verdict == Verdict::Regressed => (Some(Verdict::Inconclusive), Some(reason)),
            _ => (Some(verdict), None),
        };
    }
}
