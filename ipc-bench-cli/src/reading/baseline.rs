//! `baseline`: runs under names.

use ipc_results::file;

use crate::args::{BaselineArgs, Global};
use crate::command::print;
use crate::error::Failure;
use crate::output;

use super::{baseline_file, load};

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
