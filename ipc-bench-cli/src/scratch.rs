//! The directory that holds the names of one trial, and that nobody leaves behind.
//!
//! The runner chooses its path; the server's worker makes it, knowing it, so that there is no moment at which it exists
//! and the death of the runner would leave it: the lifeline of that worker removes it then.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, iter};

/// A path that did not exist. Dropped, it does not exist again.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Chooses a short name below `$XDG_RUNTIME_DIR`, else the directory for temporary files: a socket's path has 107
    /// bytes.
    ///
    /// # Errors
    /// That directory does not exist.
    pub(crate) fn choose() -> io::Result<Scratch> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let parent = fs::canonicalize(runtime.unwrap_or_else(env::temp_dir))?;
        // Not from the seeded generator of the plan: two runs of one seed may meet.
        let name: String = iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        Ok(Scratch { path: parent.join(format!("ipc-bench.{name}")) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it already now.
    pub(crate) fn vacate(&self) {
        remove(&self.path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Makes the directory for this user alone.
///
/// # Errors
/// It exists already, or its parent cannot be written to.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Removes the directory, also while somebody still puts names into it or takes them out.
pub(crate) fn remove(path: &Path) {
    for _ in 0..100 {
        // What vanishes under its hands is an error to `remove_dir_all`, and no reason for us to stop.
        let gone = fs::remove_dir_all(path).is_ok() || fs::symlink_metadata(path).is_err();
        if gone {
            return;
        }
    }
}
