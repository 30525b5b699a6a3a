/// Plain counters of one half of a connection, kept by its owner without atomics.
///
/// ```
/// use ipc_core::{Sender, Stats};
/// fn report(tx: &impl Sender) -> String {
///     let Stats { messages, bytes, full_waits, .. } = tx.stats();
///     format!("{messages} messages, {bytes} bytes, waited for space {full_waits} times")
/// }
/// assert_eq!(Stats::default().messages, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages sent or received.
    pub messages: u64,
    /// Payload bytes of those messages.
    pub bytes: u64,
    /// Calls answered `Full` or `Empty`.
    pub would_block: u64,
    /// Sends that found no space and had to wait for it (receivers: always zero).
    pub full_waits: u64,
    /// Times this half went to sleep in the kernel on a futex or `ppoll`. A kernel transport that sleeps inside its
    /// one send or receive call cannot see that and counts nothing.
    pub parks: u64,
    /// Times this half woke a sleeping peer by a system call (memory-backed transports only).
    pub wakes: u64,
    /// Most bytes this half has seen in flight (memory-backed transports only).
    pub max_occupancy_bytes: u64,
}
