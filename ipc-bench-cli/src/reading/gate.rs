//! `gate`: a run against a baseline, with an exit code.

use ipc_results::compare::Session;
use ipc_results::policy::{Gate, Outcome, Policy, Rule};
use ipc_results::units::change_interval;
use ipc_results::{export, text};

use crate::args::{GateArgs, Global};
use crate::command::{print, write};
use crate::error::{Exit, Failure};
use crate::output;

use super::{compared, load, repro};

/// Compares a run with a baseline and fails on what the policy fails on.
pub(crate) fn gate(global: &Global, args: &GateArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let verdicts = &args.verdicts;
    let policy = policy(verdicts.limit.as_deref(), &verdicts.fail_on)?;
    let (old, new) = (load(&root, &args.baseline)?, load(&root, &args.run)?);
    let comparison = compared((&args.baseline, &old), (&args.run, &new), &policy, Session::Apart, false)?;
    let gate = policy.gate(&comparison);
    if let Some(path) = &verdicts.md {
        write(path, &export::markdown_of_comparison(&comparison))?;
    }
    print(&(annotations(&gate, verdicts.github) + &text::gate(&gate, repro, &global.style())))?;
    judged(&gate)
}

/// What counts and what fails, as the flags say.
pub(crate) fn policy(limit: Option<&str>, fail_on: &[String]) -> Result<Policy, Failure> {
    let wrong = |flag: &'static str| {
        move |error: String| {
            Failure::usage(format!("{flag}: not understood"))
                .why(error)
                .fix("as in --limit 'p50=5%|50ns' --fail-on regressed,missing")
        }
    };
    let mut policy = Policy::default();
    if let Some(limits) = limit {
        policy.rules = Rule::parse_list(limits).map_err(wrong("--limit"))?;
    }
    if !fail_on.is_empty() {
        let parsed = fail_on.iter().map(|name| name.parse()).collect::<Result<_, _>>();
        policy.fail_on = parsed.map_err(wrong("--fail-on"))?;
    }
    Ok(policy)
}

/// The exit code of a gate.
pub(crate) fn judged(gate: &Gate<'_>) -> Result<(), Failure> {
    match gate.outcome {
        Outcome::Passed => Ok(()),
        Outcome::Regressed => {
            Err(Failure::new(Exit::Regressed, format!("{} figures regressed", gate.regressed.len())))
        }
        Outcome::Undecided => Err(Failure::new(Exit::Undecided, "the gate is undecided")
            .why("inconclusive or missing figures, and --fail-on names them")),
    }
}

/// One line per violation in the form that GitHub Actions shows beside a change; nothing unless `wanted`.
pub(crate) fn annotations(gate: &Gate<'_>, wanted: bool) -> String {
    if !wanted {
        return String::new();
    }
    let red = gate.regressed.iter().map(|row| {
        let values = format!("{} → {}", row.metric.format(row.a.value), row.metric.format(row.b.value));
        let change = change_interval(&row.ratio);
        // A per cent sign begins an escape there.
        let text = format!("{} {} {values} {change}", row.cell, row.metric).replace('%', "%25");
        format!("::error title=ipc-bench: regressed::{text}\n")
    });
    let missing = gate.missing.iter().map(|cell| format!("::warning title=ipc-bench: missing::{cell}\n"));
    red.chain(missing).collect()
}
