//! What a side says of itself when programs meet that were started apart: which clock it reads, which names it sees, where it
//! runs.

use std::process;

use ipc_results::environment::{namespaces_of, this_boot};
use ipc_results::run::Side;

use crate::pin;

/// This process, with the CPUs of the calling thread.
pub(crate) fn own() -> Side {
    Side {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: this_boot(),
        namespaces: namespaces_of("self"),
        pid: process::id(),
        cpus: pin::allowed_cpus().unwrap_or_default(),
    }
}

/// Why stamps of the two sides cannot be subtracted from one another.
pub(crate) fn no_common_clock(one: &Side, other: &Side) -> Option<&'static str> {
    if one.boot_id.is_none() || one.boot_id != other.boot_id {
        Some("the two sides run on different machines or boots, each with a clock of its own")
    } else if one.namespaces.get("time") != other.namespaces.get("time") {
        Some("the two sides are in different time namespaces, whose offsets shift the clock")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_measured_on_one_clock_or_not_at_all_and_the_reason_is_told() {
        let side = |boot: Option<&str>, time: Option<&str>| Side {
            boot_id: boot.map(str::to_owned),
            namespaces: time.map(|time| ("time".to_owned(), time.to_owned())).into_iter().collect(),
            ..Side::default()
        };
        let here = side(Some("a"), Some("time:[1]"));
        let differs = |other: Side| no_common_clock(&here, &other);
        assert_eq!(differs(side(Some("a"), Some("time:[1]"))), None);
        assert!(differs(side(Some("b"), Some("time:[1]"))).unwrap().contains("boots"));
        assert!(differs(side(Some("a"), Some("time:[2]"))).unwrap().contains("time namespaces"));
        let unknown = side(None, None);
        assert!(no_common_clock(&unknown, &unknown).is_some(), "what cannot be read proves nothing");
        assert_eq!(no_common_clock(&own(), &own()), None);
    }

    #[test]
    fn a_side_knows_its_process_its_namespaces_and_where_its_thread_may_run() {
        let cpu = pin::allowed_cpus().unwrap()[0];
        let pinned = std::thread::spawn(move || pin::pin_this_thread(cpu).map(|()| own())).join().unwrap();
        let side = pinned.unwrap();
        assert_eq!((side.pid, side.cpus.as_slice()), (process::id(), &[cpu][..]));
        // As the file of a run has it, against which a peer is held.
        let environment = ipc_results::Environment::read();
        assert_eq!((side.boot_id, &side.namespaces), (environment.boot_id, &environment.namespaces));
        assert_eq!(side.namespaces.into_keys().collect::<Vec<_>>(), ["ipc", "mnt", "net", "pid", "time"]);
    }
}
