//! `report`: renders a saved run again.

use std::path::Path;

use ipc_results::report::Report;
use ipc_results::text::render;
use ipc_results::{Run, export, file};

use crate::args::{Format, Global, ReportArgs};
use crate::command::{print, write};
use crate::error::Failure;
use crate::output;

use super::{load, page};

/// Renders a saved run as the flags say.
pub(crate) fn report(global: &Global, args: &ReportArgs) -> Result<(), Failure> {
    let run = load(&output::root(global.dir.as_deref()), &args.run)?;
    let damaged = |error| Failure::failed(format!("{} is damaged", args.run)).why(error);
    let report = Report::new(&run).map_err(damaged)?;
    let text = match args.format {
        Format::Text => render(&report, &global.style()),
        Format::Html => page(&report),
        Format::Md => export::markdown_of_run(&report),
        Format::Csv if args.summary => export::csv_of_cells(&report),
        Format::Csv => export::csv_of_trials(&report),
        Format::Json => file::to_json(&run).map_err(|error| Failure::failed("no JSON").why(error))?,
        Format::Junit => export::junit_of_run(&run),
        Format::Hlog => export::hlog(&run),
        Format::Bmf => export::bmf(&run),
        Format::Hgrm => return hgrm(&run, place(args, "hgrm", "a directory: one file per cell")?),
        Format::Gha => return gha(&run, place(args, "gha", "NAME: NAME.smaller.json and NAME.bigger.json")?),
    };
    match &args.output {
        Some(path) => write(path, &text),
        None => print(&text),
    }
}

/// Where a format of several files goes.
fn place<'a>(args: &'a ReportArgs, format: &str, what: &str) -> Result<&'a Path, Failure> {
    args.output.as_deref().ok_or_else(|| {
        Failure::usage(format!("{format} is more than one file"))
            .why("stdout can take only one")
            .fix(format!("--output says where to: {what}"))
    })
}

fn hgrm(run: &Run, directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::usage(format!("{} cannot be made", directory.display())).why(error))?;
    for cell in &run.cells {
        let damaged = |error| Failure::failed(format!("{} is damaged", cell.id)).why(error);
        if let Some(text) = export::hgrm(cell).map_err(damaged)? {
            write(&directory.join(export::hgrm_name(cell)), &text)?;
        }
    }
    Ok(())
}

fn gha(run: &Run, name: &Path) -> Result<(), Failure> {
    let both = export::github_action_benchmark(run);
    let beside = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        std::path::PathBuf::from(path)
    };
    write(&beside(".smaller.json"), &both.smaller)?;
    write(&beside(".bigger.json"), &both.bigger)
}
