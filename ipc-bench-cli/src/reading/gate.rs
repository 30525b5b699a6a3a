//! `gate`: a run against a baseline, with an exit code.

use ipc_results::policy::{Outcome, Policy, Rule};
use ipc_results::text;

use crate::args::{GateArgs, Global};
use crate::command::print;
use crate::error::{Exit, Failure};
use crate::output;

use super::{compared, load, repro};

/// Compares a run with a baseline and fails on what the policy fails on.
pub(crate) fn gate(global: &Global, args: &GateArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let wrong = |flag: &'static str| {
        move |error: String| {
            Failure::usage(format!("{flag}: not understood"))
                .why(error)
                .fix("as in --limit 'p50=5%|50ns' --fail-on regressed,missing")
        }
    };
    let mut policy = Policy::default();
    if let Some(limits) = &args.limit {
        policy.rules = Rule::parse_list(limits).map_err(wrong("--limit"))?;
    }
    if !args.fail_on.is_empty() {
        let parsed = args.fail_on.iter().map(|name| name.parse()).collect::<Result<_, _>>();
        policy.fail_on = parsed.map_err(wrong("--fail-on"))?;
    }
    let (old, new) = (load(&root, &args.baseline)?, load(&root, &args.run)?);
    let comparison = compared((&args.baseline, &old), (&args.run, &new), &policy, false)?;
    let gate = policy.gate(&comparison);
    print(&text::gate(&gate, repro, &global.style()))?;
    match gate.outcome {
        Outcome::Passed => Ok(()),
        Outcome::Regressed => {
            Err(Failure::new(Exit::Regressed, format!("{} figures regressed", gate.regressed.len())))
        }
        Outcome::Undecided => Err(Failure::new(Exit::Undecided, "the gate is undecided")
            .why("inconclusive or missing figures, and --fail-on names them")),
    }
}
