//! Time the hypervisor took away, from `/proc/stat`.

use std::fs;

/// Stolen time of some CPUs since the start.
#[derive(Debug)]
pub(crate) struct Clock {
    cpus: Vec<u32>,
    before_ns: u64,
}

impl Clock {
    /// `None` where the kernel does not say.
    pub(crate) fn start(cpus: &[u32]) -> Option<Clock> {
        Some(Clock { cpus: cpus.to_vec(), before_ns: stolen_ns(cpus)? })
    }

    /// Nanoseconds stolen meanwhile, in steps of a tick (10 ms).
    pub(crate) fn stop(self) -> Option<u64> {
        Some(stolen_ns(&self.cpus)?.saturating_sub(self.before_ns))
    }
}

/// Nanoseconds stolen from `cpus` since boot, in steps of a tick (10 ms); `None` where the kernel does not say.
pub(crate) fn stolen_ns(cpus: &[u32]) -> Option<u64> {
    let ticks = stolen_ticks(&fs::read_to_string("/proc/stat").ok()?, cpus)?;
    Some(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second())
}

/// Sum of the eighth column (proc_stat(5): `steal`) of the lines of `cpus`.
fn stolen_ticks(stat: &str, cpus: &[u32]) -> Option<u64> {
    let steal = |cpu: &u32| {
        let name = format!("cpu{cpu}");
        let line = stat.lines().find(|line| line.split(' ').next() == Some(&name))?;
        line.split_whitespace().nth(8)?.parse::<u64>().ok()
    };
    cpus.iter().map(steal).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steal_column_of_the_right_cpus_is_summed() {
        let stat = "cpu  1 2 3 4 5 6 7 99 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 2 3 4 5 6 7 30 0 0\ncpu10 0 0 0 0 0 0 0 500 0 0\n";
        assert_eq!(stolen_ticks(stat, &[0, 1]), Some(38));
        assert_eq!(stolen_ticks(stat, &[2]), None);
    }
}
