//! Invariants of absence: what must not be in the tree, in a form that a program can check.

use super::tree::{File, Tree, has_word};
use anyhow::Result;

/// A transport may ask "is it past the deadline?", never "how long did that take?": measuring is the driver's, and a
/// clock read per message would be in every number. So a clock's value may be compared with a deadline or subtracted
/// from one, and whatever turns a start into a duration, or reads another clock, is refused, as is a recorder.
pub(super) fn transports_read_clocks_for_deadlines_only(tree: &Tree) -> Result<Vec<String>> {
    const MEASURING: &[&str] = &[
        "elapsed",
        "SystemTime",
        "UNIX_EPOCH",
        "clock_gettime",
        "_rdtsc",
        "__rdtscp",
        "Recorder",
        "Histogram",
    ];
    // `pthread_mutex_clocklock` takes its deadline as a point in time of a clock that `Instant` does not show.
    const MAKES_A_TIMESPEC: &str = "ipc-transports/src/robust_mutex.rs";
    let files = tree.rust().filter(|file| {
        file.path.starts_with("ipc-transports/src") && file.path != std::path::Path::new(MAKES_A_TIMESPEC)
    });
    Ok(in_lines(files, File::product_lines, |line| {
        let word = MEASURING.iter().find(|word| has_word(line, word)).copied();
        let word = word.or_else(|| line.contains("Instant::now() -").then_some("Instant::now() - start"))?;
        Some(format!("{word} measures; a transport reads a clock only to compare it with a deadline"))
    }))
}

/// A sleep that waits for something is too short on a loaded machine and too long on every other. One that is the
/// thing itself (a paced sender, a stalled receiver) says `not a handshake` in a comment beside it.
pub(super) fn nothing_sleeps_to_wait_for_something(tree: &Tree) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in tree.rust() {
        let text: Vec<_> = file.text.lines().collect();
        for (number, line) in file.code_lines() {
            let imported =
                line.trim_start().starts_with("use ") && line.contains("thread") && has_word(line, "sleep");
            if !imported && !line.contains("thread::sleep") && !has_word(line, "nanosleep") {
                continue;
            }
            let nearby = &text[number.saturating_sub(4)..number];
            if !nearby.iter().any(|line| line.contains("ot a handshake")) {
                let path = file.path.display();
                problems.push(format!(
                    "{path}:{number}: a sleep: wait for the event, or say why it is not a handshake"
                ));
            }
        }
    }
    Ok(problems)
}

/// The locks of std and parking_lot park on process-private futexes, so a waiter in another process is never woken,
/// and none of them survives the death of its holder. A file describes shared memory when it fixes a layout or is
/// written over a `Backing`; process-private state belongs in another file.
pub(super) fn shared_memory_has_no_process_private_locks(tree: &Tree) -> Result<Vec<String>> {
    const LOCKS: &[&str] = &["Mutex", "RwLock", "Condvar", "OnceLock", "parking_lot"];
    // Stands for shared memory between the threads of a loom model.
    const MODEL: &str = "ipc-transports/src/model.rs";
    let describes_memory = |file: &&File| {
        file.path.starts_with("ipc-transports/src")
            && file.path != std::path::Path::new(MODEL)
            && (file.code.contains("repr(C") || has_word(&file.code, "Backing"))
    };
    Ok(in_lines(tree.rust().filter(describes_memory), File::product_lines, |line| {
        let lock = LOCKS.iter().find(|lock| has_word(line, lock))?;
        Some(format!("{lock} in a file that describes shared memory: it works inside one process only"))
    }))
}

/// Each operation is written once and takes how long to wait; a pair of twins with these endings is the second copy
/// that drifts.
pub(super) fn no_operation_has_a_twin(tree: &Tree) -> Result<Vec<String>> {
    let is_twin = |name: &str| name.ends_with("_blocking") || name.ends_with("_async");
    let twin_files =
        tree.rust().filter(|file| file.path.file_stem().is_some_and(|stem| is_twin(&stem.to_string_lossy())));
    let mut problems: Vec<_> = twin_files
        .map(|file| format!("{}: one mechanism, one file; waiting is an argument", file.path.display()))
        .collect();
    problems.extend(in_lines(tree.rust(), File::code_lines, |line| {
        let name = functions(line).find(|name| is_twin(name))?;
        Some(format!("fn {name}: one operation, written once; waiting is an argument"))
    }));
    Ok(problems)
}

/// `unsafe` lives where somebody looks for it.
pub(super) fn unsafe_stays_in_its_homes(tree: &Tree) -> Result<Vec<String>> {
    const HOMES: &[&str] = &[
        "ipc-transports",
        "ipc-limits",
        "ipc-bench-cli/src/os.rs",
        "ipc-actors/src/inbox.rs",
        "ipc-actors/src/inbox",
        "ipc-actors/src/pool.rs",
        "ipc-actors/src/cell.rs",
        "ipc-actors/src/reply.rs",
        "ipc-actors/src/process.rs",
        "ipc-actors/src/models.rs",
        "peers-actors/src/spike.rs",
        "tests/src",
    ];
    let elsewhere = tree.rust().filter(|file| !HOMES.iter().any(|home| file.path.starts_with(home)));
    Ok(in_lines(elsewhere, File::code_lines, |line| {
        has_word(line, "unsafe")
            .then(|| "unsafe outside its homes: a new home is an ADR and a line in tidy".into())
    }))
}

/// A renderer prints what the summary says; one that computes a quantile of its own can disagree with the next one.
pub(super) fn renderers_compute_no_statistics(tree: &Tree) -> Result<Vec<String>> {
    const COMPUTING: &[&str] =
        &["hdrhistogram", "Histogram", "value_at_quantile", "value_at_percentile", "statrs"];
    let renderers =
        tree.rust().filter(|file| file.path.to_string_lossy().starts_with("ipc-results/src/render"));
    Ok(in_lines(renderers, File::product_lines, |line| {
        let word = COMPUTING.iter().find(|word| has_word(line, word))?;
        Some(format!("{word} in a renderer: statistics are computed once, in the summary"))
    }))
}

/// Crates stay out of parts of std and of libraries that their row of the table gives to others.
pub(super) fn crates_stay_out_of_what_others_own(tree: &Tree) -> Result<Vec<String>> {
    const OS: &str = "ipc-bench-cli/src/os.rs";
    let results = tree.rust().filter(|file| file.path.starts_with("ipc-results/src"));
    let mut problems = in_lines(results, File::product_lines, |line| {
        let net = line.contains("std::net") || line.contains("unix::net");
        net.then(|| "ipc-results knows nothing of IPC: no sockets".into())
    });
    let cli =
        tree.rust().filter(|file| file.path.starts_with("ipc-bench-cli") && file.path.as_os_str() != OS);
    problems.extend(in_lines(cli, File::code_lines, |line| {
        has_word(line, "libc").then(|| format!("libc is for {OS} only"))
    }));
    Ok(problems)
}

/// Names of the functions that a line declares.
pub(super) fn functions(line: &str) -> impl Iterator<Item = &str> {
    let starts =
        line.match_indices("fn ").filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric()));
    starts.map(|(at, _)| {
        let name = line[at + 3..].trim_start();
        &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())]
    })
}

/// `file:line: what` for each line that `wrong` has something to say about.
fn in_lines<'a, Lines: Iterator<Item = (usize, &'a str)>>(
    files: impl Iterator<Item = &'a File>,
    lines: impl Fn(&'a File) -> Lines,
    wrong: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        for (number, line) in lines(file) {
            if let Some(what) = wrong(line) {
                problems.push(format!("{}:{number}: {what}", file.path.display()));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many problems a rule has with one file.
    fn count(rule: fn(&Tree) -> Result<Vec<String>>, path: &str, text: &str) -> usize {
        rule(&Tree::made_up(&[(path, text)])).expect("a readable tree").len()
    }

    #[test]
    fn a_transport_may_look_at_its_deadline_but_not_measure() {
        let count =
            |text| count(transports_read_clocks_for_deadlines_only, "ipc-transports/src/uds.rs", text);
        assert_eq!(count("if Instant::now() >= deadline { return; }"), 0);
        assert_eq!(count("let left = deadline.saturating_duration_since(Instant::now());"), 0);
        assert_eq!(count("let took = start.elapsed();"), 1);
        assert_eq!(count("let took = Instant::now() - start;"), 1);
        assert_eq!(count("recorder: &mut Recorder,"), 1);
        assert_eq!(count("\n#[cfg(test)]\nmod tests {\n    start.elapsed();\n}"), 0);
    }

    #[test]
    fn a_sleep_is_refused_unless_it_says_why() {
        let count = |text| count(nothing_sleeps_to_wait_for_something, "tests/src/lib.rs", text);
        assert_eq!(count("std::thread::sleep(ten_ms);"), 1);
        assert_eq!(count("use std::thread::{self, sleep};"), 1);
        assert_eq!(count("// The stall under test, not a handshake.\nthread::sleep(ten_ms);"), 0);
        assert_eq!(count("// thread::sleep would be wrong here.\nbell.sleep();"), 0);
    }

    #[test]
    fn a_private_lock_in_shared_memory_is_refused() {
        let count = |path, text| count(shared_memory_has_no_process_private_locks, path, text);
        assert_eq!(count("ipc-transports/src/ring.rs", "#[repr(C)]\nstruct Header { lock: Mutex<u32> }"), 1);
        assert_eq!(
            count("ipc-transports/src/ring.rs", "struct Ring<B: Backing> { lock: parking_lot::RwLock<B> }"),
            1
        );
        assert_eq!(count("ipc-transports/src/ring.rs", "#[repr(C)]\nstruct Header { lock: RobustMutex }"), 0);
        assert_eq!(count("ipc-transports/src/listener.rs", "static NAMES: Mutex<u32>;"), 0);
    }

    #[test]
    fn twins_are_refused() {
        let count = |path, text| count(no_operation_has_a_twin, path, text);
        assert_eq!(count("a/src/lib.rs", "pub fn send_blocking(&self) {}"), 1);
        assert_eq!(count("a/src/lib.rs", "async fn recv_async() {}"), 1);
        assert_eq!(count("a/src/uds_async.rs", "\n"), 1);
        assert_eq!(count("a/src/lib.rs", "fn set_nonblocking(on: bool) {}\nfn is_async_signal_safe() {}"), 0);
    }

    #[test]
    fn unsafe_outside_its_homes_is_refused() {
        let text = "let byte = unsafe { *pointer };";
        assert_eq!(count(unsafe_stays_in_its_homes, "ipc-core/src/lib.rs", text), 1);
        assert_eq!(count(unsafe_stays_in_its_homes, "ipc-bench-cli/src/run.rs", text), 1);
        assert_eq!(count(unsafe_stays_in_its_homes, "ipc-bench-cli/src/os.rs", text), 0);
        assert_eq!(count(unsafe_stays_in_its_homes, "ipc-transports/src/shm/map.rs", text), 0);
        assert_eq!(
            count(unsafe_stays_in_its_homes, "ipc-core/src/lib.rs", "#![forbid(unsafe_code)] // unsafe\n"),
            0
        );
    }

    #[test]
    fn a_renderer_with_a_statistic_is_refused() {
        let text = "let p50 = histogram.value_at_quantile(0.5);";
        assert_eq!(count(renderers_compute_no_statistics, "ipc-results/src/render/table.rs", text), 1);
        assert_eq!(count(renderers_compute_no_statistics, "ipc-results/src/render.rs", text), 1);
        assert_eq!(count(renderers_compute_no_statistics, "ipc-results/src/summary.rs", text), 0);
    }

    #[test]
    fn sockets_in_results_and_libc_in_the_program_are_refused() {
        let count = |path, text| count(crates_stay_out_of_what_others_own, path, text);
        assert_eq!(count("ipc-results/src/environment.rs", "use std::net::TcpStream;"), 1);
        assert_eq!(count("ipc-bench-cli/src/run.rs", "libc::getrusage(0, p);"), 1);
        assert_eq!(count("ipc-bench-cli/src/os.rs", "libc::getrusage(0, p);"), 0);
    }

    #[test]
    fn functions_are_found_by_name() {
        let names: Vec<_> = functions("pub(crate) fn one<T>() {} fn two() {} let btfn x").collect();
        assert_eq!(names, ["one", "two"]);
    }
}
