//! Questions about a mechanism that neither a round trip nor a stream answers: what it costs while nothing happens, what
//! stays behind, how it takes loads that are not even.
//!
//! Each is one pair of worker processes, or in `events` a fan-in of them; what a scene measures beside latency and throughput goes into the `measures` of
//! its trial.

#[cfg(feature = "codecs")]
mod codec;
pub(crate) mod events;
mod flow;
mod idle;
pub(crate) mod journal;
mod leak;
pub(crate) mod plan;
mod process;
pub(crate) mod shape;

use std::path::PathBuf;
use std::time::Duration;

use ipc_transports::{Address, Transport};
use serde::{Deserialize, Serialize};

use crate::codec::{Codec, Value};
use crate::error::Failure;
use crate::mechanism::Ended;
use crate::protocol::{Job, Outcome, Role};
use crate::ways::Ways;
use crate::worker::Session;

use shape::{Oversize, Shape};

/// The scenes by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// What an open endpoint costs while nothing comes.
    Idle,
    /// What is left of memory and descriptors after many cycles.
    Leak,
    /// Messages in bursts with gaps between them.
    Burst,
    /// Messages of several sizes, mixed.
    Mixed,
    /// Loads that follow each other.
    Ramp,
    /// How even the throughput is from one second to the next.
    Stability,
    /// Records of many producers, appended durably by one logger.
    Events,
    /// Values encoded, carried and decoded.
    Codec,
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Idle,
        Kind::Leak,
        Kind::Burst,
        Kind::Mixed,
        Kind::Ramp,
        Kind::Stability,
        Kind::Events,
        Kind::Codec,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Idle => "idle",
            Kind::Leak => "leak",
            Kind::Burst => "burst",
            Kind::Mixed => "mixed",
            Kind::Ramp => "ramp",
            Kind::Stability => "stability",
            Kind::Events => "events",
            Kind::Codec => "codec",
        }
    }

    /// Whether connections come and go while it measures, so that the listener and its name stay.
    pub(crate) fn keeps_names(self) -> bool {
        self == Kind::Leak
    }
}

/// A scene with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Scene {
    /// So many endpoints, looked at for so long.
    Idle {
        endpoints: usize,
        observe: Duration,
    },
    /// So many connections opened and closed, and ten times as many messages over one.
    Leak {
        cycles: u64,
    },
    Flow {
        shape: Shape,
        oversize: Option<Oversize>,
    },
    /// So many records per second and producer, into a file in this directory.
    Events {
        rate: u64,
        directory: PathBuf,
    },
    Codec {
        codec: Codec,
        value: Value,
    },
}

impl Scene {
    /// How long its measured part takes; `None` where that is for [`Work::length`](crate::workload::Work) to say.
    pub(crate) fn takes(&self) -> Option<Duration> {
        match self {
            Scene::Idle { observe, .. } => Some(*observe),
            // A guess: nobody knows how long a cycle takes before it was measured.
            Scene::Leak { cycles } => {
                let all = leak::warm_up(*cycles) + (*cycles).min(1 << 20);
                Some(Duration::from_micros(300) * all as u32)
            }
            Scene::Flow { shape, .. } => shape.takes(),
            Scene::Events { .. } | Scene::Codec { .. } => None,
        }
    }

    /// Whether a number of messages that was asked for is the number that arrives.
    pub(crate) fn counts_messages(&self) -> bool {
        match self {
            Scene::Idle { .. } | Scene::Codec { .. } => true,
            Scene::Leak { .. } | Scene::Events { .. } => false,
            Scene::Flow { shape, .. } => shape.takes().is_none(),
        }
    }
}

/// One side of a trial, inside a worker.
pub(crate) fn run<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    scene: &Scene,
) -> Result<Outcome, Ended> {
    let serves = job.role == Role::Server;
    match scene {
        Scene::Idle { endpoints, observe } => idle::run::<T, W>(session, job, address, *endpoints, *observe),
        Scene::Leak { cycles } if serves => leak::server::<T, W>(session, job, address, *cycles),
        Scene::Leak { cycles } => leak::client::<T, W>(session, job, address, *cycles),
        Scene::Flow { shape, oversize } => flow::run::<T, W>(session, job, address, shape, *oversize),
        #[cfg(feature = "codecs")]
        Scene::Codec { codec, value } => codec::run::<T, W>(session, job, address, *codec, *value),
        #[cfg(not(feature = "codecs"))]
        Scene::Codec { .. } => Err(Failure::failed("this program was built without codecs").into()),
        Scene::Events { .. } => Err(Failure::failed("events need a process per producer").into()),
    }
}

/// What both sides say about one measure, as one figure: what an endpoint costs is the mean over both ends, anything
/// else the worse of the two.
pub(crate) fn combine(name: &str, a: f64, b: f64) -> f64 {
    if name.starts_with("endpoint_") { (a + b) / 2.0 } else { a.max(b) }
}
