//! The way to the receiver: paced messages, timed by whoever receives them.

use std::time::Duration;

use super::pace::wait_until;
use super::{Broken, Endpoint, Length, Observer, PROGRESS_NS, Sent, Span, Work, fixed_warm_up};
use crate::clock::now_ns;
use crate::payload::{Incoming, Outgoing, Phase};

/// Between two messages unless somebody says otherwise: 10,000 a second, few enough that each finds an empty link.
pub(crate) const DEFAULT_PACE: Duration = Duration::from_micros(100);

/// The side that sends, each message as long after the one before it as was asked for. What a message waits for is not
/// made up for by sending the next ones faster: that is what open loop is for.
pub(crate) async fn client<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<Sent, Broken> {
    let mut client = Client {
        outgoing: Outgoing::new(work.size, work.seed),
        answers: Incoming::new(work.size, work.seed),
        shares_cpu: work.shares_cpu,
        pace_ns: work.pace.unwrap_or(DEFAULT_PACE).as_nanos() as u64,
        buf: Vec::with_capacity(work.size),
    };
    client.phase(end, Phase::First, Length::Messages(1), observer).await?;
    let warmup =
        fixed_warm_up(work.warmup, async |phase, length| client.phase(end, phase, length, observer).await);
    let warmup = warmup.await?;
    observer.boundary(false);
    let measured = client.phase(end, Phase::Measured, work.length, observer).await?;
    observer.boundary(true);
    Ok(Sent { warmup, measured, achieved: None })
}

struct Client {
    outgoing: Outgoing,
    answers: Incoming,
    shares_cpu: bool,
    pace_ns: u64,
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
        let end_of_phase = length.from(start_ns);
        let (mut due, mut told, mut messages) = (start_ns, start_ns, 0);
        loop {
            let now = wait_until(due, self.shares_cpu);
            let last = end_of_phase.is_next(messages, now);
            let marks = self.outgoing.stamp(phase, last, now);
            end.send(self.outgoing.bytes()).await?;
            messages += 1;
            due = now + self.pace_ns;
            if marks.is_inspected() {
                self.outgoing.refill();
            }
            if now - told >= PROGRESS_NS {
                observer.progress(messages);
                told = now;
            }
            if last {
                break;
            }
        }
        end.recv(&mut self.buf).await?;
        let end_ns = now_ns();
        self.answers.check(&self.buf)?;
        self.answers.inspect(&self.buf)?;
        Ok(Span { messages, start_ns, end_ns })
    }
}
