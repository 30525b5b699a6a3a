//! Where a run's files go.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ipc_results::file::{write_atomic, write_run};
use ipc_results::report::Report;
use ipc_results::{Run, export};

use crate::error::Failure;
use crate::reading::page;

/// The places one run writes to, found writable before anything is measured.
#[derive(Debug)]
pub(crate) struct Output {
    /// Directory of this run's files.
    pub(crate) directory: PathBuf,
    /// A further copy of the document.
    json: Option<PathBuf>,
    /// Link to the newest run, where the directory is one of many.
    latest: Option<PathBuf>,
}

impl Output {
    /// Makes the directory and tries whether files can be made.
    ///
    /// # Errors
    /// A place cannot be written to.
    pub(crate) fn prepare(
        root: &Path,
        out: Option<&Path>,
        json: Option<&Path>,
        run_id: &str,
    ) -> Result<Output, Failure> {
        let (directory, latest) = match out {
            Some(out) => (out.to_owned(), None),
            None => (root.join("runs").join(run_id), Some(root.join("latest"))),
        };
        // Before the directory is made: a refusal leaves none.
        if let Some(json) = json {
            writable(json, "choose another file with --json=FILE, or --json=- for stdout")?;
        }
        fs::create_dir_all(&directory).and_then(|()| try_to_write(&directory)).map_err(|error| {
            Failure::usage(format!("{} cannot be written to", directory.display()))
                .why(error)
                .fix("choose another place with --out DIR or --dir DIR")
        })?;
        Ok(Output { directory, json: json.map(Path::to_owned), latest })
    }

    /// Where the files are and how large, and what can be done with them.
    pub(crate) fn farewell(&self) -> String {
        let size = |name: &str| Some((name.to_owned(), fs::metadata(self.directory.join(name)).ok()?.len()));
        let files: Vec<String> = ["run.json", "report.html"]
            .into_iter()
            .filter_map(size)
            .map(|(name, bytes)| format!("{name} {} KB", bytes.div_ceil(1000)))
            .collect();
        let directory = self.directory.display();
        // Runs elsewhere than in the directory of all runs have no number.
        let next = match self.latest {
            Some(_) => "ipc-bench compare last~1 last · ipc-bench baseline save NAME".to_owned(),
            None => format!("ipc-bench report {directory}"),
        };
        format!("\nSaved  {directory}  {}\nNext   {next} · ipc-bench doctor\n", files.join(" · "))
    }

    /// Writes the run's files; each is replaced in one step. The page is left out where `html` says so.
    ///
    /// # Errors
    /// A file cannot be written; those written before it are whole.
    pub(crate) fn save(&self, run: &Run, html: bool) -> Result<(), Failure> {
        let full =
            |error: ipc_results::file::FileError| Failure::failed("the results cannot be saved").why(error);
        write_run(&self.directory.join("run.json"), run).map_err(full)?;
        // Our own histograms decode.
        if let Ok(report) = Report::new(run) {
            let summary = export::markdown_of_run(&report);
            write_atomic(&self.directory.join("summary.md"), summary.as_bytes()).map_err(full)?;
            if html {
                write_atomic(&self.directory.join("report.html"), page(&report).as_bytes()).map_err(full)?;
            }
        }
        if let Some(json) = &self.json {
            write_run(json, run).map_err(full)?;
        }
        if let Some(latest) = &self.latest {
            link(&self.directory, latest).map_err(|error| {
                Failure::failed(format!("{} cannot be renewed", latest.display())).why(error)
            })?;
        }
        Ok(())
    }
}

/// Finds out whether a file can be written, before anything is measured for it.
///
/// # Errors
/// It is a directory, or its directory takes no files; `fix` says what to do.
pub(crate) fn writable(file: &Path, fix: &str) -> Result<(), Failure> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let tried = match fs::metadata(file) {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        _ => try_to_write(parent.unwrap_or(Path::new("."))),
    };
    tried.map_err(|error| Failure::usage(format!("{} cannot be written", file.display())).why(error).fix(fix))
}

/// Makes a nameless file, or one that vanishes at once.
fn try_to_write(directory: &Path) -> io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}

/// Points `link` to the run in one step.
fn link(directory: &Path, link: &Path) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default();
    let fresh = link.with_file_name(format!(".latest.{}", std::process::id()));
    symlink(Path::new("runs").join(name), &fresh)?;
    fs::rename(&fresh, link).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

/// The directory that keeps runs: as told, else `target/ipc-bench` of the Cargo workspace around us, else
/// `./.ipc-bench`.
pub(crate) fn root(told: Option<&Path>) -> PathBuf {
    told.map_or_else(
        || workspace().map_or_else(|| ".ipc-bench".into(), |root| root.join("target/ipc-bench")),
        Path::to_owned,
    )
}

/// Where baselines are that belong to the sources: a commit keeps them, and `cargo clean` does not reach them.
pub(crate) fn committed() -> PathBuf {
    workspace().unwrap_or_default().join("bench/baselines")
}

/// The nearest directory upward whose `Cargo.toml` begins a workspace, else the nearest with a `Cargo.toml`.
fn workspace() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    let manifests =
        here.ancestors().filter_map(|path| Some((path, fs::read_to_string(path.join("Cargo.toml")).ok()?)));
    let mut nearest = None;
    for (path, text) in manifests {
        if text.lines().any(|line| line.trim() == "[workspace]") {
            return Some(path.to_owned());
        }
        nearest.get_or_insert(path.to_owned());
    }
    nearest
}

/// Saved runs under `root`, oldest first.
///
/// # Errors
/// The directory exists and cannot be read.
pub(crate) fn saved_runs(root: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root.join("runs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut runs: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| path.as_ref().is_ok_and(|path| path.join("run.json").is_file()) || path.is_err())
        .collect::<io::Result<_>>()?;
    // Names begin with date and time.
    runs.sort();
    Ok(runs)
}
