//! One point of the matrix and its stable name.

use std::collections::BTreeMap;
use std::fmt;

use crate::workload::Mode;

/// What distinguishes one measured cell from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    pub(crate) transport: String,
    pub(crate) mode: Mode,
    pub(crate) size: usize,
    /// In open loop: `r10k`, `r50%`.
    pub(crate) rate: Option<String>,
    /// Every other dimension that differs from its default.
    pub(crate) dimensions: BTreeMap<String, String>,
}

/// The key used in files, reports and globs: `shm/rtt/64`, `uds/stream/65536/wait=spin`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.transport, self.mode, self.size)?;
        if let Some(rate) = &self.rate {
            write!(f, "/{rate}")?;
        }
        self.dimensions.iter().try_for_each(|(key, value)| write!(f, "/{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_the_default_is_in_the_id_sorted() {
        let mut point = Point {
            transport: "shm".into(),
            mode: Mode::Rtt,
            size: 64,
            rate: None,
            dimensions: BTreeMap::new(),
        };
        assert_eq!(point.to_string(), "shm/rtt/64");
        point.dimensions.insert("wait".into(), "spin".into());
        point.dimensions.insert("shm.capacity".into(), "1M".into());
        assert_eq!(point.to_string(), "shm/rtt/64/shm.capacity=1M/wait=spin");
        point.rate = Some("r50%".into());
        assert_eq!(point.to_string(), "shm/rtt/64/r50%/shm.capacity=1M/wait=spin");
    }
}
