//! `baseline`: runs under names.

use std::path::Path;

use ipc_results::compare::Session;
use ipc_results::policy::Policy;
use ipc_results::report::Report;
use ipc_results::verdict::Verdict;
use ipc_results::{Run, file, text};

use crate::args::{BaselineArgs, Global};
use crate::command::print;
use crate::error::Failure;
use crate::mechanism::Mechanism;
use crate::output;

use super::again::{Again, again};
use super::{baseline_file, baseline_places, compared, load};

/// Keeps runs under names.
pub(crate) fn baseline(
    mechanisms: &[Mechanism],
    global: &Global,
    args: &BaselineArgs,
) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    match args {
        BaselineArgs::Save { name, run: named, commit_dir, validate, allow_debug } => {
            check_name(name)?;
            let run = load(&root, named)?;
            if *validate {
                let what = Again { run: named, cells: None, times: 1, allow_debug: *allow_debug };
                repeats(named, &run, &again(mechanisms, global, &root, &what)?)?;
            }
            let [with_runs, with_sources] = baseline_places(&root);
            save(if *commit_dir { &with_sources } else { &with_runs }, name, &run)
        }
        BaselineArgs::List => {
            print(&baselines(&root).iter().map(|name| format!("{name}\n")).collect::<String>())
        }
        BaselineArgs::Show { name } => {
            let file = baseline_file(&root, name);
            let run = file::read_run(&file).map_err(|error| {
                Failure::usage(format!("there is no baseline {name}"))
                    .why(error.why)
                    .fix("ipc-bench baseline list shows those there are")
            })?;
            let report =
                Report::new(&run).map_err(|error| Failure::failed("the run is damaged").why(error))?;
            print(&text::render(&report, &global.style()))
        }
        BaselineArgs::Rm { name } => std::fs::remove_file(baseline_file(&root, name))
            .map_err(|error| Failure::usage(format!("there is no baseline {name}")).why(error)),
    }
}

/// Names of all baselines, in their order.
pub(crate) fn baselines(root: &Path) -> Vec<String> {
    let entries =
        baseline_places(root).into_iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned())
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// Refuses what can be no name of a baseline.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(legal) || name.starts_with("last")
    {
        return Err(Failure::usage(format!("{name:?} is no name of a baseline"))
            .why("it becomes a file's name and must not look like last")
            .fix("use letters, digits, `.`, `_` and `-`"));
    }
    Ok(())
}

/// Keeps a run in a directory of baselines, under a name that was checked.
pub(super) fn save(directory: &Path, name: &str, run: &Run) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::usage(format!("{} cannot be made", directory.display())).why(error))?;
    file::write_run(&directory.join(format!("{name}.json")), run)
        .map_err(|error| Failure::usage("the baseline cannot be saved").why(error))
}

/// Refuses a run that the machine does not repeat: what is held against it later would be held against an accident.
fn repeats(named: &str, run: &Run, second: &Run) -> Result<(), Failure> {
    let again = "measured again".to_owned();
    let sides = ((&named.to_owned(), run), (&again, second));
    let comparison = compared(sides.0, sides.1, &Policy::default(), Session::Apart, false)?;
    let differ = |verdict| comparison.with(verdict).map(|row| format!("{} {}", row.cell, row.metric));
    let rows: Vec<String> = differ(Verdict::Regressed).chain(differ(Verdict::Improved)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{named} is not kept: {} figures differ when it is measured again",
        rows.len()
    ))
    .why(rows.join(", "))
    .fix("ipc-bench doctor tells what disturbs; longer or more trials repeat better"))
}
