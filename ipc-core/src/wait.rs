use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long one call may wait.
///
/// ```
/// use ipc_core::Wait;
/// use std::time::Duration;
/// let wait = Wait::within(Duration::from_secs(1));
/// assert!(!wait.is_over() && wait.remaining() <= Some(Duration::from_secs(1)));
/// assert!(Wait::Never.is_over());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Look once and answer `Full` or `Empty`; never sleeps.
    Never,
    /// Sleep no longer than this instant, then answer `TimedOut`.
    Until(Instant),
    /// Sleep until it can be done or the peer is gone.
    Forever,
}

impl Wait {
    /// A deadline `duration` from now; a duration beyond what the clock can express waits for ever.
    pub fn within(duration: Duration) -> Wait {
        Instant::now().checked_add(duration).map_or(Wait::Forever, Wait::Until)
    }

    /// True if this call must not (or no longer) sleep. Reads the clock only for [`Wait::Until`].
    pub fn is_over(self) -> bool {
        match self {
            Wait::Never => true,
            Wait::Until(deadline) => Instant::now() >= deadline,
            Wait::Forever => false,
        }
    }

    /// Time left to sleep: `None` means without end, zero means not at all.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Wait::Never => Some(Duration::ZERO),
            Wait::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Wait::Forever => None,
        }
    }
}

/// What a waiting endpoint does with its CPU before the peer is ready. An option of a connection (`?wait=`).
///
/// ```
/// use ipc_core::WaitPolicy;
/// assert_eq!("park".parse(), Ok(WaitPolicy::Park));
/// assert_eq!(WaitPolicy::Adaptive.to_string(), "adaptive");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitPolicy {
    /// Keep looking; lowest latency, one core burnt while waiting.
    Spin,
    /// Sleep in the kernel; no CPU while waiting, one wake-up of latency. At once, but for sockets and pipes whose sides can run on
    /// two CPUs: while a message of 8 KiB or more is on its way, and behind it, both look up to 128 times first, some 25 µs (over
    /// TCP on one machine only), and behind messages that came several at a time the receiver of a byte stream up to 16 times.
    Park,
    /// Spin briefly, yield, then park. Without spinning where both ends can run on one CPU only.
    Adaptive,
}

impl WaitPolicy {
    /// Every policy, in the order in which they are documented.
    pub const ALL: [WaitPolicy; 3] = [WaitPolicy::Spin, WaitPolicy::Park, WaitPolicy::Adaptive];

    /// The name used in addresses, flags and result files.
    pub fn name(self) -> &'static str {
        match self {
            WaitPolicy::Spin => "spin",
            WaitPolicy::Park => "park",
            WaitPolicy::Adaptive => "adaptive",
        }
    }
}

impl fmt::Display for WaitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WaitPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        WaitPolicy::ALL
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| format!("unknown wait policy {text:?}; use spin, park or adaptive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_over_at_once_and_forever_never_is() {
        assert!(Wait::Never.is_over());
        assert!(!Wait::Forever.is_over());
        assert!(Wait::within(Duration::ZERO).is_over());
        assert!(!Wait::within(Duration::from_secs(3600)).is_over());
    }

    #[test]
    fn a_duration_beyond_the_clock_waits_forever() {
        assert_eq!(Wait::within(Duration::MAX), Wait::Forever);
    }

    #[test]
    fn wait_policies_round_trip() {
        for policy in WaitPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("sleep".parse::<WaitPolicy>().unwrap_err().contains("spin, park or adaptive"));
    }
}
