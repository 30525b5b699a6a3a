//! Processes as children of supervisors.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use ipc_actors::{
    ActivityLog, AdminError, Child, Cmd, ExitReason, Health, HealthCheck, Limit, Observer, Output, Process,
    ProcessRequest, Ready, SecurityContext, ShutdownPolicy, Supervision, Supervisor, SupervisorRef, System,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use support::{Log, PATIENCE, simulated, threaded, until};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A shell that runs this.
fn sh(script: &str) -> Cmd {
    Cmd::new("/bin/sh").arg("-c").arg(script)
}

/// Runs until it is stopped.
fn sleeper() -> Cmd {
    sh("exec sleep 1000")
}

struct Tree<'a> {
    system: &'a System,
    sup: SupervisorRef,
    log: Log<Supervision>,
}

fn tree(system: &System, child: Child) -> Tree<'_> {
    tree_of(system, Supervisor::one_for_one("root").child(child))
}

fn tree_of(system: &System, root: Supervisor) -> Tree<'_> {
    let log = Log::new();
    let to = Mutex::new(log.to.clone());
    let tell = move |event: &ipc_actors::SupervisionEvent| drop(to.lock().unwrap().send(event.what.clone()));
    let sup = system.start(root.observe(Observer::new(tell))).unwrap();
    Tree { system, sup, log }
}

impl Tree<'_> {
    fn pid(&self) -> u32 {
        let process = self.sup.child::<Process>("p").unwrap();
        process.ask(ProcessRequest::Pid, PATIENCE).unwrap().unwrap()
    }

    /// Reads on to something that `take` takes.
    fn wait_for<T>(&self, take: impl Fn(&Supervision) -> Option<T>) -> T {
        loop {
            if let Some(taken) = take(&self.log.next(self.system)) {
                return taken;
            }
        }
    }

    fn exit(&self) -> ExitReason {
        self.wait_for(|what| match what {
            Supervision::Exited { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    /// Signals sent until the process ends, and how it ends.
    fn end(&self) -> (Vec<i32>, ExitReason) {
        let signals = Mutex::new(Vec::new());
        let reason = self.wait_for(|what| match what {
            Supervision::Signaled { signal } => {
                signals.lock().unwrap().push(*signal);
                None
            }
            Supervision::Exited { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        (signals.into_inner().unwrap(), reason)
    }
}

/// Waits until the process with this number is gone. Not for children of this process that nobody reaps.
fn gone(pid: u32) {
    let Ok(pidfd) = pidfd_open(Pid::from_raw(pid as i32).unwrap(), PidfdFlags::empty()) else { return };
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "process {pid} is still there");
}

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn an_exit_code_is_the_reason_of_the_end() {
    threaded(|system| {
        let tree = tree(system, Child::process("p", sh("exit 3")).temporary());
        assert_eq!(tree.exit(), ExitReason::Exited(3));
        until(system, || tree.sup.count_children().unwrap().specs == 0);
    });
}

#[test]
fn exit_code_zero_is_normal_and_others_are_not() {
    threaded(|system| {
        let normal = tree(system, Child::process("p", sh("exit 0")).transient());
        assert_eq!(normal.exit(), ExitReason::Exited(0));
        until(system, || normal.sup.count_children().unwrap().active == 0);
        let root = Supervisor::one_for_one("root").intensity(2, ms(60_000));
        let failing = tree_of(system, root.child(Child::process("p", sh("exit 1")).transient()));
        for _ in 0..3 {
            assert_eq!(failing.exit(), ExitReason::Exited(1));
        }
        until(system, || failing.sup.lifecycle() == ipc_actors::Lifecycle::Stopped);
    });
}

#[test]
fn a_process_that_is_killed_is_restarted_with_another_number() {
    threaded(|system| {
        let tree = tree(system, Child::process("p", sleeper()));
        let first = tree.pid();
        rustix::process::kill_process(Pid::from_raw(first as i32).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        assert_eq!(tree.exit(), ExitReason::Signaled(9));
        tree.wait_for(|what| (*what == Supervision::Started).then_some(()));
        assert!(!exists(first), "it is reaped");
        assert_ne!(tree.pid(), first);
        assert_eq!(tree.sup.which_child("p").unwrap().restarts, 1);
    });
}

#[test]
fn a_program_that_is_not_there_is_a_failed_start() {
    threaded(|system| {
        let child = Child::process("p", Cmd::new("/nowhere/there-is-no-such-program"));
        let error = system.start(Supervisor::one_for_one("root").child(child)).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    });
}

#[test]
fn a_process_is_ready_when_it_says_so() {
    threaded(|system| {
        let script = "echo > /proc/self/fd/$IPC_ACTORS_READY_FD; exec sleep 1000";
        let tree = tree(system, Child::process("p", sh(script).ready(Ready::Handshake(PATIENCE))));
        assert!(exists(tree.pid()));
        let events = tree.log.rest();
        assert!(matches!(
            events[..],
            [Supervision::Starting, Supervision::Spawned { .. }, Supervision::Started]
                | [Supervision::Spawned { .. }, Supervision::Starting, Supervision::Started]
        ));
    });
}

#[test]
fn a_process_is_ready_when_its_probe_says_so() {
    threaded(|system| {
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = calls.clone();
        let check = move |pid| {
            assert!(exists(pid));
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2
        };
        let ready = Ready::Probe { check: std::sync::Arc::new(check), interval: ms(1), timeout: PATIENCE };
        tree(system, Child::process("p", sleeper().ready(ready)));
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 3);
    });
}

#[test]
fn a_process_that_is_not_ready_in_time_is_killed() {
    threaded(|system| {
        let never = std::sync::Arc::new(|_| false);
        for ready in [
            Ready::Handshake(ms(50)),
            Ready::Probe { check: never.clone(), interval: ms(5), timeout: ms(50) },
        ] {
            let log = Log::new();
            let to = Mutex::new(log.to.clone());
            let tell = move |event: &ipc_actors::SupervisionEvent| {
                if let Supervision::Spawned { pid } = event.what {
                    let _ = to.lock().unwrap().send(pid);
                }
            };
            let root = Supervisor::one_for_one("root").observe(Observer::new(tell));
            let error = system.start(root.child(Child::process("p", sleeper().ready(ready)))).unwrap_err();
            assert!(error.to_string().contains("not ready in time"), "{error}");
            assert!(!exists(log.next(system)));
        }
    });
}

#[test]
fn a_process_that_ends_before_it_is_ready_did_not_start() {
    threaded(|system| {
        let child = Child::process("p", sh("exit 7").ready(Ready::Handshake(PATIENCE)));
        let error = system.start(Supervisor::one_for_one("root").child(child)).unwrap_err();
        assert_eq!(error.cause, ExitReason::Exited(7), "and not that it closed its descriptor");
    });
}

#[test]
fn a_stop_is_a_request_first() {
    threaded(|system| {
        let script =
            "trap 'exit 5' TERM; echo > /proc/self/fd/$IPC_ACTORS_READY_FD; while :; do sleep 0.01; done";
        let tree = tree(system, Child::process("p", sh(script).ready(Ready::Handshake(PATIENCE))));
        tree.sup.terminate_child("p").unwrap();
        assert_eq!(tree.end(), (vec![15], ExitReason::Exited(5)));
    });
}

#[test]
fn a_process_that_ignores_the_request_is_killed() {
    threaded(|system| {
        let script = "trap '' TERM; echo > /proc/self/fd/$IPC_ACTORS_READY_FD; while :; do sleep 1000; done";
        let cmd = sh(script).ready(Ready::Handshake(PATIENCE)).kill_after(ms(50));
        let tree = tree(system, Child::process("p", cmd));
        let pid = tree.pid();
        tree.sup.stop();
        assert_eq!(tree.end(), (vec![15, 9], ExitReason::Signaled(9)));
        assert!(!exists(pid));
    });
}

#[test]
fn a_shutdown_policy_can_be_more_impatient() {
    threaded(|system| {
        for policy in [ShutdownPolicy::Kill, ShutdownPolicy::Timeout(ms(20))] {
            let script =
                "trap '' TERM; echo > /proc/self/fd/$IPC_ACTORS_READY_FD; while :; do sleep 1000; done";
            let cmd = sh(script).ready(Ready::Handshake(PATIENCE)).kill_after(PATIENCE);
            let tree = tree(system, Child::process("p", cmd).shutdown(policy));
            let pid = tree.pid();
            tree.sup.terminate_child("p").unwrap();
            assert_eq!(tree.exit(), ExitReason::Killed);
            until(system, || !exists(pid));
        }
    });
}

#[test]
fn what_a_process_leaves_behind_ends_with_it() {
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("out");
        let script = "sleep 1000 & echo $!; exit 3";
        let cmd = sh(script).stdout(Output::Append(said.clone()));
        let tree = tree(system, Child::process("p", cmd).temporary());
        assert_eq!(tree.exit(), ExitReason::Exited(3));
        let grandchild: u32 = std::fs::read_to_string(said).unwrap().trim().parse().unwrap();
        gone(grandchild);
    });
}

#[test]
fn an_unhealthy_process_is_restarted() {
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("ill");
        let path = flag.clone();
        let health = move |_| if path.exists() { Health::Failed("ill".into()) } else { Health::Healthy };
        let check = HealthCheck { interval: ms(5), timeout: PATIENCE, threshold: 2 };
        let tree = tree(system, Child::process("p", sleeper().health(health)).health(check));
        let first = tree.pid();
        std::fs::write(&flag, "").unwrap();
        let reason = tree.exit();
        std::fs::remove_file(&flag).unwrap();
        assert!(reason.to_string().contains("unhealthy after 2 checks: ill"), "{reason}");
        until(system, || !exists(first));
        tree.wait_for(|what| (*what == Supervision::Started).then_some(()));
        until(system, || tree.sup.count_children().unwrap().active == 1);
    });
}

#[test]
fn a_process_has_what_its_supervisor_allows_and_what_is_said_of_itself() {
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("out");
        let outer = SecurityContext {
            env: Some(vec![("A".into(), "outer".into()), ("PATH".into(), "/bin:/usr/bin".into())]),
            dir: Some("/".into()),
            limits: Some(vec![(Limit::OpenFiles, 50), (Limit::Core, 0)]),
            no_new_privileges: Some(true),
            cpus: Some(vec![0]),
            ..SecurityContext::new()
        };
        let inner = SecurityContext { dir: Some("/proc".into()), ..SecurityContext::new() };
        let script =
            "echo $A $B $HOME; pwd; ulimit -n; grep -E 'NoNewPrivs|Cpus_allowed_list' /proc/self/status";
        let cmd = sh(script).env("B", "own").security(inner).stdout(Output::Append(said.clone()));
        let below = Supervisor::one_for_one("below").child(Child::process("p", cmd).temporary());
        let tree = tree_of(system, Supervisor::one_for_one("root").security(outer).child(below));
        assert_eq!(tree.exit(), ExitReason::Exited(0));
        let said = std::fs::read_to_string(said).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines, ["outer own", "/proc", "50", "NoNewPrivs:\t1", "Cpus_allowed_list:\t0"]);
    });
}

#[test]
fn every_limit_reaches_the_process() {
    let limits = [
        (Limit::AddressSpace, 1 << 33, "Max address space"),
        (Limit::Core, 0, "Max core file size"),
        (Limit::Cpu, 99, "Max cpu time"),
        (Limit::FileSize, 1 << 30, "Max file size"),
        (Limit::LockedMemory, 8192, "Max locked memory"),
        (Limit::OpenFiles, 50, "Max open files"),
        (Limit::Processes, 5000, "Max processes"),
        (Limit::Stack, 1 << 23, "Max stack size"),
    ];
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("limits");
        let both = limits.iter().map(|(limit, value, _)| (*limit, *value)).collect();
        let context = SecurityContext { limits: Some(both), ..SecurityContext::new() };
        let cmd = sh("cat /proc/self/limits >&2").security(context).stdout(Output::Null);
        let cmd = cmd.stderr(Output::Append(said.clone()));
        assert_eq!(tree(system, Child::process("p", cmd).temporary()).exit(), ExitReason::Exited(0));
        let said = std::fs::read_to_string(said).unwrap();
        for (_, value, name) in limits {
            let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let numbers: Vec<_> = line.split_whitespace().take(2).collect();
            assert_eq!(numbers, [value.to_string(), value.to_string()], "{name}");
        }
    });
}

#[test]
fn a_process_that_is_shut_down_before_it_is_ready_did_not_start() {
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let script = format!("echo > {}; exec sleep 1000", mark.display());
        let cmd = sh(&script).ready(Ready::Handshake(PATIENCE));
        std::thread::scope(|scope| {
            let start = scope.spawn(|| {
                system.start(Supervisor::one_for_one("root").child(Child::process("p", cmd))).map(drop)
            });
            until(system, || mark.exists());
            assert_eq!(system.shutdown(PATIENCE).killed, 0);
            start.join().unwrap().unwrap_err();
        });
    });
}

#[test]
fn a_system_that_is_dropped_takes_its_processes_along() {
    let system = System::builder().workers(1).build().unwrap();
    let pid = tree(&system, Child::process("p", sleeper())).pid();
    drop(system);
    assert!(!exists(pid), "it is killed and reaped");
}

#[test]
fn a_program_announces_that_it_is_ready() {
    if role().is_some() {
        assert!(ipc_actors::announce_ready().unwrap());
        // It is killed with its group.
        loop {
            std::thread::park();
        }
    }
    assert!(!ipc_actors::announce_ready().unwrap(), "nobody waits for this process");
    threaded(|system| {
        let cmd = Cmd::new(std::env::current_exe().unwrap())
            .arg("a_program_announces_that_it_is_ready")
            .arg("--exact")
            .env("IPC_ACTORS_ROLE", "ready")
            .stdout(Output::Null)
            .ready(Ready::Handshake(PATIENCE));
        let tree = tree(system, Child::process("p", cmd));
        assert!(exists(tree.pid()), "it is ready and runs");
    });
}

#[test]
fn a_process_runs_as_another_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("out");
        let nobody = SecurityContext { uid: Some(65534), gid: Some(65534), ..SecurityContext::new() };
        let cmd = sh("id -u; id -g; id -G").security(nobody).stdout(Output::Append(said.clone()));
        let tree = tree(system, Child::process("p", cmd).temporary());
        assert_eq!(tree.exit(), ExitReason::Exited(0));
        assert_eq!(std::fs::read_to_string(said).unwrap(), "65534\n65534\n65534\n");
    });
}

#[test]
fn a_control_group_that_is_not_there_is_a_failed_start() {
    threaded(|system| {
        let context = SecurityContext { cgroup: Some("/nowhere".into()), ..SecurityContext::new() };
        let child = Child::process("p", sleeper().security(context));
        assert!(system.start(Supervisor::one_for_one("root").child(child)).is_err());
    });
}

#[test]
fn the_activity_log_tells_the_story() {
    threaded(|system| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("activity.jsonl");
        let log = ActivityLog::append(&path).unwrap();
        let ends = Log::new();
        let to = Mutex::new(ends.to.clone());
        let tell = Observer::new(move |event| {
            if matches!(event.what, Supervision::Exited { .. }) {
                let _ = to.lock().unwrap().send(());
            }
        });
        let root = Supervisor::one_for_one("root").observe(log.observer().and(tell));
        let sup = system.start(root.child(Child::process("p", sleeper()))).unwrap();
        sup.child::<Process>("p").unwrap().tell(ProcessRequest::Signal(10)).unwrap();
        ends.next(system);
        until(system, || sup.which_child("p").unwrap().restarts == 1);
        until(system, || sup.which_child("p").unwrap().status == ipc_actors::ChildStatus::Running);
        sup.terminate_child("p").unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        // The supervisor's word and the process's own come from two actors.
        events.retain(|event| *event != "start");
        assert_eq!(
            events,
            ["spawn", "ready", "signal", "exit", "restart", "spawn", "ready", "stop", "signal", "exit"]
        );
        let exit = lines.iter().find(|line| line["event"] == "exit").unwrap();
        assert_eq!((&exit["reason"], &exit["expected"]), (&"signal 10".into(), &false.into()));
        assert_eq!(
            (&exit["supervisor"], &exit["child"], &exit["kind"]),
            (&"root".into(), &"p".into(), &"Process".into())
        );
        assert_eq!(log.lost(), 0);
    });
}

#[test]
fn a_full_disk_loses_lines_and_says_how_many() {
    threaded(|system| {
        let log = ActivityLog::append("/dev/full").unwrap();
        let root = Supervisor::one_for_one("root").observe(log.observer());
        system.start(root.child(Child::process("p", sleeper()))).unwrap();
        assert!(log.lost() >= 2);
    });
}

#[test]
fn a_simulation_runs_no_processes() {
    simulated(1, |system| {
        let error =
            system.start(Supervisor::one_for_one("root").child(Child::process("p", sleeper()))).unwrap_err();
        assert!(error.to_string().contains("simulation"), "{error}");
    });
}

#[test]
fn a_process_is_no_named_actor_of_another_type() {
    threaded(|system| {
        let tree = tree(system, Child::process("p", sleeper()).name("p"));
        assert!(system.find::<Process>("p").is_some());
        assert_eq!(tree.sup.restart_child("p"), Err(AdminError::Running));
    });
}

/// Runs one test of this program in a process of its own, with `role` set.
fn alone(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env("IPC_ACTORS_ROLE", role);
    command
}

fn role() -> Option<String> {
    std::env::var("IPC_ACTORS_ROLE").ok()
}

#[test]
fn a_process_ends_when_its_parent_is_killed() {
    if role().is_some() {
        threaded(|system| {
            let tree = tree(system, Child::process("p", sleeper().stdout(Output::Null)));
            println!("\nchild {}", tree.pid());
            std::io::Read::read(&mut std::io::stdin(), &mut [0]).unwrap();
        });
        return;
    }
    let mut parent = alone("a_process_ends_when_its_parent_is_killed", "parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(parent.stdout.take().unwrap());
    let child = std::io::BufRead::lines(output)
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("child ").map(|pid| pid.parse::<u32>().unwrap()))
        .unwrap();
    assert!(exists(child));
    parent.kill().unwrap();
    gone(child);
    assert_eq!(parent.wait().unwrap().signal(), Some(9));
}

#[test]
fn without_descriptors_a_process_is_not_started_and_none_is_left() {
    if role().is_some() {
        threaded(|system| {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            // One more with each round: every descriptor that a start needs is the one that is missing once.
            let mut started = false;
            for more in 0..40 {
                let limits = rustix::process::Rlimit { current: Some(open + more), maximum: Some(1024) };
                rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
                match system.start(Supervisor::one_for_one("root").child(Child::process("p", sleeper()))) {
                    Ok(sup) => {
                        sup.terminate_child("p").unwrap();
                        started = true;
                        break;
                    }
                    Err(error) => assert!(error.to_string().contains("Too many open files"), "{error}"),
                }
            }
            assert!(started, "with forty descriptors more it starts");
            let pid = std::process::id();
            let children =
                std::fs::read_to_string(format!("/proc/self/task/{pid}/children")).unwrap_or_default();
            assert_eq!(children.trim(), "");
        });
        return;
    }
    let name = "without_descriptors_a_process_is_not_started_and_none_is_left";
    let status = alone(name, "starved").stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
}

#[test]
fn nothing_of_a_system_that_is_dropped_goes_on() {
    let system = System::builder().workers(1).build().unwrap();
    let tree = tree(&system, Child::process("p", sleeper()));
    let pid = tree.pid();
    drop(tree);
    drop(system);
    assert!(!exists(pid), "killed and reaped");
}
