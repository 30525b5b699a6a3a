//! C: processors, their frequency, and what else runs on them.

use ipc_results::run::Level;

use crate::pin;

use super::Check;
use super::system::System;

/// Presets that measure single messages with long pauses between them.
const SPARSE: &[&str] = &["periodic", "load", "load-noload"];

const CPU: &str = "sys/devices/system/cpu";

pub(super) fn checks(system: &System) -> Vec<Check> {
    let checks: [fn(&System) -> Option<Check>; 14] = [
        cpus,
        governor,
        turbo,
        smt,
        steal,
        load,
        clocksource,
        virtualised,
        isolation,
        idle_states,
        throttling,
        capacities,
        housekeeping,
        build,
    ];
    checks.into_iter().filter_map(|check| check(system)).collect()
}

fn cpus(system: &System) -> Option<Check> {
    let cpu = &system.environment.cpu;
    let allowed = cpu.allowed.as_ref()?;
    let online = cpu.threads.map_or_else(|| "?".to_owned(), |threads| threads.to_string());
    let quota = system.environment.cgroup.cpu_max.as_ref().filter(|quota| !quota.starts_with("max"));
    let text = format!("{online} online, {} usable ({})", allowed.len(), pin::list(allowed));
    Some(match (allowed.len(), quota) {
        (_, Some(quota)) => {
            Check::new("C1", "cpus", Level::Warn, format!("{text}; cgroup cpu.max {quota} throttles trials"))
                .fix("raise the limit of the container: --cpus")
        }
        (1, _) => {
            Check::new("C1", "cpus", Level::Warn, format!("{text}: both sides share it, spinning is useless"))
        }
        (_, None) => Check::new("C1", "cpus", Level::Ok, text),
    })
}

fn governor(system: &System) -> Option<Check> {
    let Some(governor) = &system.environment.governor else {
        let text = "cpufreq not exposed: frequency drift cannot be seen; yardsticks are used instead";
        return Some(Check::new("C2", "governor", Level::Note, text));
    };
    if governor == "performance" {
        return Some(Check::new("C2", "governor", Level::Ok, governor.as_str()));
    }
    let first = governor.split(',').next().unwrap_or_default();
    let path = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor";
    let text = format!("{governor}: the frequency follows the load");
    Some(Check::new("C2", "governor", Level::Warn, text).file(path, "performance", first))
}

fn turbo(system: &System) -> Option<Check> {
    let turbo = system.environment.turbo?;
    if !turbo {
        return Some(Check::new("C3", "turbo", Level::Ok, "off"));
    }
    let intel = format!("{CPU}/intel_pstate/no_turbo");
    let check = Check::new(
        "C3",
        "turbo",
        Level::Note,
        "on: the frequency depends on how many cores work and how warm they are",
    );
    Some(match system.line(&intel) {
        Some(_) => check.file(&format!("/{intel}"), "1", "0"),
        None => check.file(&format!("/{CPU}/cpufreq/boost"), "0", "1"),
    })
}

fn smt(system: &System) -> Option<Check> {
    let smt = system.environment.smt.as_deref()?;
    if smt != "on" {
        return Some(Check::new("C4", "SMT", Level::Ok, smt.replace("notsupported", "not supported")));
    }
    let chosen = system.cpus();
    let shared = system.environment.cpu.siblings.iter();
    let shared: Vec<String> = shared
        .filter(|group| group.len() > 1 && group.iter().any(|cpu| chosen.contains(cpu)))
        .map(|group| pin::list(group))
        .collect();
    let text = format!("on: siblings {} share a core; keep the second one idle", shared.join(" and "));
    Some(Check::new("C4", "SMT", Level::Note, text).file(&format!("/{CPU}/smt/control"), "off", "on"))
}

fn steal(system: &System) -> Option<Check> {
    let text = system.line("proc/stat")?;
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal (proc(5)); guest time is in user time already.
    let share = ticks.get(7)? / ticks.iter().take(8).sum::<f64>().max(1.0);
    let level = match share {
        share if share > 0.05 => Level::Fail,
        share if share > 0.01 => Level::Warn,
        _ => Level::Ok,
    };
    let check = Check::new("C5", "steal", level, format!("{:.2} % since boot", share * 100.0));
    Some(if level == Level::Ok {
        check
    } else {
        check.fix("another host, or a dedicated one: trials with steal are marked")
    })
}

fn load(system: &System) -> Option<Check> {
    let share = |text: String| text.split("avg10=").nth(1)?.split_whitespace().next()?.parse::<f64>().ok();
    if let Some(share) = system.line("proc/pressure/cpu").and_then(share) {
        let text = format!("PSI cpu some avg10 {share:.2} %");
        return Some(if share > 1.0 {
            Check::new("C6", "load", Level::Warn, format!("{text}: another process is using a core"))
                .fix("stop it, or --pin elsewhere")
        } else {
            Check::new("C6", "load", Level::Ok, text)
        });
    }
    let line = system.line("proc/loadavg")?;
    let load: f64 = line.split_whitespace().next()?.parse().ok()?;
    let level = if load > 0.5 { Level::Warn } else { Level::Ok };
    Some(Check::new("C6", "load", level, format!("load average {load:.2} over a minute")))
}

fn clocksource(system: &System) -> Option<Check> {
    let source = system.environment.clocksource.as_deref()?;
    let fast = ["tsc", "arch_sys_counter", "kvm-clock"].contains(&source);
    Some(if fast {
        Check::new("C7", "clocksource", Level::Ok, source)
    } else {
        let text = format!("{source}: reading the clock is a system call or slower");
        Check::new("C7", "clocksource", Level::Warn, text).file(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            "tsc",
            source,
        )
    })
}

fn virtualised(system: &System) -> Option<Check> {
    let environment = &system.environment;
    let virt = environment.virt.as_deref()?;
    let microcode = environment.cpu.microcode.as_deref().unwrap_or("unknown");
    Some(Check::new(
        "C8",
        "virtualised",
        Level::Note,
        format!("{virt}; microcode {microcode}; wake-ups depend on the host"),
    ))
}

fn isolation(system: &System) -> Option<Check> {
    let isolated = system.environment.isolated.as_deref().unwrap_or_default();
    let ticks = system.line(&format!("{CPU}/nohz_full")).filter(|list| list != "(null)");
    let chosen = system.cpus();
    let allows = |list: &str| {
        list.split(',').any(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range = from.trim().parse::<u32>().ok().zip(to.trim().parse::<u32>().ok());
            range.is_some_and(|(from, to)| chosen.iter().any(|cpu| (from..=to).contains(cpu)))
        })
    };
    let interrupts = system.names("proc/irq");
    let lists = interrupts.iter().filter_map(|irq| system.line(&format!("proc/irq/{irq}/smp_affinity_list")));
    let here = lists.filter(|list| allows(list)).count();
    let isolated = if isolated.is_empty() { "none".to_owned() } else { pin::list(isolated) };
    let ticks = ticks.unwrap_or_else(|| "none".into());
    let text =
        format!("isolated {isolated}, nohz_full {ticks}, {here} interrupts may use the measuring cpus");
    Some(Check::new("C9", "isolation", Level::Ok, text))
}

fn idle_states(system: &System) -> Option<Check> {
    let states = system.names(&format!("{CPU}/cpu0/cpuidle"));
    let latency = |state: &String| system.number::<u64>(&format!("{CPU}/cpu0/cpuidle/{state}/latency"));
    let deepest = states.iter().filter_map(latency).max()?;
    let text = format!("deepest idle state takes {deepest} µs to leave");
    Some(if deepest > 100 {
        Check::new(
            "C10",
            "idle states",
            Level::Warn,
            format!("{text}: it shows in messages that come seldom"),
        )
        .fix("hold /dev/cpu_dma_latency at 0 while measuring")
        .matters_to(SPARSE)
    } else {
        Check::new("C10", "idle states", Level::Ok, text)
    })
}

fn throttling(system: &System) -> Option<Check> {
    let cpus = system.names(CPU);
    let count =
        |cpu: &String| system.number::<u64>(&format!("{CPU}/{cpu}/thermal_throttle/core_throttle_count"));
    let counts: Vec<u64> = cpus.iter().filter_map(count).collect();
    let sum: u64 = (!counts.is_empty()).then(|| counts.iter().sum())?;
    Some(match sum {
        0 => Check::new("C11", "throttling", Level::Ok, "never since boot"),
        sum => Check::new(
            "C11",
            "throttling",
            Level::Warn,
            format!("{sum} times since boot: the cores became too hot"),
        )
        .fix("cool the machine, or measure shorter"),
    })
}

fn capacities(system: &System) -> Option<Check> {
    let capacity = &system.environment.cpu.capacity;
    let hybrid = !system.names("sys/devices/cpu_atom").is_empty();
    let differ = capacity.windows(2).any(|pair| pair[0] != pair[1]);
    (hybrid || differ).then(|| {
        Check::new(
            "C12",
            "kinds of cores",
            Level::Warn,
            "cores of different speed: the placement decides the number",
        )
        .fix("--pin two of the same kind")
    })
}

fn housekeeping(system: &System) -> Option<Check> {
    let on = |path: &str| system.number::<i64>(path).is_some_and(|value| value > 0);
    let numa = on("proc/sys/kernel/numa_balancing");
    let watchdog = on("proc/sys/kernel/nmi_watchdog");
    if system.line("proc/sys/kernel/numa_balancing").is_none() && !watchdog {
        return None;
    }
    let (id, name) = ("C13", "housekeeping");
    Some(if numa {
        Check::new(id, name, Level::Note, "NUMA balancing is on: it unmaps pages to see who uses them")
            .sysctl("kernel.numa_balancing", 0, 1)
    } else if watchdog {
        Check::new(id, name, Level::Note, "the NMI watchdog interrupts every core").sysctl(
            "kernel.nmi_watchdog",
            0,
            1,
        )
    } else {
        Check::new(id, name, Level::Ok, "no NUMA balancing, no NMI watchdog")
    })
}

fn build(_: &System) -> Option<Check> {
    Some(if cfg!(debug_assertions) {
        Check::new("B1", "this program", Level::Fail, "a debug build: its numbers mean nothing")
            .fix("cargo xtask bench, or cargo build --profile bench")
    } else {
        Check::new("B1", "this program", Level::Ok, "an optimised build")
    })
}
