//! The traps of those who measured before (`predecessors.md`), each against the loops themselves: over a real
//! connection, with one end that does what the trap is about.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use ipc_results::Recorder;
use ipc_transports::{
    RecvError, SendError, Sender, Transport, Uds, UdsOptions, UdsReceiver, UdsSender, Wait,
};

use crate::clock::now_ns;
use crate::payload::Flaw;
use crate::workload::pace::wait_until;
use crate::workload::{
    Arrivals, Blocking, Broken, Endpoint, Io, Length, Mode, Observer, OpenLoop, Warmup, Work, arrivals, load,
    now, oneway, rtt, stream,
};

type End = Blocking<UdsSender, UdsReceiver>;

struct Nobody;

impl Observer for Nobody {
    fn progress(&mut self, _: u64) {}
    fn boundary(&mut self, _: bool) {}
}

fn work(mode: Mode, length: Length) -> Work {
    Work {
        hold_ns: 0,
        priority: 0,
        locked: false,
        counts: false,
        mode,
        io: Io::Sync,
        size: 64,
        length,
        warmup: Warmup::Fixed(Duration::from_millis(1)),
        seed: 7,
        pace: None,
        open_loop: None,
        shares_cpu: true,
        batch: 1,
        access: crate::workload::Access::Copy,
        include_first: false,
        records: 0,
        interval: None,
        counter: None,
    }
}

fn pair() -> (End, End) {
    let (near, far) = Uds::pair(&UdsOptions::default()).unwrap();
    (Blocking { tx: near.tx, rx: near.rx }, Blocking { tx: far.tx, rx: far.rx })
}

/// Both sides of a workload, each on a thread of its own.
fn both<C, S: Send>(client: impl FnOnce(End) -> C, server: impl FnOnce(End) -> S + Send) -> (C, S) {
    let (near, far) = pair();
    thread::scope(|scope| {
        let server = scope.spawn(move || server(far));
        (client(near), server.join().unwrap())
    })
}

/// An end on which something is different.
struct Odd<F> {
    end: End,
    /// Called with every message that was received.
    received: F,
    /// How long a message waits for space.
    full_ns: u64,
}

impl<F: FnMut(&mut Vec<u8>)> Endpoint for Odd<F> {
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        if self.full_ns > 0 {
            wait_until(now_ns() + self.full_ns, true);
        }
        self.end.send(message).await
    }

    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        self.end.recv(buf).await?;
        (self.received)(buf);
        Ok(())
    }
}

fn p50(recorder: &Recorder) -> u64 {
    recorder.percentile_ns(50.0).unwrap()
}

#[test]
fn trap_01_pacing_is_not_in_the_round_trip() {
    let pace = Duration::from_millis(10);
    let work = Work { pace: Some(pace), ..work(Mode::Rtt, Length::Messages(20)) };
    let (trips, served) = both(
        |mut end| now(rtt::client(&mut end, &work, &mut Nobody)).unwrap(),
        |mut end| now(rtt::server(&mut end, &work, &mut Nobody)),
    );
    served.unwrap();
    let took = trips.measured.end_ns - trips.measured.start_ns;
    assert!(took >= 19 * 10_000_000, "{took} ns for 20 messages at 10 ms");
    let fastest = trips.tape.latency.min_ns().unwrap();
    assert!(fastest < 5_000_000, "no round trip was faster than {fastest} ns");
}

#[test]
fn trap_05_a_stalled_receiver_shows_in_the_response_and_not_in_the_service() {
    const STALL_NS: u64 = 100_000_000;
    let open_loop = Some(OpenLoop { per_s: 10_000.0, arrivals: Arrivals::Constant });
    let work = Work { open_loop, ..work(Mode::Load, Length::Time(Duration::from_secs(1))) };
    let (sent, arrived) = both(
        |mut end| now(load::client(&mut end, &work, &mut Nobody)).unwrap(),
        |end| {
            let mut count = 0;
            let received = |_: &mut Vec<u8>| {
                count += 1;
                if count == 3000 {
                    // The stall under test.
                    wait_until(now_ns() + STALL_NS, true);
                }
            };
            now(arrivals::server(&mut Odd { end, received, full_ns: 0 }, &work, &mut Nobody)).unwrap()
        },
    );
    assert_eq!(sent.measured.messages, 10_000);
    assert_eq!(arrived.messages, 10_000);
    let response = arrived.tape.latency.percentile_ns(99.0).unwrap();
    assert!(response >= STALL_NS / 2, "response p99 {response} ns");
    let service = p50(arrived.tape.service.as_ref().unwrap());
    assert!(service < STALL_NS / 4, "service p50 {service} ns");
}

/// One end of a connection that holds one message each way, between two sides that take turns on one thread. A message is
/// sent when it was taken, so nothing but the sides decides when that is: no scheduler and no buffer has a part in it.
struct Handed<F> {
    there: Rc<RefCell<Option<Vec<u8>>>>,
    here: Rc<RefCell<Option<Vec<u8>>>>,
    received: F,
}

impl<F: FnMut()> Endpoint for Handed<F> {
    async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        *self.there.borrow_mut() = Some(message.to_vec());
        poll_fn(|_| if self.there.borrow().is_none() { Poll::Ready(Ok(())) } else { Poll::Pending }).await
    }

    async fn recv(&mut self, buf: &mut Vec<u8>) -> Result<(), RecvError> {
        let taken = |_: &mut Context<'_>| self.here.borrow_mut().take().map_or(Poll::Pending, Poll::Ready);
        *buf = poll_fn(taken).await;
        Ok(())
    }

    async fn look<R>(&mut self, buf: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> R) -> Result<R, RecvError> {
        self.recv(buf).await?;
        let seen = look(buf);
        (self.received)();
        Ok(seen)
    }
}

/// Every two hundredth message is followed by a stall of a millisecond, in which ten fall due. Whatever the machine is busy
/// with, the first five of those come half of it late or more, and they are more than one in a hundred; and from the moment
/// at which one is sent it takes its way at once, unless another program gets its turn just then, which are few of them.
#[test]
fn trap_05_stalls_of_a_millisecond_show_in_the_response_and_not_in_the_service() {
    const STALL_NS: u64 = 1_000_000;
    let open_loop = Some(OpenLoop { per_s: 10_000.0, arrivals: Arrivals::Constant });
    let work = Work { open_loop, ..work(Mode::Load, Length::Messages(4000)) };
    let (ours, theirs) = (Rc::default(), Rc::default());
    let mut near = Handed { there: Rc::clone(&theirs), here: Rc::clone(&ours), received: || {} };
    let mut count = 0;
    let stalls = || {
        count += 1;
        if count % 200 == 0 {
            // The stall under test.
            wait_until(now_ns() + STALL_NS, true);
        }
    };
    let mut far = Handed { there: ours, here: theirs, received: stalls };
    let (mut one, mut other) = (Nobody, Nobody);
    let mut client = pin!(load::client(&mut near, &work, &mut one));
    let mut server = pin!(arrivals::server(&mut far, &work, &mut other));
    let (mut sent, mut arrived) = (None, None);
    let mut turn = Context::from_waker(Waker::noop());
    while sent.is_none() || arrived.is_none() {
        if sent.is_none()
            && let Poll::Ready(done) = client.as_mut().poll(&mut turn)
        {
            sent = Some(done.unwrap());
        }
        if arrived.is_none()
            && let Poll::Ready(done) = server.as_mut().poll(&mut turn)
        {
            arrived = Some(done.unwrap());
        }
    }
    let arrived = arrived.unwrap();
    assert_eq!((sent.unwrap().measured.messages, arrived.messages), (4000, 4000));
    let response = arrived.tape.latency.percentile_ns(99.0).unwrap();
    assert!(response >= STALL_NS / 2, "response p99 {response} ns");
    let service = arrived.tape.service.unwrap();
    assert!(p50(&service) < STALL_NS / 4, "service p50 {} ns", p50(&service));
    // Seven in two hundred come three tenths of a stall late: a service that counted them would be as long here.
    let [service, response] = [service, arrived.tape.latency].map(|all| all.percentile_ns(97.0).unwrap());
    assert!(service < STALL_NS / 4 && response >= STALL_NS * 3 / 10, "p97 {service} ns of {response} ns");
}

#[test]
fn trap_06_waiting_for_space_is_part_of_every_latency() {
    const FULL_NS: u64 = 3_000_000;
    let slow = |end| Odd { end, received: |_: &mut Vec<u8>| {}, full_ns: FULL_NS };
    let work = |mode| Work {
        pace: Some(Duration::from_millis(1)),
        open_loop: (mode == Mode::Load).then_some(OpenLoop { per_s: 1000.0, arrivals: Arrivals::Poisson }),
        ..work(mode, Length::Messages(5))
    };
    let (trips, _) = both(
        |end| now(rtt::client(&mut slow(end), &work(Mode::Rtt), &mut Nobody)).unwrap(),
        |mut end| now(rtt::server(&mut end, &work(Mode::Rtt), &mut Nobody)).unwrap(),
    );
    assert!(trips.tape.latency.min_ns().unwrap() >= FULL_NS * 99 / 100);
    for mode in [Mode::OneWay, Mode::Load] {
        let work = work(mode);
        let (_, arrived) = both(
            |end| match mode {
                Mode::Load => now(load::client(&mut slow(end), &work, &mut Nobody)).unwrap(),
                _ => now(oneway::client(&mut slow(end), &work, &mut Nobody)).unwrap(),
            },
            |mut end| now(arrivals::server(&mut end, &work, &mut Nobody)).unwrap(),
        );
        assert!(arrived.tape.latency.min_ns().unwrap() >= FULL_NS * 99 / 100, "{mode}");
        let service = arrived.tape.service.as_ref().map(|service| service.min_ns().unwrap());
        assert!(service.is_none_or(|service| service >= FULL_NS * 99 / 100), "{mode}");
    }
}

/// What the client of a round trip says to an end that changes what comes back.
fn flaw(change: impl FnMut(&mut Vec<u8>)) -> Broken {
    let work = work(Mode::Rtt, Length::Messages(200));
    let (client, _) = both(
        |end| {
            let mut odd = Odd { end, received: change, full_ns: 0 };
            now(rtt::client(&mut odd, &work, &mut Nobody)).unwrap_err()
        },
        |mut end| now(rtt::server(&mut end, &work, &mut Nobody)).is_err(),
    );
    client
}

#[test]
fn trap_09_a_reply_carries_the_whole_payload_and_every_byte_is_looked_at() {
    let empty = flaw(|reply| reply.truncate(16));
    assert!(matches!(empty, Broken::Message(Flaw::Length { len: 16, want: 64, .. })), "{empty}");
    let changed = flaw(|reply| reply[63] ^= 1);
    assert!(matches!(changed, Broken::Message(Flaw::Body { at: 63, .. })), "{changed}");
}

#[test]
fn trap_10_a_reply_to_another_request_is_told() {
    let mut last = Vec::new();
    let stale = flaw(|reply| std::mem::swap(reply, &mut last));
    assert!(matches!(stale, Broken::Message(_)), "{stale}");
    let mut count = 0;
    let mut kept = Vec::new();
    let repeated = flaw(|reply| {
        count += 1;
        if count == 50 {
            reply.clone_from(&kept);
        }
        kept.clone_from(reply);
    });
    assert!(matches!(repeated, Broken::Message(Flaw::Sequence { .. })), "{repeated}");
}

#[test]
fn trap_10_a_send_that_is_given_up_leaves_no_half_message_behind() {
    let (mut near, mut far) = pair();
    let message = vec![5; 300_000];
    let parts = [IoSlice::new(&message)];
    // One is taken whole or not at all; whatever was taken comes out whole.
    let mut taken = 0;
    while near.tx.send_with(&parts, Wait::Never).is_ok() {
        taken += 1;
    }
    assert!(near.tx.send_with(&parts, Wait::within(Duration::from_millis(1))).is_err());
    let (mut buf, mut came) = (Vec::new(), 0);
    thread::scope(|scope| {
        scope.spawn(move || {
            now(near.send(&[9; 32])).unwrap();
            near
        });
        loop {
            now(far.recv(&mut buf)).unwrap();
            if buf == [9; 32] {
                break;
            }
            assert_eq!(buf, message);
            came += 1;
        }
    });
    assert_eq!(came, taken);
}

/// Allocations of this thread while a client measures so many messages.
fn allocations(mode: Mode, messages: u64) -> u64 {
    let open_loop = (mode == Mode::Load).then_some(OpenLoop { per_s: 1e5, arrivals: Arrivals::Poisson });
    let work = Work {
        open_loop,
        pace: Some(Duration::ZERO),
        records: 4000,
        ..work(mode, Length::Messages(messages))
    };
    let mut count = 0;
    both(
        |mut end| {
            let memory = allocation_counter::measure(|| match mode {
                Mode::Rtt => drop(now(rtt::client(&mut end, &work, &mut Nobody)).unwrap()),
                Mode::OneWay => drop(now(oneway::client(&mut end, &work, &mut Nobody)).unwrap()),
                Mode::Stream => drop(now(stream::client(&mut end, &work, &mut Nobody)).unwrap()),
                _ => drop(now(load::client(&mut end, &work, &mut Nobody)).unwrap()),
            });
            count = memory.count_total;
        },
        |mut end| match mode {
            Mode::Rtt => now(rtt::server(&mut end, &work, &mut Nobody)).unwrap(),
            Mode::Stream => drop(now(stream::server(&mut end, &work, &mut Nobody)).unwrap()),
            _ => drop(now(arrivals::server(&mut end, &work, &mut Nobody)).unwrap()),
        },
    );
    count
}

/// The same of the side that receives.
fn allocations_of_the_receiver(mode: Mode, messages: u64) -> u64 {
    let open_loop = (mode == Mode::Load).then_some(OpenLoop { per_s: 1e5, arrivals: Arrivals::Constant });
    let work = Work {
        open_loop,
        pace: Some(Duration::ZERO),
        records: 4000,
        ..work(mode, Length::Messages(messages))
    };
    let (_, count) = both(
        |mut end| match mode {
            Mode::Load => drop(now(load::client(&mut end, &work, &mut Nobody)).unwrap()),
            _ => drop(now(oneway::client(&mut end, &work, &mut Nobody)).unwrap()),
        },
        |mut end| {
            let memory = allocation_counter::measure(|| {
                drop(now(arrivals::server(&mut end, &work, &mut Nobody)).unwrap());
            });
            memory.count_total
        },
    );
    count
}

#[test]
fn trap_13_nothing_allocates_between_two_messages() {
    for mode in [Mode::Rtt, Mode::OneWay, Mode::Stream, Mode::Load] {
        assert_eq!(allocations(mode, 10), allocations(mode, 3000), "{mode}");
    }
    for mode in [Mode::OneWay, Mode::Load] {
        let count = |messages| allocations_of_the_receiver(mode, messages);
        assert_eq!(count(10), count(3000), "{mode}");
    }
}

#[test]
fn trap_04_rows_of_messages_do_not_move_the_statistic() {
    let measure = |records| {
        let work = Work { records, ..work(Mode::Rtt, Length::Messages(300)) };
        let (trips, _) = both(
            |mut end| now(rtt::client(&mut end, &work, &mut Nobody)).unwrap(),
            |mut end| now(rtt::server(&mut end, &work, &mut Nobody)).unwrap(),
        );
        let median = p50(&trips.tape.latency) as f64;
        let (rows, lost) = trips.tape.records.unwrap_or_default().into_rows();
        // Too small a buffer loses rows and no samples.
        assert_eq!(
            (rows.len(), lost),
            ((records as usize).min(300), 300u64.saturating_sub(records.into()) * u64::from(records > 0))
        );
        assert_eq!(trips.tape.latency.len(), 300);
        if records >= 300 {
            let mut again = Recorder::new();
            rows.iter().for_each(|row| again.record(row.round_trip_ns().unwrap()));
            assert!(again == trips.tape.latency, "rows and histogram are of the same samples");
            assert!(rows.iter().all(|row| row.one_way_ns() <= row.round_trip_ns()));
        }
        median
    };
    measure(100);
    // Alternating, so that whatever else the machine does is on both sides. An effect that is certain and large fails; the
    // comparison of two runs with intervals is the program's work.
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        off.push(measure(0));
        on.push(measure(1000));
    }
    let ratio = ipc_results::statistics::rank_sum::ratio(&off, &on).unwrap();
    assert!(ratio.lo < 1.25, "rows make a round trip {ratio:?} times as long");
}
