//! What becomes of a run when it is measured: further files, a comparison with an earlier one, a name.

use std::path::{Path, PathBuf};

use ipc_results::compare::Session;
use ipc_results::policy::Policy;
use ipc_results::report::Report;
use ipc_results::run::RunStatus;
use ipc_results::{Run, export, text};

use super::{baseline, baseline_places, compared, load, page};
use crate::args::{Global, KeptArgs};
use crate::command::{print, write};
use crate::error::Failure;
use crate::output::writable;

/// What was asked for, found possible before anything is measured.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    args: &'a KeptArgs,
    root: PathBuf,
    baseline: Option<Run>,
}

impl<'a> Kept<'a> {
    /// # Errors
    /// There is no such baseline, a name that can be none, or a file for two.
    pub(crate) fn prepare(args: &'a KeptArgs, root: &Path) -> Result<Kept<'a>, Failure> {
        if let Some(name) = &args.save_baseline {
            baseline::check_name(name)?;
        }
        for (flag, file) in [("--html", &args.html), ("--md", &args.md), ("--csv", &args.csv)] {
            let Some(file) = file else { continue };
            if file.as_os_str() == "-" {
                return Err(Failure::usage(format!("{flag} needs the name of a file"))
                    .why("the tables or the document go to stdout, and there can be only one writer")
                    .fix(format!("name a file; ipc-bench report last --format {} prints it", &flag[2..])));
            }
            writable(file, &format!("choose another file with {flag} FILE"))?;
        }
        let baseline = args.baseline.as_ref().map(|name| load(root, name)).transpose()?;
        Ok(Kept { args, root: root.to_owned(), baseline })
    }

    /// Writes the files of a run, prints how it compares where it may talk, and then keeps it under its name: both at
    /// once hold it against what the name stood for before.
    pub(crate) fn keep(&self, run: &Run, global: &Global, talks: bool) -> Result<(), Failure> {
        let report = Report::new(run).map_err(|error| Failure::failed("the run is damaged").why(error))?;
        if let Some(path) = &self.args.html {
            write(path, &page(&report))?;
        }
        if let Some(path) = &self.args.md {
            write(path, &export::markdown_of_run(&report))?;
        }
        if let Some(path) = &self.args.csv {
            write(path, &export::csv_of_trials(&report))?;
        }
        if let (Some(old), Some(name)) = (&self.baseline, &self.args.baseline) {
            let now = "this run".to_owned();
            let comparison = compared((name, old), (&now, run), &Policy::default(), Session::Apart, false)?;
            if talks {
                print(&format!("\n{}", text::comparison(&comparison, false, &global.style())))?;
            }
        }
        match &self.args.save_baseline {
            Some(name) if run.status == RunStatus::Complete => {
                baseline::save(&baseline_places(&self.root)[0], name, run)
            }
            Some(name) => Err(Failure::failed(format!("the run is not kept as {name}"))
                .why("it was not measured to its end")
                .fix("ipc-bench baseline save keeps it all the same")),
            None => Ok(()),
        }
    }
}
