//! Claims held against measurements: a file of targets, and what runs say about each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cell::{Cell, CellStatus};
use crate::estimate::Estimate;
use crate::policy::glob;
use crate::run::Run;
use crate::summary::Summary;

/// The version of the file that this crate reads.
pub const SCHEMA: u32 = 1;

/// A file of targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Version of the file, [`SCHEMA`].
    pub schema: u32,
    /// How the cells are measured when no run is given: each is what follows `ipc-bench run`.
    #[serde(default)]
    pub measure: Vec<String>,
    /// The claims.
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

/// One claimed number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What is claimed, in words.
    pub claim: String,
    /// The cells it is about, by glob over their ids; each of them must meet it.
    pub cell: String,
    /// Where the number stands in a cell's `summary` of `run.json`: `p50_ns`, `msgs_per_s`, `limit.ratio`,
    /// `measures.rss_bytes`. The unit is the end of the name.
    pub metric: String,
    /// The cell whose same metric it is divided by, where the claim is about how many times more; of the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// How the measured value relates to the claimed one.
    pub op: Op,
    /// The claimed value, in the metric's unit; absent where nothing can measure it and none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Who said so, and where.
    pub source: String,
    /// Why nothing can measure it; such a target is shown and never judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_measurable: Option<String>,
}

impl Target {
    /// What the unit of its value is told from, see [`figure`](crate::units::figure).
    pub fn unit(&self) -> &str {
        if self.against.is_some() { "ratio" } else { &self.metric }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Op {
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    AtMost,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    AtLeast,
}

impl Op {
    /// Whether `measured` stands in this relation to `claimed`.
    pub fn holds(self, measured: f64, claimed: f64) -> bool {
        match self {
            Self::Less => measured < claimed,
            Self::AtMost => measured <= claimed,
            Self::Greater => measured > claimed,
            Self::AtLeast => measured >= claimed,
        }
    }

    /// Whether a smaller value is the better one.
    fn wants_less(self) -> bool {
        matches!(self, Self::Less | Self::AtMost)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Less => "<",
            Self::AtMost => "≤",
            Self::Greater => ">",
            Self::AtLeast => "≥",
        })
    }
}

/// A target and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Judged {
    /// The claim.
    #[serde(flatten)]
    pub target: Target,
    /// What the runs say.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What runs say about a target.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Finding {
    /// It holds.
    Met {
        /// Of the matching cells the one nearest to a miss.
        worst: String,
        /// Its figure: the median over its trials.
        measured: Estimate,
    },
    /// It does not.
    Missed {
        /// Of the matching cells the one furthest away.
        worst: String,
        /// Its figure: the median over its trials.
        measured: Estimate,
    },
    /// No run says.
    NotMeasured {
        /// Why.
        why: String,
    },
}

/// Holds every target against the runs, in the order of the file.
pub fn judge(targets: &[Target], runs: &[Run]) -> Vec<Judged> {
    targets.iter().map(|target| Judged { target: target.clone(), finding: find(target, runs) }).collect()
}

fn find(target: &Target, runs: &[Run]) -> Finding {
    if let Some(why) = &target.not_measurable {
        return Finding::NotMeasured { why: why.clone() };
    }
    let Some(claimed) = target.value else {
        return Finding::NotMeasured { why: "the claim has no value".into() };
    };
    let cells = || runs.iter().flat_map(|run| &run.cells).filter(|cell| glob(&target.cell, &cell.id));
    let measured = runs.iter().flat_map(|run| run.cells.iter().map(move |cell| (run, cell)));
    let figures = measured
        .filter(|(_, cell)| glob(&target.cell, &cell.id))
        .filter_map(|(run, cell)| Some((cell, figure(run, cell, target)?)));
    let further = |a: f64, b: f64| if target.op.wants_less() { a.total_cmp(&b) } else { b.total_cmp(&a) };
    match figures.max_by(|(_, a), (_, b)| further(a.value, b.value)) {
        Some((cell, measured)) => {
            let worst = cell.id.clone();
            if target.op.holds(measured.value, claimed) {
                Finding::Met { worst, measured }
            } else {
                Finding::Missed { worst, measured }
            }
        }
        None => Finding::NotMeasured { why: absence(target, cells().next()) },
    }
}

/// The figure of a cell that a target is about.
fn figure(run: &Run, cell: &Cell, target: &Target) -> Option<Estimate> {
    let of = |cell: &Cell| look_up(cell.summary.as_ref()?, &target.metric);
    let own = of(cell)?;
    let Some(against) = &target.against else { return Some(own) };
    let other = of(run.cells.iter().find(|cell| cell.id == *against)?)?;
    own.over(&other)
}

/// Why there is no figure, as the first matching cell tells.
fn absence(target: &Target, cell: Option<&Cell>) -> String {
    match cell {
        None => format!("no run has a cell {}", target.cell),
        Some(cell) => match (&cell.reason, cell.status) {
            (Some(reason), _) => reason.clone(),
            (None, CellStatus::Ok) => match &target.against {
                Some(against) => format!("{} or {against} has no {}", cell.id, target.metric),
                None => format!("{} has no {}", cell.id, target.metric),
            },
            (None, _) => format!("{} was not measured", cell.id),
        },
    }
}

/// The figure at a dotted path of a summary: an estimate, or the ratio to a limit.
fn look_up(summary: &Summary, path: &str) -> Option<Estimate> {
    if path == "limit.ratio" {
        let limit = summary.limit.as_ref()?;
        let trials = summary.latency.p50_ns.or(summary.msgs_per_s).map_or(0, |estimate| estimate.trials);
        let (value, lo, hi) = (limit.ratio, limit.lo, limit.hi);
        return Some(Estimate { value, lo, hi, trials, coverage: limit.coverage });
    }
    // The names are those of the document, so the document is asked.
    let document = serde_json::to_value(summary).ok()?;
    let found = path.split('.').try_fold(&document, |value: &Value, key| value.get(key))?;
    Estimate::deserialize(found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Throughput, Trial};
    use crate::run::Tool;
    use crate::summary::summarise;

    fn target(cell: &str, metric: &str, op: Op, value: f64) -> Target {
        Target {
            claim: "a claim".into(),
            cell: cell.into(),
            metric: metric.into(),
            against: None,
            op,
            value: Some(value),
            source: "somebody".into(),
            not_measurable: None,
        }
    }

    fn run(cells: Vec<Cell>) -> Run {
        Run { cells, ..Run::new("test", "2026-11-21T00:00:00Z", Tool::default()) }
    }

    fn cell(id: &str, msgs_per_s: f64, rss: f64) -> Cell {
        let trial = Trial {
            messages: 1,
            throughput: Throughput { msgs_per_s, bytes_per_s: 0.0 },
            measures: [("rss_bytes".to_owned(), rss)].into(),
            ..Trial::default()
        };
        let cell = Cell { trials: vec![trial], ..Cell::new(id, "shm", "stream", 64) };
        Cell { summary: summarise(&cell).unwrap(), ..cell }
    }

    #[test]
    fn every_matching_cell_must_meet_the_target_and_the_worst_is_named() {
        let runs = [run(vec![cell("shm/stream/64", 900.0, 10.0), cell("shm/stream/4096", 500.0, 30.0)])];
        let judged = judge(
            &[
                target("shm/stream/*", "msgs_per_s", Op::AtLeast, 500.0),
                target("shm/stream/*", "msgs_per_s", Op::AtLeast, 600.0),
                target("shm/stream/*", "measures.rss_bytes", Op::Less, 20.0),
            ],
            &runs,
        );
        let said: Vec<_> = judged
            .iter()
            .map(|row| match &row.finding {
                Finding::Met { worst, .. } => ("met", worst.as_str()),
                Finding::Missed { worst, .. } => ("missed", worst.as_str()),
                Finding::NotMeasured { why } => ("not measured", why.as_str()),
            })
            .collect();
        assert_eq!(
            said,
            [("met", "shm/stream/4096"), ("missed", "shm/stream/4096"), ("missed", "shm/stream/4096")]
        );
    }

    #[test]
    fn a_target_against_another_cell_is_about_their_ratio() {
        let runs = [run(vec![
            cell("shm/broadcast/64/ring=shared", 900.0, 1.0),
            cell("shm/broadcast/64", 500.0, 1.0),
        ])];
        let against = |against: &str| Target {
            against: Some(against.into()),
            ..target("shm/broadcast/64/ring=shared", "msgs_per_s", Op::AtLeast, 1.3)
        };
        match find(&against("shm/broadcast/64"), &runs) {
            Finding::Met { measured, .. } => assert_eq!(measured.value, 1.8),
            other => panic!("{other:?}"),
        }
        assert_eq!(against("shm/broadcast/64").unit(), "ratio");
        assert!(matches!(find(&against("uds/broadcast/64"), &runs), Finding::NotMeasured { .. }));
        let silent = Target { value: None, ..against("shm/broadcast/64") };
        assert!(matches!(find(&silent, &runs), Finding::NotMeasured { .. }));
    }

    #[test]
    fn what_no_run_says_is_not_judged_and_says_why() {
        let mut skipped = Cell::new("mq/rtt/65536", "mq", "rtt", 65536).skipped("too long for mq");
        skipped.summary = None;
        let runs = [run(vec![skipped, cell("shm/stream/64", 1.0, 1.0)])];
        let why = |cell: &str, metric: &str| match find(&target(cell, metric, Op::Less, 1.0), &runs) {
            Finding::NotMeasured { why } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why("mq/rtt/*", "p50_ns"), "too long for mq");
        assert_eq!(why("pipe/*", "p50_ns"), "no run has a cell pipe/*");
        assert_eq!(why("shm/*", "p50_ns"), "shm/stream/64 has no p50_ns");
        let excused = Target {
            not_measurable: Some("it is about another machine".into()),
            ..target("shm/stream/64", "msgs_per_s", Op::Less, 1e9)
        };
        assert!(matches!(find(&excused, &runs), Finding::NotMeasured { .. }));
    }
}
