use std::io::IoSlice;
use std::time::Duration;

use crate::{SendError, Sender, Stats, Wait};

/// Bytes of messages held before they are sent, unless told otherwise: as much as a byte stream's receiver reads at once.
const DEFAULT_BYTES: usize = 64 * 1024;

/// Most messages of one batch: their slices lie on the stack.
const MAX_BATCH: usize = 256;

/// How long dropping it waits for room for what it holds.
const LINGER: Duration = Duration::from_secs(1);

/// Gathers messages and sends them in batches: to a [`Sender`] what [`BufWriter`](std::io::BufWriter) is to a writer.
///
/// For those who have one small message after another and care for how many go through, not for when each arrives: over
/// a socket or a pipe a batch costs one system call. A message waits here until the buffer is full,
/// [`flush`](Sender::flush) is called or this is dropped. **Flush before waiting for an answer.** Dropped, it waits at
/// most a second for room; what does not go then is lost, so flush first to be sure.
///
/// A message as long as the buffer or longer is not copied: what is held goes first, then the message itself.
///
/// ```
/// use ipc_core::{BufSender, SendError, Sender, Wait};
/// fn log(tx: impl Sender, lines: &[&str]) -> Result<(), SendError> {
///     let mut tx = BufSender::new(tx);
///     for line in lines {
///         tx.send(line.as_bytes())?;
///     }
///     tx.flush(Wait::Forever)
/// }
/// ```
#[derive(Debug)]
pub struct BufSender<S: Sender> {
    inner: S,
    /// The bytes of the messages held, one after the other.
    bytes: Vec<u8>,
    /// Where in `bytes` each of them ends.
    ends: Vec<usize>,
    /// How many bytes are held at most.
    limit: usize,
}

impl<S: Sender> BufSender<S> {
    /// Holds up to 64 KiB of messages for `inner`.
    pub fn new(inner: S) -> Self {
        BufSender::with_capacity(DEFAULT_BYTES, inner)
    }

    /// Holds up to `bytes` bytes of messages for `inner`, and never more than 256 messages for each KiB.
    pub fn with_capacity(bytes: usize, inner: S) -> Self {
        BufSender { inner, bytes: Vec::with_capacity(bytes), ends: Vec::new(), limit: bytes }
    }

    /// How many messages were taken and are not sent yet.
    pub fn held(&self) -> usize {
        self.ends.len()
    }

    /// The sender below. What is held goes later than what is sent with it directly.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Empty messages take no bytes but are held all the same.
    fn most_messages(&self) -> usize {
        (self.limit / 1024).max(1) * 256
    }

    /// Sends everything held, in batches. What stops it leaves the rest held.
    fn push(&mut self, wait: Wait) -> Result<(), SendError> {
        let (mut sent, mut start) = (0, 0);
        let mut result = Ok(());
        while sent < self.ends.len() {
            let mut batch = [IoSlice::new(&[]); MAX_BATCH];
            let ends = &self.ends[sent..];
            let mut from = start;
            for (slice, &end) in batch.iter_mut().zip(ends) {
                *slice = IoSlice::new(&self.bytes[from..end]);
                from = end;
            }
            match self.inner.send_batch(&batch[..ends.len().min(MAX_BATCH)], wait) {
                Ok(taken) => {
                    sent += taken;
                    start = self.ends[sent - 1];
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.bytes.drain(..start);
        self.ends.drain(..sent);
        self.ends.iter_mut().for_each(|end| *end -= start);
        result
    }
}

impl<S: Sender> Sender for BufSender<S> {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let max = self.inner.max_message();
        if len > max {
            return Err(SendError::TooLong { len, max });
        }
        if self.bytes.len() + len > self.limit || self.ends.len() == self.most_messages() {
            self.push(wait)?;
        }
        if len >= self.limit {
            return self.inner.send_with(parts, wait);
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
        Ok(())
    }

    fn max_message(&self) -> usize {
        self.inner.max_message()
    }

    /// Of the sender below: what is held is not counted yet.
    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn flush(&mut self, wait: Wait) -> Result<(), SendError> {
        self.push(wait)?;
        self.inner.flush(wait)
    }
}

impl<S: Sender> Drop for BufSender<S> {
    fn drop(&mut self) {
        // In a forked child the sender below refuses: its messages are the parent's to send.
        let _ = self.push(Wait::within(LINGER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    type Batch = Vec<Vec<u8>>;
    type Batches = Arc<Mutex<Vec<Batch>>>;

    /// Takes messages while there is room, at most three at once, and keeps them in batches.
    #[derive(Debug)]
    struct Narrow {
        batches: Batches,
        room: usize,
    }

    impl Narrow {
        fn new(room: usize) -> (Narrow, Batches) {
            let batches = Arc::default();
            (Narrow { batches: Arc::clone(&batches), room }, batches)
        }
    }

    impl Sender for Narrow {
        fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
            let whole = parts.iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>();
            self.send_batch(&[IoSlice::new(&whole)], wait).map(drop)
        }

        fn max_message(&self) -> usize {
            100
        }

        fn stats(&self) -> Stats {
            Stats::default()
        }

        fn send_batch(&mut self, messages: &[IoSlice<'_>], _: Wait) -> Result<usize, SendError> {
            let taken = messages.len().min(3).min(self.room);
            if taken == 0 {
                return Err(SendError::Full);
            }
            self.room -= taken;
            let batch = messages[..taken].iter().map(|message| message.to_vec()).collect();
            self.batches.lock().expect("no panic").push(batch);
            Ok(taken)
        }
    }

    fn arrived(batches: &Batches) -> Batch {
        batches.lock().expect("no panic").concat()
    }

    #[test]
    fn messages_wait_for_a_full_buffer_and_go_in_order() {
        let (narrow, batches) = Narrow::new(usize::MAX);
        let mut tx = BufSender::with_capacity(10, narrow);
        for byte in 0..5 {
            tx.send(&[byte; 2]).expect("room");
        }
        assert_eq!((tx.held(), arrived(&batches).len()), (5, 0), "ten bytes are no more than the buffer has");
        tx.send(&[5; 2]).expect("room");
        assert_eq!((tx.held(), arrived(&batches).len()), (1, 5));
        drop(tx);
        assert_eq!(
            arrived(&batches),
            (0..6).map(|byte| vec![byte; 2]).collect::<Vec<_>>(),
            "the last on drop"
        );
        assert_eq!(batches.lock().expect("no panic")[0].len(), 3, "together");
    }

    #[test]
    fn a_long_message_goes_itself_after_those_held() {
        let (narrow, batches) = Narrow::new(usize::MAX);
        let mut tx = BufSender::with_capacity(10, narrow);
        tx.send(&[1]).expect("room");
        tx.send(&[2; 10]).expect("room");
        assert_eq!((tx.held(), arrived(&batches)), (0, vec![vec![1], vec![2; 10]]));
        let refused = tx.send(&[3; 101]);
        assert!(matches!(refused, Err(SendError::TooLong { len: 101, max: 100 })), "{refused:?}");
    }

    #[test]
    fn where_there_is_no_room_what_is_held_stays_and_the_message_is_not_taken() {
        let (narrow, batches) = Narrow::new(2);
        let mut tx = BufSender::with_capacity(8, narrow);
        for byte in 0..4 {
            tx.try_send(&[byte; 2]).expect("room");
        }
        assert!(matches!(tx.try_send(&[4; 2]), Err(SendError::Full)));
        assert_eq!(tx.held(), 2, "two of the four went");
        assert!(matches!(tx.flush(Wait::Never), Err(SendError::Full)));
        tx.get_mut().room = 10;
        tx.try_send(&[4; 2]).expect("room");
        tx.flush(Wait::Never).expect("room");
        assert_eq!(arrived(&batches), (0..5).map(|byte| vec![byte; 2]).collect::<Vec<_>>());
    }

    #[test]
    fn empty_messages_are_messages_and_are_not_held_for_ever() {
        let (narrow, batches) = Narrow::new(usize::MAX);
        let mut tx = BufSender::with_capacity(8, narrow);
        for _ in 0..257 {
            tx.send(&[]).expect("room");
        }
        assert_eq!((tx.held(), arrived(&batches).len()), (1, 256));
    }
}
