//! The measuring loops: one per workload, generic over what carries the messages.
//!
//! A loop is an `async fn` over an [`Endpoint`]. A blocking endpoint never suspends, so [`now`] runs the loop as if the
//! `await`s were not there; one that is awaited runs the same source on a reactor.

pub(crate) mod arrivals;
mod batch;
pub(crate) mod crowd;
pub(crate) mod endpoint;
#[cfg(test)]
mod handwritten;
pub(crate) mod hold;
pub(crate) mod load;
pub(crate) mod oneway;
pub(crate) mod pace;
pub(crate) mod rtt;
pub(crate) mod stream;
pub(crate) mod tape;
pub(crate) mod windows;

use std::fmt;
use std::time::Duration;

use ipc_transports::{RecvError, SendError};
use serde::{Deserialize, Serialize};

use crate::clock::Counter;
use crate::pattern::Pattern;
use crate::payload::{Flaw, Phase};
use crate::scene::Kind;

pub(crate) use crowd::{Crowd, Crowded};
#[cfg(test)]
pub(crate) use endpoint::now;
pub(crate) use endpoint::{
    Awaited, BareEnd, Blocking, Endpoint, Executor, InPlace, Lending, Task, all, recv_within, send_within,
    within,
};
pub(crate) use pace::{Arrivals, OpenLoop};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Ping-pong: the client sends, the server sends the same bytes back, the client takes the time.
    Rtt,
    /// The way to the receiver, which takes the time of paced messages.
    OneWay,
    /// As many messages as fit, one way.
    Stream,
    /// Open loop: messages at times fixed in advance, one way.
    Load,
    /// As many messages as fit, between more than two processes.
    Pattern(Pattern),
    /// What is no steady flow: idling, opening and closing, loads of other shapes.
    Scene(Kind),
}

impl Mode {
    /// All of them, by name.
    pub(crate) fn all() -> impl Iterator<Item = Mode> + Clone {
        let pairs = [Mode::Rtt, Mode::OneWay, Mode::Stream, Mode::Load].into_iter();
        pairs.chain(Pattern::ALL.map(Mode::Pattern)).chain(Kind::ALL.map(Mode::Scene))
    }

    /// Who talks to whom, where it is more than a pair.
    pub(crate) fn pattern(self) -> Option<Pattern> {
        match self {
            Mode::Pattern(pattern) => Some(pattern),
            Mode::Scene(Kind::Events) => Some(Pattern::FanIn),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Rtt => "rtt",
            Mode::OneWay => "oneway",
            Mode::Stream => "stream",
            Mode::Load => "load",
            Mode::Pattern(pattern) => pattern.name(),
            Mode::Scene(kind) => kind.name(),
        }
    }
}

impl Mode {
    /// What happens, in a line.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Mode::Rtt => "ping-pong: a message there, the same bytes back, one at a time",
            Mode::OneWay => "paced messages, timed by the side that receives them",
            Mode::Stream => "as many messages as fit, one way",
            Mode::Load => "open loop: messages at times fixed in advance, at --rate",
            Mode::Pattern(Pattern::FanOut) => "one process sends to --peers others in turn",
            Mode::Pattern(Pattern::FanIn) => "--peers processes send to one",
            Mode::Pattern(Pattern::Pipeline) => "each message goes through a chain of --peers processes",
            Mode::Pattern(Pattern::Broadcast) => "every message goes to each of --peers processes",
            Mode::Pattern(Pattern::Mesh) => "each of --peers processes sends to all the others",
            Mode::Scene(Kind::Idle) => {
                "memory, processor time and wake-ups of open endpoints that nobody uses"
            }
            Mode::Scene(Kind::Leak) => "memory and descriptors over many connections and messages",
            Mode::Scene(Kind::Burst) => "--burst messages at once, a --gap, and again",
            Mode::Scene(Kind::Mixed) => "messages of several sizes, by their weights",
            Mode::Scene(Kind::Ramp) => "loads of different height in turn",
            Mode::Scene(Kind::Stability) => {
                "throughput per second over a longer time, and how much it varies"
            }
            Mode::Scene(Kind::Events) => "--peers processes send records to one that appends them durably",
            Mode::Scene(Kind::Codec) => "values encoded, carried and decoded",
        }
    }

    /// Whether stamps of one side are subtracted from those of the other.
    pub(crate) fn needs_one_clock(self) -> bool {
        matches!(self, Mode::OneWay | Mode::Load)
    }

    /// Whether there is something between two messages that can be made longer.
    pub(crate) fn has_pace(self) -> bool {
        matches!(self, Mode::Rtt | Mode::OneWay)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the calls of a loop wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Io {
    /// In the call.
    Sync,
    /// In a reactor that the measuring thread drives itself.
    Async,
}

impl Io {
    pub(crate) const ALL: [Io; 2] = [Io::Sync, Io::Async];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Io::Sync => "sync",
            Io::Async => "async",
        }
    }
}

/// How the bytes of a message get into the link and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Copied in from the sender's buffer and out into the receiver's.
    Copy,
    /// Written into memory that the link lends, and read where they lie.
    Loan,
}

impl Access {
    pub(crate) const ALL: [Access; 2] = [Access::Copy, Access::Loan];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Access::Copy => "copy",
            Access::Loan => "loan",
        }
    }
}

/// Most messages of a batch: what fits on the stack as slices.
pub(crate) const MAX_BATCH: u64 = 64;

/// How long a phase lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Length {
    Time(Duration),
    Messages(u64),
}

impl Length {
    /// The end of a phase of this length that begins at `start_ns`.
    pub(crate) fn from(self, start_ns: u64) -> PhaseEnd {
        match self {
            Length::Time(time) => PhaseEnd { at_ns: start_ns + time.as_nanos() as u64, messages: u64::MAX },
            Length::Messages(messages) => PhaseEnd { at_ns: u64::MAX, messages },
        }
    }
}

/// When a phase is over: two comparisons per message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhaseEnd {
    at_ns: u64,
    messages: u64,
}

impl PhaseEnd {
    /// Whether the message about to be sent at `now_ns`, after `sent` others, is the last one.
    #[inline]
    pub(crate) fn is_next(self, sent: u64, now_ns: u64) -> bool {
        now_ns >= self.at_ns || sent + 1 >= self.messages
    }
}

/// What precedes the measured part, on the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Warmup {
    /// So long.
    Fixed(Duration),
    /// Windows of this length until [`AGREEING`] in a row agree, for at most so long.
    Steady { window: Duration, longest: Duration },
}

impl Warmup {
    /// About how long it takes, and for a workload whose windows would say nothing, exactly.
    pub(crate) fn about(self) -> Duration {
        match self {
            Warmup::Fixed(time) => time,
            // Three windows that agree, and one before them that does not.
            Warmup::Steady { window, .. } => window * 4,
        }
    }
}

/// Windows that must agree for the state to be called steady.
const AGREEING: usize = 3;

/// How far the slowest of them may be from the fastest: ±5 %.
const AGREEMENT: f64 = 1.1;

/// One phase as the client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) messages: u64,
    /// Before the first send.
    pub(crate) start_ns: u64,
    /// After the last receive.
    pub(crate) end_ns: u64,
}

/// A warm-up that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarmedUp {
    pub(crate) span: Span,
    /// Whether the last windows agreed; `None` when nothing was compared.
    pub(crate) steady: Option<bool>,
}

/// What the sender of a one-way workload knows.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) warmup: WarmedUp,
    /// `start_ns` is taken right before the first measured send.
    pub(crate) measured: Span,
    /// Open loop only.
    pub(crate) achieved: Option<Achieved>,
}

/// How much of a timetable was kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Achieved {
    /// From its start to the moment for which the last message was due.
    pub(crate) planned_ns: u64,
    /// From its start to the moment at which that was sent.
    pub(crate) taken_ns: u64,
}

/// A warm-up of one phase, for workloads whose pace is given: windows would agree at once.
async fn fixed_warm_up(
    warmup: Warmup,
    mut phase: impl AsyncFnMut(Phase, Length) -> Result<Span, Broken>,
) -> Result<WarmedUp, Broken> {
    Ok(WarmedUp { span: phase(Phase::WarmUp, Length::Time(warmup.about())).await?, steady: None })
}

/// Runs phases until the warm-up is over. The last one, and only it, is [`Phase::WarmUp`]: it tells the server.
async fn warm_up(
    warmup: Warmup,
    mut phase: impl AsyncFnMut(Phase, Length) -> Result<Span, Broken>,
) -> Result<WarmedUp, Broken> {
    let (window, longest) = match warmup {
        Warmup::Fixed(time) => {
            return Ok(WarmedUp { span: phase(Phase::WarmUp, Length::Time(time)).await?, steady: None });
        }
        Warmup::Steady { window, longest } => (window, longest),
    };
    let mut windows: Vec<f64> = Vec::new();
    let mut whole: Option<Span> = None;
    loop {
        let span = phase(Phase::First, Length::Time(window)).await?;
        let begun = whole.unwrap_or(Span { messages: 0, ..span });
        whole = Some(Span { messages: begun.messages + span.messages, end_ns: span.end_ns, ..begun });
        windows.push((span.end_ns - span.start_ns) as f64 / span.messages as f64);
        let steady = is_steady(&windows);
        if steady || span.end_ns - begun.start_ns >= longest.as_nanos() as u64 {
            let last = phase(Phase::WarmUp, Length::Messages(1)).await?;
            let messages = begun.messages + span.messages + last.messages;
            let span = Span { messages, start_ns: begun.start_ns, end_ns: last.end_ns };
            return Ok(WarmedUp { span, steady: Some(steady) });
        }
    }
}

/// Whether the last windows took about the same time per message.
fn is_steady(windows: &[f64]) -> bool {
    let Some(last) = windows.len().checked_sub(AGREEING).map(|first| &windows[first..]) else { return false };
    let (fastest, slowest) =
        last.iter().fold((f64::MAX, 0.0f64), |(low, high), ns| (low.min(*ns), high.max(*ns)));
    slowest <= fastest * AGREEMENT
}

/// One trial's work, the same for both sides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) mode: Mode,
    pub(crate) io: Io,
    /// Bytes per message.
    pub(crate) size: usize,
    /// Of the measured part.
    pub(crate) length: Length,
    pub(crate) warmup: Warmup,
    /// Of the payloads, and of the timetable of an open loop.
    pub(crate) seed: u64,
    /// Between two messages, outside the timed region.
    pub(crate) pace: Option<Duration>,
    /// In [`Mode::Load`].
    pub(crate) open_loop: Option<OpenLoop>,
    /// Both sides run on one CPU.
    pub(crate) shares_cpu: bool,
    /// Messages per call, in [`Mode::Stream`].
    pub(crate) batch: u32,
    pub(crate) access: Access,
    /// The first message of the connection counts like any other.
    pub(crate) include_first: bool,
    /// Messages that get a row of their own, at most; 0 for none. In a round trip the echo then carries the moment of its
    /// arrival on the other side, which is read for it.
    pub(crate) records: u32,
    /// Length of the intervals that the measured part is told in as well, of a workload whose messages are timed.
    pub(crate) interval: Option<Duration>,
    /// What the sides read instead of `CLOCK_MONOTONIC`.
    pub(crate) counter: Option<Counter>,
    /// How long the server of a round trip or a stream holds every message back on purpose, in nanoseconds.
    pub(crate) hold_ns: u64,
    /// Real-time priority of the measuring thread, 0 for none.
    pub(crate) priority: u8,
    /// The memory of the process is locked.
    pub(crate) locked: bool,
    /// What the kernel and the processor count is counted.
    pub(crate) counts: bool,
}

/// What one side can tell the runner while it measures.
pub(crate) trait Observer {
    /// Still alive, so many messages into the connection. Called about once a second, outside the timed region.
    fn progress(&mut self, messages: u64);

    /// The measured part begins (`false`) or is over (`true`).
    fn boundary(&mut self, over: bool);
}

/// Nanoseconds between two calls of [`Observer::progress`].
pub(crate) const PROGRESS_NS: u64 = 1_000_000_000;

/// Why a loop ended early.
#[derive(Debug)]
pub(crate) enum Broken {
    Send(SendError),
    Recv(RecvError),
    Message(Flaw),
    /// A pattern or a scene was asked of the two sides of a plain workload, or an open loop without a rate.
    NoPair,
    /// A message longer than the connection carries was taken.
    TooLongTaken {
        len: usize,
    },
}

impl Broken {
    /// Whether the other process is the likelier culprit.
    pub(crate) fn blames_the_peer(&self) -> bool {
        matches!(
            self,
            Broken::Send(SendError::Closed | SendError::PeerDied | SendError::Io(_))
                | Broken::Recv(RecvError::Closed | RecvError::PeerDied { .. } | RecvError::Io(_))
        )
    }
}

impl From<SendError> for Broken {
    fn from(error: SendError) -> Broken {
        Broken::Send(error)
    }
}

impl From<RecvError> for Broken {
    fn from(error: RecvError) -> Broken {
        Broken::Recv(error)
    }
}

impl From<Flaw> for Broken {
    fn from(flaw: Flaw) -> Broken {
        Broken::Message(flaw)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Send(error) => error.fmt(f),
            Broken::Recv(error) => error.fmt(f),
            Broken::Message(flaw) => flaw.fmt(f),
            Broken::NoPair => f.write_str("this mode is no workload of one given connection"),
            Broken::TooLongTaken { len } => {
                write!(f, "a message of {len} bytes was taken, one more than the connection carries")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    mod traps;

    use super::*;

    /// Windows of these lengths per message, each of ten messages.
    fn warmed_up(per_message: &[u64]) -> (WarmedUp, Vec<Phase>) {
        let (mut times, mut clock, mut phases) = (per_message.iter(), 0, Vec::new());
        let window = Duration::from_nanos(1);
        let warmup = Warmup::Steady { window, longest: Duration::from_nanos(2000) };
        let done = now(warm_up(warmup, async |phase, length| {
            phases.push(phase);
            let messages = if matches!(length, Length::Messages(1)) { 1 } else { 10 };
            let start_ns = clock;
            clock += messages * times.next().copied().unwrap_or(1);
            Ok(Span { messages, start_ns, end_ns: clock })
        }));
        (done.unwrap(), phases)
    }

    #[test]
    fn three_windows_within_five_percent_of_their_middle_are_steady() {
        assert!(is_steady(&[10.0, 10.4, 10.9]));
        assert!(is_steady(&[90.0, 30.0, 10.9, 10.4, 10.0]), "how it began is of no account");
        assert!(!is_steady(&[10.0, 10.5, 11.1]), "each is near the one before, and all drift");
        assert!(!is_steady(&[10.0, 12.0, 10.0]));
        assert!(!is_steady(&[10.0, 10.0, 10.0, 12.0]), "how it was is of no account either");
        for few in [[].as_slice(), &[10.0], &[10.0, 10.0]] {
            assert!(!is_steady(few), "{few:?}");
        }
    }

    #[test]
    fn a_warm_up_ends_when_three_windows_agree() {
        let (done, phases) = warmed_up(&[90, 30, 11, 10, 10]);
        assert_eq!(done.steady, Some(true));
        assert_eq!(done.span.messages, 51);
        assert_eq!(phases, [[Phase::First; 5].as_slice(), &[Phase::WarmUp]].concat());
    }

    #[test]
    fn a_warm_up_that_never_settles_ends_and_says_so() {
        let (done, _) = warmed_up(&[10, 20, 10, 20, 10, 20, 10, 20, 10, 20, 10, 20, 10, 20, 10, 20]);
        assert_eq!(done.steady, Some(false));
        assert!(done.span.end_ns >= 2000);
    }
}
