//! Commands that read saved runs: `report`, `compare`, `gate`, `baseline`. Nothing is measured here.

mod again;
mod baseline;
mod compare;
mod gate;
mod kept;
mod merge;
mod recipe;
mod report;

use std::path::{Path, PathBuf};

use ipc_results::compare::{CompareError, Comparison, Session};
use ipc_results::policy::Policy;
use ipc_results::report::Report;
use ipc_results::{Run, file, html};

use crate::error::{Exit, Failure};
use crate::output;

pub(crate) use baseline::{baseline, baselines};
pub(crate) use compare::compare;
pub(crate) use gate::{annotations, gate, judged, policy};
pub(crate) use kept::Kept;
pub(crate) use merge::merge;
pub(crate) use report::report;

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
            .why(format!(
                "it is no file, no directory of a run and no baseline under {} or {}",
                root.display(),
                output::committed().display()
            ))
            .fix("ipc-bench list runs shows the runs, ipc-bench baseline list the baselines")),
    }
}

/// The run that a person means: its file or the report that carries it.
pub(super) fn load(root: &Path, name: &str) -> Result<Run, Failure> {
    let path = find(root, name)?;
    let run = file::read_run(&path).map_err(|error| {
        Failure::usage(format!("{name} cannot be read"))
            .why(error)
            .fix("name a run.json, a run's directory, a report.html or a baseline")
    })?;
    log::info!("{name} is {}: {}, {} cells", path.display(), run.run_id, run.cells.len());
    Ok(run)
}

/// Where baselines are, in the order in which a name is looked for: with the runs, and with the sources.
fn baseline_places(root: &Path) -> [PathBuf; 2] {
    [root.join("baselines"), output::committed()]
}

/// The file of a baseline, wherever it is; where there is none, the one that it would have with the runs.
fn baseline_file(root: &Path, name: &str) -> PathBuf {
    let [with_runs, with_sources] = baseline_places(root).map(|place| place.join(format!("{name}.json")));
    if !with_runs.is_file() && with_sources.is_file() { with_sources } else { with_runs }
}

/// Two runs, compared; on different machines only where `anywhere` allows it.
fn compared(
    a: (&String, &Run),
    b: (&String, &Run),
    policy: &Policy,
    session: Session,
    anywhere: bool,
) -> Result<Comparison, Failure> {
    Comparison::new((a.0, a.1), (b.0, b.1), policy, session, anywhere).map_err(|error| match error {
        CompareError::DifferentHost { .. } => Failure::new(Exit::Refused, "these runs are not comparable")
            .why(error)
            .fix("measure both on one machine"),
        error => Failure::usage("these runs cannot be compared").why(error),
    })
}

/// The command that measures a cell again: `uds/rtt/64/wait=spin`.
pub(crate) fn repro(cell: &str) -> String {
    let mut parts = cell.split('/');
    let (transport, mode, size) = (parts.next(), parts.next(), parts.next());
    let mut command = format!(
        "ipc-bench run -t {} --mode {} -s {}",
        transport.unwrap_or_default(),
        mode.unwrap_or_default(),
        size.unwrap_or_default()
    );
    for dimension in parts {
        command += &match dimension.split_once('=') {
            Some((parameter, _)) if parameter.contains('.') => format!(" -L {dimension}"),
            // Which side of an `ab` it was is no setting.
            Some(("arm" | "host", _)) => String::new(),
            Some((setting, value)) => format!(" --{setting} {value}"),
            None => format!(" --rate {dimension}"),
        };
    }
    command
}

/// The page of a run.
pub(crate) fn page(report: &Report<'_>) -> String {
    html::run(
        report,
        &html::Options { repro: &|cell| repro(&cell.id), recipe: &|cell| Some(recipe::recipe(cell)) },
    )
}
