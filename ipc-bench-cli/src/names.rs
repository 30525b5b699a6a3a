//! Names of this user's endpoints: what is there, who holds it, and what the dead left behind.
//!
//! A listener holds a lock on `NAME.lock` for as long as it lives, however it ends; a name whose lock can be taken is
//! nobody's.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, fcntl_lock};

/// One name in the directory of this user's sockets.
#[derive(Debug)]
pub(crate) struct Name {
    /// `uds:bench`, as in an address.
    pub(crate) address: String,
    pub(crate) path: PathBuf,
    /// Whether somebody listens there.
    pub(crate) live: bool,
    /// Processes of this user that hold the listening socket.
    pub(crate) pids: Vec<u32>,
    /// Connections that were made through it and still are.
    pub(crate) connections: usize,
    pub(crate) age: Option<Duration>,
}

/// `$XDG_RUNTIME_DIR/ipc` where that directory exists, else `<temp dir>/ipc-<uid>`: where the transports put names.
pub(crate) fn directory() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|path| path.is_absolute() && path.is_dir()) {
        Some(runtime) => runtime.join("ipc"),
        None => env::temp_dir().join(format!("ipc-{}", rustix::process::geteuid().as_raw())),
    }
}

/// Every name in `directory`, sorted; none when it does not exist.
///
/// # Errors
/// The directory exists and cannot be read.
pub(crate) fn all(directory: &Path) -> io::Result<Vec<Name>> {
    let sockets = Sockets::read();
    let mut names: BTreeMap<PathBuf, Name> = BTreeMap::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if is_record_of_queues(&path) {
            continue;
        }
        let path = if path.extension().is_some_and(|ending| ending == "lock") {
            path.with_extension("")
        } else {
            path
        };
        names.entry(path.clone()).or_insert_with(|| sockets.describe(path));
    }
    Ok(names.into_values().collect())
}

/// Removes the names in `directory` that nobody holds, and tells which.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn clean(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in all(directory)?.into_iter().filter(|name| !name.live) {
        let lock = lock_of(&name.path);
        // Whoever binds the name holds this lock from before the socket exists until after it is gone.
        let held = match File::options().write(true).create(true).truncate(false).open(&lock) {
            Ok(file)
                if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
                    && is_still(&lock, &file) =>
            {
                file
            }
            _ => continue,
        };
        if name.path.exists() {
            fs::remove_file(&name.path)?;
        }
        fs::remove_file(&lock)?;
        drop(held);
        removed.push(name.path);
    }
    Ok(removed)
}

/// Whether it is `mq-<hex>.lock`, which names no socket: the next user of `mq` finds in it what queues a dead process left
/// behind, and removes them with it.
fn is_record_of_queues(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"mq-"))
}

/// Whether the name still stands for the file we hold: another process may have removed it and made one of its own.
fn is_still(path: &Path, file: &File) -> bool {
    let number = |found: io::Result<fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    number(file.metadata()) == number(fs::symlink_metadata(path))
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// `/proc/net/unix`: inode and state of every socket with a path.
struct Sockets {
    rows: Vec<Row>,
}

struct Row {
    path: PathBuf,
    inode: u64,
    listens: bool,
}

impl Sockets {
    fn read() -> Sockets {
        let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        // Num RefCount Protocol Flags Type St Inode Path; flag __SO_ACCEPTCON is 0x10000 (include/uapi/linux/net.h).
        let row = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
            let inode = fields.get(6)?.parse().ok()?;
            Some(Row { path: fields.get(7)?.into(), inode, listens: flags & 0x10000 != 0 })
        };
        Sockets { rows: text.lines().skip(1).filter_map(row).collect() }
    }

    fn describe(&self, path: PathBuf) -> Name {
        let own = || self.rows.iter().filter(|row| row.path == path);
        let listening: Vec<u64> = own().filter(|row| row.listens).map(|row| row.inode).collect();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let created = fs::symlink_metadata(&path).and_then(|found| found.modified()).ok();
        Name {
            address: file.replacen('.', ":", 1),
            live: !listening.is_empty(),
            pids: holders(&listening),
            connections: own().filter(|row| !row.listens).count(),
            age: created.and_then(|then| SystemTime::now().duration_since(then).ok()),
            path,
        }
    }
}

/// Processes that have one of these sockets open, as far as we may look.
fn holders(inodes: &[u64]) -> Vec<u32> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| wanted.iter().any(|socket| target == Path::new(socket)))
    };
    pids.filter(holds).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_live_name_has_its_holder_and_a_dead_one_is_cleaned() {
        let place = tempfile::tempdir().unwrap();
        let live = place.path().join("uds.alive");
        let listener = UnixListener::bind(&live).unwrap();
        let _client = UnixStream::connect(&live).unwrap();
        let _server = listener.accept().unwrap();
        let dead = place.path().join("shm.dead");
        drop(UnixListener::bind(&dead).unwrap());
        File::create(lock_of(&dead)).unwrap();
        // Without it the queues it tells of would stay for ever.
        let record = place.path().join("mq-0123456789abcdef0123456789abcdef.lock");
        File::create(&record).unwrap();

        let names = all(place.path()).unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!((names[1].address.as_str(), names[1].live, names[1].connections), ("uds:alive", true, 1));
        assert!(names[1].pids.contains(&std::process::id()));
        assert_eq!((names[0].address.as_str(), names[0].live), ("shm:dead", false));

        assert_eq!(clean(place.path()).unwrap(), std::slice::from_ref(&dead));
        assert!(live.exists() && !dead.exists() && !lock_of(&dead).exists() && record.exists());
        assert!(all(&place.path().join("absent")).unwrap().is_empty());
    }
}
