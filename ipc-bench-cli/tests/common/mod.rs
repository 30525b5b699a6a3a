//! Running the program in a directory of its own and looking at what it leaves behind.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests: clippy knows only the tests themselves")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes longer, whatever the machine is busy with.
const DEADLINE: Duration = Duration::from_secs(60);

/// A directory for the files and the names of the program, and a mark on its processes.
pub(crate) struct Place {
    directory: TempDir,
    /// The turn with message queues, and those that were there before it: what a killed run of others left.
    queues: OnceLock<(File, Vec<PathBuf>)>,
}

/// A test that fails half-way leaves no process that measures for an hour.
impl Drop for Place {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            // It may have ended by itself meanwhile.
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("names")).unwrap();
        Place { directory, queues: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the program puts sockets: also how its processes are recognised.
    fn names(&self) -> PathBuf {
        self.path().join("names")
    }

    /// The program with `line` as its arguments, in this place.
    pub(crate) fn command(&self, line: &str) -> Command {
        if line.contains("mq") || line.contains("-t all") {
            self.queues.get_or_init(|| {
                let turn = queues();
                (turn, self.all_queue_names())
            });
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-bench"));
        command.args(line.split_whitespace()).current_dir(self.path());
        command.env("XDG_RUNTIME_DIR", self.names()).env("IPC_BENCH_DIR", self.path().join("results"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.finish(self.command(line).spawn().unwrap())
    }

    pub(crate) fn finish(&self, child: Child) -> Output {
        let output = child.wait_with_output().unwrap();
        self.assert_nothing_is_left();
        output
    }

    /// `run --allow-debug` with short trials.
    pub(crate) fn measure(&self, line: &str) -> Output {
        self.run(&measuring(line))
    }

    /// No process of ours runs, and no name of ours exists.
    pub(crate) fn assert_nothing_is_left(&self) {
        wait_for("every process to be gone", || self.processes().is_empty().then_some(()));
        let entries = |path: PathBuf| -> Vec<PathBuf> {
            fs::read_dir(path).map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
        };
        let mut names = entries(self.names());
        // The directory of the transports stays; what they put into it does not.
        names.retain(|path| !path.ends_with("ipc"));
        names.extend(entries(self.names().join("ipc")));
        // Shared memory has no name at any time. What has none and is held by nobody cannot be seen, and does not exist.
        let ours = |path: &PathBuf| path.file_name().unwrap().as_encoded_bytes().starts_with(b"ipc");
        names.extend(entries("/dev/shm".into()).into_iter().filter(ours));
        names.extend(self.queue_names());
        assert!(names.is_empty(), "left behind: {names:?}");
    }

    /// Message queues that came while this place has had the turn: then nobody else makes queues.
    fn queue_names(&self) -> Vec<PathBuf> {
        let Some((_, before)) = self.queues.get() else { return Vec::new() };
        let mut names = self.all_queue_names();
        names.retain(|name| !before.contains(name));
        names
    }

    /// Message queues of this machine that have a name of ours. Where they are not mounted, a mount that nobody else sees
    /// shows them to root, and nothing to others.
    fn all_queue_names(&self) -> Vec<PathBuf> {
        let directory = self.path().join("queues");
        fs::create_dir_all(&directory).unwrap();
        let mut look = Command::new("unshare");
        look.args(["-m", "sh", "-c", "mount -t mqueue none \"$0\" 2>&- && ls \"$0\""]).arg(&directory);
        let seen: Vec<String> = match fs::read_dir("/dev/mqueue") {
            Ok(all) => all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
            Err(_) => look.output().map_or_else(
                |_| Vec::new(),
                |output| stdout(&output).split_whitespace().map(str::to_owned).collect(),
            ),
        };
        seen.into_iter().filter(|name| name.starts_with("ipc-mq-")).map(PathBuf::from).collect()
    }

    /// Processes that were started in this place, with their command lines; zombies have none and do not count.
    pub(crate) fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let mark = format!("XDG_RUNTIME_DIR={}", self.names().display());
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
            let split = |bytes: Vec<u8>| -> Vec<String> {
                bytes
                    .split(|byte| *byte == 0)
                    .map(|part| String::from_utf8_lossy(part).into_owned())
                    .collect()
            };
            let ours = split(read("environ")?).contains(&mark);
            let line = split(read("cmdline")?);
            (ours && line.len() > 1).then_some((pid, line))
        })
        .collect()
    }

    /// Waits until nobody who measures is left. What keeps a CPU awake has the priority of an idle one and dies when it gets
    /// a turn, on a busy machine seconds later: [`assert_nothing_is_left`](Place::assert_nothing_is_left) waits for it.
    pub(crate) fn wait_for_no_workers(&self) {
        let measures =
            |line: &[String]| line.get(1).is_some_and(|word| word == "__worker") && line[2] != "hog";
        wait_for("the workers to be gone", || {
            (!self.processes().iter().any(|(_, line)| measures(line))).then_some(())
        });
    }

    /// Waits for a worker of this role and cell and returns its process id.
    pub(crate) fn worker(&self, role: &str, what: &str) -> u32 {
        wait_for(&format!("the {role} of {what}"), || {
            let is_it =
                |line: &[String]| line.windows(3).any(|w| w[0] == "__worker" && w[1] == role && w[2] == what);
            self.processes().into_iter().find(|(_, line)| is_it(line)).map(|(pid, _)| pid)
        })
    }
}

/// Waits for the turn of who uses message queues: the budget of them is the user's. The tests of the transports and `cargo
/// xtask ci` wait for the same lock, on the directory the limits are read from.
fn queues() -> File {
    let limits = File::open("/proc/sys/fs/mqueue").unwrap();
    rustix::fs::flock(&limits, rustix::fs::FlockOperation::LockExclusive).unwrap();
    limits
}

pub(crate) fn measuring(line: &str) -> String {
    format!("run --allow-debug --warmup 1ms {line}")
}

/// Polls until `look` finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        // Not a handshake: each look reads all of /proc, and what is waited for needs the CPU too.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asserts that what `round` measures takes no second. The quickest of up to five rounds counts: a wait of the product's own
/// would be in every one of them, while the turns that a busy machine gives to others are not.
pub(crate) fn within_a_second(what: &str, mut round: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    while took.len() < 5 {
        let one = round();
        if one < Duration::from_secs(1) {
            return;
        }
        took.push(one);
    }
    panic!("{what}: {took:?}");
}

/// Asserts that what the runner measured of a trial in which somebody died took no second: from the moment it saw the
/// death until the others were ended and reaped and every name of the trial was gone. Killing and reaping takes it so
/// few turns that a busy machine keeps it from them for milliseconds. Not so what keeps a CPU awake: it has the priority
/// of an idle CPU, and on a busy machine waits for seconds until it may even die, so that these trials have none.
pub(crate) fn assert_cleaned_up_at_once(cell: &Value) {
    let cleanup = cell["trials"][0]["measures"]["cleanup_ns"].as_f64().unwrap();
    assert!(cleanup < 1e9, "{}: {cleanup} ns", cell["id"]);
}

/// Asserts that the warning W06 stands for exactly the cells of which some trial began unsteadily; those cells.
pub(crate) fn restless_cells(run: &Value) -> Vec<String> {
    let id = |cell: &Value| cell["id"].as_str().unwrap().to_owned();
    let restless = |cell: &&Value| {
        cell["trials"].as_array().unwrap().iter().any(|trial| trial["warmup"]["steady"] == false)
    };
    let restless: Vec<String> = run["cells"].as_array().unwrap().iter().filter(restless).map(id).collect();
    let warnings = run["warnings"].as_array().unwrap().iter().filter(|warning| warning["code"] == "W06");
    let warned: Vec<&Value> = warnings.map(|warning| &warning["cells"]).collect();
    match restless.is_empty() {
        true => assert!(warned.is_empty(), "{warned:?}"),
        false => assert_eq!(warned, [&Value::from(restless.clone())]),
    }
    restless
}

pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The one document on stdout.
pub(crate) fn document(output: &Output) -> Value {
    serde_json::from_str(stdout(output)).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

/// The one document on stdout, which is a run that the committed schema allows.
pub(crate) fn valid_run(output: &Output) -> Value {
    let document = document(output);
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/run.v1.schema.json");
    compiler.add_resource("run.json", serde_json::from_slice(&fs::read(schema).unwrap()).unwrap()).unwrap();
    let schema = compiler.compile("run.json", &mut schemas).unwrap();
    schemas.validate(&document, schema).unwrap_or_else(|error| panic!("{error}: {document}"));
    document
}

/// Asserts that the program refused with this exit code and said error, why and fix in words that contain these.
pub(crate) fn assert_refused(output: &Output, code: i32, [what, why, fix]: [&str; 3]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for (label, words) in [("error: ", what), ("   why: ", why), ("   fix: ", fix)] {
        let said = text.lines().any(|line| line.starts_with(label) && line.contains(words));
        assert!(said, "no line {label}…{words}… in:\n{text}");
    }
}

/// CPUs this process may use.
pub(crate) fn allowed() -> Vec<u32> {
    let set = rustix::thread::sched_getaffinity(None).unwrap();
    (0..1024).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect()
}
