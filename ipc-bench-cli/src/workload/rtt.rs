//! Round trips: one message at a time, there and back.

use ipc_results::Recorder;

use super::{Broken, Endpoint, Length, Observer, PROGRESS_NS, Span, WarmedUp, Work, warm_up};
use crate::clock::now_ns;
use crate::payload::{Incoming, Outgoing, Phase};

/// What the client measured.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    pub(crate) latency: Recorder,
    /// Round trip of the first message of the connection, which is in nothing else.
    pub(crate) first_message_ns: u64,
    pub(crate) warmup: WarmedUp,
    pub(crate) measured: Span,
}

/// The side that takes the time.
pub(crate) async fn client<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<RoundTrips, Broken> {
    let mut client = Client {
        outgoing: Outgoing::new(work.size, work.seed),
        incoming: Incoming::new(work.size, work.seed),
        buf: Vec::with_capacity(work.size),
    };
    let mut latency = Recorder::new();
    let first = client.phase(end, Phase::First, Length::Messages(1), observer, |_| {}).await?;
    // Recorded and forgotten, so that the recorder's memory is warm as well.
    let warmup = warm_up(work.warmup, async |phase, length| {
        client.phase(end, phase, length, observer, |ns| latency.record(ns)).await
    });
    let warmup = warmup.await?;
    latency.clear();
    observer.boundary(false);
    let measured = client.phase(end, Phase::Measured, work.length, observer, |ns| latency.record(ns)).await?;
    observer.boundary(true);
    Ok(RoundTrips { latency, first_message_ns: first.end_ns - first.start_ns, warmup, measured })
}

struct Client {
    outgoing: Outgoing,
    incoming: Incoming,
    buf: Vec<u8>,
}

impl Client {
    /// Round trips until `length` is reached; the message that reaches it still counts.
    ///
    /// One clock read per message: the end of one round trip is the start of the next. What is done between two
    /// messages that is not part of a round trip (looking at a whole body, writing a new one, telling that we are
    /// alive) is followed by a clock read of its own.
    async fn phase<E: Endpoint>(
        &mut self,
        end: &mut E,
        phase: Phase,
        length: Length,
        observer: &mut impl Observer,
        mut record: impl FnMut(u64),
    ) -> Result<Span, Broken> {
        let start_ns = now_ns();
        let end_of_phase = length.from(start_ns);
        let (mut t0, mut told, mut messages) = (start_ns, start_ns, 0);
        loop {
            let last = end_of_phase.is_next(messages, t0);
            self.outgoing.stamp(phase, last, t0);
            end.send(self.outgoing.bytes()).await?;
            end.recv(&mut self.buf).await?;
            let t1 = now_ns();
            record(t1 - t0);
            messages += 1;
            t0 = t1;
            let marks = self.incoming.check(&self.buf)?;
            if marks.is_inspected() {
                self.incoming.inspect(&self.buf)?;
                self.outgoing.refill();
                t0 = now_ns();
            }
            if t1 - told >= PROGRESS_NS {
                observer.progress(marks.sequence);
                told = t1;
                t0 = now_ns();
            }
            if last {
                return Ok(Span { messages, start_ns, end_ns: t1 });
            }
        }
    }
}

/// The side that sends everything back. It checks the sequence; the bodies come back to the client, which checks them.
pub(crate) async fn server<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<(), Broken> {
    let mut incoming = Incoming::new(work.size, work.seed);
    let mut buf = Vec::with_capacity(work.size);
    loop {
        end.recv(&mut buf).await?;
        let marks = incoming.check(&buf)?;
        end.send(&buf).await?;
        if marks.last {
            match marks.phase {
                Phase::First => {}
                Phase::WarmUp => observer.boundary(false),
                Phase::Measured => {
                    observer.boundary(true);
                    return Ok(());
                }
            }
        }
    }
}
