//! Writing result files so that a reader never sees half of one, and reading them with errors that say what is wrong.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

use crate::html;
use crate::run::{Run, SCHEMA, SCHEMA_VERSION};

/// Largest run file that [`read_run`] accepts, in bytes. A run of 200 trials is about 1 MiB.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Replaces the file at `path` with `contents` in one step: another process sees the old file or the whole new one.
///
/// The bytes go to `.NAME.PID-N.partial` in the same directory, are flushed to the disk and then renamed. On failure
/// that file is removed and the one at `path` is as it was.
///
/// # Errors
/// [`FileError`] naming the step that failed.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let name = path.file_name().ok_or_else(|| FileError::new("write", path, "it is not a file name"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: the counter only has to be unique; the process id keeps other writers apart.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}-{number}.partial", std::process::id()));
    let partial = directory.join(partial);

    let written = fill(&partial, contents).and_then(|()| fs::rename(&partial, path));
    if let Err(error) = written {
        // The error of the write is the one to report; a partial file that cannot be removed either changes nothing.
        let _ = fs::remove_file(&partial);
        return Err(FileError::new("write", path, error));
    }
    // The rename itself must reach the disk, or a power cut brings the old file back.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| FileError::new("write", path, error))
}

fn fill(partial: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(partial)?;
    file.write_all(contents)?;
    file.sync_all()?;
    let length = file.metadata()?.len();
    if length == contents.len() as u64 {
        Ok(())
    } else {
        Err(io::Error::other(format!("{length} of {} bytes reached the file", contents.len())))
    }
}

/// Writes a run file, see [`write_atomic`].
///
/// # Errors
/// [`FileError`] when the file cannot be written or the run holds a number that is not finite.
pub fn write_run(path: &Path, run: &Run) -> Result<(), FileError> {
    let json = to_json(run).map_err(|error| FileError::new("write", path, error))?;
    write_atomic(path, json.as_bytes())
}

/// The run as a JSON document that ends in a newline.
///
/// # Errors
/// When the run holds a number that is not finite.
pub fn to_json(run: &Run) -> Result<String, serde_json::Error> {
    let mut json = serde_json::to_string_pretty(run)?;
    json.push('\n');
    Ok(json)
}

/// Reads a run file of any version 1, or the report of a run, which carries it.
///
/// # Errors
/// [`FileError`] when it cannot be read, is larger than [`MAX_FILE_BYTES`], is no JSON, is another kind of document, or is
/// of a version this program does not know.
pub fn read_run(path: &Path) -> Result<Run, FileError> {
    let fail = |error: &dyn fmt::Display| FileError::new("read", path, error);
    let file = File::open(path).map_err(|error| fail(&error))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| fail(&error))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(&format_args!("it is longer than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    let run = match html::embedded_run(&text) {
        Some(run) => run,
        None => from_json(&text),
    };
    run.map_err(|error| fail(&error))
}

/// The run in a JSON document; the error is a sentence with the line.
///
/// # Errors
/// As [`read_run`], without the ones of the file system.
pub fn from_json(text: &str) -> Result<Run, String> {
    /// Read first, so that a foreign document is called foreign instead of "missing field `run_id`".
    #[derive(Deserialize)]
    struct Kind {
        schema: Option<String>,
        schema_version: Option<String>,
    }
    let kind: Kind = serde_json::from_str(text).map_err(|error| format!("it is not a run file: {error}"))?;
    match (kind.schema.as_deref(), kind.schema_version.as_deref()) {
        (Some(SCHEMA), Some(version)) if version.split('.').next() == SCHEMA_VERSION.split('.').next() => {
            serde_json::from_str(text).map_err(|error| error.to_string())
        }
        (Some(SCHEMA), version) => {
            let version = version.unwrap_or("absent");
            Err(format!("its schema_version is {version} and this program reads 1.x; use a newer ipc-bench"))
        }
        (Some(other), _) => Err(format!("it holds {other:?}, not {SCHEMA:?}")),
        (None, _) => Err(format!("it is not a run file: it has no \"schema\": {SCHEMA:?}")),
    }
}

/// A result file that could not be read or written.
#[derive(Debug)]
pub struct FileError {
    /// `read` or `write`.
    pub op: &'static str,
    /// The file as the user named it.
    pub path: PathBuf,
    /// What is wrong, without the path.
    pub why: String,
}

impl FileError {
    fn new(op: &'static str, path: &Path, why: impl fmt::Display) -> Self {
        Self { op, path: path.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.op, self.path.display(), self.why)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Tool;

    fn entries(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_run_file_is_read_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.json");
        let run = Run::new("20261121-014207-quick-9be1", "2026-11-21T01:42:07Z", Tool::default());
        write_run(&path, &run).unwrap();
        assert_eq!(read_run(&path).unwrap(), run);
        assert_eq!(entries(directory.path()), ["run.json"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_contents_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        // A directory in the way makes the last step, the rename, fail.
        let path = directory.path().join("run.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "old").unwrap();
        let message = write_atomic(&path, b"new").unwrap_err().to_string();
        assert!(message.contains("run.json"), "{message}");
        assert_eq!(entries(directory.path()), ["run.json"]);
        assert_eq!(fs::read_to_string(path.join("inside")).unwrap(), "old");
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent/run.json");
        let message = write_atomic(&path, b"new").unwrap_err().to_string();
        assert!(message.contains("absent/run.json: No such file"), "{message}");
    }

    #[test]
    fn documents_that_are_no_run_files_say_what_they_are() {
        let said = |text: &str| from_json(text).unwrap_err();
        assert!(said("[]").starts_with("it is not a run file: "));
        assert_eq!(said("{}"), "it is not a run file: it has no \"schema\": \"ipc-bench/run\"");
        assert_eq!(said(r#"{"schema":"other"}"#), "it holds \"other\", not \"ipc-bench/run\"");
        let newer = said(r#"{"schema":"ipc-bench/run","schema_version":"2.0"}"#);
        assert_eq!(newer, "its schema_version is 2.0 and this program reads 1.x; use a newer ipc-bench");
        let broken = said("{\"schema\":\"ipc-bench/run\",\"schema_version\":\"1.7\",\n\"run_id\":7}");
        assert!(broken.contains("expected a string at line 2 column 10"), "{broken}");
    }

    #[test]
    fn a_number_is_read_to_its_last_digit() {
        // Found by `cargo xtask chaos fuzz`: it was read as 2.8000000001844674e29, which is the next number there is.
        let text = r#"{"schema":"ipc-bench/run","schema_version":"1.0","run_id":"r","status":"complete",
            "started":"2026-11-21T01:42:07Z","tool":{"version":"0.1.0"},
            "yardsticks":{"clock_ns":{"value":2.800000000184467e29,"lo":1,"hi":2,"trials":7,"coverage":0.9}}}"#;
        let once = to_json(&from_json(text).unwrap()).unwrap();
        assert!(once.contains("2.800000000184467e+29"), "{once}");
        assert_eq!(to_json(&from_json(&once).unwrap()).unwrap(), once);
    }

    #[test]
    fn unknown_fields_are_ignored_and_optional_ones_may_be_absent() {
        let text = r#"{"schema":"ipc-bench/run","schema_version":"1.9","run_id":"r","status":"complete",
            "started":"2026-11-21T01:42:07Z","tool":{"version":"9.9.9","phase_of_moon":1},"surprise":[1,2],
            "cells":[{"id":"a/rtt/64","transport":"a","mode":"rtt","size_bytes":64,"status":"ok",
                      "trials":[{"index":0,"messages":1,"elapsed_ns":5}]}]}"#;
        let run = from_json(text).unwrap();
        assert_eq!(run.cells[0].clients, 1);
        assert_eq!(run.cells[0].trials[0].messages, 1);
    }
}
