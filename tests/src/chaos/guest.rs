//! A process of its own for what concerns a whole process: another user, other limits, other mounts.
//! `chaos guest CASE MECHANISM GROUND [ADDRESS]`.
#![allow(unsafe_code, reason = "changes user, namespace and mounts of a process that does nothing else")]

use std::ffi::CString;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipc_transports::{
    Address, AnyConnection, Listener, Mq, MqOptions, Pipe, PipeOptions, Receiver, Sender, SetupError, Shm,
    ShmDirect, ShmDirectOptions, ShmOptions, Target, Transport, Wait, connect, listen,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::cell::{Cell, DEADLINE, Violation, violated};
use super::limits::{Lowered, expect_limit};
use super::{results, spaces, wrong_uid};

/// The user that has nothing.
pub const NOBODY: u32 = 65534;

/// What is said of a case that this machine does not allow.
pub const SKIPPED: &str = "skipped: needs root, to become another user or to mount";

/// Directories that another user can reach.
#[derive(Debug)]
pub struct Ground {
    open: TempDir,
}

impl Ground {
    /// Fresh ones; the directory `home` in it belongs to [`NOBODY`] where we may give it away.
    #[expect(clippy::new_without_default, reason = "makes directories")]
    pub fn new() -> Ground {
        let open = tempfile::Builder::new().prefix("ig-").tempdir().expect("a temporary directory");
        let home = open.path().join("home");
        std::fs::create_dir(&home).expect("a directory");
        for (path, mode) in [(open.path(), 0o711), (&*home, 0o700)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own directory");
        }
        if is_root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).expect("root gives away");
        }
        Ground { open }
    }

    /// Where anybody can go, but only we can write.
    pub fn path(&self) -> &Path {
        self.open.path()
    }

    /// Where only [`NOBODY`] can go.
    pub fn home(&self) -> PathBuf {
        self.open.path().join("home")
    }
}

/// Whether this process may become anybody.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Has `case` run in a process of its own; what it says.
///
/// # Errors
/// What went wrong in it, as a violation.
pub fn ask(cell: &Cell, case: &str, ground: &Ground) -> Result<String, Violation> {
    ask_at(cell, case, ground, "")
}

/// The same, told where somebody listens.
///
/// # Errors
/// As [`ask`].
pub fn ask_at(cell: &Cell, case: &str, ground: &Ground, at: &str) -> Result<String, Violation> {
    if !is_root() {
        return Ok(SKIPPED.into());
    }
    ask_as_we_are(cell, case, ground, at)
}

/// The same of a case that takes no rights.
///
/// # Errors
/// As [`ask`].
pub fn ask_as_we_are(cell: &Cell, case: &str, ground: &Ground, at: &str) -> Result<String, Violation> {
    let output = Command::new(&cell.program)
        .args(["guest", case, cell.mechanism])
        .arg(ground.path())
        .arg(at)
        .env("XDG_RUNTIME_DIR", ground.home())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", cell.program.display()));
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(told),
        Some(1) => violated("I3", told),
        _ => violated("I6", format!("{case} ended with {}", output.status)),
    }
}

/// Plays `guest CASE MECHANISM GROUND`; what it says, and whether all was as promised.
pub fn play(arguments: &[String]) -> Option<Result<String, String>> {
    let [case, mechanism, ground, at @ ..] = arguments else { return None };
    let known = super::cell::MECHANISMS.iter().chain(&["results"]).find(|known| *known == mechanism)?;
    let at = at.first().cloned().unwrap_or_default();
    let place = Place { mechanism: known, ground: PathBuf::from(ground), at };
    let (_, check) = CASES.iter().find(|(name, _)| name == case)?;
    Some(check(&place))
}

type Check = fn(&Place) -> Result<String, String>;

const CASES: &[(&str, Check)] = &[
    ("address-space", address_space),
    ("locked-memory", locked_memory),
    ("small-dev-shm", small_dev_shm),
    ("queue-bytes", queue_bytes),
    ("queue-depth", queue_depth),
    ("queue-message", queue_message),
    ("queues", queues),
    ("pipe-pages", pipe_pages),
    ("mappings", mappings),
    ("threads", threads),
    ("pid-reuse", spaces::in_a_pid_namespace),
    ("pid-reuse-inside", spaces::reuse_numbers),
    ("disk-full", results::disk_full),
    ("read-only", results::read_only),
    ("intrude", wrong_uid::intrude),
    ("pose", wrong_uid::pose),
    ("visit", wrong_uid::visit),
];

/// Where a guest finds itself.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) mechanism: &'static str,
    /// A [`Ground`].
    pub(super) ground: PathBuf,
    /// Where somebody listens, if that matters.
    pub(super) at: String,
}

impl Place {
    /// An address that the user of this process can listen at.
    fn address(&self) -> Address {
        let target = match self.mechanism {
            "tcp" => Target::Inet(([127, 0, 0, 1], 0).into()),
            _ => Target::Path(self.ground.join("home/s")),
        };
        Address::new(self.mechanism, target).expect("a temporary directory can be written as an address")
    }

    /// A listener and a client of it pass a long message and a short one.
    fn works(&self) -> Result<(), String> {
        let mut listener = listen(&self.address()).map_err(text)?;
        let to = listener.address().clone();
        let (mut server, client) = std::thread::scope(|scope| {
            let client = scope.spawn(move || connect(&to, Wait::within(5 * DEADLINE)));
            let server = listener.accept(Wait::within(5 * DEADLINE)).map_err(text);
            (server, client.join().expect("the client does not panic").map_err(text))
        });
        let (server, mut client) = (server.as_mut().map_err(|error| error.clone())?, client?);
        let long = vec![7; server.tx.max_message().min(200_000)];
        for message in [&long[..], b"short"] {
            pass(&mut client, server, message)?;
            pass(server, &mut client, message)?;
        }
        Ok(())
    }
}

fn pass(from: &mut AnyConnection, to: &mut AnyConnection, message: &[u8]) -> Result<(), String> {
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| from.tx.send_timeout(message, 5 * DEADLINE).map_err(|e| e.to_string()));
        let mut buf = Vec::new();
        to.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
        sent.join().expect("the sender does not panic")?;
        if buf == message { Ok(()) } else { Err(format!("{} bytes arrived wrong", message.len())) }
    })
}

fn text(error: SetupError) -> String {
    error.to_string()
}

/// Becomes `uid` for good, with nothing that root has.
pub(super) fn become_user(uid: u32) -> Result<(), String> {
    let system = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    // SAFETY: an empty list is read from nowhere.
    if unsafe { libc::setgroups(0, std::ptr::null()) } != 0 {
        return system("setgroups");
    }
    // SAFETY: plain numbers; glibc changes every thread.
    if unsafe { libc::setresgid(uid, uid, uid) } != 0 {
        return system("setresgid");
    }
    // SAFETY: as above.
    if unsafe { libc::setresuid(uid, uid, uid) } != 0 {
        return system("setresuid");
    }
    // procfs shows a process that changed its user to root alone, unless it says that it has no secrets (proc(5)).
    // SAFETY: plain numbers.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) } != 0 {
        return system("prctl");
    }
    Ok(())
}

/// A namespace of `kind` for this process alone.
pub(super) fn unshare(kind: libc::c_int) -> Result<(), String> {
    // SAFETY: plain numbers; only this process is changed.
    match unsafe { libc::unshare(kind) } {
        0 => Ok(()),
        _ => Err(format!("unshare: {}", std::io::Error::last_os_error())),
    }
}

/// A tmpfs of `bytes` over the directory at `at`, that only this process sees.
pub(super) fn mount_tmpfs(at: &Path, bytes: usize) -> Result<(), String> {
    unshare(libc::CLONE_NEWNS)?;
    mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount("tmpfs", at, "tmpfs", 0, &format!("size={bytes}"))
}

pub(super) fn mount(
    what: &str,
    at: &Path,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> Result<(), String> {
    let c = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let (what, kind, options) = (c(what)?, c(kind)?, c(options)?);
    let path = CString::new(at.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: all strings are NUL-terminated and outlive the call.
    let mounted =
        unsafe { libc::mount(what.as_ptr(), path.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    if mounted == 0 {
        Ok(())
    } else {
        Err(format!("mount {}: {}", at.display(), std::io::Error::last_os_error()))
    }
}

/// The error of what must fail.
fn refused<T>(outcome: Result<T, SetupError>, what: &str) -> Result<SetupError, String> {
    outcome.err().ok_or_else(|| format!("{what} is not refused"))
}

fn address_space(place: &Place) -> Result<String, String> {
    const CAPACITY: usize = 256 << 20;
    let pair = || match place.mechanism {
        "shm" => Shm::pair(&ShmOptions { capacity: Some(CAPACITY), ..ShmOptions::default() }).map(|_| ()),
        _ => ShmDirect::pair(&ShmDirectOptions { capacity: Some(CAPACITY), ..ShmDirectOptions::default() })
            .map(|_| ()),
    };
    let status = std::fs::read_to_string("/proc/self/statm").map_err(|error| error.to_string())?;
    let pages: u64 = status.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let limit = Lowered::to(Resource::As, pages * 4096 + (64 << 20));
    let error = refused(pair(), "more than the address space")?;
    drop(limit);
    expect_limit(&error, "RLIMIT_AS", "ulimit -v")?;
    pair().map_err(text)?;
    Ok(error.to_string())
}

fn locked_memory(_: &Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let options = ShmOptions { mlock: Some(true), capacity: Some(65536), ..ShmOptions::default() };
    let limit = Lowered::to(Resource::Memlock, 64 << 10);
    let error = refused(Shm::pair(&options), "locking more than allowed")?;
    drop(limit);
    expect_limit(&error, "RLIMIT_MEMLOCK", "ulimit -l")?;
    Shm::pair(&options).map_err(text)?;
    Ok(error.to_string())
}

fn small_dev_shm(place: &Place) -> Result<String, String> {
    mount_tmpfs(Path::new("/dev/shm"), 64 << 10)?;
    // Full to the last byte.
    let filled = std::fs::write("/dev/shm/full", vec![0; 1 << 20]);
    if filled.is_ok() {
        return Err("a mebibyte fits into 64 KiB".into());
    }
    place.works()?;
    Ok("64 KiB of /dev/shm, all of it taken, change nothing".into())
}

/// A queue of the usual size, asked for outright.
fn usual() -> MqOptions {
    MqOptions { depth: Some(10), max_message: Some(8192), ..MqOptions::default() }
}

/// Pairs of usual queues that fit now.
fn pairs_that_fit() -> usize {
    let mut pairs = Vec::new();
    while let Ok(pair) = Mq::pair(&usual()) {
        pairs.push(pair);
    }
    pairs.len()
}

fn queue_bytes(_: &Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let before = pairs_that_fit();
    // One queue fits, the second of the pair does not.
    let limit = Lowered::to(Resource::Msgqueue, 82_880);
    let error = refused(Mq::pair(&usual()), "a second queue beyond the budget")?;
    drop(limit);
    expect_limit(&error, "RLIMIT_MSGQUEUE", "10·48 + 10·48 + 10·8192 = 82880")?;
    expect_limit(&error, "RLIMIT_MSGQUEUE", "ulimit -q")?;
    let after = pairs_that_fit();
    if before == 0 || after != before {
        return Err(format!("{before} pairs fitted before, {after} after: the first queue was left behind"));
    }
    Ok(format!("{error} ({after} connections fit)"))
}

fn queue_depth(_: &Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let deep = MqOptions { depth: Some(11), max_message: Some(64), ..MqOptions::default() };
    let error = refused(Mq::pair(&deep), "a queue deeper than msg_max")?;
    expect_limit(&error, "fs.mqueue.msg_max", "sysctl fs.mqueue.msg_max=11")?;
    Mq::pair(&MqOptions { depth: Some(10), ..deep }).map_err(text)?;
    Ok(error.to_string())
}

fn queue_message(_: &Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let long = MqOptions { depth: Some(1), max_message: Some(8193), ..MqOptions::default() };
    let error = refused(Mq::pair(&long), "messages longer than msgsize_max")?;
    expect_limit(&error, "fs.mqueue.msgsize_max", "sysctl fs.mqueue.msgsize_max=8193")?;
    Mq::pair(&MqOptions { max_message: Some(8192), ..long }).map_err(text)?;
    Ok(error.to_string())
}

fn queues(_: &Place) -> Result<String, String> {
    unshare(libc::CLONE_NEWIPC)?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(|e| e.to_string())?;
    let small = MqOptions { depth: Some(1), max_message: Some(64), ..MqOptions::default() };
    let mut pairs = Vec::new();
    let error = loop {
        match Mq::pair(&small) {
            Ok(pair) => pairs.push(pair),
            Err(error) => break error,
        }
    };
    expect_limit(&error, "fs.mqueue.queues_max", "sysctl fs.mqueue.queues_max=")?;
    let had = pairs.len();
    drop(pairs);
    Mq::pair(&small).map_err(text)?;
    Ok(format!("{error} (after {} queues)", 2 * had))
}

fn pipe_pages(_: &Place) -> Result<String, String> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(|e| e.to_string())?;
    become_user(NOBODY)?;
    let wide = PipeOptions { capacity: Some(512 << 10), ..PipeOptions::default() };
    let capacity = |pair: &ipc_transports::Pair<Pipe>| {
        let found = pair.0.effective.iter().find(|(name, _)| *name == "send_capacity");
        found.map_or(0, |(_, bytes)| *bytes)
    };
    // Beyond the soft limit of pages per user, new pipes have two pages and may not grow (pipe(7)).
    let pipes: Vec<_> = (0..2000).map_while(|_| std::io::pipe().ok()).collect();
    let mut pair = Pipe::pair(&wide).map_err(text)?;
    let small = capacity(&pair);
    if pipes.len() < 2000 || small >= 512 << 10 {
        return Err(format!("{} pipes, and one more of {small} bytes: the limit was not met", pipes.len()));
    }
    let mut buf = Vec::new();
    pair.0.tx.send_timeout(b"through a small pipe", DEADLINE).map_err(|error| error.to_string())?;
    pair.1.rx.recv_with(&mut buf, Wait::within(DEADLINE)).map_err(|error| error.to_string())?;
    drop(pipes);
    let large = capacity(&Pipe::pair(&wide).map_err(text)?);
    if large < 512 << 10 {
        return Err(format!("only {large} bytes when the limit has lifted"));
    }
    Ok(format!("{small} bytes instead of {large}, and the effective value says so"))
}

/// More mappings than anybody wants to make for a test.
const TOO_MANY: usize = 4 << 20;

/// Takes every mapping that this process may have; gives them back when dropped.
#[derive(Debug)]
struct Patchwork {
    at: *mut libc::c_void,
    len: usize,
    /// Pages mapped on their own: the limit on splits is one lower than that on mappings.
    last: Vec<*mut libc::c_void>,
}

impl Patchwork {
    fn of(pages: usize) -> Result<Patchwork, String> {
        let len = pages * 4096;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(format!("mmap: {}", std::io::Error::last_os_error()));
        }
        let mut patchwork = Patchwork { at, len, last: Vec::with_capacity(8) };
        // Every other page differs from its neighbours: two mappings more each.
        for page in (1..pages).step_by(2) {
            let page = at.wrapping_byte_add(page * 4096);
            // SAFETY: a page of our own mapping, which nobody uses.
            if unsafe { libc::mprotect(page, 4096, libc::PROT_READ) } != 0 {
                while patchwork.last.len() < patchwork.last.capacity() {
                    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
                    let one =
                        unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0) };
                    if one == libc::MAP_FAILED {
                        return Ok(patchwork);
                    }
                    patchwork.last.push(one);
                }
                return Err("mappings can be made where none can be split".into());
            }
        }
        Err(format!("{pages} pages have been made mappings of their own, and no limit was met"))
    }
}

impl Drop for Patchwork {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses.
        unsafe { libc::munmap(self.at, self.len) };
        for one in &self.last {
            // SAFETY: as above.
            unsafe { libc::munmap(*one, 4096) };
        }
    }
}

fn mappings(place: &Place) -> Result<String, String> {
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").map_err(|error| error.to_string())?;
    let most: usize = most.trim().parse().map_err(|_| format!("vm.max_map_count is {most}"))?;
    if most > TOO_MANY {
        return Ok(format!("skipped: vm.max_map_count is {most}"));
    }
    let pair = || match place.mechanism {
        "shm" => Shm::pair(&ShmOptions::default()).map(|_| ()),
        _ => ShmDirect::pair(&ShmDirectOptions::default()).map(|_| ()),
    };
    pair().map_err(text)?;
    let patchwork = Patchwork::of(2 * most)?;
    let outcome = pair();
    drop(patchwork);
    let error = refused(outcome, "more mappings than a process may have")?;
    expect_limit(&error, "vm.max_map_count", "sysctl vm.max_map_count=")?;
    pair().map_err(text)?;
    Ok(error.to_string())
}

/// What waits for a connection of `ipc-async` takes a thread for it.
fn threads(place: &Place) -> Result<String, String> {
    if is_root() {
        // The limit is none to root.
        become_user(NOBODY)?;
    }
    let mut reactor = ipc_async::Reactor::new().map_err(|error| error.to_string())?;
    let handle = reactor.handle();
    let mut listener = listen(&place.address()).map_err(text)?;
    let to = listener.address().clone();
    let mut connect = || {
        let connecting =
            handle.connect::<ipc_transports::Uds>(&to, &Default::default(), Wait::within(5 * DEADLINE));
        reactor.block_on(connecting).map(drop)
    };
    let limit = Lowered::to(Resource::Nproc, 1);
    let outcome = connect();
    drop(limit);
    let error = refused(outcome, "a thread beyond the limit")?;
    expect_limit(&error, "RLIMIT_NPROC", "ulimit -u")?;
    std::thread::scope(|scope| {
        let server = scope.spawn(move || listener.accept(Wait::within(5 * DEADLINE)).map(drop));
        connect().and_then(|()| server.join().expect("the server does not panic")).map_err(text)
    })?;
    Ok(error.to_string())
}
