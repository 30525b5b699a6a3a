//! The side of a one-way workload that takes the time: every message as it arrives.
//!
//! Both sides read one clock, so the stamp of the sender can be subtracted from the moment of arrival. In open loop the
//! last message of the warm-up carries the moment for which the first measured one is due, and the receiver computes the
//! others from the same timetable as the sender.

use super::pace::Timetable;
use super::tape::{Sample, Tape};
use super::{Broken, Endpoint, Observer, PROGRESS_NS, Work};
use crate::clock::now_ns;
use crate::payload::{Flaw, Incoming, Marks, Outgoing, Phase, sent_ns};
use crate::records::Record;

/// What the receiver knows.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) tape: Tape,
    pub(crate) messages: u64,
    /// The way of the first message of the connection, which is in nothing else.
    pub(crate) first_message_ns: u64,
    /// Right after the last measured message arrived.
    pub(crate) last_recv_ns: u64,
}

/// Receives until the measured part is over. The last message of every phase is answered, so that nothing of one phase
/// is still on its way in the next.
pub(crate) async fn server<E: Endpoint>(
    end: &mut E,
    work: &Work,
    observer: &mut impl Observer,
) -> Result<Arrived, Broken> {
    let mut incoming = Incoming::new(work.size, work.seed);
    let mut answers = Outgoing::new(work.size, work.seed);
    let mut buf = Vec::with_capacity(work.size);
    let mut arrived = Arrived { tape: Tape::new(work), messages: 0, first_message_ns: 0, last_recv_ns: 0 };
    let mut due = work.open_loop.map(|asked| Timetable::new(asked, work.seed));
    let (mut origin_ns, mut told) = (0, now_ns());
    loop {
        let seen = end.look(&mut buf, |message| {
            let now = now_ns();
            let marks = incoming.check(message)?;
            if marks.is_inspected() {
                incoming.inspect(message)?;
            }
            Ok::<_, Flaw>((now, marks, sent_ns(message)))
        });
        let (now, marks, sent) = seen.await??;
        let service_ns = now.saturating_sub(sent);
        let record = Record::one_way(sent, marks.sequence, service_ns);
        if marks.phase == Phase::Measured {
            let latency_ns = match &mut due {
                Some(due) => now.saturating_sub(origin_ns + due.next_ns()),
                None => service_ns,
            };
            arrived.tape.record(Sample { now_ns: now, latency_ns, service_ns, record });
            arrived.messages += 1;
            arrived.last_recv_ns = now;
        } else {
            // Recorded and forgotten, so that the memory is warm.
            arrived.tape.record(Sample { now_ns: now, latency_ns: service_ns, service_ns, record });
            if marks.sequence == 0 {
                arrived.first_message_ns = service_ns;
            }
        }
        if now - told >= PROGRESS_NS {
            observer.progress(marks.sequence);
            told = now;
        }
        if marks.last {
            match marks.phase {
                Phase::First => {}
                Phase::WarmUp => {
                    origin_ns = sent;
                    arrived.tape.clear();
                    if work.include_first {
                        arrived.tape.first(arrived.first_message_ns);
                    }
                    observer.boundary(false);
                }
                Phase::Measured => observer.boundary(true),
            }
            answer(end, &mut answers, marks).await?;
            if marks.phase == Phase::Measured {
                return Ok(arrived);
            }
        }
    }
}

pub(super) async fn answer<E: Endpoint>(
    end: &mut E,
    answers: &mut Outgoing,
    to: Marks,
) -> Result<(), Broken> {
    answers.stamp(to.phase, true, 0);
    end.send(answers.bytes()).await?;
    end.flush().await?;
    answers.refill();
    Ok(())
}
