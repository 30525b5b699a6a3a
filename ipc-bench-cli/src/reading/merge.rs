//! `merge`: several runs as one.

use ipc_results::file;
use ipc_results::merge::merge as join;
use ipc_results::report::Report;
use ipc_results::text::render;

use crate::args::{Global, MergeArgs};
use crate::command::{print, write};
use crate::error::Failure;
use crate::output;

use super::load;

/// Joins runs and writes the whole, or shows it.
pub(crate) fn merge(global: &Global, args: &MergeArgs) -> Result<(), Failure> {
    let root = output::root(global.dir.as_deref());
    let mut runs = args.run.iter().map(|name| load(&root, name)).collect::<Result<Vec<_>, _>>()?;
    let damaged = |error| Failure::failed("a run is damaged").why(error);
    let first = runs.remove(0);
    let run = join(first, &runs).map_err(damaged)?;
    let json = || file::to_json(&run).map_err(|error| Failure::failed("no JSON").why(error));
    if let Some(path) = args.output.as_ref() {
        write(path, &json()?)?;
    }
    match &global.json {
        Some(_) if global.json_to_stdout() => print(&json()?),
        Some(path) => write(path, &json()?),
        None if args.output.is_some() => Ok(()),
        None => print(&render(&Report::new(&run).map_err(damaged)?, &global.style())),
    }
}
