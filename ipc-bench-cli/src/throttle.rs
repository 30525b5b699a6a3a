//! How often the machine slowed CPUs down: heat, and the quota of a cgroup.

use std::fs;
use std::path::Path;

/// Counts since the start of the machine and of the cgroup, added up; what the kernel does not tell counts as nothing.
pub(crate) fn count(cpus: &[u32]) -> u64 {
    count_in(Path::new("/"), cpus)
}

fn count_in(root: &Path, cpus: &[u32]) -> u64 {
    let heat = cpus.iter().filter_map(|cpu| {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
        fs::read_to_string(root.join(path)).ok()?.trim().parse::<u64>().ok()
    });
    heat.sum::<u64>() + quota(root)
}

/// `nr_throttled` in the `cpu.stat` of our cgroup, of either version (cgroups(7)).
fn quota(root: &Path) -> u64 {
    let ours = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let stat = ours.lines().find_map(|line| {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let hierarchy = match controllers {
            "" => "sys/fs/cgroup",
            all if all.split(',').any(|own| own == "cpu") => "sys/fs/cgroup/cpu",
            _ => return None,
        };
        fs::read_to_string(root.join(hierarchy).join(path).join("cpu.stat")).ok()
    });
    let stat = stat.unwrap_or_default();
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    throttled.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_of_the_cpus_in_use_and_the_quota_of_either_kind_of_cgroup_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(count_in(root.path(), &[0, 1]), 0);
        for (cpu, heat) in [(0, "3\n"), (1, "4\n"), (2, "100\n")] {
            write(&format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count"), heat);
        }
        assert_eq!(count_in(root.path(), &[0, 1]), 7);
        write("proc/self/cgroup", "7:cpuset:/a\n5:cpu,cpuacct:/a\n0::/b\n");
        write("sys/fs/cgroup/cpu/a/cpu.stat", "nr_periods 9\nnr_throttled 20\n");
        assert_eq!(count_in(root.path(), &[1]), 24);
        write("proc/self/cgroup", "0::/b\n");
        write("sys/fs/cgroup/b/cpu.stat", "usage_usec 1\nnr_throttled 30\n");
        assert_eq!(count_in(root.path(), &[]), 30);
    }
}
