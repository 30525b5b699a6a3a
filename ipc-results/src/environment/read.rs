//! Reading the environment from `/proc` and `/sys`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::{Cgroup, Cpu, Environment};

impl Environment {
    /// The machine and the process that calls.
    pub fn read() -> Self {
        Self::read_from(Path::new("/"))
    }

    /// The same from a copy of `/proc` and `/sys` below `root`. What is not there is absent in the result.
    pub fn read_from(root: &Path) -> Self {
        let root = Root(root);
        let cpu = cpu(&root);
        let memory_bytes = memory(&root);
        let hostname = root.line("proc/sys/kernel/hostname");
        let virt = virt(&root);
        let host_fingerprint = fingerprint(&hostname, &cpu, memory_bytes, &virt);
        Self {
            host_fingerprint,
            hostname,
            boot_id: boot_id(&root),
            kernel: root.line("proc/sys/kernel/osrelease"),
            kernel_build: root.line("proc/version"),
            cmdline: root.line("proc/cmdline"),
            cpu,
            memory_bytes,
            governor: governor(&root),
            turbo: turbo(&root),
            smt: root.line("sys/devices/system/cpu/smt/control"),
            isolated: root.line("sys/devices/system/cpu/isolated").and_then(|list| cpu_list(&list)),
            clocksource: root.line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            virt,
            cgroup: cgroup(&root),
            thp: root.chosen("sys/kernel/mm/transparent_hugepage/enabled"),
            thp_shmem: root.chosen("sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            numa: root
                .line("sys/devices/system/node/online")
                .and_then(|list| Some(cpu_list(&list)?.len() as u32)),
            limits: limits(&root),
            namespaces: namespaces(&root, "self"),
        }
    }
}

/// The boot alone, as [`Environment::boot_id`].
pub fn this_boot() -> Option<String> {
    boot_id(&Root(Path::new("/")))
}

/// The namespaces of a process of this machine, by its number or `self`, as [`Environment::namespaces`]; none where it cannot be
/// looked at.
pub fn namespaces_of(process: &str) -> BTreeMap<String, String> {
    namespaces(&Root(Path::new("/")), process)
}

/// The directory that stands for `/`.
struct Root<'a>(&'a Path);

impl Root<'_> {
    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// The file without the white space around it.
    fn line(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim().to_owned())
    }

    fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.line(path)?.parse().ok()
    }

    /// The word in brackets, as in `always [madvise] never`.
    fn chosen(&self, path: &str) -> Option<String> {
        let line = self.line(path)?;
        let (_, rest) = line.split_once('[')?;
        rest.split_once(']').map(|(word, _)| word.to_owned())
    }

    /// Names in a directory, sorted; none when it cannot be read.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

const CPUS: &str = "sys/devices/system/cpu";

fn cpu(root: &Root<'_>) -> Cpu {
    let info = root.text("proc/cpuinfo").unwrap_or_default();
    let field = |name| cpuinfo_field(&info, name);
    let arm = || Some(format!("implementer {} part {}", field("CPU implementer")?, field("CPU part")?));
    let online = root.line(&format!("{CPUS}/online")).and_then(|list| cpu_list(&list));
    let each = online.as_deref().unwrap_or_default();
    let packages: BTreeSet<String> = each
        .iter()
        .filter_map(|cpu| root.line(&format!("{CPUS}/cpu{cpu}/topology/physical_package_id")))
        .collect();
    let siblings = groups(each, |cpu| root.line(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list")));
    let known = |count: usize| (count > 0).then_some(count as u32);
    Cpu {
        model: field("model name").map(str::to_owned).or_else(arm),
        microcode: field("microcode").map(str::to_owned),
        sockets: known(packages.len()),
        cores: known(siblings.len()),
        threads: known(each.len()),
        allowed: root.text("proc/self/status").and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            cpu_list(line)
        }),
        llc: groups(each, |cpu| last_level_cache(root, cpu)),
        siblings,
        capacity: each
            .iter()
            .map(|cpu| root.number(&format!("{CPUS}/cpu{cpu}/cpu_capacity")))
            .collect::<Option<Vec<u32>>>()
            .unwrap_or_default(),
        mitigations: root
            .names(&format!("{CPUS}/vulnerabilities"))
            .into_iter()
            .filter_map(|name| Some((name.clone(), root.line(&format!("{CPUS}/vulnerabilities/{name}"))?)))
            .collect(),
    }
}

/// The value of the first `name : value` line.
fn cpuinfo_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The distinct CPU lists that `list` gives for the CPUs, in order of their first CPU.
fn groups(cpus: &[u32], list: impl Fn(u32) -> Option<String>) -> Vec<Vec<u32>> {
    let lists: BTreeSet<Vec<u32>> = cpus.iter().filter_map(|cpu| cpu_list(&list(*cpu)?)).collect();
    lists.into_iter().collect()
}

/// The CPUs that share the highest cache level of `cpu`, as the kernel lists them.
fn last_level_cache(root: &Root<'_>, cpu: u32) -> Option<String> {
    let caches = format!("{CPUS}/cpu{cpu}/cache");
    let levels = root.names(&caches).into_iter().filter(|name| name.starts_with("index"));
    let last =
        levels.max_by_key(|index| root.number::<u32>(&format!("{caches}/{index}/level")).unwrap_or(0))?;
    root.line(&format!("{caches}/{last}/shared_cpu_list"))
}

/// The CPUs in a list like `0-3,8`; `None` when it is something else. An empty list is no CPU.
fn cpu_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        // The kernel numbers no more than 8192 CPUs (CONFIG_NR_CPUS); a longer range is not from a kernel.
        if last >= 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

fn memory(root: &Root<'_>) -> Option<u64> {
    let info = root.text("proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn governor(root: &Root<'_>) -> Option<String> {
    let policies = format!("{CPUS}/cpufreq");
    let governors: BTreeSet<String> = root
        .names(&policies)
        .iter()
        .filter_map(|policy| root.line(&format!("{policies}/{policy}/scaling_governor")))
        .collect();
    (!governors.is_empty()).then(|| governors.into_iter().collect::<Vec<_>>().join(","))
}

fn turbo(root: &Root<'_>) -> Option<bool> {
    let no_turbo = root.number::<u8>(&format!("{CPUS}/intel_pstate/no_turbo")).map(|off| off == 0);
    no_turbo.or_else(|| root.number::<u8>(&format!("{CPUS}/cpufreq/boost")).map(|on| on == 1))
}

/// Hypervisor and container. The hypervisor's own clock sources tell its kind where there is no firmware table, as in
/// small virtual machines; the processor flag alone tells only that there is one.
fn virt(root: &Root<'_>) -> Option<String> {
    let kernel = root.line("proc/sys/kernel/osrelease").unwrap_or_default();
    let clocks =
        root.line("sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or_default();
    let flagged = || {
        let info = root.text("proc/cpuinfo")?;
        let flags = cpuinfo_field(&info, "flags")?;
        flags.split_whitespace().any(|flag| flag == "hypervisor").then(|| "hypervisor".to_owned())
    };
    let by_clock = [("kvm-clock", "kvm"), ("hyperv", "hyperv"), ("xen", "xen")]
        .into_iter()
        .find(|(clock, _)| clocks.contains(clock))
        .map(|(_, name)| name.to_owned());
    let vendor = || {
        let vendor = root.line("sys/class/dmi/id/sys_vendor")?;
        [("QEMU", "qemu"), ("VMware", "vmware"), ("innotek", "virtualbox"), ("Amazon EC2", "ec2")]
            .into_iter()
            .find(|(prefix, _)| vendor.starts_with(prefix))
            .map(|(_, name)| name.to_owned())
    };
    let hypervisor = if kernel.to_lowercase().contains("microsoft") {
        Some("wsl".to_owned())
    } else {
        by_clock.or_else(|| flagged().map(|flag| vendor().unwrap_or(flag)))
    };
    let found: Vec<String> = hypervisor.into_iter().chain(container(root).map(str::to_owned)).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

fn container(root: &Root<'_>) -> Option<&'static str> {
    let groups = root.text("proc/self/cgroup").unwrap_or_default();
    if groups.contains("kubepods") || root.path("var/run/secrets/kubernetes.io").exists() {
        Some("kubernetes")
    } else if root.path("run/.containerenv").exists() {
        Some("podman")
    } else if root.path(".dockerenv").exists() || groups.contains("/docker") {
        Some("docker")
    } else if groups.contains("/lxc") {
        Some("lxc")
    } else {
        None
    }
}

fn cgroup(root: &Root<'_>) -> Cgroup {
    let groups = root.text("proc/self/cgroup").unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Cgroup::default();
    };
    // A hybrid system mounts version 2 one level further down.
    let mount = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        .into_iter()
        .find(|mount| root.path(&format!("{mount}/cgroup.controllers")).exists());
    let Some(mount) = mount else { return Cgroup::default() };
    let own = own.trim_start_matches('/');
    let chain: Vec<String> =
        Path::new(own).ancestors().map(|group| format!("{mount}/{}", group.display())).collect();
    // "max" parses as no number, so a group without a limit drops out.
    let quota = |limit: &String| {
        let (quota, period) = limit.split_once(' ')?;
        quota.parse::<u64>().ok()?.saturating_mul(1_000_000).checked_div(period.parse().ok()?)
    };
    let cpu_limits = chain.iter().filter_map(|group| root.line(&format!("{group}/cpu.max")));
    Cgroup {
        cpu_max: cpu_limits.filter(|limit| quota(limit).is_some()).min_by_key(quota),
        cpuset: root.line(&format!("{}/cpuset.cpus.effective", chain[0])).filter(|cpus| !cpus.is_empty()),
        memory_max: chain.iter().filter_map(|group| root.number(&format!("{group}/memory.max"))).min(),
    }
}

/// Soft limits by the column widths of `fs/proc/base.c` (`proc_pid_limits`): name 26, soft limit 21.
fn limits(root: &Root<'_>) -> BTreeMap<String, Option<u64>> {
    let own = root.text("proc/self/limits").unwrap_or_default();
    let soft = |title: &str| {
        let value = own.lines().find(|line| line.starts_with(title))?.get(26..46)?.trim();
        if value == "unlimited" { Some(None) } else { value.parse().ok().map(Some) }
    };
    let named = [
        ("nofile", "Max open files"),
        ("msgqueue", "Max msgqueue size"),
        ("memlock", "Max locked memory"),
        ("rtprio", "Max realtime priority"),
    ];
    let system = [
        ("mq_msg_max", "proc/sys/fs/mqueue/msg_max"),
        ("mq_msgsize_max", "proc/sys/fs/mqueue/msgsize_max"),
        ("mq_queues_max", "proc/sys/fs/mqueue/queues_max"),
        ("pipe_max_size", "proc/sys/fs/pipe-max-size"),
        ("rmem_max", "proc/sys/net/core/rmem_max"),
        ("wmem_max", "proc/sys/net/core/wmem_max"),
    ];
    let named = named.into_iter().filter_map(|(name, title)| Some((name.to_owned(), soft(title)?)));
    let system =
        system.into_iter().filter_map(|(name, path)| Some((name.to_owned(), Some(root.number(path)?))));
    named.chain(system).collect()
}

/// Of a process by its number, or `self`.
fn namespaces(root: &Root<'_>, process: &str) -> BTreeMap<String, String> {
    let identity = |name: &str| {
        fs::read_link(root.path(&format!("proc/{process}/ns/{name}")))
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
    };
    ["ipc", "mnt", "net", "pid", "time"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), identity(name)?)))
        .collect()
}

fn boot_id(root: &Root<'_>) -> Option<String> {
    root.line("proc/sys/kernel/random/boot_id")
}

fn fingerprint(
    hostname: &Option<String>,
    cpu: &Cpu,
    memory_bytes: Option<u64>,
    virt: &Option<String>,
) -> String {
    // Rounded up, since the kernel keeps a little more or less of it for itself at every boot.
    let gib = memory_bytes.map(|bytes| bytes.div_ceil(1 << 30));
    let Cpu { model, sockets, cores, threads, siblings, llc, .. } = cpu;
    let facts = format!(
        "{hostname:?}\n{model:?}\n{sockets:?}\n{cores:?}\n{threads:?}\n{siblings:?}\n{llc:?}\n{gib:?}\n{virt:?}"
    );
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(facts) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files in it.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        root
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let environment = Environment::read_from(root(&[]).path());
        let nothing =
            Environment { host_fingerprint: environment.host_fingerprint.clone(), ..Environment::default() };
        assert_eq!(environment, nothing);
    }

    #[test]
    fn two_cores_with_two_threads_each_are_told_apart() {
        let per_cpu = |cpu: u32, siblings: &str| {
            let cpu = format!("sys/devices/system/cpu/cpu{cpu}");
            vec![
                (format!("{cpu}/topology/physical_package_id"), "0\n".to_owned()),
                (format!("{cpu}/topology/thread_siblings_list"), siblings.to_owned()),
                (format!("{cpu}/cache/index2/level"), "2\n".to_owned()),
                (format!("{cpu}/cache/index2/shared_cpu_list"), siblings.to_owned()),
                (format!("{cpu}/cache/index3/level"), "3\n".to_owned()),
                (format!("{cpu}/cache/index3/shared_cpu_list"), "0-3\n".to_owned()),
                (format!("{cpu}/cpu_capacity"), "1024\n".to_owned()),
            ]
        };
        let mut files: Vec<(String, String)> = [(0, "0,2\n"), (1, "1,3\n"), (2, "0,2\n"), (3, "1,3\n")]
            .into_iter()
            .flat_map(|(cpu, siblings)| per_cpu(cpu, siblings))
            .collect();
        files.push(("sys/devices/system/cpu/online".into(), "0-3\n".into()));
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let cpu = Environment::read_from(root(&files).path()).cpu;
        assert_eq!((cpu.sockets, cpu.cores, cpu.threads), (Some(1), Some(2), Some(4)));
        assert_eq!(cpu.siblings, [[0, 2], [1, 3]]);
        assert_eq!(cpu.llc, [[0, 1, 2, 3]]);
        assert_eq!(cpu.capacity, [1024; 4]);
    }

    #[test]
    fn the_tightest_limit_of_the_groups_above_counts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/a/b/cpuset.cpus.effective", "0-1\n"),
        ]);
        let cgroup = Environment::read_from(root.path()).cgroup;
        assert_eq!(cgroup.cpu_max.as_deref(), Some("150000 100000"));
        assert_eq!(cgroup.memory_max, Some(1 << 30));
        assert_eq!(cgroup.cpuset.as_deref(), Some("0-1"));
    }

    #[test]
    fn limits_are_soft_and_unlimited_is_null() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n\
                      Max locked memory         unlimited            unlimited            bytes     \n";
        let root = root(&[("proc/self/limits", limits), ("proc/sys/fs/mqueue/msg_max", "10\n")]);
        let limits = Environment::read_from(root.path()).limits;
        let expected = [("memlock", None), ("mq_msg_max", Some(10)), ("nofile", Some(1024))];
        assert_eq!(limits, expected.map(|(name, limit)| (name.to_owned(), limit)).into());
    }

    #[test]
    fn hypervisor_and_container_are_both_named() {
        let clock = "sys/devices/system/clocksource/clocksource0/available_clocksource";
        let virt = |files: &[(&str, &str)]| Environment::read_from(root(files).path()).virt;
        assert_eq!(virt(&[(clock, "tsc kvm-clock acpi_pm\n")]).as_deref(), Some("kvm"));
        assert_eq!(virt(&[(clock, "kvm-clock\n"), (".dockerenv", "")]).as_deref(), Some("kvm, docker"));
        assert_eq!(virt(&[("proc/cpuinfo", "flags\t\t: fpu hypervisor\n")]).as_deref(), Some("hypervisor"));
        assert_eq!(virt(&[("run/.containerenv", "")]).as_deref(), Some("podman"));
        assert_eq!(virt(&[("proc/cpuinfo", "flags\t\t: fpu vme\n")]), None);
    }

    #[test]
    fn frequency_settings_are_read_where_the_kernel_has_them() {
        let root = root(&[
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpufreq/policy1/scaling_governor", "powersave\n"),
            ("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n"),
            ("sys/devices/system/cpu/isolated", "\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ]);
        let environment = Environment::read_from(root.path());
        assert_eq!(environment.governor.as_deref(), Some("performance,powersave"));
        assert_eq!(environment.turbo, Some(false));
        assert_eq!(environment.isolated, Some(vec![]));
        assert_eq!(environment.thp.as_deref(), Some("madvise"));
    }

    #[test]
    fn the_fingerprint_is_of_the_machine_and_not_of_the_boot() {
        let machine = ("proc/cpuinfo", "model name\t: AMD EPYC\n");
        let fingerprint =
            |files: &[(&str, &str)]| Environment::read_from(root(files).path()).host_fingerprint;
        let boot = |id| fingerprint(&[machine, ("proc/sys/kernel/random/boot_id", id)]);
        assert_eq!(boot("1"), boot("2"));
        assert_ne!(boot("1"), fingerprint(&[("proc/cpuinfo", "model name\t: other\n")]));
        assert_eq!(boot("1").len(), "sha256:".len() + 64);
    }

    #[test]
    fn this_machine_says_what_every_linux_says() {
        let environment = Environment::read();
        assert!(environment.kernel.is_some() && environment.boot_id.is_some());
        assert!(environment.cpu.threads >= Some(1));
        assert!(environment.limits.contains_key("nofile"));
        assert!(environment.namespaces["net"].starts_with("net:["));
    }

    #[test]
    fn cpu_lists_are_ranges_and_numbers() {
        assert_eq!(cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("\n"), Some(vec![]));
        assert_eq!(cpu_list("0-4294967295"), None);
        assert_eq!(cpu_list("all"), None);
    }
}
