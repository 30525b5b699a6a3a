//! Doing again what was done before: a whole run from its file, or one cell from its name.

use std::collections::BTreeMap;
use std::path::Path;

use ipc_results::file;

use crate::error::{Failure, nearest};
use crate::plan::Plan;
use crate::reading::repro;
use crate::settings::{Origin, defaults, names};

/// Settings with where they came from.
type Layer = BTreeMap<&'static str, (String, Origin)>;

/// The settings and the seed of an earlier run.
///
/// # Errors
/// The file is no run, or one that kept no settings.
pub(crate) fn manifest(path: &Path) -> Result<(Layer, u64), Failure> {
    let shown = path.display();
    let run = file::read_run(path).map_err(|error| {
        Failure::usage(format!("--manifest {shown}: cannot be read"))
            .why(error.why)
            .fix("name the run.json of an earlier run; ipc-bench list runs shows them")
    })?;
    let nothing = || {
        Failure::usage(format!("--manifest {shown}: nothing to replay"))
            .why("the run kept no settings: it never came to a plan")
            .fix("name the run.json of a run that measured something")
    };
    let text = run.manifest.config_toml.ok_or_else(nothing)?;
    let table: BTreeMap<String, String> =
        toml::from_str(&text).map_err(|error| nothing().why(error.to_string()))?;
    let known = |(key, value): (String, String)| {
        let name = names().find(|name| *name == key).ok_or_else(|| {
            Failure::usage(format!("--manifest {shown}: unknown setting {key:?}"))
                .why("another version of ipc-bench wrote it")
                .fix("use that version")
        })?;
        Ok((name, (value, Origin::Manifest(path.to_owned()))))
    };
    Ok((table.into_iter().map(known).collect::<Result<_, Failure>>()?, run.manifest.seed))
}

/// The command that measures one cell of a plan as the plan would.
///
/// # Errors
/// The plan has no such cell.
pub(crate) fn command(plan: &Plan, cell: &str) -> Result<String, Failure> {
    let ids: Vec<String> = plan.cells.iter().map(|cell| cell.point.to_string()).collect();
    if !ids.iter().any(|id| id == cell) {
        let known = ids.iter().map(String::as_str);
        let near = nearest(cell, known).map(|near| format!("did you mean {near}?"));
        return Err(Failure::usage(format!("--repro {cell}: the plan has no such cell"))
            .why(format!("it has {}", ids.join(", ")))
            .fix(near.unwrap_or_else(|| "give the flags with which it was measured as well".into())));
    }
    let mut command = repro(cell);
    let told: Vec<String> = command.split(" --").map(str::to_owned).collect();
    let is_told = |name: &str| told.iter().any(|flag| flag.split(' ').next() == Some(name));
    for (name, value, origin) in plan.settings.all() {
        // The id names these already.
        if matches!(name, "transport" | "mode" | "size" | "buffer") || is_told(name) {
            continue;
        }
        let default = defaults(name);
        if name == "preset" {
            if Some(value) != default {
                command += &format!(" --preset {value}");
            }
        } else if value.contains(',') {
            // A dimension of which the cell has the default.
            command += &format!(" --{name} {}", quoted(default.unwrap_or(value)));
        } else if !matches!(origin, Origin::Default | Origin::Preset(_)) {
            command += &format!(" --{name} {}", quoted(value));
        }
    }
    Ok(command + &format!(" --seed {}", plan.seed))
}

/// A word as a shell reads it: in quotes where it would be more than one.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=,%+@-".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}
