//! What may travel beside a message. Plain messages carry none of it and pay for none of it.

use std::time::Duration;

use crate::id::ActorAddress;

/// A message and what routing needs to know about it: [`ipc_core::Envelope`] between actors.
///
/// ```
/// use ipc_actors::Envelope;
/// use std::time::Duration;
///
/// let envelope: Envelope<&str> = Envelope::new("hello").correlated(7).expiring(Duration::from_millis(20));
/// assert_eq!(envelope.correlation, Some(7));
/// ```
pub type Envelope<M> = ipc_core::Envelope<M, ActorAddress>;

/// The extras of an envelope, as they lie in a mailbox.
pub(crate) struct Extras {
    pub(crate) reply_to: Option<ActorAddress>,
    pub(crate) correlation: Option<u64>,
    /// The system's time after which the message is not delivered.
    pub(crate) deadline: Option<Duration>,
}
