//! What a program says about its messages beyond their bytes: a name for each type, a priority, and the envelope that
//! carries routing beside the message.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Address;
use crate::hello::Hello;

/// How urgent a message is, from least to most. What it means is for the layer that queues messages to say; the
/// ordered contract of [`Sender`](crate::Sender) ignores it.
///
/// ```
/// use ipc_core::message::Priority;
/// assert!(Priority::Critical > Priority::Normal);
/// assert_eq!(Priority::default(), Priority::Normal);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// After everything else.
    Low,
    /// What a message has unless it says otherwise.
    #[default]
    Normal,
    /// Before the ordinary.
    High,
    /// Before everything else.
    Critical,
}

/// A type that travels between processes or actors under a name of its own.
///
/// ```
/// use ipc_core::message::{Fingerprint, Message};
///
/// struct Order;
/// impl Message for Order {
///     const MESSAGE_TYPE: &'static str = "shop.order/1";
/// }
/// struct Refund;
/// impl Message for Refund {
///     const MESSAGE_TYPE: &'static str = "shop.refund/1";
/// }
/// // Both programs state it in their options; different sets of names do not connect.
/// const SHOP: Fingerprint = Fingerprint::of(&[Order::MESSAGE_TYPE, Refund::MESSAGE_TYPE]);
/// assert_ne!(SHOP, Fingerprint::of(&[Order::MESSAGE_TYPE]));
/// ```
pub trait Message: Send + 'static {
    /// Name and version of the type, e.g. `"shop.order/1"`. Change it whenever the encoding changes.
    const MESSAGE_TYPE: &'static str;

    /// Priority of messages of this type.
    const PRIORITY: Priority = Priority::Normal;

    /// Priority of this message.
    fn priority(&self) -> Priority {
        Self::PRIORITY
    }
}

/// Identity of the message types two programs must share. It goes into the hello of every connection whose options
/// state it, and a peer that states another one is refused before the first message.
///
/// ```
/// use ipc_core::message::Fingerprint;
/// const OURS: Fingerprint = Fingerprint::of(&["shop.order/1"]);
/// assert_eq!(OURS.to_string().parse(), Ok(OURS));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a list of [`MESSAGE_TYPE`](Message::MESSAGE_TYPE) names: FNV-1a over each name and a
    /// separator. The order counts: both programs best name one shared constant.
    pub const fn of(names: &[&str]) -> Fingerprint {
        let mut hash = Hello::layout_of("");
        let mut at = 0;
        while at < names.len() {
            // The hash of what came before is folded in by position, so that ["ab"] and ["a", "b"] differ.
            hash = hash.rotate_left(7) ^ Hello::layout_of(names[at]);
            hash = hash.wrapping_mul(0x0000_0100_0000_01B3);
            at += 1;
        }
        // Zero on the wire says "not stated".
        Fingerprint(if hash == 0 { 1 } else { hash })
    }

    /// The number in the hello; never zero.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// Reads what `Display` writes: `0x` and up to 16 hexadecimal digits, not all zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        match digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            None | Some(0) => {
                Err("a fingerprint is 0x and up to 16 hexadecimal digits, not all of them zero")
            }
            Some(number) => Ok(Fingerprint(number)),
        }
    }
}

/// A message and what routing needs to know about it. `A` is how the layer above addresses its endpoints.
///
/// ```
/// use ipc_core::message::{Envelope, Priority};
/// use std::time::Duration;
///
/// let envelope: Envelope<&str> = Envelope::new("hello")
///     .from("uds:here".parse()?)
///     .correlated(7)
///     .expiring(Duration::from_millis(20))
///     .urgent(Priority::High);
/// assert_eq!((envelope.message, envelope.correlation), ("hello", Some(7)));
/// # Ok::<(), ipc_core::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Envelope<M, A = Address> {
    /// Who sent it.
    pub sender: Option<A>,
    /// Where an answer goes; where it is `None`, to the sender.
    pub reply_to: Option<A>,
    /// Ties an answer to its question.
    pub correlation: Option<u64>,
    /// How long the message is worth delivering, counted by whoever holds it from the moment it got it.
    pub ttl: Option<Duration>,
    /// How urgent it is.
    pub priority: Priority,
    /// The message itself.
    pub message: M,
}

impl<M, A> Envelope<M, A> {
    /// An envelope with nothing but the message, at normal priority.
    pub fn new(message: M) -> Self {
        Envelope {
            sender: None,
            reply_to: None,
            correlation: None,
            ttl: None,
            priority: Priority::Normal,
            message,
        }
    }

    /// The same, from `sender`.
    #[must_use]
    pub fn from(self, sender: A) -> Self {
        Envelope { sender: Some(sender), ..self }
    }

    /// The same, with answers going to `address`.
    #[must_use]
    pub fn reply_to(self, address: A) -> Self {
        Envelope { reply_to: Some(address), ..self }
    }

    /// The same, tied to the question or conversation `id`.
    #[must_use]
    pub fn correlated(self, id: u64) -> Self {
        Envelope { correlation: Some(id), ..self }
    }

    /// The same, worth delivering for `ttl` only.
    #[must_use]
    pub fn expiring(self, ttl: Duration) -> Self {
        Envelope { ttl: Some(ttl), ..self }
    }

    /// The same with another priority.
    #[must_use]
    pub fn urgent(self, priority: Priority) -> Self {
        Envelope { priority, ..self }
    }

    /// Where an answer goes.
    pub fn answer_to(&self) -> Option<&A> {
        self.reply_to.as_ref().or(self.sender.as_ref())
    }

    /// The moment after which the message is not worth delivering, for a holder that got it at `received`. `None`: it
    /// does not expire.
    pub fn deadline(&self, received: Instant) -> Option<Instant> {
        received.checked_add(self.ttl?)
    }

    /// The same envelope around what `change` makes of the message.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Envelope<N, A> {
        let Envelope { sender, reply_to, correlation, ttl, priority, message } = self;
        Envelope { sender, reply_to, correlation, ttl, priority, message: change(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_differ_in_names_order_and_boundaries() {
        let all = [&["a", "b"][..], &["b", "a"], &["ab"], &["a"], &[], &["a", "b", ""]].map(Fingerprint::of);
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
            assert_eq!(one.to_string().parse(), Ok(*one));
        }
        for text in ["", "12", "0x", "0x0", "0xg", "0x+1", "0x12345678123456781"] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_envelope_survives_encoding() {
        let envelope: Envelope<u32> = Envelope::new(7)
            .from("uds:me".parse().unwrap())
            .reply_to("shm:back?capacity=1M".parse().unwrap())
            .correlated(3)
            .expiring(Duration::from_secs(2))
            .urgent(Priority::Critical);
        let mut bytes = Vec::new();
        crate::codec::encode(&envelope, &mut bytes).unwrap();
        let back: Envelope<u32> = crate::codec::decode(&bytes).unwrap();
        assert_eq!(back, envelope);
        assert_eq!(back.answer_to().unwrap().scheme(), "shm");
    }

    #[test]
    fn a_ttl_counts_from_receipt() {
        let now = Instant::now();
        let envelope: Envelope<()> = Envelope::new(()).expiring(Duration::from_secs(1));
        assert_eq!(envelope.deadline(now), Some(now + Duration::from_secs(1)));
        assert_eq!(Envelope::<(), Address>::new(()).deadline(now), None);
        assert_eq!(envelope.clone().expiring(Duration::MAX).deadline(now), None);
        assert_eq!(envelope.map(|()| 5).message, 5);
    }
}
