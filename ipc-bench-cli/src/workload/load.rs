//! Open loop: messages at times that were fixed in advance, whatever became of those before them.
//!
//! The receiver records two times for each: `response`, from the moment for which the message was due, and `service`, from
//! the moment at which it was sent. A receiver that stalls delays the sends that were due meanwhile; only the first of
//! the two tells.

use super::pace::{Timetable, wait_until};
use super::{Achieved, Broken, Endpoint, Length, Observer, PROGRESS_NS, Sent, Span, Work, fixed_warm_up};
use crate::clock::now_ns;
use crate::payload::{Incoming, Outgoing, Phase};

/// From the message that announces the start to the start: the announcement has to be answered by then.
const NOTICE_NS: u64 = 2_000_000;

/// A trial that lasts this many times as long as it should is cut short: it is saturated, and longer makes it no better.
const PATIENCE: u64 = 2;

/// The side that sends.
pub(crate) async fn client<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<Sent, Broken> {
    let mut client = Client {
        outgoing: Outgoing::new(work.size, work.seed),
        answers: Incoming::new(work.size, work.seed),
        buf: Vec::with_capacity(work.size),
    };
    client.phase(end, Phase::First, work, Length::Messages(1), None, observer).await?;
    let warmup = fixed_warm_up(work.warmup, async |_, length| {
        client.phase(end, Phase::First, work, length, None, observer).await.map(|(span, _)| span)
    });
    let warmup = warmup.await?;
    let origin_ns = client.announce(end).await?;
    observer.boundary(false);
    let (measured, achieved) =
        client.phase(end, Phase::Measured, work, work.length, Some(origin_ns), observer).await?;
    observer.boundary(true);
    Ok(Sent { warmup, measured, achieved: Some(achieved) })
}

struct Client {
    outgoing: Outgoing,
    answers: Incoming,
    buf: Vec<u8>,
}

impl Client {
    /// Tells the receiver when the first measured message is due, until it has heard in time.
    async fn announce<E: Endpoint>(&mut self, end: &mut E) -> Result<u64, Broken> {
        let mut notice_ns = NOTICE_NS;
        loop {
            let origin_ns = now_ns() + notice_ns;
            self.outgoing.stamp(Phase::WarmUp, true, origin_ns);
            end.send(self.outgoing.bytes()).await?;
            self.outgoing.refill();
            self.answered(end).await?;
            if now_ns() < origin_ns {
                return Ok(origin_ns);
            }
            // A link on which that takes so long gets more of it.
            notice_ns *= 2;
        }
    }

    async fn answered<E: Endpoint>(&mut self, end: &mut E) -> Result<u64, Broken> {
        end.recv(&mut self.buf).await?;
        let now = now_ns();
        self.answers.check(&self.buf)?;
        self.answers.inspect(&self.buf)?;
        Ok(now)
    }

    /// Messages by a timetable that begins at `origin_ns`, or now. How much of it was kept is told with the span.
    async fn phase<E: Endpoint>(
        &mut self,
        end: &mut E,
        phase: Phase,
        work: &Work,
        length: Length,
        origin_ns: Option<u64>,
        observer: &mut impl Observer,
    ) -> Result<(Span, Achieved), Broken> {
        let Some(asked) = work.open_loop else { return Err(Broken::NoPair) };
        let mut timetable = Timetable::new(asked, work.seed);
        let origin_ns = origin_ns.unwrap_or_else(now_ns);
        let (time_ns, most) = match length {
            Length::Time(time) => (time.as_nanos() as u64, u64::MAX),
            Length::Messages(messages) => (u64::MAX, messages),
        };
        let unlimited = asked.per_s <= 0.0;
        let cut_ns = origin_ns.saturating_add(time_ns.saturating_mul(if unlimited { 1 } else { PATIENCE }));
        let (mut due, mut following) = (timetable.next_ns(), timetable.next_ns());
        let (mut first, mut told, mut messages) = (None, now_ns(), 0);
        loop {
            let now = wait_until(origin_ns + due, work.shares_cpu);
            let last = messages + 1 >= most || following >= time_ns || now >= cut_ns;
            let marks = self.outgoing.stamp(phase, last, now);
            end.send(self.outgoing.bytes()).await?;
            messages += 1;
            let first_ns = *first.get_or_insert(now);
            if marks.is_inspected() {
                self.outgoing.refill();
            }
            if now - told >= PROGRESS_NS {
                observer.progress(messages);
                told = now;
            }
            if last {
                let achieved = Achieved { planned_ns: due, taken_ns: now - origin_ns };
                let end_ns = self.answered(end).await?;
                return Ok((Span { messages, start_ns: first_ns, end_ns }, achieved));
            }
            (due, following) = (following, timetable.next_ns());
        }
    }
}
