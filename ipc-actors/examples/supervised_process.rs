//! A process of the operating system under a supervisor: ready when it says so, restarted when it is killed, logged. `cargo run -p ipc-actors --example supervised_process`
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc_actors::{
    ActivityLog, Child, Cmd, Process, ProcessRequest, Ready, SecurityContext, Supervisor, System,
    announce_ready,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        announce_ready()?;
        loop {
            std::thread::park();
        }
    }
    let path = Scratch::new();
    let log = ActivityLog::append(&path.0)?;
    let server = Cmd::new(std::env::current_exe()?)
        .arg("serve")
        .ready(Ready::Handshake(PATIENCE))
        .kill_after(Duration::from_secs(1));
    let root = Supervisor::one_for_one("root")
        .observe(log.observer())
        .security(SecurityContext { no_new_privileges: Some(true), ..SecurityContext::new() })
        .child(Child::process("server", server));

    let system = System::builder().build()?;
    let tree = system.start(root)?;
    let server = tree.child::<Process>("server")?;
    let first = server.ask(ProcessRequest::Pid, PATIENCE)?;
    server.tell(ProcessRequest::Signal(9))?;

    // The address stays what it was; behind it there is soon another process.
    let deadline = Instant::now() + PATIENCE;
    while server.ask(ProcessRequest::Pid, PATIENCE)?.is_none_or(|pid| Some(pid) == first) {
        assert!(Instant::now() < deadline, "it is not restarted");
        std::thread::yield_now();
    }
    println!("restarts: {}", tree.which_child("server")?.restarts);
    system.shutdown(PATIENCE);

    let text = std::fs::read_to_string(&path.0)?;
    let starts = text.lines().filter(|line| line.contains(r#""event":"start""#)).count();
    println!("starts in the log: {starts}");
    Ok(())
}

/// A file that goes with the program.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("activity-{}-{:?}.jsonl", std::process::id(), std::time::SystemTime::now());
        Scratch(
            std::env::temp_dir().join(name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-")),
        )
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = std::fs::remove_file(&self.0);
    }
}
