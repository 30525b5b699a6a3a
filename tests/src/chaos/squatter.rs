//! Names that somebody else has taken: nothing of another's is followed, replaced or removed.

use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use ipc_transports::{Address, SetupErrorKind, Target, listen};

use super::cell::{Cell, Violation, violated};

/// Puts something in the way.
type Squat = fn(&Path);

/// What is in the way.
const SQUATS: &[(&str, Squat)] = &[
    ("a link to nowhere", |at| symlink("nowhere", at).expect("a link")),
    ("a link to a file", |at| {
        std::fs::write(at.with_extension("target"), b"precious").expect("a file");
        symlink(at.with_extension("target"), at).expect("a link");
    }),
    ("a file", |at| std::fs::write(at, b"precious").expect("a file")),
    ("a directory", |at| std::fs::create_dir(at).expect("a directory")),
    ("a fifo", |at| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).expect("a fifo");
    }),
];

/// Every squat, on the socket's name and on its lock's.
pub(super) fn all(cell: &Cell) -> Vec<(String, Result<(), Violation>)> {
    let mut outcomes = Vec::new();
    for (what, make) in SQUATS {
        for suffix in ["", ".lock"] {
            let name = format!("{what} in the place of s{suffix}");
            outcomes.push((name, one(cell, *make, suffix)));
        }
    }
    outcomes
}

fn one(cell: &Cell, make: Squat, suffix: &str) -> Result<(), Violation> {
    let directory = cell.directory().join("squat");
    std::fs::create_dir(&directory).expect("a directory");
    let squatted = directory.join(format!("s{suffix}"));
    make(&squatted);
    let before = look(&directory);
    let address = Address::new(cell.mechanism, Target::Path(directory.join("s")));
    let outcome = listen(&address.expect("letters are allowed in a path"));
    // A lock file that is there already is nobody's while nobody holds its lock: a plain file or fifo serves.
    let may_work = suffix == ".lock" && (squatted.is_file() || is_fifo(&squatted)) && !squatted.is_symlink();
    let outcome = match outcome {
        Err(error) if error.kind == SetupErrorKind::Denied => match look(&directory) {
            after if after == before => Ok(()),
            after => violated("I4", format!("{before:?} became {after:?}")),
        },
        Ok(_) if may_work => Ok(()),
        Ok(_) => violated("I3", "it listens all the same"),
        Err(error) => violated("I3", format!("told as {:?}: {error}", error.kind)),
    };
    std::fs::remove_dir_all(&directory).expect("our own directory");
    outcome
}

fn is_fifo(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Names, kinds and contents.
fn look(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .expect("our own directory")
        .flatten()
        .map(|entry| {
            let kind = entry.file_type().expect("our own directory");
            let contents =
                if kind.is_file() { std::fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
            (entry.path(), format!("{kind:?} {contents:?}"))
        })
        .collect();
    found.sort();
    found
}
