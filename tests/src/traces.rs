//! What a process holds of the system's: compared before and after, it shows what was left behind.

use std::collections::BTreeMap;
use std::fs;

/// What a thread is counted as.
pub const THREAD: &str = "thread";

/// Descriptors, shared mappings, threads and children of this process, each counted by what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    held: BTreeMap<String, usize>,
}

impl Traces {
    /// What this process holds now.
    pub fn now() -> Traces {
        let mut held = BTreeMap::new();
        let mut count = |what: String| *held.entry(what).or_default() += 1;
        for entry in fs::read_dir("/proc/self/fd").expect("procfs").flatten() {
            // The descriptor of this listing itself is gone by the time it is looked at.
            if let Ok(target) = fs::read_link(entry.path()) {
                count(format!("descriptor of {}", kind(&target.to_string_lossy())));
            }
        }
        for line in fs::read_to_string("/proc/self/maps").expect("procfs").lines() {
            let mut fields = line.split_whitespace();
            let permissions = fields.nth(1).unwrap_or_default();
            let name = line.split_whitespace().nth(5).unwrap_or_default();
            if permissions.ends_with('s') || name.contains("memfd") {
                count(format!("mapping of {}", kind(name)));
            }
        }
        for _ in fs::read_dir("/proc/self/task").expect("procfs") {
            count(THREAD.into());
        }
        for child in crate::watchdog::children_of(std::process::id()) {
            count(format!("child {child}"));
        }
        Traces { held }
    }

    /// What there is more of now than in `before`, as a text for people; empty if nothing.
    pub fn beyond(&self, before: &Traces) -> String {
        let more = self.held.iter().filter_map(|(what, count)| {
            let had = before.held.get(what).copied().unwrap_or(0);
            (*count > had).then(|| format!("{} more {what} (now {count})", count - had))
        });
        more.collect::<Vec<_>>().join(", ")
    }
}

/// `socket:[1234]` is a socket whichever its number.
fn kind(target: &str) -> &str {
    target.split_once(":[").map_or(target, |(kind, _)| kind)
}
