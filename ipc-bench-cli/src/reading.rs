//! Commands that read saved runs: `report`, `compare`, `gate`, `baseline`. Nothing is measured here.

use std::path::{Path, PathBuf};

use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::{Outcome, Policy, Rule};
use ipc_results::report::Report;
use ipc_results::text::{self, render};
use ipc_results::{Run, export, file};

use crate::args::{BaselineArgs, CompareArgs, Format, GateArgs, Global, ReportArgs};
use crate::command::{print, write};
use crate::error::{Exit, Failure};
use crate::output;

/// The file that a person means: a path, a run's directory, a baseline's name, `last` or `last~N`.
fn find(root: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(name);
    let baseline = baseline_file(root, name);
    let back = name
        .strip_prefix("last")
        .and_then(|rest| if rest.is_empty() { Some(0) } else { rest.strip_prefix('~')?.parse().ok() });
    if let Some(back) = back {
        let runs = output::saved_runs(root)
            .map_err(|error| Failure::failed("the saved runs cannot be read").why(error))?;
        let chosen = runs.len().checked_sub(1 + back).map(|index| runs[index].join("run.json"));
        return chosen.ok_or_else(|| {
            Failure::usage(format!("there is no run {name}"))
                .why(format!("{} has {} runs", root.display(), runs.len()))
                .fix("ipc-bench list runs shows them")
        });
    }
    match () {
        () if path.is_dir() => Ok(path.join("run.json")),
        () if path.is_file() => Ok(path),
        () if baseline.is_file() => Ok(baseline),
        () => Err(Failure::usage(format!("{name:?} is no run"))
            .why(format!("it is no file, no directory of a run and no baseline under {}", root.display()))
            .fix("ipc-bench list runs shows the runs, ipc-bench baseline list the baselines")),
    }
}

fn load(root: &Path, name: &str) -> Result<Run, Failure> {
    file::read_run(&find(root, name)?)
        .map_err(|error| Failure::usage(format!("{name} cannot be read")).why(error))
}

fn baseline_file(root: &Path, name: &str) -> PathBuf {
    root.join("baselines").join(format!("{name}.json"))
}

/// Renders a saved run again.
pub(crate) fn report(global: &Global, args: &ReportArgs) -> Result<(), Failure> {
    let run = load(&output::root(global.dir.as_deref()), &args.run)?;
    let damaged = |error| Failure::failed(format!("{} is damaged", args.run)).why(error);
    let report = Report::new(&run).map_err(damaged)?;
    let text = match args.format {
        Format::Text => render(&report, &global.style()),
        Format::Md => export::markdown_of_run(&report),
        Format::Csv if args.summary => export::csv_of_cells(&report),
        Format::Csv => export::csv_of_trials(&report),
        Format::Json => file::to_json(&run).map_err(|error| Failure::failed("no JSON").why(error))?,
        Format::Junit => export::junit_of_run(&run),
        Format::Hlog => export::hlog(&run),
        Format::Bmf => export::bmf(&run),
    };
    match &args.output {
        Some(path) => write(path, &text),
        None => print(&text),
    }
}

/// Puts runs side by side, the first as the reference.
pub(crate) fn compare(global: &Global, args: &CompareArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let runs = args.run.iter().map(|name| load(&root, name)).collect::<Result<Vec<_>, _>>()?;
    let policy = Policy::default();
    let pair = |index: usize| {
        compared(
            (&args.run[0], &runs[0]),
            (&args.run[index], &runs[index]),
            &policy,
            args.allow_different_host,
        )
    };
    let all = (1..runs.len()).map(pair).collect::<Result<Vec<_>, _>>()?;
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

fn compared(
    a: (&String, &Run),
    b: (&String, &Run),
    policy: &Policy,
    anywhere: bool,
) -> Result<Comparison, Failure> {
    Comparison::new((a.0, a.1), (b.0, b.1), policy, Session::Apart, anywhere).map_err(|error| match error {
        ipc_results::compare::CompareError::DifferentHost { .. } => {
            Failure::new(Exit::Refused, "these runs are not comparable").why(error)
        }
        error => Failure::usage("these runs cannot be compared").why(error),
    })
}

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

/// The command that measures a cell again: `uds/rtt/64/wait=spin`.
fn repro(cell: &str) -> String {
    let mut parts = cell.split('/');
    let (transport, mode, size) = (parts.next(), parts.next(), parts.next());
    let mut command = format!(
        "ipc-bench run -t {} --mode {} -s {}",
        transport.unwrap_or_default(),
        mode.unwrap_or_default(),
        size.unwrap_or_default()
    );
    for dimension in parts {
        match dimension.strip_prefix("wait=") {
            Some(wait) => command += &format!(" --wait {wait}"),
            None => command += &format!(" -L {dimension}"),
        }
    }
    command
}

/// Keeps runs under names.
pub(crate) fn baseline(global: &Global, args: &BaselineArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let directory = root.join("baselines");
    match args {
        BaselineArgs::Save { name, run } => {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty()
                || name.starts_with(['.', '-'])
                || !name.chars().all(legal)
                || name.starts_with("last")
            {
                return Err(Failure::usage(format!("{name:?} is no name of a baseline"))
                    .why("it becomes a file's name and must not look like last")
                    .fix("use letters, digits, `.`, `_` and `-`"));
            }
            let run = load(&root, run)?;
            std::fs::create_dir_all(&directory).map_err(|error| {
                Failure::usage(format!("{} cannot be made", directory.display())).why(error)
            })?;
            file::write_run(&baseline_file(&root, name), &run)
                .map_err(|error| Failure::usage("the baseline cannot be saved").why(error))
        }
        BaselineArgs::List => {
            let mut names: Vec<String> = std::fs::read_dir(&directory)
                .map(|entries| {
                    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
                })
                .unwrap_or_default();
            names.sort();
            print(
                &names
                    .iter()
                    .filter_map(|name| Some(format!("{}\n", name.strip_suffix(".json")?)))
                    .collect::<String>(),
            )
        }
        BaselineArgs::Rm { name } => std::fs::remove_file(baseline_file(&root, name))
            .map_err(|error| Failure::usage(format!("there is no baseline {name}")).why(error)),
    }
}
