//! The activity log: what became of supervised children, one JSON object per line.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::Serialize;

use crate::id::ActorId;
use crate::supervisor::{ChildKind, Observer, Supervision, SupervisionEvent};

/// A file that every start, readiness, signal, exit and restart is appended to. The fields that a line can have are
/// `unix_ms` (wall clock), `at_us` (the system's time), `supervisor`, `child`, `kind`, `actor`, `incarnation`, `event`,
/// and by event `pid`, `signal`, `reason`, `expected`, `pause_ms`, `restarts_left`, `health`.
///
/// A line is one `write` at the end of the file, so several processes can share it. Nothing is flushed to the disk.
#[derive(Clone)]
pub struct ActivityLog(Arc<Shared>);

struct Shared {
    file: File,
    lost: AtomicU64,
}

impl fmt::Debug for ActivityLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityLog").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    unix_ms: u64,
    at_us: u64,
    supervisor: &'a str,
    child: &'a str,
    kind: ChildKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<ActorId>,
    incarnation: u32,
    event: &'static str,
    #[serde(flatten)]
    more: More,
}

#[derive(Serialize, Default)]
struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<String>,
}

impl ActivityLog {
    /// Appends to this file, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(ActivityLog(Arc::new(Shared { file, lost: AtomicU64::new(0) })))
    }

    /// An observer that writes here, for [`Supervisor::observe`](crate::Supervisor::observe).
    pub fn observer(&self) -> Observer {
        let log = self.clone();
        Observer::new(move |event| log.write(event))
    }

    /// Lines that could not be written, for lack of space or because they were cut short.
    pub fn lost(&self) -> u64 {
        // Relaxed: a statistic.
        self.0.lost.load(Ordering::Relaxed)
    }

    fn write(&self, event: &SupervisionEvent) {
        let (name, more) = describe(&event.what);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            unix_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            at_us: u64::try_from(event.at.as_micros()).unwrap_or(u64::MAX),
            supervisor: &event.supervisor,
            child: &event.child,
            kind: event.kind,
            actor: event.actor,
            incarnation: event.incarnation,
            event: name,
            more,
        };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            // One call: a second one could come after a line of somebody else's.
            let count = (&self.0.file).write(&text)?;
            if count < text.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
        });
        if written.is_err() {
            // Relaxed: a statistic.
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn describe(what: &Supervision) -> (&'static str, More) {
    let plain = More::default();
    let because = |reason: &dyn fmt::Display| More { reason: Some(reason.to_string()), ..More::default() };
    match what {
        Supervision::Starting => ("start", plain),
        Supervision::Spawned { pid } => ("spawn", More { pid: Some(*pid), ..plain }),
        Supervision::Started => ("ready", plain),
        Supervision::Ignored => ("ignore", plain),
        Supervision::StartFailed(reason) => ("start_failed", because(reason)),
        Supervision::Exited { reason, expected } => {
            ("exit", More { expected: Some(*expected), ..because(reason) })
        }
        Supervision::Restarting { pause, left } => {
            let pause_ms = u64::try_from(pause.as_millis()).ok();
            ("restart", More { pause_ms, restarts_left: Some(*left), ..plain })
        }
        Supervision::Stopping => ("stop", plain),
        Supervision::Killing => ("kill", plain),
        Supervision::Signaled { signal } => ("signal", More { signal: Some(*signal), ..plain }),
        Supervision::Zombie => ("zombie", plain),
        Supervision::Reaped => ("reap", plain),
        Supervision::Health(health) => ("health", More { health: Some(health.to_string()), ..plain }),
        Supervision::HealthTimeout => ("health", More { health: Some("no answer".into()), ..plain }),
        Supervision::GivingUp(reason) => ("give_up", because(reason)),
        Supervision::AutoShutdown => ("auto_shutdown", plain),
    }
}
