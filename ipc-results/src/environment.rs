//! The machine a run was made on.

mod read;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use read::{namespaces_of, this_boot};

/// What the system says about itself. Every field is read; one that could not be read is absent, never a guess.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// `sha256:` over what makes this machine this machine: host name, processor, topology, memory in GiB, hypervisor.
    /// A reboot and another kernel keep it. Runs with different fingerprints are not compared.
    #[serde(default)]
    pub host_fingerprint: String,
    /// `/proc/sys/kernel/hostname`.
    pub hostname: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`: the same for all processes between two boots.
    pub boot_id: Option<String>,
    /// `/proc/sys/kernel/osrelease`.
    pub kernel: Option<String>,
    /// `/proc/version`, with the compiler and the build of the kernel.
    pub kernel_build: Option<String>,
    /// `/proc/cmdline`.
    pub cmdline: Option<String>,
    /// Processors and their topology.
    #[serde(default)]
    pub cpu: Cpu,
    /// Installed memory in bytes, `/proc/meminfo`.
    pub memory_bytes: Option<u64>,
    /// cpufreq governor; the distinct ones joined by commas when the CPUs differ.
    pub governor: Option<String>,
    /// Whether the processor may exceed its nominal frequency.
    pub turbo: Option<bool>,
    /// `/sys/devices/system/cpu/smt/control`.
    pub smt: Option<String>,
    /// CPUs taken out of the scheduler's balancing, `/sys/devices/system/cpu/isolated`.
    pub isolated: Option<Vec<u32>>,
    /// `/sys/devices/system/clocksource/clocksource0/current_clocksource`.
    pub clocksource: Option<String>,
    /// Hypervisor and container in force, as in `kvm`, `docker`, `kvm, docker`; absent when neither was found.
    pub virt: Option<String>,
    /// Limits of the control group this process is in.
    #[serde(default)]
    pub cgroup: Cgroup,
    /// Transparent huge pages of ordinary memory: `always`, `madvise` or `never`.
    pub thp: Option<String>,
    /// Transparent huge pages of shared memory, `shmem_enabled`.
    pub thp_shmem: Option<String>,
    /// NUMA nodes online.
    pub numa: Option<u32>,
    /// Soft resource limits and system-wide ones by name (`nofile`, `msgqueue`, `memlock`, `rtprio`, `mq_msg_max`,
    /// `mq_msgsize_max`, `mq_queues_max`, `pipe_max_size`, `rmem_max`, `wmem_max`); a null is "unlimited".
    #[serde(default)]
    pub limits: BTreeMap<String, Option<u64>>,
    /// Identity of the namespaces this process is in, as in `"net": "net:[4026531837]"`.
    #[serde(default)]
    pub namespaces: BTreeMap<String, String>,
}

impl Environment {
    /// Whether a hypervisor is below this kernel.
    pub fn is_virtual_machine(&self) -> bool {
        const CONTAINERS: [&str; 4] = ["kubernetes", "podman", "docker", "lxc"];
        self.virt.iter().flat_map(|found| found.split(", ")).any(|name| !CONTAINERS.contains(&name))
    }
}

/// Processors and their topology.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    /// `model name` (x86-64) or implementer and part (aarch64).
    pub model: Option<String>,
    /// Microcode revision, as the kernel prints it.
    pub microcode: Option<String>,
    /// Processor packages.
    pub sockets: Option<u32>,
    /// Physical cores.
    pub cores: Option<u32>,
    /// Logical CPUs online.
    pub threads: Option<u32>,
    /// CPUs this process may run on, `/proc/self/status`.
    pub allowed: Option<Vec<u32>>,
    /// CPUs that share a core, one list per core.
    #[serde(default)]
    pub siblings: Vec<Vec<u32>>,
    /// CPUs that share the last-level cache, one list per cache.
    #[serde(default)]
    pub llc: Vec<Vec<u32>>,
    /// Relative speed of each online CPU in rising order, at most 1024; empty when the kernel does not say.
    #[serde(default)]
    pub capacity: Vec<u32>,
    /// Known vulnerabilities of the processor and what the kernel does about each.
    #[serde(default)]
    pub mitigations: BTreeMap<String, String>,
}

/// Limits of the control group (version 2) and of those above it, the tightest of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cgroup {
    /// `cpu.max` as the kernel prints it: `QUOTA PERIOD` in microseconds; absent when there is no limit.
    pub cpu_max: Option<String>,
    /// `cpuset.cpus.effective`.
    pub cpuset: Option<String>,
    /// `memory.max` in bytes; absent when there is no limit.
    pub memory_max: Option<u64>,
}
