//! The transports a program can measure: a type turned into a row of function pointers.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_results::run::Side;
use ipc_transports::{
    Address, Capabilities, Connection, Listener, OptionError, Options, Receiver, Sender, SetupError,
    SetupErrorKind, Transport, Wait,
};

use crate::error::Failure;
use crate::inside;
use crate::pattern::{Node, node};
use crate::protocol::{Job, Outcome, Ready, Role};
use crate::remote::{self, Serving};
use crate::scene::{self, Scene};
use crate::signals::Signals;
use crate::ways::{Halves, Ways};
use crate::worker::Session;
use crate::workload::{Blocking, Broken, Io};

/// See [`Mechanism::inside`].
pub(crate) type Inside = fn(&mut Session, &Job, &Address, Option<u32>) -> Result<Outcome, Ended>;

/// One transport.
#[derive(Clone, Copy)]
pub(crate) struct Mechanism {
    pub(crate) name: &'static str,
    /// What it can do on this machine with these options.
    pub(crate) can: fn(&BTreeMap<String, String>) -> Result<Capabilities, SetupError>,
    /// How its connections can be waited on.
    pub(crate) ways: &'static [Io],
    /// Whether its messages can be written and read where they lie.
    pub(crate) lends: bool,
    /// Whether it has an option of this name that takes this value.
    pub(crate) accepts: fn(&str, &str) -> Result<(), OptionError>,
    /// One side of a trial, inside a worker.
    pub(crate) work: fn(&mut Session, &Job, &Address) -> Result<Outcome, Ended>,
    /// Both sides of a trial, inside one worker, of a transport that joins the threads of one process; with the CPU of the
    /// other side.
    pub(crate) inside: Option<Inside>,
    /// The client's side of a trial with a server that is there already, inside a worker.
    pub(crate) visit: fn(&mut Session, &Job, &Address, Duration, bool) -> Result<Outcome, Ended>,
    /// The one server of several clients, inside a worker.
    pub(crate) host: fn(&mut Session, &Address, usize) -> Result<Outcome, Ended>,
    /// One process of a pattern, inside a worker.
    pub(crate) node: fn(&mut Session, &Job, &Address, &Node, u32) -> Result<Outcome, Ended>,
    /// One side of a scene, inside a worker.
    pub(crate) scene: fn(&mut Session, &Job, &Address, &Scene) -> Result<Outcome, Ended>,
    /// What a standalone server says of itself.
    pub(crate) ask: fn(&Address) -> Result<Side, Failure>,
    /// A standalone server.
    pub(crate) listen: fn(&Address, &Arc<Serving>, &Signals) -> Result<(), Failure>,
}

impl fmt::Debug for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mechanism").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Mechanism {
    pub(crate) fn of<T: Transport, W: Ways<T>>() -> Mechanism {
        Mechanism {
            name: T::NAME,
            can: can::<T>,
            ways: W::ALL,
            lends: W::LENDS,
            accepts: |key, value| T::Options::default().fill(key, value),
            work: work::<T, W>,
            inside: None,
            visit: visit::<T, W>,
            host: remote::host::<T, W>,
            node: node::run::<T, W>,
            scene: scene::run::<T, W>,
            ask: ask::<T>,
            listen: remote::listen::<T, W>,
        }
    }

    /// One that joins the threads of one process and no others.
    pub(crate) fn inside<T: Transport, W: Ways<T>>() -> Mechanism {
        Mechanism { inside: Some(inside::work::<T, W>), ..Mechanism::of::<T, W>() }
    }

    /// Whether it has a waiting policy of this name.
    pub(crate) fn waits(&self, policy: &str) -> bool {
        (self.accepts)("wait", policy).is_ok()
    }
}

fn can<T: Transport>(options: &BTreeMap<String, String>) -> Result<Capabilities, SetupError> {
    let mut filled = T::Options::default();
    for (key, value) in options {
        filled.fill(key, value).map_err(|error| {
            SetupError::new(SetupErrorKind::BadAddress, "use", T::NAME)
                .because(io::Error::new(io::ErrorKind::InvalidInput, error))
        })?;
    }
    T::capabilities_with(&filled)
}

/// Why a side of a trial ended without a result.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) failure: Failure,
    /// The other worker is the likelier culprit.
    pub(crate) blames_the_peer: bool,
}

impl Ended {
    /// A connection of a pattern broke.
    pub(crate) fn lost(broken: Broken) -> Ended {
        let what = match &broken {
            Broken::Message(flaw) => format!("a wrong message came: {flaw}"),
            other => format!("a connection was lost: {other}"),
        };
        Ended { failure: Failure::failed(what), blames_the_peer: broken.blames_the_peer() }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended { failure, blames_the_peer: false }
    }
}

fn work<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
) -> Result<Outcome, Ended> {
    let Connection { tx, rx, effective, .. } = meet::<T>(session, job, address)?;
    if job.work.size > tx.max_message() {
        return Err(too_long(T::NAME, job.work.size, tx.max_message()).into());
    }
    session.ready(effective.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect());
    let (end, outcome) = session.measure::<T, W>(Blocking { tx, rx }, job)?;
    Ok(Outcome { stats: counters::<T>(&end), ..outcome })
}

/// Listens for the one connection of a trial, or makes it.
pub(crate) fn meet<T: Transport>(
    session: &mut Session,
    job: &Job,
    address: &Address,
) -> Result<Connection<T::Tx, T::Rx>, Ended> {
    let options = T::Options::default();
    let connection = match job.role {
        Role::Server => {
            let mut listener = T::listen(address, &options)
                .map_err(|error| setup(format!("{}: no connection", T::NAME), &error))?;
            session.listening(listener.address());
            // The listener goes with this block: its names are gone before the first message.
            listener.accept(Wait::Forever)
        }
        Role::Client | Role::Hog(_) | Role::Node(_) => T::connect(address, &options, Wait::Forever),
    };
    connection.map_err(|error| Ended {
        // The server listened before we were told to connect: if it is not there any more, its end is the story.
        blames_the_peer: matches!(error.kind, SetupErrorKind::NotFound | SetupErrorKind::HungUp),
        failure: setup(format!("{}: no connection", T::NAME), &error),
    })
}

fn visit<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    patience: Duration,
    echo: bool,
) -> Result<Outcome, Ended> {
    let deadline = Instant::now() + patience;
    let connection = loop {
        match T::connect(address, &T::Options::default(), Wait::within(HANDSHAKE)) {
            // Not there yet; look again until it is.
            Err(error) if matches!(error.kind, SetupErrorKind::NotFound) && Instant::now() < deadline => {
                thread::park_timeout(RETRY);
            }
            done => break done,
        }
    };
    let connection = connection.map_err(|error| setup(format!("cannot connect to {address}"), &error))?;
    let Connection { tx, rx, effective, .. } = connection;
    if job.work.size > tx.max_message() {
        return Err(too_long(T::NAME, job.work.size, tx.max_message()).into());
    }
    let mut end = Blocking { tx, rx };
    let server = if echo { None } else { Some(remote::greet(&mut end, &job.work)?) };
    session.ready_knowing(Ready {
        effective: effective.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        far_cpus: server.as_ref().map(|server| server.cpus.clone()).unwrap_or_default(),
        server,
        ..Ready::default()
    });
    let (mut end, outcome) = session.measure::<T, W>(end, job)?;
    let peer = if echo { None } else { Some(Box::new(remote::outcome(&mut end)?)) };
    Ok(Outcome { stats: counters::<T>(&end), peer, ..outcome })
}

/// What the server at `address` says of itself.
fn ask<T: Transport>(address: &Address) -> Result<Side, Failure> {
    let connection = T::connect(address, &T::Options::default(), Wait::within(HANDSHAKE))
        .map_err(|error| setup(format!("cannot connect to {address}"), &error))?;
    remote::ask(&mut Blocking { tx: connection.tx, rx: connection.rx })
}

/// How long a server that is there may take for a connection, and the pause before looking for one again.
const HANDSHAKE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);

pub(crate) fn counters<T: Transport>(end: &Halves<T>) -> BTreeMap<String, u64> {
    let (tx, rx) = (end.tx.stats(), end.rx.stats());
    let counters = [
        ("would_block", tx.would_block + rx.would_block),
        ("full_waits", tx.full_waits),
        ("parks", tx.parks + rx.parks),
        ("wakes", tx.wakes + rx.wakes),
        ("max_occupancy_bytes", tx.max_occupancy_bytes.max(rx.max_occupancy_bytes)),
    ];
    counters.map(|(name, count)| (name.to_owned(), count)).into()
}

pub(crate) fn too_long(name: &str, size: usize, max: usize) -> Failure {
    Failure::failed(format!("{name} cannot carry {size}-byte messages"))
        .why(format!("this connection carries at most {max} bytes per message"))
        .fix(format!("use sizes up to {max}"))
}

/// A connection that did not come about, with the fix where we know one.
pub(crate) fn setup(what: String, error: &SetupError) -> Failure {
    let failure = Failure::failed(what).why(error);
    match &error.kind {
        SetupErrorKind::Limit { name: "RLIMIT_MSGQUEUE", .. } => failure.fix(
            "end the programs of this user that hold message queues, or raise the limit: ulimit -q unlimited (as root)",
        ),
        SetupErrorKind::Limit { name, .. } => failure.fix(format!("raise {name}, or measure without this transport")),
        SetupErrorKind::NotFound => failure.fix("is the server running? is its directory visible (mounted) here?"),
        SetupErrorKind::InUse { .. } => failure.fix("end the other listener, or use another address"),
        _ => failure,
    }
}
