//! `compare`: runs side by side.

use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::Policy;
use ipc_results::report::Report;
use ipc_results::{Run, arms, export, html, text};

use crate::args::{CompareArgs, Global};
use crate::command::{print, write};
use crate::error::Failure;
use crate::output;

use super::{compared, load};

/// Puts runs side by side, the first as the reference.
pub(crate) fn compare(global: &Global, args: &CompareArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let mut runs = args.run.iter().map(|name| load(&root, name)).collect::<Result<Vec<_>, _>>()?;
    let policy = Policy::default();
    let mut names = args.run.clone();
    let mut session = Session::Apart;
    if let [only] = &runs[..] {
        let sides = arms::split(only).ok_or_else(|| {
            Failure::usage("one run cannot be compared with itself")
                .why(format!("{} was not made by ab", args.run[0]))
                .fix("name a second run: ipc-bench compare last~1 last")
        })?;
        (names, runs) = sides.into_iter().unzip();
        session = Session::Alternating;
    }
    let pair = |index: usize| {
        compared(
            (&names[0], &runs[0]),
            (&names[index], &runs[index]),
            &policy,
            session,
            args.allow_different_host,
        )
    };
    let all = (1..runs.len()).map(pair).collect::<Result<Vec<_>, _>>()?;
    for (flag, path) in [("--html", &args.html), ("--md", &args.md)] {
        let Some(path) = path else { continue };
        let [only] = &all[..] else {
            return Err(Failure::usage(format!("{flag} is for two runs"))
                .why(format!("{} are named", runs.len()))
                .fix("compare two of them, or leave it out"));
        };
        let text = if flag == "--md" { export::markdown_of_comparison(only) } else { pages(only, &runs)? };
        write(path, &text)?;
    }
    if let Some(path) = &global.json {
        let document = match &all[..] {
            [only] => serde_json::to_string_pretty(only),
            several => serde_json::to_string_pretty(several),
        };
        let document = document.map_err(|error| Failure::failed("no JSON").why(error))? + "\n";
        return if global.json_to_stdout() { print(&document) } else { write(path, &document) };
    }
    match &all[..] {
        [only] => print(&text::comparison(only, args.all, &global.style())),
        several => print(&text::comparisons(several, &global.style())),
    }
}

/// The page of a comparison, which also carries both runs.
fn pages(comparison: &Comparison, runs: &[Run]) -> Result<String, Failure> {
    let damaged = |error| Failure::failed("a run is damaged").why(error);
    let (a, b) = (Report::new(&runs[0]).map_err(damaged)?, Report::new(&runs[1]).map_err(damaged)?);
    Ok(html::comparison(comparison, &a, &b))
}
