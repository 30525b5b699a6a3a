//! Which limit, and its parameters: values that travel to the other process as text.

use std::{fmt, io, str::FromStr, time::Duration};

/// How a loop over a kernel mechanism waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Blocking calls: the kernel puts the thread to sleep. One system call per message.
    Park,
    /// Non-blocking attempts, again and again, at the price of a core.
    Spin,
}

/// The mechanism of a link.
///
/// `Display` and `FromStr` use the names of the table; a kernel mechanism that spins adds `-spin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cacheline`: one 8-byte word per direction, each on a line of its own. The message *is* the word, so
    /// [`Params::size`] is 8 and each message must differ from the one before it in the same direction (a
    /// sequence number does), and the first must not be `u64::MAX`. Closed loop only.
    Cacheline,
    /// `slot`: one slot per direction, sequence word and payload contiguous; up to 56 bytes lie in one line.
    /// Spins. Closed loop only: each side alternates between sending and receiving.
    Slot,
    /// `futex`: the slot, slept on through a process-shared futex; every message makes one wake-up call.
    /// Closed loop only.
    Futex,
    /// `spin-then-futex`: the slot, spun on for [`Params::spin`] and then slept on; a wake-up call only for
    /// a peer that sleeps. Closed loop only.
    SpinThenFutex,
    /// `ring`: a single-producer single-consumer ring of fixed stride per direction, index published every
    /// [`Params::batch`] messages. Spins.
    Ring,
    /// `eventfd`: the slot, with one `eventfd` per direction written and read for each message. Closed loop
    /// only.
    Eventfd(Wait),
    /// `pipe`: two pipes, frames of a 4-byte little-endian length and the payload, one call per frame.
    Pipe(Wait),
    /// `unix`: a Unix stream socket pair, same frames.
    Unix(Wait),
    /// `seqpacket`: a Unix `SOCK_SEQPACKET` socket pair, same frames, one per packet.
    Seqpacket(Wait),
    /// `tcp`: a loopback connection with `TCP_NODELAY`, same frames.
    Tcp(Wait),
    /// `mq`: two POSIX message queues, bare payload. A receive is one call when a message is there, and
    /// three (try, `ppoll` beside the lifeline, receive) when it had to sleep.
    Mq(Wait),
}

impl Kind {
    /// Every kind, kernel mechanisms in both forms of waiting.
    pub const ALL: [Kind; 17] = [
        Kind::Cacheline,
        Kind::Slot,
        Kind::Futex,
        Kind::SpinThenFutex,
        Kind::Ring,
        Kind::Eventfd(Wait::Park),
        Kind::Eventfd(Wait::Spin),
        Kind::Pipe(Wait::Park),
        Kind::Pipe(Wait::Spin),
        Kind::Unix(Wait::Park),
        Kind::Unix(Wait::Spin),
        Kind::Seqpacket(Wait::Park),
        Kind::Seqpacket(Wait::Spin),
        Kind::Tcp(Wait::Park),
        Kind::Tcp(Wait::Spin),
        Kind::Mq(Wait::Park),
        Kind::Mq(Wait::Spin),
    ];

    /// Whether one side may send again and again without waiting for an answer.
    pub const fn streams(self) -> bool {
        !matches!(self, Kind::Cacheline | Kind::Slot | Kind::Futex | Kind::SpinThenFutex | Kind::Eventfd(_))
    }

    /// The name without the form of waiting, and the form if the kind has two.
    const fn name(self) -> (&'static str, Option<Wait>) {
        match self {
            Kind::Cacheline => ("cacheline", None),
            Kind::Slot => ("slot", None),
            Kind::Futex => ("futex", None),
            Kind::SpinThenFutex => ("spin-then-futex", None),
            Kind::Ring => ("ring", None),
            Kind::Eventfd(wait) => ("eventfd", Some(wait)),
            Kind::Pipe(wait) => ("pipe", Some(wait)),
            Kind::Unix(wait) => ("unix", Some(wait)),
            Kind::Seqpacket(wait) => ("seqpacket", Some(wait)),
            Kind::Tcp(wait) => ("tcp", Some(wait)),
            Kind::Mq(wait) => ("mq", Some(wait)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, wait) = self.name();
        f.write_str(name)?;
        if wait == Some(Wait::Spin) { f.write_str("-spin") } else { Ok(()) }
    }
}

impl FromStr for Kind {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Kind> {
        let known = || Kind::ALL.map(|kind| kind.to_string()).join(", ");
        Kind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| invalid(format!("unknown limit {text:?}; use one of {}", known())))
    }
}

/// What to build. [`Params::new`] has the defaults; a field that a kind does not use is ignored by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The mechanism.
    pub kind: Kind,
    /// Length of every message in bytes, 1 to `u32::MAX`; 8 for [`Kind::Cacheline`].
    pub size: usize,
    /// Distance from one message to the next in a [`Kind::Ring`], in bytes: a multiple of 8, at least
    /// `size + 8` (the 8-byte header precedes the payload).
    pub stride: usize,
    /// Messages a [`Kind::Ring`] holds per direction: a power of two.
    pub slots: usize,
    /// Messages per published index of a [`Kind::Ring`], in `1..=slots`.
    pub batch: usize,
    /// `SO_SNDBUF` and `SO_RCVBUF`, or the pipe's capacity, in bytes; `None` leaves the kernel's default.
    pub buffer: Option<usize>,
    /// Depth of a [`Kind::Mq`] queue in messages, up to `/proc/sys/fs/mqueue/msg_max`.
    pub depth: usize,
    /// How long [`Kind::SpinThenFutex`] spins before it sleeps.
    pub spin: Duration,
    /// Whether each side of a [`Kind::Slot`] or [`Kind::Ring`] maps what the other writes for reading only, as a
    /// transport does whose memory is sealed. Some processors read such pages more slowly.
    pub sealed: bool,
}

impl Params {
    /// The defaults for messages of `size` bytes: a stride of whole 64-byte lines, a ring of at least 1 MiB
    /// and four messages that publishes each message, kernel buffer sizes as they are, 10 messages per queue
    /// (the kernel's default maximum), 20 µs of spinning, all memory writable to both sides.
    pub fn new(kind: Kind, size: usize) -> Params {
        let stride = (size + 8).next_multiple_of(64);
        let slots = ((1 << 20) / stride).next_power_of_two().max(4);
        Params {
            kind,
            size,
            stride,
            slots,
            batch: 1,
            buffer: None,
            depth: 10,
            spin: Duration::from_micros(20),
            sealed: false,
        }
    }

    /// Refuses what no link can be built from.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Params { kind, size, stride, slots, batch, depth, sealed, .. } = *self;
        let refuse = |sentence: String| Err(invalid(format!("{kind} limit: {sentence}")));
        if size == 0 || u32::try_from(size).is_err() {
            return refuse(format!("message size {size} bytes is not in 1..={}", u32::MAX));
        }
        match kind {
            Kind::Cacheline if size != 8 => refuse(format!("a message is one word; use size 8, not {size}")),
            Kind::Ring if stride % 8 != 0 || stride < size + 8 => refuse(format!(
                "stride {stride} must be a multiple of 8 and at least size + 8 = {}",
                size + 8
            )),
            Kind::Ring if !slots.is_power_of_two() => refuse(format!("{slots} slots are not a power of two")),
            Kind::Ring if stride.checked_mul(slots).is_none_or(|bytes| bytes > 1 << 40) => {
                refuse(format!("{slots} slots of {stride} bytes are more than 1 TiB"))
            }
            Kind::Ring if batch == 0 || batch > slots => {
                refuse(format!("batch {batch} is not in 1..={slots}"))
            }
            Kind::Slot | Kind::Ring => Ok(()),
            _ if sealed => refuse("only a slot and a ring have memory that one side alone writes".to_owned()),
            Kind::Mq(_) if depth == 0 => refuse("a queue must hold at least one message".to_owned()),
            _ => Ok(()),
        }
    }
}

/// `key=value` pairs joined by commas, without spaces.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Params { kind, size, stride, slots, batch, buffer, depth, spin, sealed } = self;
        write!(f, "kind={kind},size={size},stride={stride},slots={slots},batch={batch}")?;
        if let Some(bytes) = buffer {
            write!(f, ",buffer={bytes}")?;
        }
        write!(f, ",depth={depth},spin_ns={},sealed={sealed}", spin.as_nanos())
    }
}

impl Params {
    /// Takes one `key=value` of the text form. `Ok(false)` if the key is not one of ours.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> io::Result<bool> {
        let number = || {
            value
                .parse::<usize>()
                .map_err(|error| invalid(format!("limit parameter {key}={value:?}: {error}")))
        };
        match key {
            "kind" => self.kind = value.parse()?,
            "size" => self.size = number()?,
            "stride" => self.stride = number()?,
            "slots" => self.slots = number()?,
            "batch" => self.batch = number()?,
            "buffer" => self.buffer = Some(number()?),
            "depth" => self.depth = number()?,
            "sealed" => {
                let wrong = |error| invalid(format!("limit parameter {key}={value:?}: {error}"));
                self.sealed = value.parse().map_err(wrong)?;
            }
            "spin_ns" => self.spin = Duration::from_nanos(number()? as u64),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// An `InvalidInput` error with a sentence for a person.
pub(crate) fn invalid(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_text_form() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_list() {
        let error = "semaphore".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("\"semaphore\"") && error.contains("spin-then-futex"), "{error}");
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let refused = |change: fn(&mut Params)| {
            let mut params = Params::new(Kind::Ring, 48);
            params.check().unwrap();
            change(&mut params);
            params.check().unwrap_err();
        };
        refused(|p| p.size = 0);
        refused(|p| p.kind = Kind::Cacheline);
        refused(|p| p.stride = 48);
        refused(|p| p.stride = 60);
        refused(|p| p.slots = 3);
        refused(|p| p.slots = 1 << 62);
        refused(|p| p.batch = 0);
        refused(|p| p.batch = p.slots + 1);
        refused(|p| (p.kind, p.sealed) = (Kind::Futex, true));
    }
}
