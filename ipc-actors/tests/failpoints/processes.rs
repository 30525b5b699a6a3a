//! What the kernel refuses to processes as children.

use std::sync::Mutex;
use std::time::Duration;

use ipc_actors::__fail::{Plan, arm};
use ipc_actors::{
    Child, Cmd, ExitReason, Observer, Process, ProcessRequest, Ready, Supervision, Supervisor, SupervisorRef,
    System,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::support::{Log, PATIENCE, threaded, until};

fn sh(script: &str) -> Cmd {
    Cmd::new("/bin/sh").arg("-c").arg(script)
}

/// Runs until it is stopped.
fn sleeper() -> Cmd {
    sh("exec sleep 1000")
}

fn watched(cmd: Cmd, log: &Log<Supervision>) -> Supervisor {
    let to = Mutex::new(log.to.clone());
    let tell = move |event: &ipc_actors::SupervisionEvent| {
        let _ = to.lock().expect("nobody panics with it").send(event.what.clone());
    };
    Supervisor::one_for_one("root").child(Child::process("p", cmd)).observe(Observer::new(tell))
}

/// The next thing told that is one of these.
fn next<T>(system: &System, log: &Log<Supervision>, take: impl Fn(&Supervision) -> Option<T>) -> T {
    loop {
        if let Some(taken) = take(&log.next(system)) {
            return taken;
        }
    }
}

fn exit(what: &Supervision) -> Option<ExitReason> {
    match what {
        Supervision::Exited { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

fn started(what: &Supervision) -> Option<()> {
    (*what == Supervision::Started).then_some(())
}

fn kill(tree: &SupervisorRef) {
    let process = tree.child::<Process>("p").expect("it runs");
    let pid = process.ask(ProcessRequest::Pid, PATIENCE).expect("it answers").expect("it has one");
    let pid = Pid::from_raw(pid as i32).expect("not zero");
    kill_process(pid, Signal::KILL).expect("it is there");
}

/// Whether this process has a child, reaped ones not counted.
fn has_children() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, look).is_ok()
}

/// What the kernel may answer to what a start needs, and how the text of the failed start says so.
const REFUSALS: [(&str, Errno); 9] = [
    ("process.fork", Errno::AGAIN),
    ("process.fork", Errno::NOMEM),
    ("process.pipe", Errno::MFILE),
    ("process.pidfd", Errno::MFILE),
    ("process.pidfd", Errno::NOMEM),
    ("process.pidfd", Errno::NOSYS),
    ("process.pidfd", Errno::INTR),
    ("reactor.add", Errno::NOMEM),
    ("reactor.add", Errno::NOSPC),
];

#[test]
fn a_process_that_the_kernel_refuses_is_a_child_that_did_not_start() {
    let armed = arm(&[]);
    for (point, errno) in REFUSALS {
        threaded(|system| {
            armed.plan(&[Plan::fails(point, 1, errno.raw_os_error())]);
            let cmd = sleeper().ready(Ready::Handshake(PATIENCE));
            let error = system.start(watched(cmd, &Log::new())).expect_err("it does not start");
            let said = format!("os error {}", errno.raw_os_error());
            assert!(error.to_string().contains(&said), "{point}: {error}");
            assert_eq!(armed.failed(point), 1);
            until(system, || !has_children());
        });
    }
}

#[test]
fn a_process_comes_back_when_the_kernel_has_room_again() {
    let armed = arm(&[]);
    for (point, errno) in REFUSALS.into_iter().filter(|(point, _)| *point != "process.pipe") {
        threaded(|system| {
            armed.plan(&[]);
            let log = Log::new();
            let tree = system.start(watched(sleeper(), &log)).expect("it starts");
            next(system, &log, started);
            armed.plan(&[Plan::fails(point, 2, errno.raw_os_error())]);
            kill(&tree);
            assert_eq!(next(system, &log, exit), ExitReason::Signaled(Signal::KILL.as_raw()), "{point}");
            next(system, &log, started);
            assert_eq!(armed.failed(point), 2);
            assert_eq!(tree.count_children().expect("it answers").active, 1);
        });
        assert!(!has_children());
    }
}

#[test]
fn an_interrupted_read_of_readiness_is_repeated_and_a_failed_one_is_not() {
    let armed = arm(&[]);
    let announcing = || {
        let cmd = sh("echo >&\"$IPC_ACTORS_READY_FD\"; exec sleep 1000");
        cmd.ready(Ready::Handshake(PATIENCE))
    };
    threaded(|system| {
        armed.plan(&[Plan::fails("process.read", 3, Errno::INTR.raw_os_error())]);
        system.start(watched(announcing(), &Log::new())).expect("it is ready");
        assert_eq!(armed.failed("process.read"), 3);
    });
    threaded(|system| {
        armed.plan(&[Plan::fails("process.read", 1, Errno::IO.raw_os_error())]);
        let error = system.start(watched(announcing(), &Log::new())).expect_err("nobody heard it");
        assert!(error.to_string().contains("os error 5"), "{error}");
        until(system, || !has_children());
    });
    // The descriptor is read in vain, and then cannot be waited for again.
    threaded(|system| {
        let interrupted = Plan::fails("process.read", 1, Errno::INTR.raw_os_error());
        let full = Plan { after: 2, ..Plan::fails("reactor.add", 1, Errno::NOMEM.raw_os_error()) };
        armed.plan(&[interrupted, full]);
        let error = system.start(watched(announcing(), &Log::new())).expect_err("nobody heard it");
        assert!(error.to_string().contains("os error 12"), "{error}");
        until(system, || !has_children());
    });
}

#[test]
fn a_process_that_cannot_be_asked_to_stop_is_killed() {
    let armed = arm(&[]);
    threaded(|system| {
        let log = Log::new();
        let cmd = sleeper().kill_after(Duration::from_millis(20));
        let tree = system.start(watched(cmd, &log)).expect("it starts");
        armed.plan(&[Plan::fails("process.signal", 1, Errno::PERM.raw_os_error())]);
        tree.terminate_child("p").expect("it is stopped");
        assert_eq!(next(system, &log, exit), ExitReason::Signaled(Signal::KILL.as_raw()));
        assert_eq!(armed.failed("process.signal"), 1);
        assert!(!has_children());
    });
}

#[test]
fn a_process_whose_end_is_not_told_has_failed() {
    let armed = arm(&[]);
    threaded(|system| {
        let log = Log::new();
        let tree = system.start(watched(sleeper(), &log)).expect("it starts");
        next(system, &log, started);
        armed.plan(&[Plan::fails("process.reap", 1, Errno::CHILD.raw_os_error())]);
        kill(&tree);
        let ExitReason::Error(why) = next(system, &log, exit) else { panic!("it was told") };
        assert!(why.starts_with("waitid: ") && why.contains("os error 10"), "{why}");
        assert_eq!(armed.failed("process.reap"), 1);
        next(system, &log, started);
    });
    assert!(!has_children());
}
