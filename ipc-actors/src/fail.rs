//! Points at which what the runtime asks for is refused, for tests: `fail::errno("name")?` is nothing unless the crate is
//! built with the feature `__fail-points`, and then fails as [`arm`](points::arm) says. A point costs nothing without the
//! feature: the functions are empty and inlined.
//!
//! The points of ipc-transports kill their process; these do not, because what is tested is how the runtime goes on.

use std::io;

use rustix::io::Errno;

/// What the point with this name fails with now.
#[inline(always)]
pub(crate) fn errno(point: &'static str) -> Result<(), Errno> {
    #[cfg(feature = "__fail-points")]
    if let Some(errno) = points::reach(point, "") {
        return Err(Errno::from_raw_os_error(errno));
    }
    let _ = point;
    Ok(())
}

/// The same as an error of std's.
#[inline(always)]
pub(crate) fn io(point: &'static str) -> io::Result<()> {
    errno(point).map_err(io::Error::from)
}

/// Whether the point with this name, reached on behalf of `whom`, is to fail now.
#[inline(always)]
pub(crate) fn now(point: &'static str, whom: impl FnOnce() -> &'static str) -> bool {
    #[cfg(feature = "__fail-points")]
    return points::reach(point, whom()).is_some();
    #[cfg(not(feature = "__fail-points"))]
    {
        let _ = (point, whom);
        false
    }
}

/// Stays at the point with this name until it is disarmed, if it is armed.
#[inline(always)]
pub(crate) fn stay(point: &'static str) {
    #[cfg(feature = "__fail-points")]
    points::stay(point);
    let _ = point;
}

/// What tests use.
#[cfg(feature = "__fail-points")]
pub mod points {
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::{Condvar, Mutex, MutexGuard};

    /// Every point. A test holds it against the source.
    pub const POINTS: &[&str] = &[
        "alloc.chunk",
        "handle.panic",
        "mailbox.full",
        "process.fork",
        "process.pidfd",
        "process.pipe",
        "process.read",
        "process.reap",
        "process.signal",
        "reactor.add",
        "reactor.poller",
        "reactor.wait",
        "thread.dedicated",
        "thread.offload",
        "thread.reactor",
        "thread.worker",
        "worker.stuck",
    ];

    /// When a point fails and with what.
    #[derive(Clone, Copy, Debug)]
    pub struct Plan {
        /// Which point.
        pub point: &'static str,
        /// On whose behalf: what the name of the actor's type has in it. Empty: whoever it is.
        pub whom: &'static str,
        /// Times that it is passed unharmed before.
        pub after: u64,
        /// Times that it fails then.
        pub times: u64,
        /// The number of the error.
        pub errno: i32,
    }

    impl Plan {
        /// The point fails this often with this error, from the first time on.
        pub fn fails(point: &'static str, times: u64, errno: i32) -> Plan {
            assert!(POINTS.contains(&point), "there is no point {point}");
            Plan { point, whom: "", after: 0, times, errno }
        }
    }

    static ARMED: AtomicBool = AtomicBool::new(false);
    static PLANS: Mutex<Vec<(Plan, u64, u64)>> = Mutex::new(Vec::new());
    static CHANGED: Condvar = Condvar::new();
    /// One test at a time: points belong to the process.
    static ONE: Mutex<()> = Mutex::new(());

    /// Points that fail as planned until this is dropped.
    #[derive(Debug)]
    pub struct Armed(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

    /// Waits until no other test has armed points, and arms these.
    pub fn arm(plans: &[Plan]) -> Armed {
        let armed = Armed(ONE.lock());
        armed.plan(plans);
        armed
    }

    impl Armed {
        /// Forgets the plans so far, and has the points fail as these say.
        pub fn plan(&self, plans: &[Plan]) {
            *PLANS.lock() = plans.iter().map(|plan| (*plan, 0, 0)).collect();
            ARMED.store(!plans.is_empty(), Ordering::SeqCst);
        }

        /// How often the point has failed.
        pub fn failed(&self, point: &str) -> u64 {
            PLANS.lock().iter().filter(|(plan, ..)| plan.point == point).map(|(_, _, failed)| failed).sum()
        }

        /// Lets go of whoever stays at a point.
        pub fn release(&self) {
            ARMED.store(false, Ordering::SeqCst);
            drop(PLANS.lock());
            CHANGED.notify_all();
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            self.release();
        }
    }

    pub(super) fn reach(point: &str, whom: &str) -> Option<i32> {
        if !ARMED.load(Ordering::SeqCst) {
            return None;
        }
        let mut plans = PLANS.lock();
        for (plan, reached, failed) in plans.iter_mut() {
            if plan.point != point || !whom.contains(plan.whom) {
                continue;
            }
            *reached += 1;
            if *reached > plan.after && *reached <= plan.after.saturating_add(plan.times) {
                *failed += 1;
                return Some(plan.errno);
            }
        }
        None
    }

    pub(super) fn stay(point: &str) {
        if reach(point, "").is_some() {
            let mut plans = PLANS.lock();
            while ARMED.load(Ordering::SeqCst) {
                CHANGED.wait(&mut plans);
            }
        }
    }
}

#[cfg(all(test, feature = "__fail-points"))]
mod tests {
    use super::points::POINTS;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn named_in(directory: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).expect("the sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                named_in(&path, names);
            } else if !path.ends_with("fail.rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                for call in ["fail::errno(\"", "fail::io(\"", "fail::now(\"", "fail::stay(\""] {
                    let after = text.split(call).skip(1);
                    names.extend(after.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn every_fail_point_stands_in_a_test() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let texts = ["failpoints.rs", "failpoints/processes.rs"]
            .map(|name| std::fs::read_to_string(tests.join(name)).expect("a test"));
        let absent = |point: &&&str| !texts.iter().any(|text| text.contains(&format!("\"{point}\"")));
        assert_eq!(POINTS.iter().filter(absent).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    #[test]
    fn the_list_of_fail_points_is_that_of_the_source() {
        let mut names = BTreeSet::new();
        named_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
        assert_eq!(names, POINTS.iter().map(ToString::to_string).collect());
    }
}
