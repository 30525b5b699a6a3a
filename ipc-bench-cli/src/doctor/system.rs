//! What the checks read: `/proc` and `/sys`, or a copy of them below another root.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use ipc_results::Environment;

use super::peer::Peer;
use crate::pin::Pins;

/// The machine under examination.
#[derive(Debug)]
pub(crate) struct System {
    /// `/`, but for tests.
    pub(crate) root: PathBuf,
    pub(crate) environment: Environment,
    /// CPUs that a run with the default settings would use.
    pub(crate) pins: Option<Pins>,
    /// Another process, to hold against this one.
    pub(crate) peer: Option<Peer>,
}

impl System {
    /// The file without the white space around it; `None` when it is absent or empty.
    pub(crate) fn line(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned()).filter(|line| !line.is_empty())
    }

    pub(crate) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.line(path)?.parse().ok()
    }

    /// Names in a directory, sorted; none when it cannot be read.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// A limit of the system, from the environment; `None` when it is absent or there is none.
    pub(crate) fn limit(&self, name: &str) -> Option<u64> {
        self.environment.limits.get(name).copied().flatten()
    }

    /// The CPUs of a default run, else those that this process may use.
    pub(crate) fn cpus(&self) -> Vec<u32> {
        let pins = self.pins.into_iter().flat_map(|pins| pins.client.into_iter().chain(pins.server));
        let mut cpus: Vec<u32> = pins.collect();
        if cpus.is_empty() {
            cpus = self.environment.cpu.allowed.clone().unwrap_or_default();
        }
        cpus
    }
}
