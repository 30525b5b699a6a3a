//! S: shared memory, locked memory, pages, and names that were left behind.

use ipc_results::run::Level;
use ipc_results::units;

use crate::names;

use super::Check;
use super::system::System;

/// Docker gives a container 64 MiB.
const SMALL_SHM: u64 = 256 << 20;

pub(super) fn checks(system: &System) -> Vec<Check> {
    let checks: [fn(&System) -> Option<Check>; 6] = [shm, memlock, stale, huge_pages, transparent, swap];
    checks.into_iter().filter_map(|check| check(system)).collect()
}

fn shm(system: &System) -> Option<Check> {
    let found = rustix::fs::statvfs(system.root.join("dev/shm")).ok()?;
    let (size, free) = (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize);
    let text = format!("{}, {} free; rings are anonymous memory and count there too", gib(size), gib(free));
    Some(if free < SMALL_SHM {
        Check::new("S1", "/dev/shm", Level::Warn, format!("{text}: large rings will not fit"))
            .fix("container: --shm-size 1g | sudo mount -o remount,size=1g /dev/shm")
    } else {
        Check::new("S1", "/dev/shm", Level::Ok, text)
    })
}

fn gib(bytes: u64) -> String {
    if bytes >= 1 << 30 {
        format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

fn memlock(system: &System) -> Option<Check> {
    Some(match *system.environment.limits.get("memlock")? {
        None => Check::new("S2", "memlock", Level::Ok, "unlimited"),
        Some(bytes) => {
            let text = format!("{}: no more than that can be kept from being swapped", units::size(bytes));
            Check::new("S2", "memlock", Level::Note, text)
                .fix("ulimit -l unlimited | container: --ulimit memlock=-1")
        }
    })
}

fn stale(system: &System) -> Option<Check> {
    if system.root.as_os_str() != "/" {
        return None;
    }
    let dead = names::all(&names::directory()).ok()?.into_iter().filter(|name| !name.live).count();
    Some(match dead {
        0 => Check::new("S3", "stale names", Level::Ok, "no dead sockets or lock files"),
        dead => Check::new("S3", "stale names", Level::Note, format!("{dead} names that nobody listens at"))
            .fix("ipc-bench doctor --clean"),
    })
}

fn huge_pages(system: &System) -> Option<Check> {
    let pages: u64 = system.number("proc/sys/vm/nr_hugepages")?;
    Some(Check::new("S4", "huge pages", Level::Ok, format!("{pages} reserved")))
}

fn transparent(system: &System) -> Option<Check> {
    let thp = system.environment.thp.as_deref()?;
    let shmem = system.environment.thp_shmem.as_deref().unwrap_or("unknown");
    let text = format!("{thp}, shared memory {shmem}");
    let kernel = system.environment.kernel.as_deref().unwrap_or_default();
    Some(if shmem == "deny" {
        Check::new("S5", "THP", Level::Note, format!("{text}: --hugepages is refused")).file(
            "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
            "never",
            shmem,
        )
    } else if version(kernel) < COLLAPSE {
        Check::new("S5", "THP", Level::Note, format!("{text}; Linux {kernel}: --hugepages needs 6.1"))
    } else {
        Check::new("S5", "THP", Level::Ok, format!("{text}; --hugepages asks for each ring by itself"))
    })
}

/// The first Linux with `MADV_COLLAPSE` of shared memory.
const COLLAPSE: (u32, u32) = (6, 1);

/// `6.18.44-generic` as two numbers; zeros where it is something else.
fn version(kernel: &str) -> (u32, u32) {
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn swap(system: &System) -> Option<Check> {
    let text = system.line("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("SwapTotal:"))?;
    let kib: u64 = line.trim().split(' ').next()?.parse().ok()?;
    Some(if kib == 0 {
        Check::new("S6", "swap", Level::Ok, "none")
    } else {
        Check::new(
            "S6",
            "swap",
            Level::Note,
            format!("{} in use or ready: a page fault can take milliseconds", gib(kib << 10)),
        )
        .fix("sudo swapoff -a while measuring")
    })
}
