//! What the kernel says about this process: memory, descriptors, and what its threads did.

use std::fs;
use std::io;

/// Memory and descriptors of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Resident memory, shared pages counted whole.
    pub(crate) rss_bytes: u64,
    /// Resident memory, shared pages counted by the share of this process.
    pub(crate) pss_bytes: u64,
    /// Resident memory that nobody else has.
    pub(crate) private_bytes: u64,
    /// Open descriptors.
    pub(crate) fds: u64,
}

impl Holding {
    /// From `/proc/self/smaps_rollup` (since Linux 4.14) and `/proc/self/fd`.
    ///
    /// # Errors
    /// `/proc` is not mounted, or the kernel has no `smaps_rollup`.
    pub(crate) fn now() -> io::Result<Holding> {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
        let fds = fs::read_dir("/proc/self/fd")?.count() as u64;
        // The directory itself is one of them while it is read.
        Ok(Holding { fds: fds.saturating_sub(1), ..Holding::of(&rollup) })
    }

    fn of(rollup: &str) -> Holding {
        let sum = |name: &str| -> u64 {
            let lines = rollup.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            lines.filter_map(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).sum::<u64>() << 10
        };
        Holding {
            rss_bytes: sum("Rss"),
            pss_bytes: sum("Pss"),
            private_bytes: sum("Private_Clean") + sum("Private_Dirty"),
            fds: 0,
        }
    }
}

/// What a thread of this process did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doing {
    /// Time on a CPU.
    pub(crate) cpu_ns: u64,
    /// Times it went to sleep, each of which ended in a wake-up.
    pub(crate) sleeps: u64,
}

impl Doing {
    /// Of the thread with this id: the first field of `schedstat` and the voluntary switches of `status`.
    ///
    /// # Errors
    /// There is no such thread, or the kernel counts neither.
    pub(crate) fn of_thread(tid: i32) -> io::Result<Doing> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/task/{tid}/{name}"));
        let unknown = |what: &str| io::Error::other(format!("the kernel does not say {what} of a thread"));
        let schedstat = read("schedstat")?;
        let cpu_ns = schedstat.split_whitespace().next().and_then(|word| word.parse().ok());
        let status = read("status")?;
        let sleeps = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
        Ok(Doing {
            cpu_ns: cpu_ns.ok_or_else(|| unknown("the CPU time"))?,
            sleeps: sleeps.ok_or_else(|| unknown("the context switches"))?,
        })
    }
}

/// Slope of a line through `points` by least squares; 0 through fewer than two.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), point| {
        (over + (point.0 - x) * (point.1 - y), under + (point.0 - x) * (point.0 - x))
    });
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_and_a_megabyte_show() {
        let before = Holding::now().unwrap();
        // Far more than tests beside this one give back meanwhile.
        let pages = std::hint::black_box(vec![1u8; 64 << 20]);
        let file = fs::File::open("/proc/self/status").unwrap();
        let after = Holding::now().unwrap();
        assert!(after.private_bytes >= before.private_bytes + (6 << 20), "{before:?} {after:?}");
        assert!(after.rss_bytes >= after.pss_bytes && after.pss_bytes >= after.private_bytes);
        // Other tests of this process open descriptors, too; this one shows by its own link.
        assert!(after.fds > 0);
        drop((pages, file));
    }

    #[test]
    fn the_lines_of_a_rollup_are_summed() {
        let text = "Rss: 13452 kB\nPss: 100 kB\nPss_Dirty: 7 kB\nPrivate_Clean: 4 kB\nPrivate_Dirty: 8 kB\n";
        let holding = Holding::of(text);
        assert_eq!((holding.rss_bytes, holding.pss_bytes), (13452 << 10, 100 << 10));
        assert_eq!(holding.private_bytes, 12 << 10);
    }

    #[test]
    fn a_slope_is_the_rise_per_step() {
        assert_eq!(slope(&[(0.0, 5.0), (10.0, 25.0), (20.0, 45.0)]), 2.0);
        assert_eq!(slope(&[(3.0, 5.0)]), 0.0);
    }

    #[test]
    fn a_thread_that_sleeps_and_one_that_works_are_told_apart() {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        let before = Doing::of_thread(tid).unwrap();
        // The sleep under test, not a handshake.
        (0..3).for_each(|_| std::thread::sleep(std::time::Duration::from_millis(1)));
        let slept = Doing::of_thread(tid).unwrap();
        assert!(slept.sleeps >= before.sleeps + 3, "{before:?} {slept:?}");
    }
}
