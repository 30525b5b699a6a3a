//! The physical limits that are measured in every run, by the same loops as the transports.

use ipc_limits::{Kind, Params, Wait};

use crate::protocol::Alone;

/// Message size of the yardsticks that are in every run, in bytes.
pub(crate) const STANDARD_SIZE: usize = 64;

/// Payload bytes that share a cache line with the commit word.
const LINE_PAYLOAD: usize = 56;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yardstick {
    /// The cost of an operation of one process.
    Alone(Alone),
    /// Round trips of `size` bytes over a bare loop.
    RoundTrip { kind: Kind, size: usize },
}

impl Yardstick {
    /// The yardsticks of every run.
    pub(crate) fn standard() -> Vec<Yardstick> {
        let alone = [Alone::Clock, Alone::Syscall, Alone::Memcpy].map(Yardstick::Alone);
        let kinds = [
            Kind::Cacheline,
            Kind::Futex,
            Kind::Pipe(Wait::Park),
            Kind::Unix(Wait::Park),
            Kind::Tcp(Wait::Park),
            Kind::Mq(Wait::Park),
        ];
        let trips = kinds.map(|kind| Yardstick::round_trip(kind, STANDARD_SIZE));
        alone.into_iter().chain(trips).collect()
    }

    /// The bare loop behind a transport of this workspace, waiting as the transport does.
    pub(crate) fn behind(transport: &str, wait: &str, size: usize) -> Option<Yardstick> {
        let waiting = if wait == "spin" { Wait::Spin } else { Wait::Park };
        let kind = match transport {
            "uds" => Kind::Unix(waiting),
            "uds-seqpacket" => Kind::Seqpacket(waiting),
            "tcp" => Kind::Tcp(waiting),
            "pipe" => Kind::Pipe(waiting),
            "mq" => Kind::Mq(waiting),
            // A parked ring cannot be faster than the wake-up it sleeps for.
            "shm" | "shm-direct" | "inproc" if wait == "park" => Kind::Futex,
            // What fits a line beside its commit word moves one line each way; more moves a slot's lines and copies.
            "shm" | "shm-direct" | "inproc" if size <= LINE_PAYLOAD => Kind::Cacheline,
            "shm" | "shm-direct" | "inproc" => Kind::Slot,
            _ => return None,
        };
        Some(Yardstick::round_trip(kind, size))
    }

    fn round_trip(kind: Kind, size: usize) -> Yardstick {
        // One cache line has one size: its message is the word itself.
        let size = if kind == Kind::Cacheline { 8 } else { size };
        Yardstick::RoundTrip { kind, size }
    }

    /// Key in the result file; it ends in the unit.
    pub(crate) fn name(self) -> String {
        match self {
            Yardstick::Alone(Alone::Clock) => "clock_ns".into(),
            Yardstick::Alone(Alone::Syscall) => "syscall_ns".into(),
            Yardstick::Alone(Alone::Memcpy) => "memcpy_bytes_per_s".into(),
            Yardstick::RoundTrip { kind, size } => {
                let kind = kind.to_string().replace('-', "_");
                match size {
                    8 | STANDARD_SIZE => format!("{kind}_rtt_ns"),
                    size => format!("{kind}_rtt_{size}_ns"),
                }
            }
        }
    }

    /// Both sides burn a CPU while they wait, which only makes sense on two.
    pub(crate) fn spins(self) -> bool {
        match self {
            Yardstick::Alone(_) => false,
            Yardstick::RoundTrip { kind, .. } => matches!(
                kind,
                Kind::Cacheline
                    | Kind::Slot
                    | Kind::Ring
                    | Kind::Eventfd(Wait::Spin)
                    | Kind::Pipe(Wait::Spin)
                    | Kind::Unix(Wait::Spin)
                    | Kind::Seqpacket(Wait::Spin)
                    | Kind::Tcp(Wait::Spin)
                    | Kind::Mq(Wait::Spin)
            ),
        }
    }

    /// What to build for it; `None` where there is no link.
    pub(crate) fn params(self) -> Option<Params> {
        match self {
            Yardstick::Alone(_) => None,
            Yardstick::RoundTrip { kind, size } => Some(Params::new(kind, size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_end_in_their_unit() {
        let mut names: Vec<_> = Yardstick::standard().into_iter().map(Yardstick::name).collect();
        names.extend(Yardstick::behind("uds", "park", 4096).map(Yardstick::name));
        names.extend(Yardstick::behind("uds", "spin", 64).map(Yardstick::name));
        assert!(names.iter().all(|name| name.ends_with("_ns") || name.ends_with("_per_s")), "{names:?}");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_transport_has_the_loop_it_is_built_on() {
        let name = |transport, wait, size| Yardstick::behind(transport, wait, size).map(Yardstick::name);
        assert_eq!(name("uds", "park", 64).as_deref(), Some("unix_rtt_ns"));
        assert_eq!(name("tcp", "park", 4096).as_deref(), Some("tcp_rtt_4096_ns"));
        assert_eq!(name("shm", "adaptive", 56).as_deref(), Some("cacheline_rtt_ns"));
        assert_eq!(name("shm", "spin", 64).as_deref(), Some("slot_rtt_ns"));
        assert_eq!(name("shm", "adaptive", 4096).as_deref(), Some("slot_rtt_4096_ns"));
        assert_eq!(name("shm", "park", 64).as_deref(), Some("futex_rtt_ns"));
        assert_eq!(name("inproc", "spin", 64), name("shm", "spin", 64));
        assert_eq!(name("bespoke", "park", 64), None);
    }
}
