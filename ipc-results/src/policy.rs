//! What counts as a regression: limits per cell and metric, and which verdicts fail a gate.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::compare::{Change, Comparison};
use crate::metric::Metric;
use crate::verdict::{ALPHA, Threshold, Verdict};

/// The rules of a comparison and of a gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Chance of a false red among all compared figures together.
    pub alpha: f64,
    /// Limits that differ from the default; of the rules that match a figure the most specific one holds.
    pub rules: Vec<Rule>,
    /// Globs of cells that are not compared.
    pub ignore: Vec<String>,
    /// Which outcomes fail.
    pub fail_on: BTreeSet<FailOn>,
    /// Metrics to compare in every cell that has them; empty for the defaults of each cell's workload.
    pub metrics: Vec<Metric>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: ALPHA,
            rules: Vec::new(),
            ignore: Vec::new(),
            fail_on: [FailOn::Regressed].into(),
            metrics: Vec::new(),
        }
    }
}

/// An outcome that can fail a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailOn {
    /// A figure regressed.
    Regressed,
    /// A figure could not be judged.
    Inconclusive,
    /// A cell of the baseline was not measured.
    Missing,
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "regressed" => Ok(Self::Regressed),
            "inconclusive" => Ok(Self::Inconclusive),
            "missing" => Ok(Self::Missing),
            other => Err(format!("{other:?} fails no gate; it is regressed, inconclusive or missing")),
        }
    }
}

/// A limit for the figures that a pattern selects.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Cells, by glob.
    cells: Option<String>,
    /// One metric or a group of them.
    figure: Figure,
    /// The smallest change that matters.
    pub threshold: Threshold,
}

#[derive(Debug, Clone, PartialEq)]
enum Figure {
    Any,
    Group(&'static str),
    One(Metric),
}

impl Rule {
    /// `pattern` is a metric (`p99`), a group (`@latency`, `@throughput`, `@cpu`), a glob of cells (`tcp/*`), or a glob and one
    /// of the others: `*/rtt/*:p99`.
    ///
    /// # Errors
    /// A sentence that names the unknown metric or group.
    pub fn new(pattern: &str, threshold: Threshold) -> Result<Self, String> {
        let (cells, figure) = match pattern.rsplit_once(':') {
            Some((cells, figure)) => (Some(cells), Some(figure)),
            // A cell id has slashes, and so has one metric: its name decides.
            None if pattern.parse::<Metric>().is_err() && pattern.contains(['/', '*']) => {
                (Some(pattern), None)
            }
            None => (None, Some(pattern)),
        };
        let figure = match figure {
            None => Figure::Any,
            Some(name) if name.starts_with('@') => Figure::Group(group(name)?),
            Some(name) => Figure::One(name.parse()?),
        };
        Ok(Self { cells: cells.map(str::to_owned), figure, threshold })
    }

    /// Reads the form of the command line: `p50=5%|50ns,@throughput=5%`.
    ///
    /// # Errors
    /// A sentence about the first part that is wrong.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let rule = |part: &str| {
            // From the right: a cell id may hold `k=v` itself.
            let (pattern, threshold) =
                part.rsplit_once('=').ok_or_else(|| format!("{part:?} is no limit: write p50=5%|50ns"))?;
            Self::new(pattern.trim(), threshold.parse()?)
        };
        text.split(',').map(str::trim).map(rule).collect()
    }

    fn matches(&self, cell: &str, metric: Metric) -> bool {
        let figure = match self.figure {
            Figure::Any => true,
            Figure::Group(group) => metric.group() == group,
            Figure::One(one) => metric == one,
        };
        figure && self.cells.as_ref().is_none_or(|cells| glob(cells, cell))
    }

    /// More specific is larger: a metric before a group before none, then a longer glob.
    fn specificity(&self) -> (bool, u8, usize) {
        let figure = match self.figure {
            Figure::Any => 0,
            Figure::Group(_) => 1,
            Figure::One(_) => 2,
        };
        (self.cells.is_some(), figure, self.cells.as_ref().map_or(0, String::len))
    }
}

fn group(name: &str) -> Result<&'static str, String> {
    let groups = Metric::ALL.map(Metric::group);
    groups
        .into_iter()
        .find(|group| *group == name)
        .ok_or_else(|| format!("unknown group {name:?}; groups are @latency, @throughput, @cpu"))
}

impl Policy {
    /// Whether the cell is left out.
    pub fn ignores(&self, cell: &str) -> bool {
        self.ignore.iter().any(|pattern| glob(pattern, cell))
    }

    /// The metrics to compare in this cell: the chosen ones or its defaults, and those that a rule names.
    pub fn metrics(&self, cell: &Cell) -> BTreeSet<Metric> {
        let chosen = if self.metrics.is_empty() { Metric::defaults(cell) } else { &self.metrics };
        let named = self.rules.iter().filter_map(|rule| match rule.figure {
            Figure::One(metric) if rule.matches(&cell.id, metric) => Some(metric),
            _ => None,
        });
        chosen.iter().copied().chain(named).collect()
    }

    /// The smallest change of this figure that matters.
    pub fn threshold(&self, cell: &str, metric: Metric) -> Threshold {
        let matching = self.rules.iter().filter(|rule| rule.matches(cell, metric));
        matching
            .max_by_key(|rule| rule.specificity())
            .map_or_else(|| Threshold::default_for(metric), |rule| rule.threshold)
    }

    /// Applies the gate to a comparison.
    pub fn gate<'a>(&self, comparison: &'a Comparison) -> Gate<'a> {
        let of = |verdict| comparison.with(verdict).collect::<Vec<&Change>>();
        let (regressed, inconclusive) = (of(Verdict::Regressed), of(Verdict::Inconclusive));
        let missing: Vec<&str> = comparison.only_a.iter().map(String::as_str).collect();
        // Trials of a side, or pairs of them.
        let have = comparison.rows.iter().map(|row| row.ratio.trials).min().unwrap_or(0);
        let (compared, session) = (comparison.rows.len(), comparison.session);
        let needs = (session.gateable_metrics(have as usize, self.alpha) < compared).then(|| Needs {
            have,
            trials: session.trials_for(compared, self.alpha) as u32,
            metrics: compared as u32,
        });
        let fails = |kind, any: bool| any && self.fail_on.contains(&kind);
        let outcome = if fails(FailOn::Regressed, !regressed.is_empty()) {
            Outcome::Regressed
        } else if fails(FailOn::Inconclusive, !inconclusive.is_empty())
            || fails(FailOn::Missing, !missing.is_empty())
        {
            Outcome::Undecided
        } else {
            Outcome::Passed
        };
        Gate { outcome, regressed, inconclusive, missing, needs }
    }
}

/// What a gate found.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate<'a> {
    /// Whether it passed.
    pub outcome: Outcome,
    /// Figures that regressed.
    pub regressed: Vec<&'a Change>,
    /// Figures that these trials cannot judge.
    pub inconclusive: Vec<&'a Change>,
    /// Cells of the baseline that were not measured.
    pub missing: Vec<&'a str>,
    /// Present when so few trials could not have shown any regression: the gate has then tested nothing.
    pub needs: Option<Needs>,
}

impl Gate<'_> {
    /// Figures that would be red, and why they are not.
    pub fn taken_back(&self) -> impl Iterator<Item = (&Change, &str)> {
        self.inconclusive.iter().filter_map(|row| Some((*row, row.reason.as_deref()?)))
    }
}

/// How a gate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that the policy fails on. Exit code 0.
    Passed,
    /// A regression. Exit code 3.
    Regressed,
    /// Inconclusive or missing, and the policy fails on that. Exit code 4.
    Undecided,
}

/// Trials that a gate needs before it can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Fewest completed trials of a compared cell.
    pub have: u32,
    /// Trials on each side that are needed.
    pub trials: u32,
    /// Figures gated together.
    pub metrics: u32,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { have, trials, metrics } = self;
        write!(f, "needs --trials {trials} for {metrics} metrics: with {have} no change can be significant")
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters, slashes too, and `?` for one.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the characters after the last star did not match.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(character) if *character == '?' || *character == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, percent: f64) -> Rule {
        Rule::new(pattern, Threshold { relative: percent / 100.0, absolute: 0.0 }).unwrap()
    }

    #[test]
    fn the_most_specific_rule_holds_whatever_the_order() {
        let rules =
            vec![rule("*/rtt/*:p99", 10.0), rule("@latency", 5.0), rule("p99", 7.0), rule("tcp/*", 9.0)];
        for rules in [rules.clone(), rules.into_iter().rev().collect()] {
            let policy = Policy { rules, ..Policy::default() };
            let relative = |cell, metric| policy.threshold(cell, metric).relative;
            assert_eq!(relative("shm/rtt/64", Metric::P99), 0.10);
            assert_eq!(relative("shm/rtt/64", Metric::P50), 0.05);
            assert_eq!(relative("shm/load/64/r50%", Metric::P99), 0.07);
            assert_eq!(relative("tcp/rtt/64", Metric::P50), 0.09);
            assert_eq!(relative("shm/stream/64", Metric::MsgsPerS), 0.02);
        }
    }

    #[test]
    fn the_command_line_form_is_read() {
        let rules =
            Rule::parse_list("p50=5%|50ns, @throughput=5%,uds/stream/64/uds.sndbuf=1M:msg/s=3%").unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].threshold, Threshold { relative: 0.05, absolute: 50.0 });
        assert!(rules[2].matches("uds/stream/64/uds.sndbuf=1M", Metric::MsgsPerS));
        assert!(Rule::parse_list("p50").unwrap_err().contains("write p50=5%|50ns"));
        assert!(Rule::parse_list("p42=5%").unwrap_err().contains("unknown metric"));
        assert!(Rule::parse_list("@speed=5%").unwrap_err().contains("groups are @latency"));
    }

    #[test]
    fn a_rule_for_another_metric_has_it_compared_too() {
        let cell = Cell::new("shm/rtt/64", "shm", "rtt", 64);
        let policy = Policy { rules: vec![rule("*/rtt/*:p99.9", 20.0)], ..Policy::default() };
        assert_eq!(policy.metrics(&cell), [Metric::P50, Metric::P99, Metric::P999].into());
        let stream = Cell::new("shm/stream/64", "shm", "stream", 64);
        assert_eq!(policy.metrics(&stream), [Metric::MsgsPerS].into());
    }

    #[test]
    fn globs_cross_slashes() {
        for (pattern, text) in [
            ("*", "a/b"),
            ("a/*", "a/b/c"),
            ("*/rtt/*", "shm/rtt/64"),
            ("s?m/*", "shm/rtt"),
            ("a*b*c", "a1b2b3c"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a/*", "b/c"), ("", "a"), ("a", ""), ("*/rtt", "shm/rtt/64"), ("a*b", "abc")]
        {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
