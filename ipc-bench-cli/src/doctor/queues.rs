//! M: limits of POSIX message queues.

use ipc_results::run::Level;
use ipc_results::units;

use super::Check;
use super::system::System;

/// A depth and a size that measure more than the defaults allow.
const DEPTH: u64 = 256;
const SIZE: u64 = 65536;

/// What the kernel charges beside the payload of each message: `struct posix_msg_tree_node` and a pointer (mq_overview(7)).
const NODE: u64 = 48 + 48;

pub(super) fn checks(system: &System) -> Vec<Check> {
    let checks: [fn(&System) -> Option<Check>; 5] = [depth, size, budget, mounted, queues];
    checks.into_iter().filter_map(|check| check(system)).collect()
}

fn depth(system: &System) -> Option<Check> {
    let max = system.limit("mq_msg_max")?;
    Some(if max < DEPTH {
        Check::new("M1", "msg_max", Level::Note, format!("{max}: a queue holds at most {max} messages"))
            .sysctl("fs.mqueue.msg_max", DEPTH, max)
    } else {
        Check::new("M1", "msg_max", Level::Ok, max.to_string())
    })
}

fn size(system: &System) -> Option<Check> {
    let max = system.limit("mq_msgsize_max")?;
    Some(if max < SIZE {
        let text = format!("{max}: larger messages than {} are skipped for mq", units::size(max));
        Check::new("M2", "msgsize_max", Level::Note, text).sysctl("fs.mqueue.msgsize_max", SIZE, max)
    } else {
        Check::new("M2", "msgsize_max", Level::Ok, max.to_string())
    })
}

fn budget(system: &System) -> Option<Check> {
    let Some(budget) = *system.environment.limits.get("msgqueue")? else {
        return Some(Check::new("M3", "RLIMIT_MSGQUEUE", Level::Ok, "unlimited"));
    };
    let (depth, size) = (system.limit("mq_msg_max")?, system.limit("mq_msgsize_max")?);
    let queue = depth * (size + NODE);
    let fit = budget / queue.max(1);
    let text = format!("{budget} B = {fit} queues of {depth}×{size} ({queue} B each); a connection has two");
    Some(if fit < 2 {
        Check::new("M3", "RLIMIT_MSGQUEUE", Level::Warn, text)
            .fix("ulimit -q unlimited | container: --ulimit msgqueue=-1")
    } else {
        Check::new("M3", "RLIMIT_MSGQUEUE", Level::Ok, text)
    })
}

fn mounted(system: &System) -> Option<Check> {
    let mounts = system.line("proc/self/mounts")?;
    let place = mounts.lines().find(|line| line.split(' ').nth(2) == Some("mqueue"));
    Some(match place.and_then(|line| line.split(' ').nth(1)) {
        Some(place) => Check::new("M4", "/dev/mqueue", Level::Ok, format!("mounted at {place}")),
        None => Check::new("M4", "/dev/mqueue", Level::Note, "not mounted (only for listing)")
            .fix("sudo mount -t mqueue none /dev/mqueue"),
    })
}

fn queues(system: &System) -> Option<Check> {
    let max = system.limit("mq_queues_max")?;
    Some(Check::new("M5", "queues_max", Level::Ok, format!("{max} in this ipc namespace")))
}
