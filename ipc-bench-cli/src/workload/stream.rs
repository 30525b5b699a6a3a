//! Throughput one way: as many messages as the link takes.

use super::arrivals::answer;
use super::batch::{Batch, is_inspected};
use super::hold::Hold;
use super::{Broken, Endpoint, Length, Observer, PROGRESS_NS, Sent, Span, Work, warm_up};
use crate::clock::now_ns;
use crate::payload::{Flaw, Incoming, Marks, Outgoing, Phase};

/// Bytes between two clock reads of the sender: a read costs as much as copying a kilobyte.
const STRIDE_BYTES: usize = 64 << 10;

/// What the receiver knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) messages: u64,
    /// Right after the last measured message arrived.
    pub(crate) last_recv_ns: u64,
}

/// The side that sends. Each phase ends with an answer from the receiver, so that nothing of one phase is still on its
/// way in the next.
pub(crate) async fn client<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<Sent, Broken> {
    let mut client = Client {
        outgoing: Outgoing::new(work.size, work.seed),
        answers: Incoming::new(work.size, work.seed),
        stride: (STRIDE_BYTES / work.size).clamp(1, 64) as u64,
        batch: (work.batch > 1).then(|| Batch::new(work.batch, work.size)),
        buf: Vec::with_capacity(work.size),
    };
    client.phase(end, Phase::First, Length::Messages(1), observer).await?;
    let warmup = warm_up(work.warmup, async |phase, length| client.phase(end, phase, length, observer).await);
    let warmup = warmup.await?;
    observer.boundary(false);
    let measured = client.phase(end, Phase::Measured, work.length, observer).await?;
    observer.boundary(true);
    Ok(Sent { warmup, measured, achieved: None })
}

struct Client {
    outgoing: Outgoing,
    /// The receiver answers with messages of its own numbering.
    answers: Incoming,
    /// Messages between two clock reads.
    stride: u64,
    batch: Option<Batch>,
    buf: Vec<u8>,
}

impl Client {
    async fn phase<E: Endpoint>(
        &mut self,
        end: &mut E,
        phase: Phase,
        length: Length,
        observer: &mut impl Observer,
    ) -> Result<Span, Broken> {
        let start_ns = now_ns();
        let messages = match &mut self.batch {
            Some(batch) => batch.send(end, &mut self.outgoing, phase, length, observer).await?,
            None => self.send(end, phase, length, observer).await?,
        };
        end.flush().await?;
        end.recv(&mut self.buf).await?;
        let end_ns = now_ns();
        self.answers.check(&self.buf)?;
        self.answers.inspect(&self.buf)?;
        Ok(Span { messages, start_ns, end_ns })
    }

    /// Sends messages one by one until `length` is reached; how many.
    async fn send<E: Endpoint>(
        &mut self,
        end: &mut E,
        phase: Phase,
        length: Length,
        observer: &mut impl Observer,
    ) -> Result<u64, Broken> {
        let start_ns = now_ns();
        let end_of_phase = length.from(start_ns);
        let (mut now, mut told, mut messages) = (start_ns, start_ns, 0);
        loop {
            if messages % self.stride == 0 {
                now = now_ns();
                if now - told >= PROGRESS_NS {
                    observer.progress(messages);
                    told = now;
                }
            }
            let last = end_of_phase.is_next(messages, now);
            let marks = self.outgoing.stamp(phase, last, now);
            end.send(self.outgoing.bytes()).await?;
            messages += 1;
            if marks.is_inspected() {
                self.outgoing.refill();
            }
            if last {
                return Ok(messages);
            }
        }
    }
}

/// The side that receives.
pub(crate) async fn server<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<Delivered, Broken> {
    let mut incoming = Incoming::new(work.size, work.seed);
    let mut answers = Outgoing::new(work.size, work.seed);
    let mut buf = Vec::with_capacity(work.size);
    let mut before = 0;
    let hold = Hold::new(work.hold_ns);
    loop {
        let last = if work.batch > 1 {
            let mut last = Ok(None);
            let take = |message: &[u8]| {
                hold.here();
                if matches!(last, Ok(None)) {
                    last = receive(&mut incoming, work.batch, message);
                }
            };
            end.recv_batch(work.batch as usize, &mut buf, take).await?;
            last?
        } else {
            end.look(&mut buf, |message| {
                hold.here();
                receive(&mut incoming, 1, message)
            })
            .await??
        };
        if let Some((marks, arrived_ns)) = last {
            answer(end, &mut answers, marks).await?;
            match marks.phase {
                Phase::First => {}
                Phase::WarmUp => {
                    before = marks.sequence + 1;
                    observer.boundary(false);
                }
                Phase::Measured => {
                    observer.boundary(true);
                    // Every number up to this one arrived once, or the check would have failed.
                    let messages = marks.sequence + 1 - before;
                    return Ok(Delivered { messages, last_recv_ns: arrived_ns });
                }
            }
        }
    }
}

/// Checks the next message; the last one of a phase is given back with its arrival.
#[inline]
fn receive(incoming: &mut Incoming, batch: u32, message: &[u8]) -> Result<Option<(Marks, u64)>, Flaw> {
    let marks = incoming.check(message)?;
    if !is_inspected(marks, batch) {
        return Ok(None);
    }
    let arrived_ns = now_ns();
    incoming.inspect(message)?;
    Ok(marks.last.then_some((marks, arrived_ns)))
}
