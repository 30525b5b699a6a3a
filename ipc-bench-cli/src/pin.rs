//! Which CPU each role runs on.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use ipc_results::environment::Cpu;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Failure;

/// What `--pin` can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Two physical cores that share their last-level cache, and not cpu 0 if there are others.
    Auto,
    /// Leave both to the scheduler.
    None,
    /// Client and server, by CPU id.
    Pair(u32, u32),
    /// Both on one CPU.
    SameCore,
    /// Two hardware threads of one core.
    Smt,
    /// Two cores of one last-level cache.
    SameLlc,
    /// Two cores of different last-level caches.
    CrossLlc,
    /// Two cores of different memory nodes.
    CrossNode,
}

const NAMES: [(&str, Pin); 7] = [
    ("auto", Pin::Auto),
    ("none", Pin::None),
    ("same-core", Pin::SameCore),
    ("smt", Pin::Smt),
    ("same-llc", Pin::SameLlc),
    ("cross-llc", Pin::CrossLlc),
    ("cross-node", Pin::CrossNode),
];

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::Pair(client, server) => write!(f, "{client}:{server}"),
            other => f.write_str(NAMES.iter().find(|(_, pin)| pin == other).map_or("", |(name, _)| name)),
        }
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Pin, String> {
        if let Some((_, pin)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*pin);
        }
        let pair = text.split_once(':').and_then(|(a, b)| Some(Pin::Pair(a.parse().ok()?, b.parse().ok()?)));
        pair.ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not a placement; use CLIENT:SERVER as in 0:1, or {}", names.join(", "))
        })
    }
}

/// The CPUs chosen; `None` leaves a role to the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    pub(crate) client: Option<u32>,
    pub(crate) server: Option<u32>,
}

impl Pins {
    fn pair(client: u32, server: u32) -> Pins {
        Pins { client: Some(client), server: Some(server) }
    }

    /// Both roles can only run on the same CPU.
    pub(crate) fn share_a_cpu(self, allowed: &[u32]) -> bool {
        allowed.len() == 1 || self.client.is_some() && self.client == self.server
    }
}

/// The CPUs this machine and this process offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// CPUs this process may run on, rising.
    pub(crate) allowed: Vec<u32>,
    /// CPUs that share a core.
    pub(crate) cores: Vec<Vec<u32>>,
    /// CPUs that share a last-level cache.
    pub(crate) caches: Vec<Vec<u32>>,
    /// CPUs of one memory node.
    pub(crate) nodes: Vec<Vec<u32>>,
}

impl Topology {
    pub(crate) fn read(cpu: &Cpu) -> io::Result<Topology> {
        Ok(Topology {
            allowed: allowed_cpus()?,
            cores: cpu.siblings.clone(),
            caches: cpu.llc.clone(),
            nodes: memory_nodes(),
        })
    }

    /// The CPUs for `pin`.
    ///
    /// # Errors
    /// A CPU that does not exist or that this process may not use, or a relation this machine does not have.
    pub(crate) fn resolve(&self, pin: Pin) -> Result<Pins, Failure> {
        let missing = |what: &str| {
            Failure::usage(format!("--pin {pin}: no two allowed CPUs {what} here"))
                .why(format!("this process may use cpu {}", list(&self.allowed)))
                .fix("use --pin auto, or name two CPUs as in --pin 0:1")
        };
        match pin {
            Pin::None => Ok(Pins::default()),
            Pin::Auto => Ok(self.automatic()),
            Pin::Pair(client, server) => {
                for cpu in [client, server] {
                    self.require(cpu)?;
                }
                Ok(Pins::pair(client, server))
            }
            Pin::SameCore => {
                let cpu = self.allowed.last().copied().unwrap_or(0);
                Ok(Pins::pair(cpu, cpu))
            }
            Pin::Smt => {
                self.find(|a, b| same(&self.cores, a, b)).ok_or_else(|| missing("share a physical core"))
            }
            Pin::SameLlc => self
                .find(|a, b| !same(&self.cores, a, b) && same(&self.caches, a, b))
                .ok_or_else(|| missing("of different cores share a last-level cache")),
            Pin::CrossLlc => self
                .find(|a, b| apart(&self.caches, a, b))
                .ok_or_else(|| missing("have different last-level caches")),
            Pin::CrossNode => self
                .find(|a, b| apart(&self.nodes, a, b))
                .ok_or_else(|| missing("belong to different memory nodes")),
        }
    }

    /// Refuses a CPU that this process may not use.
    ///
    /// # Errors
    /// It is not there, or not allowed.
    pub(crate) fn require(&self, cpu: u32) -> Result<(), Failure> {
        if self.allowed.contains(&cpu) {
            return Ok(());
        }
        Err(Failure::usage(format!("cpu {cpu} cannot be used"))
            .why(format!("this process may use cpu {}", list(&self.allowed)))
            .fix("choose from those, or use --pin auto"))
    }

    /// A CPU that this process may use, and that shares no core with any of `used`.
    pub(crate) fn beside(&self, used: &[u32]) -> Option<u32> {
        let is_taken = |cpu: u32| used.iter().any(|used| *used == cpu || same(&self.cores, *used, cpu));
        self.allowed.iter().copied().find(|cpu| !is_taken(*cpu))
    }

    fn automatic(&self) -> Pins {
        // The kernel's own work gathers on cpu 0, so it is the last choice where there is one.
        let related = |a, b| !same(&self.cores, a, b) && same(&self.caches, a, b);
        let pins = self
            .find(|a, b| a != 0 && b != 0 && related(a, b))
            .or_else(|| self.find(related))
            .or_else(|| self.find(|a, b| !same(&self.cores, a, b)))
            .or_else(|| self.find(|a, b| a != b));
        pins.unwrap_or_else(|| match self.allowed[..] {
            [only] => Pins::pair(only, only),
            _ => Pins::default(),
        })
    }

    /// The first two allowed CPUs, in rising order, that stand in this relation.
    fn find(&self, related: impl Fn(u32, u32) -> bool) -> Option<Pins> {
        let pairs = self.allowed.iter().flat_map(|a| self.allowed.iter().map(move |b| (*a, *b)));
        pairs.filter(|(a, b)| a < b).find(|(a, b)| related(*a, *b)).map(|(a, b)| Pins::pair(a, b))
    }
}

fn same(groups: &[Vec<u32>], a: u32, b: u32) -> bool {
    groups.iter().any(|group| group.contains(&a) && group.contains(&b))
}

/// Both are known and in different groups.
fn apart(groups: &[Vec<u32>], a: u32, b: u32) -> bool {
    let known = |cpu| groups.iter().any(|group| group.contains(&cpu));
    known(a) && known(b) && !same(groups, a, b)
}

/// `0-2,5`, as the kernel writes CPU lists.
pub(crate) fn list(cpus: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == *cpu => *end = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let text = |(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The inverse of [`list`].
fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = BTreeSet::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus.into_iter().collect())
}

/// One list per memory node, from `/sys/devices/system/node`; empty where the kernel has none.
fn memory_nodes() -> Vec<Vec<u32>> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else { return Vec::new() };
    let mut nodes: Vec<Vec<u32>> = entries
        .filter_map(|entry| parse_list(&fs::read_to_string(entry.ok()?.path().join("cpulist")).ok()?))
        .filter(|cpus| !cpus.is_empty())
        .collect();
    nodes.sort();
    nodes
}

/// CPUs the calling thread may run on, rising.
///
/// # Errors
/// What `sched_getaffinity` said.
pub(crate) fn allowed_cpus() -> io::Result<Vec<u32>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect())
}

/// Pins the calling thread, and only it.
///
/// # Errors
/// What `sched_setaffinity` said.
pub(crate) fn pin_this_thread(cpu: u32) -> io::Result<()> {
    if cpu as usize >= CpuSet::MAX_CPU {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut set = CpuSet::new();
    set.set(cpu as usize);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(allowed: &str, cores: &[&str], caches: &[&str]) -> Topology {
        let groups = |lists: &[&str]| lists.iter().map(|list| parse_list(list).unwrap()).collect();
        Topology {
            allowed: parse_list(allowed).unwrap(),
            cores: groups(cores),
            caches: groups(caches),
            nodes: groups(caches),
        }
    }

    #[test]
    fn auto_takes_two_cores_of_one_cache_and_spares_cpu_0() {
        let big = topology("0-7", &["0,4", "1,5", "2,6", "3,7"], &["0-1,4-5", "2-3,6-7"]);
        assert_eq!(big.resolve(Pin::Auto).unwrap(), Pins::pair(1, 4));
        let two = topology("0-1", &["0", "1"], &["0-1"]);
        assert_eq!(two.resolve(Pin::Auto).unwrap(), Pins::pair(0, 1));
        let one = topology("3", &["3"], &["3"]);
        assert_eq!(one.resolve(Pin::Auto).unwrap(), Pins::pair(3, 3));
        assert!(one.resolve(Pin::Auto).unwrap().share_a_cpu(&one.allowed));
        let smt_only = topology("0-1", &["0-1"], &["0-1"]);
        assert_eq!(smt_only.resolve(Pin::Auto).unwrap(), Pins::pair(0, 1));
    }

    #[test]
    fn relations_that_do_not_exist_are_refused() {
        let two = topology("0-1", &["0", "1"], &["0-1"]);
        for pin in [Pin::Smt, Pin::CrossLlc, Pin::CrossNode, Pin::Pair(0, 9)] {
            let failure = two.resolve(pin).unwrap_err();
            assert!(failure.why.unwrap().contains("0-1") && failure.fix.is_some());
        }
        assert_eq!(two.resolve(Pin::SameLlc).unwrap(), Pins::pair(0, 1));
        let two_caches = topology("0-3", &["0", "1", "2", "3"], &["0-1", "2-3"]);
        assert_eq!(two_caches.resolve(Pin::CrossLlc).unwrap(), Pins::pair(0, 2));
    }

    #[test]
    fn a_cpu_beside_others_shares_no_core_with_them() {
        let smt = topology("0-3", &["0,2", "1,3"], &["0-3"]);
        assert_eq!((smt.beside(&[0]), smt.beside(&[0, 3])), (Some(1), None));
        let two = topology("0-1", &["0", "1"], &["0-1"]);
        assert_eq!((two.beside(&[0]), two.beside(&[0, 1])), (Some(1), None));
    }

    #[test]
    fn placements_round_trip() {
        for text in ["auto", "none", "same-core", "smt", "same-llc", "cross-llc", "cross-node", "3:17"] {
            assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        }
        assert!("0".parse::<Pin>().unwrap_err().contains("CLIENT:SERVER"));
    }

    #[test]
    fn cpu_lists_are_written_as_the_kernel_writes_them() {
        for text in ["0", "0-2,5", "1,3,5-7"] {
            assert_eq!(list(&parse_list(text).unwrap()), text);
        }
    }

    #[test]
    fn a_thread_is_pinned_alone_and_its_mask_can_be_read_back() {
        let cpu = *allowed_cpus().unwrap().last().unwrap();
        let before = allowed_cpus().unwrap();
        let inside =
            std::thread::spawn(move || pin_this_thread(cpu).and_then(|()| allowed_cpus())).join().unwrap();
        assert_eq!(inside.unwrap(), [cpu]);
        assert_eq!(allowed_cpus().unwrap(), before);
    }
}
