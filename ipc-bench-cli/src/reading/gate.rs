//! `gate`: a run against a baseline, with an exit code.

use ipc_results::compare::Session;
use ipc_results::policy::{Gate, Outcome, Policy, Rule};
use ipc_results::units::change_interval;
use ipc_results::{export, text};

use crate::args::{GateArgs, Global, VerdictArgs};
use crate::command::{print, write};
use crate::config::Config;
use crate::error::{Exit, Failure};
use crate::mechanism::Mechanism;
use crate::output;

use super::again::{Again, again};
use super::{compared, load, repro};

/// Compares a run with a baseline and fails on what the policy fails on.
pub(crate) fn gate(mechanisms: &[Mechanism], global: &Global, args: &GateArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let verdicts = &args.verdicts;
    let (policy, named) = policy(global, verdicts)?;
    let baseline = args.baseline.clone().or(named).ok_or_else(|| {
        Failure::usage("gate does not know what to compare with")
            .why("neither --baseline nor a baseline under [gate] in ipc-bench.toml names a run")
            .fix("gate --baseline NAME; ipc-bench baseline list shows them")
    })?;
    let (old, new) = (load(&root, &baseline)?, load(&root, &args.run)?);
    let comparison = compared((&baseline, &old), (&args.run, &new), &policy, Session::Apart, false)?;
    let gate = policy.gate(&comparison);
    if let Some(path) = &verdicts.md {
        write(path, &export::markdown_of_comparison(&comparison))?;
    }
    let confirmed;
    let gate = if args.confirm && gate.outcome == Outcome::Regressed {
        let red: Vec<&str> = gate.regressed.iter().map(|row| row.cell.as_str()).collect();
        let what = Again { run: &args.run, cells: Some(&red), times: 2, allow_debug: args.allow_debug };
        let new = again(mechanisms, global, &root, &what)?;
        let mut old = old.clone();
        // What was not measured again is not missing.
        old.cells.retain(|cell| red.contains(&cell.id.as_str()));
        confirmed = compared((&baseline, &old), (&args.run, &new), &policy, Session::Apart, false)?;
        let second = policy.gate(&confirmed);
        if !global.quiet {
            eprintln!("confirm    {} of {} red figures are red again", second.regressed.len(), red.len());
        }
        second
    } else {
        gate
    };
    print(&(annotations(&gate, verdicts.github) + &text::gate(&gate, repro, &global.style())))?;
    judged(&gate)
}

/// What counts and what fails, as the flags say and after them the file; and the baseline that the file names.
pub(crate) fn policy(global: &Global, verdicts: &VerdictArgs) -> Result<(Policy, Option<String>), Failure> {
    let config = Config::load(verdicts.policy.as_deref().or(global.config.as_deref()))?;
    if let (Some(path), None) = (&verdicts.policy, &config.gate) {
        return Err(Failure::usage(format!("--policy {}: there is no [gate] in it", path.display()))
            .why("the limits, what is ignored and what fails stand in that table")
            .fix("add one, as in docs/ci.md, or leave --policy out"));
    }
    let gate = config.gate.unwrap_or_default();
    let (limit, fail_on) = (verdicts.limit.as_deref(), &verdicts.fail_on);
    let wrong = |flag: &'static str| {
        move |error: String| {
            Failure::usage(format!("{flag}: not understood"))
                .why(error)
                .fix("as in --limit 'p50=5%|50ns' --fail-on regressed,missing")
        }
    };
    let mut policy = gate.policy;
    if let Some(limits) = limit {
        policy.rules = Rule::parse_list(limits).map_err(wrong("--limit"))?;
    }
    if !fail_on.is_empty() {
        let parsed = fail_on.iter().map(|name| name.parse()).collect::<Result<_, _>>();
        policy.fail_on = parsed.map_err(wrong("--fail-on"))?;
    }
    Ok((policy, gate.baseline))
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
    let back = gate.taken_back().map(|(row, reason)| {
        let text = format!("{} {} {reason}", row.cell, row.metric).replace('%', "%25");
        format!("::notice title=ipc-bench: inconclusive::{text}\n")
    });
    let missing = gate.missing.iter().map(|cell| format!("::warning title=ipc-bench: missing::{cell}\n"));
    red.chain(back).chain(missing).collect()
}
