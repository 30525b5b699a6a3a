//! Points at which a process can be made to die, for tests: `fault_point!("name")` is nothing unless the crate is built
//! with the feature `__fault-points`, and then kills the process at the hit that `IPC_FAULT_POINT=name:hit` asks for.
//! `cargo xtask chaos crash-points` plays them all.

macro_rules! fault_point {
    ($name:literal) => {
        #[cfg(feature = "__fault-points")]
        $crate::fault::reach($name);
    };
}
pub(crate) use fault_point;

/// Every point, in the order of a connection's life. A test holds it against the source.
#[cfg(any(test, feature = "__fault-points"))]
pub const POINTS: &[&str] = &[
    "bind.locked",
    "bind.bound",
    "bind.listening",
    "unbind.socket",
    "unbind.lock",
    "hello.say",
    "hello.said",
    "memory.made",
    "memory.sealed",
    "queue.recorded",
    "queue.made",
    "queue.unlinked",
    "queue.swept",
    "shm.word",
    "shm.word.stored",
    "shm.consumed",
    "shm.consumed.stored",
    "shm.commit",
    "shm.commit.stored",
    "shm.payload",
    "shm.payload.stored",
    "shm.wake",
    "slot.lock",
    "slot.locked",
    "slot.word",
    "slot.word.stored",
    "slot.flags",
    "slot.payload",
    "slot.payload.stored",
    "slot.unlock",
    "slot.unlocked",
    "slot.wake",
    "slot.repair",
    "slot.repaired",
    "stream.write",
    "stream.written",
    "stream.read",
    "datagram.send",
    "datagram.sent",
    "queue.send",
    "queue.sent",
    "queue.receive",
    "queue.received",
];

/// Ends this process by SIGKILL if this is the hit that was asked for.
#[cfg(feature = "__fault-points")]
pub(crate) fn reach(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("IPC_FAULT_POINT").ok()?;
        let (name, hit) = plan.split_once(':')?;
        Some((name.to_owned(), hit.parse().ok()?))
    });
    let Some((wanted, hit)) = plan else { return };
    // Relaxed: a count; nothing else depends on it.
    if wanted == name && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *hit {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn named_in(directory: &std::path::Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).expect("the sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                named_in(&path, names);
            } else if !path.ends_with("fault.rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let calls = text.split("fault_point!(\"").skip(1);
                names.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn the_list_of_fault_points_is_that_of_the_source() {
        let mut names = BTreeSet::new();
        named_in(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref(), &mut names);
        assert_eq!(names, POINTS.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    }
}
