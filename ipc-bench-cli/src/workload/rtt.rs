//! Round trips: one message at a time, there and back.

use super::hold::Hold;
use super::pace::wait_until;
use super::tape::{Sample, Tape};
use super::{Broken, Endpoint, Length, Observer, PROGRESS_NS, Span, WarmedUp, Work, warm_up};
use crate::clock::now_ns;
use crate::payload::{Flaw, Incoming, Outgoing, Phase, restamp, sent_ns};
use crate::records::Record;

/// What the client measured.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    pub(crate) tape: Tape,
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
        pace_ns: work.pace.map(|pace| pace.as_nanos() as u64),
        shares_cpu: work.shares_cpu,
    };
    let mut tape = Tape::new(work);
    let first = client.phase(end, Phase::First, Length::Messages(1), observer, |_| {}).await?;
    // Recorded and forgotten, so that the recorder's memory is warm as well.
    let warmup = warm_up(work.warmup, async |phase, length| {
        client.phase(end, phase, length, observer, |sample| tape.record(sample)).await
    });
    let warmup = warmup.await?;
    tape.clear();
    let first_message_ns = first.end_ns - first.start_ns;
    if work.include_first {
        tape.first(first_message_ns);
    }
    observer.boundary(false);
    let measured =
        client.phase(end, Phase::Measured, work.length, observer, |sample| tape.record(sample)).await?;
    observer.boundary(true);
    Ok(RoundTrips { tape, first_message_ns, warmup, measured })
}

struct Client {
    outgoing: Outgoing,
    incoming: Incoming,
    buf: Vec<u8>,
    pace_ns: Option<u64>,
    shares_cpu: bool,
}

impl Client {
    /// Round trips until `length` is reached; the message that reaches it still counts.
    ///
    /// One clock read per message: the end of one round trip is the start of the next. What is done between two
    /// messages that is not part of a round trip (looking at a whole body, writing a new one, telling that we are
    /// alive, the pace) is followed by a clock read of its own.
    async fn phase<E: Endpoint>(
        &mut self,
        end: &mut E,
        phase: Phase,
        length: Length,
        observer: &mut impl Observer,
        mut record: impl FnMut(Sample),
    ) -> Result<Span, Broken> {
        let start_ns = now_ns();
        let end_of_phase = length.from(start_ns);
        let (mut t0, mut told, mut messages) = (start_ns, start_ns, 0);
        loop {
            let last = end_of_phase.is_next(messages, t0);
            self.outgoing.stamp(phase, last, t0);
            end.send(self.outgoing.bytes()).await?;
            let incoming = &mut self.incoming;
            let seen = end.look(&mut self.buf, |reply| {
                let t1 = now_ns();
                let marks = incoming.check(reply)?;
                let (latency_ns, stamp) = (t1 - t0, sent_ns(reply));
                let record_of = Record::round_trip(t0, marks.sequence, stamp.saturating_sub(t0), latency_ns);
                record(Sample { now_ns: t1, latency_ns, service_ns: 0, record: record_of });
                if marks.is_inspected() {
                    incoming.inspect(reply)?;
                }
                Ok::<_, Flaw>((t1, marks))
            });
            let (t1, marks) = seen.await??;
            messages += 1;
            t0 = t1;
            if marks.is_inspected() {
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
            if let Some(pace_ns) = self.pace_ns {
                t0 = wait_until(t1 + pace_ns, self.shares_cpu);
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
    let hold = Hold::new(work.hold_ns);
    loop {
        let check = |request: &[u8]| {
            hold.here();
            incoming.check(request)
        };
        let marks = if work.records > 0 {
            // Right before it is sent back: looking at a header takes less than reading the clock.
            let mark = |reply: &mut [u8]| restamp(reply, now_ns());
            end.echo(&mut buf, check, mark).await??
        } else {
            end.echo(&mut buf, check, |_| {}).await??
        };
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
