//! `doctor`: what on this machine disturbs numbers or forbids a measurement, and what would change that. It changes
//! nothing itself, but for names of ours that nobody holds, with `--clean`.

mod cpus;
mod line;
mod memory;
mod peer;
mod privileges;
mod probe;
mod queues;
mod script;
mod sockets;
mod system;
mod text;

use std::path::{Path, PathBuf};

use ipc_results::Environment;
use ipc_results::doctor::{Diagnosed, Diagnosis};
use ipc_results::run::{Finding, Level, Side};

use crate::args::{DoctorArgs, Global};
use crate::command::{find, print, write};
use crate::error::{Exit, Failure};
use crate::lists;
use crate::mechanism::Mechanism;
use crate::names;
use crate::pin::{Pin, Topology};
use crate::presets;
use crate::settings::{Origin, unknown};

use peer::Peer;
use system::System;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) id: &'static str,
    /// What was looked at, in a word or two.
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) fix: Option<Fix>,
    /// Presets whose numbers it touches; empty means all.
    pub(crate) matters_to: &'static [&'static str],
}

/// How to change what a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fix {
    /// What a person reads.
    pub(crate) shown: String,
    /// Shell commands for the script and its undo; `None` where only the person can do it.
    pub(crate) commands: Option<(String, String)>,
}

impl Check {
    fn new(id: &'static str, name: &'static str, level: Level, message: impl Into<String>) -> Check {
        Check { id, name, level, message: message.into(), fix: None, matters_to: &[] }
    }

    /// A fix that the person makes.
    fn fix(self, shown: impl Into<String>) -> Check {
        Check { fix: Some(Fix { shown: shown.into(), commands: None }), ..self }
    }

    /// A setting of the kernel, with the value it has now.
    fn sysctl(self, key: &str, wanted: impl std::fmt::Display, now: impl std::fmt::Display) -> Check {
        let apply = format!("sysctl -w {key}={wanted}");
        let undo = format!("sysctl -w {key}={now}");
        Check { fix: Some(Fix { shown: apply.clone(), commands: Some((apply, undo)) }), ..self }
    }

    /// A file of the kernel, with the value it has now.
    fn file(self, path: &str, wanted: &str, now: &str) -> Check {
        let apply = format!("echo {wanted} | tee {path} >/dev/null");
        let undo = format!("echo {now} | tee {path} >/dev/null");
        let shown = format!("echo {wanted} | sudo tee {path}");
        Check { fix: Some(Fix { shown, commands: Some((apply, undo)) }), ..self }
    }

    /// Touches the numbers of these presets only.
    fn matters_to(self, presets: &'static [&'static str]) -> Check {
        Check { matters_to: presets, ..self }
    }

    /// Whether it stands in the way of a preset.
    fn hinders(&self, preset: &str) -> bool {
        self.level >= Level::Warn && (self.matters_to.is_empty() || self.matters_to.contains(&preset))
    }
}

/// Checks that belong together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) checks: Vec<Check>,
}

/// Every check that can be made here; what the system does not tell is left out or said.
fn examine(system: &System) -> Vec<Group> {
    let groups = [
        Group { title: "CPU & noise", checks: cpus::checks(system) },
        Group { title: "Memory", checks: memory::checks(system) },
        Group { title: "Message queues", checks: queues::checks(system) },
        Group { title: "Sockets & files", checks: sockets::checks(system) },
        Group { title: "Privileges", checks: privileges::checks(system) },
        Group { title: "Peer", checks: peer::checks(system) },
    ];
    groups.into_iter().filter(|group| !group.checks.is_empty()).collect()
}

/// What a run keeps: everything that is not as it should be.
pub(crate) fn findings(environment: &Environment) -> Vec<Finding> {
    let checks = examine(&this_machine(environment, None)).into_iter().flat_map(|group| group.checks);
    checks.filter(|check| check.level > Level::Ok).map(|check| finding(&check)).collect()
}

/// What stands between this process, in `environment`, and a server that was there already; by the number of its process, since
/// a run may meet two.
pub(crate) fn of_server(environment: &Environment, server: &Side) -> Vec<Finding> {
    let name = format!("server process {}", server.pid);
    let checks = peer::compare(environment, &Peer::server(name, server));
    checks.iter().filter(|check| check.level > Level::Ok).map(finding).collect()
}

/// `2 notes, 1 warning: ipc-bench doctor shows them`
pub(crate) fn headline(findings: &[Finding]) -> String {
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let many = |level: Level, word: &str| match count(level) {
        0 => None,
        1 => Some(format!("1 {word}")),
        count => Some(format!("{count} {word}s")),
    };
    let all = [(Level::Fail, "failure"), (Level::Warn, "warning"), (Level::Note, "note")];
    let all: Vec<String> = all.into_iter().filter_map(|(level, word)| many(level, word)).collect();
    if all.is_empty() {
        "nothing to remark".to_owned()
    } else {
        format!("{}: ipc-bench doctor shows them", all.join(", "))
    }
}

fn finding(check: &Check) -> Finding {
    Finding {
        id: check.id.to_owned(),
        level: check.level,
        message: format!("{}: {}", check.name, check.message),
        fix: check.fix.as_ref().map(|fix| fix.shown.clone()),
    }
}

fn this_machine(environment: &Environment, peer: Option<Peer>) -> System {
    let pins = Topology::read(&environment.cpu).ok().and_then(|all| all.resolve(Pin::Auto).ok());
    System { root: PathBuf::from("/"), environment: environment.clone(), pins, peer }
}

/// Examines, and shows what was asked for.
pub(crate) fn doctor(mechanisms: &[Mechanism], global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    if let Some(preset) = &args.preset
        && presets::find(preset).is_none()
    {
        let known = presets::ALL.iter().map(|preset| preset.name);
        return Err(unknown("preset", preset, known, &Origin::CommandLine));
    }
    let environment = Environment::read();
    let peer = args.peer.as_deref().map(|peer| find_peer(mechanisms, &environment, peer)).transpose()?;
    if args.clean {
        let directory = names::directory();
        let removed = names::clean(&directory).map_err(|error| {
            Failure::failed(format!("{} cannot be cleaned", directory.display())).why(error)
        })?;
        for path in &removed {
            eprintln!("removed {}", path.display());
        }
    }
    let time = args.probe.as_deref().map(lists::duration).transpose();
    let time =
        time.map_err(|error| Failure::usage("--probe: not understood").why(error).fix("as in --probe 5s"))?;
    let system = this_machine(&environment, peer);
    let groups = examine(&system);
    let probe = time.map(|time| probe::probe(&system.cpus(), time)).transpose()?;
    let checks = || groups.iter().flat_map(|group| &group.checks);
    let suits = |name: &str| !checks().any(|check| check.hinders(name));
    let (suitable, unsuitable): (Vec<String>, Vec<String>) =
        presets::ALL.iter().map(|preset| preset.name.to_owned()).partition(|name| suits(name));
    let diagnosis = Diagnosis {
        checks: groups
            .iter()
            .flat_map(|group| group.checks.iter().map(move |check| (group.title, check)))
            .map(|(group, check)| Diagnosed {
                group: group.to_owned(),
                name: check.name.to_owned(),
                finding: Finding { message: check.message.clone(), ..finding(check) },
            })
            .collect(),
        suitable,
        unsuitable,
        probe,
        ..Diagnosis::default()
    };
    match (&global.json, args.fix_script) {
        (_, true) => print(&script::script(&groups))?,
        (Some(path), _) => {
            let document = format!("{:#}\n", serde_json::to_value(&diagnosis).unwrap_or_default());
            if global.json_to_stdout() { print(&document)? } else { write(path, &document)? }
        }
        (None, _) => print(&text::text(&groups, &diagnosis, args.preset.as_deref(), global))?,
    }
    let preset = args.preset.as_deref();
    let in_the_way = checks()
        .filter(|check| preset.map_or(check.level >= Level::Warn, |name| check.hinders(name)))
        .count();
    if args.strict && in_the_way > 0 {
        return Err(Failure::new(Exit::Refused, format!("{in_the_way} warnings, and --strict"))
            .why("they stand in the list above")
            .fix("ipc-bench doctor --fix-script prints what would change them"));
    }
    Ok(())
}

/// The process or the server that `--peer` names.
fn find_peer(mechanisms: &[Mechanism], environment: &Environment, text: &str) -> Result<Peer, Failure> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let pid = text.parse().ok().filter(|_| Path::new("/proc").join(text).exists());
        let missing = || {
            Failure::usage(format!("--peer {text}: there is no such process"))
                .why("its namespaces would be held against ours, from this machine and this pid namespace")
                .fix("name one that runs: pgrep NAME finds it; or the address of an ipc-bench server")
        };
        return pid.map(|pid| Peer::process(pid, environment)).ok_or_else(missing);
    }
    let (mechanism, address) = find(mechanisms, text)?;
    Ok(Peer::server(format!("the server at {address}"), &(mechanism.ask)(&address)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine that is nothing but these files.
    pub(super) fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let environment = Environment::read_from(root.path());
        let system = System { root: root.path().to_owned(), environment, pins: None, peer: None };
        (root, system)
    }

    fn level(files: &[(&str, &str)], id: &str) -> Option<Level> {
        let (_root, system) = machine(files);
        let checks = examine(&system).into_iter().flat_map(|group| group.checks);
        checks.into_iter().find(|check| check.id == id).map(|check| check.level)
    }

    #[test]
    fn each_check_sees_what_it_is_for() {
        let cpu = "sys/devices/system/cpu";
        let governor = format!("{cpu}/cpufreq/policy0/scaling_governor");
        for (id, path, good, bad) in [
            ("C2", governor.as_str(), "performance", "powersave"),
            ("C3", "sys/devices/system/cpu/intel_pstate/no_turbo", "1", "0"),
            ("C4", "sys/devices/system/cpu/smt/control", "notsupported", "on"),
            ("C5", "proc/stat", "cpu 900 0 100 0 0 0 0 1 0 0", "cpu 500 0 300 0 0 0 0 80 0 0"),
            (
                "C6",
                "proc/pressure/cpu",
                "some avg10=0.00 avg60=0 avg300=0 total=1",
                "some avg10=42.00 avg60=0 avg300=0 total=1",
            ),
            ("C7", "sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc", "hpet"),
            ("C10", "sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2", "900"),
            ("C11", "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "0", "7"),
            ("C13", "proc/sys/kernel/numa_balancing", "0", "1"),
            ("S6", "proc/meminfo", "SwapTotal: 0 kB", "SwapTotal: 1024 kB"),
            ("M1", "proc/sys/fs/mqueue/msg_max", "256", "10"),
            ("M2", "proc/sys/fs/mqueue/msgsize_max", "65536", "8192"),
            ("N1", "proc/sys/net/core/rmem_max", "4194304", "212992"),
            ("N3", "proc/sys/net/core/somaxconn", "4096", "128"),
            ("P1", "proc/sys/fs/pipe-max-size", "1048576", "4096"),
            ("R2", "proc/sys/kernel/perf_event_paranoid", "1", "3"),
        ] {
            assert_eq!(level(&[(path, good)], id), Some(Level::Ok), "{id} good");
            assert!(level(&[(path, bad)], id) > Some(Level::Ok), "{id} bad");
        }
    }

    #[test]
    fn whether_rings_can_have_huge_pages_is_told() {
        let place = "sys/kernel/mm/transparent_hugepage";
        let (own, shared) = (format!("{place}/enabled"), format!("{place}/shmem_enabled"));
        let seen = |words: &str, kernel: &str| {
            let files =
                [(&*own, "always [madvise] never"), (&*shared, words), ("proc/sys/kernel/osrelease", kernel)];
            let (_root, system) = machine(&files);
            let found = examine(&system).into_iter().flat_map(|group| group.checks);
            let check = found.into_iter().find(|check| check.id == "S5").unwrap();
            (check.level, check.message)
        };
        let (level, text) = seen("always advise [never] deny force", "6.18.44-lab");
        assert!(level == Level::Ok && text.contains("--hugepages asks for each ring"), "{text}");
        let (level, text) = seen("always advise never [deny] force", "6.18.44");
        assert!(level == Level::Note && text.contains("is refused"), "{text}");
        let (level, text) = seen("always advise [never] deny force", "5.15.0-1");
        assert!(
            level == Level::Note && text.contains("Linux 5.15.0-1") && text.contains("needs 6.1"),
            "{text}"
        );
    }

    #[test]
    fn the_script_changes_a_setting_and_its_undo_puts_back_what_was_there() {
        let (_root, system) = machine(&[("proc/sys/fs/mqueue/msg_max", "10\n")]);
        let text = script::script(&examine(&system));
        let (apply, undo) = text.split_once("undo)").unwrap();
        assert!(apply.contains("sysctl -w fs.mqueue.msg_max=256"), "{text}");
        assert!(undo.contains("sysctl -w fs.mqueue.msg_max=10"), "{text}");
    }
}
