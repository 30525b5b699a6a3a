//! What the form of the loops costs: the same work written by hand for one transport, without `async`, without traits.
//!
//! `quiet cargo test --profile bench -p ipc-bench-cli --lib -- --ignored --nocapture handwritten`

use std::thread;
use std::time::Duration;

use ipc_results::Recorder;
use ipc_transports::{
    Connection, Receiver, Sender, Shm, ShmOptions, ShmReceiver, ShmSender, Transport, WaitPolicy,
};

use super::{Blocking, Io, Length, Mode, Observer, Warmup, Work, now, rtt, stream};
use crate::clock::now_ns;
use crate::payload::{Incoming, Outgoing, Phase};
use crate::pin;

type Shared = Connection<ShmSender, ShmReceiver>;

const ROUNDS: usize = 15;

struct Nobody;

impl Observer for Nobody {
    fn progress(&mut self, _: u64) {}
    fn boundary(&mut self, _: bool) {}
}

fn work(mode: Mode) -> Work {
    let length = Length::Time(Duration::from_millis(100));
    let warmup = Warmup::Fixed(Duration::from_millis(20));
    let (pace, open_loop, shares_cpu) = (None, None, false);
    let (batch, access, include_first) = (1, super::Access::Copy, false);
    Work {
        mode,
        io: Io::Sync,
        size: 48,
        length,
        warmup,
        seed: 1,
        pace,
        open_loop,
        shares_cpu,
        batch,
        access,
        include_first,
        records: 0,
        interval: None,
        counter: None,
        hold_ns: 0,
        priority: 0,
        locked: false,
        counts: false,
    }
}

/// Runs both sides on two CPUs and returns what the client measured.
fn on_two_cpus<T>(client: impl FnOnce(Shared) -> T, server: impl FnOnce(Shared) + Send + 'static) -> T {
    let options = ShmOptions { wait: Some(WaitPolicy::Spin), ..ShmOptions::default() };
    let (near, far) = Shm::pair(&options).unwrap();
    let server = thread::spawn(move || {
        pin::pin_this_thread(1).unwrap();
        server(far);
    });
    pin::pin_this_thread(0).unwrap();
    let measured = client(near);
    server.join().unwrap();
    measured
}

fn generic_rtt() -> f64 {
    let work = work(Mode::Rtt);
    on_two_cpus(
        |near| {
            let mut end = Blocking { tx: near.tx, rx: near.rx };
            now(rtt::client(&mut end, &work, &mut Nobody)).unwrap().tape.latency.percentile_ns(50.0).unwrap()
                as f64
        },
        move |far| now(rtt::server(&mut Blocking { tx: far.tx, rx: far.rx }, &work, &mut Nobody)).unwrap(),
    )
}

fn handwritten_rtt() -> f64 {
    let work = work(Mode::Rtt);
    on_two_cpus(
        |mut near| {
            let mut outgoing = Outgoing::new(work.size, work.seed);
            let mut incoming = Incoming::new(work.size, work.seed);
            let (mut buf, mut recorder) = (Vec::with_capacity(work.size), Recorder::new());
            for (phase, ns) in
                [(Phase::First, 0), (Phase::WarmUp, 20_000_000), (Phase::Measured, 100_000_000)]
            {
                recorder.clear();
                let start = now_ns();
                let mut t0 = start;
                loop {
                    let last = t0 - start >= ns;
                    outgoing.stamp(phase, last, t0);
                    near.tx.send(outgoing.bytes()).unwrap();
                    near.rx.recv(&mut buf).unwrap();
                    let t1 = now_ns();
                    recorder.record(t1 - t0);
                    t0 = t1;
                    if incoming.check(&buf).unwrap().is_inspected() {
                        incoming.inspect(&buf).unwrap();
                        outgoing.refill();
                        t0 = now_ns();
                    }
                    if last {
                        break;
                    }
                }
            }
            recorder.percentile_ns(50.0).unwrap() as f64
        },
        move |mut far| {
            let mut incoming = Incoming::new(work.size, work.seed);
            let mut buf = Vec::with_capacity(work.size);
            loop {
                far.rx.recv(&mut buf).unwrap();
                let marks = incoming.check(&buf).unwrap();
                far.tx.send(&buf).unwrap();
                if marks.last && marks.phase == Phase::Measured {
                    break;
                }
            }
        },
    )
}

fn generic_stream() -> f64 {
    let work = work(Mode::Stream);
    on_two_cpus(
        |near| {
            let mut end = Blocking { tx: near.tx, rx: near.rx };
            let sent = now(stream::client(&mut end, &work, &mut Nobody)).unwrap().measured;
            (sent.end_ns - sent.start_ns) as f64 / sent.messages as f64
        },
        move |far| {
            now(stream::server(&mut Blocking { tx: far.tx, rx: far.rx }, &work, &mut Nobody)).unwrap();
        },
    )
}

fn handwritten_stream() -> f64 {
    let work = work(Mode::Stream);
    on_two_cpus(
        |mut near| {
            let mut outgoing = Outgoing::new(work.size, work.seed);
            let mut buf = Vec::with_capacity(work.size);
            let mut per_message = 0.0;
            for (phase, ns) in
                [(Phase::First, 0), (Phase::WarmUp, 20_000_000), (Phase::Measured, 100_000_000)]
            {
                let start = now_ns();
                let (mut time, mut messages) = (start, 0u64);
                loop {
                    if messages.is_multiple_of(64) {
                        time = now_ns();
                    }
                    let last = time - start >= ns;
                    let marks = outgoing.stamp(phase, last, time);
                    near.tx.send(outgoing.bytes()).unwrap();
                    messages += 1;
                    if marks.is_inspected() {
                        outgoing.refill();
                    }
                    if last {
                        break;
                    }
                }
                near.rx.recv(&mut buf).unwrap();
                per_message = (now_ns() - start) as f64 / messages as f64;
            }
            per_message
        },
        move |mut far| {
            let mut incoming = Incoming::new(work.size, work.seed);
            let mut buf = Vec::with_capacity(work.size);
            loop {
                far.rx.recv(&mut buf).unwrap();
                let marks = incoming.check(&buf).unwrap();
                if marks.is_inspected() {
                    incoming.inspect(&buf).unwrap();
                }
                if marks.last {
                    far.tx.send(&buf).unwrap();
                    if marks.phase == Phase::Measured {
                        break;
                    }
                }
            }
        },
    )
}

#[test]
#[ignore = "a measurement: two CPUs of an otherwise quiet machine"]
fn the_generic_loops_cost_at_most_two_percent_over_handwritten_ones() {
    for (what, generic, handwritten) in [
        ("rtt 48 B p50", generic_rtt as fn() -> f64, handwritten_rtt as fn() -> f64),
        ("stream 48 B per message", generic_stream, handwritten_stream),
    ] {
        // Alternated A B B A, so that a drifting machine drifts through both.
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                a.push(generic());
                b.push(handwritten());
            } else {
                b.push(handwritten());
                a.push(generic());
            }
        }
        let mut ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a / b).collect();
        for values in [&mut a, &mut b, &mut ratios] {
            values.sort_by(f64::total_cmp);
        }
        let middle = |values: &[f64]| values[values.len() / 2];
        let ratio = middle(&ratios);
        println!("{what}: generic {:.1} ns, by hand {:.1} ns, ratio {ratio:.3}", middle(&a), middle(&b));
        assert!(ratio <= 1.02, "{what}: {ratio}");
    }
}
