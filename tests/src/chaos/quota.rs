//! A control group of our own that limits how long its processes may run.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

/// The group. Its processes have to be gone when it is dropped.
#[derive(Debug)]
pub(super) struct Quota {
    at: PathBuf,
    /// In the hierarchy of version 2.
    unified: bool,
}

/// What a quota is a part of.
const PERIOD: Duration = Duration::from_millis(100);

impl Quota {
    /// A group below this process's own.
    ///
    /// # Errors
    /// Why there is none: no hierarchy, no rights, or the controller is not handed down to us.
    pub(super) fn new() -> Result<Quota, String> {
        let (parent, unified) = own_group().ok_or("no hierarchy with the controller cpu")?;
        let name = format!("ipc-chaos-{}-{:x}", std::process::id(), crate::end::Random::seed());
        let at = parent.join(name);
        std::fs::create_dir(&at).map_err(|error| error.to_string())?;
        let quota = Quota { at, unified };
        match quota.at.join(quota.file()).exists() {
            true => Ok(quota),
            false => Err(format!("{} is not there", quota.file())),
        }
    }

    fn file(&self) -> &'static str {
        if self.unified { "cpu.max" } else { "cpu.cfs_quota_us" }
    }

    /// Puts a process into it.
    pub(super) fn add(&self, process: Pid) -> io::Result<()> {
        std::fs::write(self.at.join("cgroup.procs"), process.as_raw_nonzero().to_string())
    }

    /// So long may its processes run in every 100 ms; none: as they like.
    pub(super) fn set(&self, quota: Option<Duration>) -> io::Result<()> {
        let (period, quota) = (PERIOD.as_micros(), quota.map(|quota| quota.as_micros()));
        let text = match (quota, self.unified) {
            (Some(quota), true) => format!("{quota} {period}"),
            (None, true) => format!("max {period}"),
            (Some(quota), false) => quota.to_string(),
            (None, false) => "-1".to_owned(),
        };
        std::fs::write(self.at.join(self.file()), text)
    }

    /// How often it had used up its time.
    pub(super) fn throttled(&self) -> io::Result<u64> {
        let stat = std::fs::read_to_string(self.at.join("cpu.stat"))?;
        let times = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        times.ok_or_else(|| io::Error::other(format!("no nr_throttled in {stat:?}")))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.at);
    }
}

/// This process's group where the controller cpu lives, and whether that is the hierarchy of version 2.
fn own_group() -> Option<(PathBuf, bool)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    // A line of groups is "NUMBER:CONTROLLERS:PATH", one of mounts "WHAT WHERE KIND OPTIONS …".
    let group = |has: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            has(fields.next()?).then_some(())?;
            Some(fields.next()?.trim_start_matches('/').to_owned())
        })
    };
    let mount = |kind: &str, option: Option<&str>| {
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let has = option
                .is_none_or(|option| fields.get(3).is_some_and(|all| all.split(',').any(|o| o == option)));
            (fields.get(2) == Some(&kind) && has).then(|| Path::new(fields[1]).to_owned())
        })
    };
    let first = group(&|controllers| controllers.split(',').any(|name| name == "cpu"));
    match (first, mount("cgroup", Some("cpu"))) {
        (Some(path), Some(at)) => Some((at.join(path), false)),
        _ => Some((mount("cgroup2", None)?.join(group(&str::is_empty)?), true)),
    }
}
