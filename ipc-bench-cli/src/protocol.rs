//! The control protocol between the runner and its workers: frames of a `u32` little-endian length and postcard, the
//! runner's on the worker's stdin, the worker's on its stdout.
//!
//! ```text
//! runner                         worker
//!   |  <------------------- Hello  |   version of this protocol
//!   |  Job ---------------------->  |   pin, listen or connect
//!   |  <--------------- Listening  |   server only: the address the client is told in its own Job
//!   |  <------------------- Ready  |   connected, mask and settings read back
//!   |  Go ----------------------->  |   first message, warm-up, measured part
//!   |  <---------------- Progress  |   about once a second
//!   |  <------- Done, or Failed    |
//! ```
//! A hog is ready before the others get their jobs, and then says nothing any more.
//!
//! A process of a pattern that others connect to listens first; between Listening and Ready each gets Peers, the
//! addresses it connects to.
//!
//! Closing the worker's stdin at any time ends the worker.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use ipc_results::run::{CpuUse, Side};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::counters::Counted;
use crate::hog::Hog;
use crate::pattern::Node;
use crate::records::Record;
use crate::scene::Scene;
use crate::workload::Work;

/// Changes whenever a message below changes: programs of different versions meet in comparisons of two builds.
pub(crate) const PROTOCOL: u32 = 16;

/// Longest frame either side accepts, in bytes: a result with two histograms is below 100 KiB.
const MAX_FRAME: usize = 4 << 20;

/// What the runner says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Job(Box<Job>),
    /// Number and address of each process to connect to, in the order of the node's `outbound`.
    Peers(Vec<(usize, String)>),
    Go,
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Hello {
        protocol: u32,
        version: String,
    },
    Listening {
        address: String,
    },
    Ready(Ready),
    Progress {
        messages: u64,
    },
    /// Rows of a trial that is over; some of them, before Done.
    Records(Vec<Record>),
    Done(Box<Outcome>),
    Failed(Complaint),
}

impl Request {
    /// For the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Request::Job(_) => "Job",
            Request::Peers(_) => "Peers",
            Request::Go => "Go",
        }
    }
}

impl Reply {
    /// For the log; `None` for what is said while messages are measured.
    pub(crate) fn name(&self) -> Option<&'static str> {
        match self {
            Reply::Hello { .. } => Some("Hello"),
            Reply::Listening { .. } => Some("Listening"),
            Reply::Ready(_) => Some("Ready"),
            Reply::Progress { .. } => None,
            Reply::Records(_) => Some("Records"),
            Reply::Done(_) => Some("Done"),
            Reply::Failed(_) => Some("Failed"),
        }
    }
}

/// One side of one trial.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) role: Role,
    pub(crate) link: Link,
    pub(crate) work: Work,
    /// CPU to pin the measuring thread to.
    pub(crate) cpu: Option<u32>,
    /// Directory of this trial's names, server only. The worker makes it, and removes it if the runner dies before
    /// [`Request::Go`], by which time the runner has removed it.
    pub(crate) scratch: Option<PathBuf>,
}

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Role {
    Server,
    Client,
    /// Takes no part: it is the background, by number.
    Hog(u16),
    /// One process of a pattern, by number.
    Node(u16),
}

impl Role {
    pub(crate) fn name(self) -> Cow<'static, str> {
        match self {
            Role::Server => "server".into(),
            Role::Client => "client".into(),
            Role::Hog(_) => "hog".into(),
            Role::Node(number) => format!("peer {number}").into(),
        }
    }
}

/// What carries the messages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Link {
    /// A transport by name: the server listens at the address, the client connects to it.
    Transport { name: String, address: String },
    /// A transport by name for both sides, the other of which is a thread of the same process on this CPU.
    Inside { name: String, address: String, far_cpu: Option<u32> },
    /// A transport whose server is there already. It is told what to do over the connection, unless all it does is to send
    /// back what it gets.
    Remote { name: String, address: String, patience: Duration, echo: bool },
    /// A transport by name and where to listen, for the one server of so many clients, each of which says over its own
    /// connection what it is there for.
    Hall { name: String, address: String, clients: usize },
    /// An inherited end of a bare loop, in the text form of `ipc_limits::End`.
    Bare { end: String, size: usize },
    /// No link: the cost of one operation of this process alone.
    Alone(Alone),
    /// A transport by name and where to listen, for one process of a pattern. Looks so often in vain at its connections
    /// before it sleeps.
    Node { name: String, address: String, node: Node, looks: u32, journal: Option<Journal> },
    /// A transport by name, for one side of a scene.
    Scene { name: String, address: String, scene: Scene },
    /// No link and no result: work on the side until the runner ends this process.
    Hog(Hog),
}

/// What a process of a pattern logs, or sends to the logger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    /// Records per second and producer.
    pub(crate) rate: u64,
}

/// Operations measured in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Alone {
    /// One read of the driver's clock.
    Clock,
    /// One system call that does nothing.
    Syscall,
    /// Copying memory, in bytes per second.
    Memcpy,
}

/// A worker that is about to measure.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// CPUs the measuring thread may run on, read back after pinning.
    pub(crate) cpus: Vec<u32>,
    /// The same of the other side, where it is a thread of the same process or a server that was there already.
    pub(crate) far_cpus: Vec<u32>,
    /// What a server that was there already said of itself.
    pub(crate) server: Option<Side>,
    /// Settings of the connection as the system granted them.
    pub(crate) effective: Vec<(String, u64)>,
}

/// What one side measured. A field that only one side can know is empty in the other's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) messages: u64,
    pub(crate) first_send_ns: Option<u64>,
    pub(crate) last_recv_ns: Option<u64>,
    pub(crate) warmup_messages: u64,
    pub(crate) warmup_ns: u64,
    /// Whether the last windows of the warm-up agreed, where they were compared.
    pub(crate) warmup_steady: Option<bool>,
    pub(crate) first_message_ns: Option<u64>,
    pub(crate) latency: Option<Histogram>,
    /// Open loop only: from the actual send.
    pub(crate) service: Option<Histogram>,
    /// Open loop only: planned length of the timetable over the one it took, at most 1.
    pub(crate) kept: Option<f64>,
    /// During the measured part.
    pub(crate) cpu: Option<CpuUse>,
    /// The same part, as far as it was to be counted.
    pub(crate) counted: Option<Counted>,
    /// Counters of this side's halves, over the whole connection.
    pub(crate) stats: BTreeMap<String, u64>,
    /// Rows of its messages, which go by themselves.
    #[serde(skip)]
    pub(crate) records: Vec<Record>,
    /// Messages whose rows found no room.
    pub(crate) records_lost: u64,
    /// The measured part in intervals.
    pub(crate) timeline: Vec<Window>,
    /// Of a pattern: number of a sender and messages it made for this one, or this one received from it.
    pub(crate) made_for: Vec<(usize, u64)>,
    pub(crate) got_from: Vec<(usize, u64)>,
    /// Payload bytes received, where the messages differ in size.
    pub(crate) bytes: Option<u64>,
    /// What only this workload measures; the unit is the end of the name.
    pub(crate) measures: BTreeMap<String, f64>,
    /// What the reader of this trial must know.
    pub(crate) flags: Vec<String>,
    /// What a remote server said of its side, or the other thread of this process.
    pub(crate) peer: Option<Box<Outcome>>,
    /// Result of [`Link::Alone`], in its unit.
    pub(crate) cost: Option<f64>,
}

/// One interval of the measured part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Since the start of the measured part.
    pub(crate) start_ns: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) latency: Histogram,
}

/// A recorder on its way to the runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Histogram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) saturated: u64,
}

/// Why a worker gives up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Complaint {
    pub(crate) what: String,
    pub(crate) why: Option<String>,
    pub(crate) fix: Option<String>,
    /// The other worker is the likelier culprit: wait for what happened to it before telling anybody.
    pub(crate) blames_the_peer: bool,
}

/// Writes one frame.
///
/// # Errors
/// The pipe is broken.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one frame; `None` at the end of the stream.
///
/// # Errors
/// The pipe failed, or what came is not a frame of this protocol.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; checked_len(header)?];
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}

/// Takes the first whole frame out of `buffer`; `None` when there is none yet.
///
/// # Errors
/// What came is not a frame of this protocol.
pub(crate) fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(header) = buffer.first_chunk() else { return Ok(None) };
    let end = 4 + checked_len(*header)?;
    if buffer.len() < end {
        return Ok(None);
    }
    let message = decode(&buffer[4..end])?;
    buffer.drain(..end);
    Ok(Some(message))
}

fn checked_len(header: [u8; 4]) -> io::Result<usize> {
    match u32::from_le_bytes(header) as usize {
        len if len <= MAX_FRAME => Ok(len),
        len => Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {len} bytes"))),
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    postcard::from_bytes(body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = Vec::new();
        for messages in 0..3 {
            write(&mut bytes, &Reply::Progress { messages }).unwrap();
        }
        let (mut buffer, mut seen) = (Vec::new(), Vec::new());
        for byte in bytes {
            buffer.push(byte);
            while let Some(Reply::Progress { messages }) = take(&mut buffer).unwrap() {
                seen.push(messages);
            }
        }
        assert_eq!(seen, [0, 1, 2]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_stream_that_is_no_frame_is_refused() {
        assert!(take::<Reply>(&mut b"GET / HTTP/1.1".to_vec()).is_err());
        assert!(take::<Reply>(&mut vec![1, 0, 0, 0, 250]).is_err());
        assert!(read::<Reply>(&mut &b""[..]).unwrap().is_none());
    }
}
