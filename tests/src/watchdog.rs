//! Ten seconds, then a report of what hangs and the end of this process.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long a test may take before it counts as hanging.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Watches the test that holds it.
#[derive(Debug)]
pub struct Watchdog {
    _done: Sender<()>,
}

impl Watchdog {
    /// Starts watching; the watch ends when the value is dropped.
    pub fn over(test: &str) -> Watchdog {
        Watchdog::within(LIMIT, test)
    }

    /// The same for something made of several tests, each of which has its own watchdog.
    pub fn within(limit: Duration, test: &str) -> Watchdog {
        let (done, ended) = channel::<()>();
        let test = test.to_owned();
        thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    eprintln!("{test} hangs: not done after {limit:?}\n{}", report());
                    std::process::abort();
                }
            })
            .expect("a thread for the watchdog");
        Watchdog { _done: done }
    }
}

/// From now on this process ends with a report of what hangs when `progress` has stood still for `limit`.
pub fn over_progress(progress: &'static AtomicU64, limit: Duration) {
    let watch = move || {
        wait_while_it_gets_on(progress, limit);
        eprintln!("nothing has got on for {limit:?}\n{}", report());
        // One that was stopped would stay so.
        for child in children_of(std::process::id()) {
            let pid = i32::try_from(child).ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        std::process::abort();
    };
    thread::Builder::new().name("watchdog".into()).spawn(watch).expect("a thread for the watchdog");
}

fn wait_while_it_gets_on(progress: &AtomicU64, limit: Duration) {
    let mut seen = progress.load(Relaxed);
    loop {
        // The limit itself, not a handshake.
        thread::sleep(limit);
        match progress.load(Relaxed) {
            now if now == seen => return,
            now => seen = now,
        }
    }
}

/// Every thread of this process and of its children: name, state, system call, kernel function.
fn report() -> String {
    let mut text = String::new();
    let me = std::process::id();
    describe(me, &mut text);
    for child in children_of(me) {
        describe(child, &mut text);
    }
    text
}

/// Children of process `pid`, from every thread's list.
pub fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn describe(pid: u32, text: &mut String) {
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
    let _ = writeln!(text, "process {pid}: {command}");
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for task in tasks.flatten() {
        let read =
            |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned();
        let state = read("status").lines().find(|line| line.starts_with("State")).unwrap_or("?").to_owned();
        let _ = writeln!(
            text,
            "  {} {:?} {state}; syscall {}; in {}",
            task.file_name().display(),
            read("comm"),
            read("syscall"),
            read("wchan")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_reported_with_all_its_threads() {
        wait_while_it_gets_on(&AtomicU64::new(7), Duration::from_millis(1));
        let ((here, came), (end, ends)) = (channel(), channel::<()>());
        let waits = thread::Builder::new().name("hangs-here".into()).spawn(move || {
            here.send(()).expect("the test waits for it");
            let _ = ends.recv();
        });
        came.recv().expect("it comes");
        let report = report();
        drop(end);
        waits.expect("a thread").join().expect("it ends");
        assert!(report.contains(&format!("process {}", std::process::id())), "{report}");
        assert!(report.contains("hangs-here"), "{report}");
    }
}
