//! N, F, P: sockets, descriptors and pipes.

use ipc_results::run::Level;
use ipc_results::units;

use crate::names;

use super::Check;
use super::system::System;

/// Longest path of a Unix socket: `sun_path` has 108 bytes, one of them the terminating zero.
const SUN_PATH: usize = 107;

pub(super) fn checks(system: &System) -> Vec<Check> {
    let checks: [fn(&System) -> Option<Check>; 9] =
        [buffers, busy_poll, backlog, path, loopback, descriptors, processes, pipe, pipe_pages];
    checks.into_iter().filter_map(|check| check(system)).collect()
}

fn buffers(system: &System) -> Option<Check> {
    let (rmem, wmem) = (system.limit("rmem_max")?, system.limit("wmem_max").unwrap_or(0));
    let text = format!("rmem_max {}, wmem_max {}", units::size(rmem), units::size(wmem));
    Some(if rmem < 1 << 20 {
        Check::new("N1", "socket buffers", Level::Note, format!("{text}: larger -L uds.sndbuf is cut down"))
            .sysctl("net.core.rmem_max", 4 << 20, rmem)
    } else {
        Check::new("N1", "socket buffers", Level::Ok, text)
    })
}

fn busy_poll(system: &System) -> Option<Check> {
    let micros: u64 = system.number("proc/sys/net/core/busy_poll")?;
    Some(match micros {
        0 => Check::new("N2", "busy_poll", Level::Ok, "off"),
        micros => {
            Check::new("N2", "busy_poll", Level::Note, format!("{micros} µs: sockets spin in the kernel"))
        }
    })
}

fn backlog(system: &System) -> Option<Check> {
    let max: u64 = system.number("proc/sys/net/core/somaxconn")?;
    Some(if max < 1024 {
        Check::new("N3", "somaxconn", Level::Note, format!("{max} clients may wait for accept")).sysctl(
            "net.core.somaxconn",
            4096,
            max,
        )
    } else {
        Check::new("N3", "somaxconn", Level::Ok, max.to_string())
    })
}

fn path(system: &System) -> Option<Check> {
    if system.root.as_os_str() != "/" {
        return None;
    }
    let path = names::directory().join("uds.bench");
    let length = path.as_os_str().len();
    let text = format!("{} ({length} of {SUN_PATH} bytes)", path.display());
    Some(if length + 16 > SUN_PATH {
        Check::new("N4", "sun_path", Level::Warn, format!("{text}: names will not fit"))
            .fix("a shorter XDG_RUNTIME_DIR")
    } else {
        Check::new("N4", "sun_path", Level::Ok, text)
    })
}

fn loopback(system: &System) -> Option<Check> {
    let flags = system.line("sys/class/net/lo/flags")?;
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
    // IFF_UP is bit 0 (linux/if.h).
    Some(if flags & 1 == 1 {
        Check::new("N5", "loopback", Level::Ok, "up")
    } else {
        Check::new("N5", "loopback", Level::Fail, "down: tcp cannot be measured")
            .fix("sudo ip link set lo up")
    })
}

fn descriptors(system: &System) -> Option<Check> {
    Some(match *system.environment.limits.get("nofile")? {
        Some(max) if max < 1024 => {
            Check::new("F1", "nofile", Level::Warn, format!("{max}: many clients will not fit"))
                .fix("ulimit -n 65536")
        }
        Some(max) => Check::new("F1", "nofile", Level::Ok, max.to_string()),
        None => Check::new("F1", "nofile", Level::Ok, "unlimited"),
    })
}

fn processes(system: &System) -> Option<Check> {
    let max = system.line("sys/fs/cgroup/pids.max").filter(|max| max != "max");
    let limit: Option<u64> = max.and_then(|max| max.parse().ok());
    let all: u64 = system.number("proc/sys/kernel/pid_max")?;
    let max = limit.unwrap_or(all);
    Some(if max < 512 {
        Check::new("F2", "processes", Level::Warn, format!("{max}: patterns with many peers will not fit"))
            .fix("container: --pids-limit -1")
    } else {
        Check::new("F2", "processes", Level::Ok, max.to_string())
    })
}

fn pipe(system: &System) -> Option<Check> {
    let max = system.limit("pipe_max_size")?;
    Some(if max < 1 << 20 {
        Check::new(
            "P1",
            "pipe-max-size",
            Level::Note,
            format!("{}: pipes are smaller than asked for", units::size(max)),
        )
        .sysctl("fs.pipe-max-size", 1 << 20, max)
    } else {
        Check::new("P1", "pipe-max-size", Level::Ok, units::size(max))
    })
}

fn pipe_pages(system: &System) -> Option<Check> {
    let pages: u64 = system.number("proc/sys/fs/pipe-user-pages-soft")?;
    let text = if pages == 0 {
        "no limit".to_owned()
    } else {
        format!("{pages} pages per user: beyond that a pipe has one")
    };
    Some(Check::new("P2", "pipe-user-pages", Level::Ok, text))
}
