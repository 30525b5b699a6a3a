//! R: what this process may do.

use std::path::Path;

use ipc_results::run::Level;

use super::Check;
use super::system::System;
use crate::counters::{self, Counted};

pub(super) fn checks(system: &System) -> Vec<Check> {
    let checks: [fn(&System) -> Option<Check>; 3] = [realtime, perf, seccomp];
    checks.into_iter().filter_map(|check| check(system)).collect()
}

fn realtime(system: &System) -> Option<Check> {
    // CAP_SYS_NICE.
    let may = has_capability(system, 23);
    Some(match *system.environment.limits.get("rtprio")? {
        Some(0) if !may => Check::new("R1", "rtprio", Level::Note, "0: no real-time priority")
            .fix("ulimit -r 50 | setcap cap_sys_nice+ep"),
        Some(0) => Check::new("R1", "rtprio", Level::Ok, "0, but CAP_SYS_NICE is there"),
        Some(most) => Check::new("R1", "rtprio", Level::Ok, most.to_string()),
        None => Check::new("R1", "rtprio", Level::Ok, "unlimited"),
    })
}

/// Whether this process has a capability, by its bit (linux/capability.h).
fn has_capability(system: &System, bit: u32) -> bool {
    let status = system.line("proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0) >> bit & 1 == 1
}

fn perf(system: &System) -> Option<Check> {
    let level: i64 = system.number("proc/sys/kernel/perf_event_paranoid")?;
    // CAP_PERFMON, and CAP_SYS_ADMIN that stands in for it.
    let may = level <= 1 || has_capability(system, 38) || has_capability(system, 21);
    // Another root is no machine that could count.
    let counted = if system.root == Path::new("/") { counters::available() } else { Counted::new() };
    let names = |there: bool| {
        let names = counted.iter().filter(|(_, value)| value.is_ok() == there).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let there =
        if names(true).is_empty() { String::new() } else { format!("; --perf counts {}", names(true)) };
    let absent = if names(false).is_empty() { String::new() } else { format!("; not {}", names(false)) };
    Some(if may {
        Check::new("R2", "perf events", Level::Ok, format!("perf_event_paranoid {level}{there}{absent}"))
    } else {
        let text = format!("perf_event_paranoid {level}: --perf may not count{there}");
        Check::new("R2", "perf events", Level::Note, text).sysctl("kernel.perf_event_paranoid", 1, level)
    })
}

fn seccomp(system: &System) -> Option<Check> {
    let status = system.line("proc/self/status")?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?.trim().to_owned();
    let scope = system.number::<u32>("proc/sys/kernel/yama/ptrace_scope").unwrap_or(0);
    Some(if mode == "2" {
        Check::new(
            "R3",
            "seccomp",
            Level::Note,
            format!(
                "a filter is active, as in a container: each system call costs more; ptrace_scope {scope}"
            ),
        )
        .fix("container: --security-opt seccomp=unconfined")
    } else {
        Check::new("R3", "seccomp", Level::Ok, format!("no filter; ptrace_scope {scope}"))
    })
}
