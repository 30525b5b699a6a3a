//! What a transport needs to carry messages of some size, and whether it can here.

use std::collections::BTreeMap;
use std::env;
use std::iter::successors;

use ipc_transports::{DENY_VARIABLE, SetupErrorKind};

use crate::mechanism::Mechanism;

/// Why a cell cannot be measured, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Impossible {
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) fix: String,
}

/// Least bytes of a ring or slot; the default of the transports that have one.
const CAPACITY: usize = 1 << 20;

/// What a ring has for each message beside its bytes, at most: a header, a broadcast's number, and the rest of a line.
const AROUND: usize = 80;

/// A capacity for messages of `size` bytes: four of them, from the beginning of the ring on, with what is around them, or the largest there is; a power of two, since a
/// ring takes nothing else. `None` when the transport has no capacity.
pub(crate) fn capacity(
    mechanism: &Mechanism,
    size: usize,
    options: &BTreeMap<String, String>,
) -> Option<String> {
    let huge = options.get("hugepages").is_some_and(|asked| asked == "true");
    let least = if huge { CAPACITY.max(huge_page()) } else { CAPACITY };
    let four = size.saturating_add(AROUND).saturating_mul(4);
    let wanted = four.max(least).checked_next_power_of_two()?;
    let halved = successors(Some(wanted), |bytes| Some(bytes / 2)).take_while(|bytes| *bytes >= least);
    halved.map(|bytes| bytes.to_string()).find(|capacity| {
        let mut options = options.clone();
        options.insert("capacity".to_owned(), capacity.clone());
        (mechanism.can)(&options).is_ok()
    })
}

/// Bytes of a huge page; 0 where the kernel has none.
pub(crate) fn huge_page() -> usize {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
        .map_or(0, |text| page_in(&text))
}

/// As shm reads it: what is no power of two is no page.
fn page_in(text: &str) -> usize {
    text.trim().parse().ok().filter(|bytes: &usize| bytes.is_power_of_two()).unwrap_or(0)
}

/// Why a transport with these options cannot carry messages of `size` bytes.
pub(crate) fn refusal(
    mechanism: &Mechanism,
    size: usize,
    options: &BTreeMap<String, String>,
) -> Option<Impossible> {
    let name = mechanism.name;
    let max = match (mechanism.can)(options) {
        Ok(can) if size <= can.max_message => return None,
        Ok(can) => can.max_message,
        Err(error) if error.kind == SetupErrorKind::Unsupported => {
            let others = format!("measure the others: -t all,-{name}");
            let fix = match env::var(DENY_VARIABLE) {
                Ok(denied) => format!("unset {DENY_VARIABLE}, which is {denied}, or {others}"),
                Err(_) => others,
            };
            return Some(Impossible {
                what: format!("{name} is not available here"),
                why: error.to_string(),
                fix,
            });
        }
        Err(error) => {
            return Some(Impossible {
                what: format!("{name} cannot be used with these options"),
                why: error.to_string(),
                fix: "change what -L says about it".into(),
            });
        }
    };
    let (why, fix) = if name == "mq" {
        (
            format!("fs.mqueue.msgsize_max is {max}"),
            format!("sudo sysctl -w fs.mqueue.msgsize_max={size}   (or drop mq: -t all,-mq)"),
        )
    } else {
        (format!("{name} carries at most {max} bytes per message"), format!("use sizes up to {max}"))
    };
    Some(Impossible { what: format!("{name} cannot carry {size}-byte messages here"), why, fix })
}

#[cfg(test)]
mod tests {
    use ipc_transports::{Options, Sender, Shm, ShmOptions, Transport};

    use super::*;
    use crate::ways::Lends;

    #[test]
    fn a_ring_has_room_for_four_messages() {
        let shm = Mechanism::of::<Shm, Lends>();
        for size in [64, 100_000, 1 << 18, 1 << 20] {
            let capacity = capacity(&shm, size, &BTreeMap::new()).unwrap();
            let mut options = ShmOptions::default();
            options.fill("capacity", &capacity).unwrap();
            let (mut one, _other) = Shm::pair(&options).unwrap();
            let message = vec![0; size];
            assert!((0..4).all(|_| one.tx.try_send(&message).is_ok()), "{size} bytes, capacity {capacity}");
        }
    }

    #[test]
    fn a_huge_page_is_what_shm_takes_for_one() {
        assert_eq!(["2097152\n", "0\n", "2097153\n", ""].map(page_in), [2 << 20, 0, 0, 0]);
    }
}
