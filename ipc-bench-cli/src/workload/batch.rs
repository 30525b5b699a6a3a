//! Several messages per call: what a batch is made of.

use std::io::IoSlice;

use super::{Broken, Endpoint, Length, MAX_BATCH, Observer, PROGRESS_NS};
use crate::clock::now_ns;
use crate::payload::{EPOCH, Marks, Outgoing, Phase};

/// Whether the whole body of this message is looked at, and a new one begun after it. Each buffer of a batch has a body of
/// its own to write, so a body lasts for as many batches as it otherwise does for messages.
#[inline]
pub(super) fn is_inspected(marks: Marks, batch: u32) -> bool {
    let epoch = EPOCH * u64::from(batch);
    marks.last || marks.sequence % epoch == epoch - 1
}

/// A buffer for every message of a batch.
#[derive(Debug)]
pub(super) struct Batch {
    buffers: Vec<Vec<u8>>,
    /// Number of the body that each buffer holds.
    bodies: Vec<u64>,
    body: u64,
}

impl Batch {
    /// Of `batch` messages, at most [`MAX_BATCH`], of `size` bytes.
    pub(super) fn new(batch: u32, size: usize) -> Batch {
        let batch = batch.min(MAX_BATCH as u32) as usize;
        Batch { buffers: vec![vec![0; size]; batch], bodies: vec![0; batch], body: 1 }
    }

    /// Sends messages in batches until `length` is reached; how many. The last batch may be smaller.
    pub(super) async fn send<E: Endpoint>(
        &mut self,
        end: &mut E,
        outgoing: &mut Outgoing,
        phase: Phase,
        length: Length,
        observer: &mut impl Observer,
    ) -> Result<u64, Broken> {
        let start_ns = now_ns();
        let end_of_phase = length.from(start_ns);
        let (mut told, mut messages, mut last) = (start_ns, 0, false);
        while !last {
            let now = now_ns();
            if now - told >= PROGRESS_NS {
                observer.progress(messages);
                told = now;
            }
            let mut count = 0;
            while count < self.buffers.len() && !last {
                last = end_of_phase.is_next(messages, now);
                self.fill(count, outgoing, phase, last, now);
                messages += 1;
                count += 1;
            }
            let mut parts = [IoSlice::new(&[]); MAX_BATCH as usize];
            for (part, buffer) in parts.iter_mut().zip(&self.buffers) {
                *part = IoSlice::new(buffer);
            }
            end.send_batch(&parts[..count]).await?;
        }
        Ok(messages)
    }

    #[inline]
    fn fill(&mut self, index: usize, outgoing: &mut Outgoing, phase: Phase, last: bool, now: u64) {
        let marks = outgoing.stamp(phase, last, now);
        let (buffer, bytes) = (&mut self.buffers[index], outgoing.bytes());
        if self.bodies[index] == self.body {
            let header = bytes.len().min(crate::payload::MIN_SIZE);
            buffer[..header].copy_from_slice(&bytes[..header]);
        } else {
            buffer.copy_from_slice(bytes);
            self.bodies[index] = self.body;
        }
        if is_inspected(marks, self.buffers.len() as u32) {
            outgoing.refill();
            self.body += 1;
        }
    }
}
