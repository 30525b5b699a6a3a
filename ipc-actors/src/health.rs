//! Health: what an actor says of itself, and how often its supervisor asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an actor is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Health {
    /// All is well.
    Healthy,
    /// It works, but not as it should; this is why. Reported, not counted.
    Degraded(Arc<str>),
    /// It does not work; this is why. Counts towards [`HealthCheck::threshold`].
    Failed(Arc<str>),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Healthy => f.write_str("healthy"),
            Health::Degraded(why) => write!(f, "degraded: {why}"),
            Health::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// How a supervisor checks a child. The supervisor asks and goes on; the answer is a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// Time from one answer, or from its absence, to the next question.
    pub interval: Duration,
    /// How long the child has to answer. No answer counts as a failed check.
    pub timeout: Duration,
    /// Failed checks in a row after which the child is killed, which is a failure under its restart policy; 0 is taken
    /// as 1.
    pub threshold: u32,
}

impl Default for HealthCheck {
    /// Every 5 s, 1 s to answer, 3 failures in a row.
    fn default() -> Self {
        HealthCheck { interval: Duration::from_secs(5), timeout: Duration::from_secs(1), threshold: 3 }
    }
}
