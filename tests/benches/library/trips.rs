//! Round trips through the layers above the blocking halves, beside the loops they are judged against, interleaved in one
//! run: `cargo bench -p ipc-tests --bench library`. Two threads and 64-byte messages; the median over rounds of each round's
//! p50, and the best and worst round. Sides that sleep share one CPU, so that a trip is two context switches and the
//! code under test instead of two interrupts to another CPU; sides that spin have one each.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has no result")]

use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use ipc_async::{Reactor, ReactorThread};
use ipc_transports::message::Message;
use ipc_transports::rpc::{Client, Request, Server};
use ipc_transports::{Pollable, Receiver, Sender, Shm, ShmOptions, Transport, Uds, WaitPolicy, codec};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TRIPS: usize = 5_000;
const ROUNDS: usize = 7;
const LEN: usize = 64;

/// Keeps this thread on one CPU, if there are several.
fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Times of `TRIPS` calls of `trip`, after a tenth as many untimed ones: their p50 in nanoseconds.
fn p50(mut trip: impl FnMut()) -> f64 {
    (0..TRIPS / 10).for_each(|_| trip());
    let mut times: Vec<u64> = (0..TRIPS)
        .map(|_| {
            let began = Instant::now();
            trip();
            began.elapsed().as_nanos() as u64
        })
        .collect();
    *times.select_nth_unstable(TRIPS / 2).1 as f64
}

/// As [`p50`], for a future per trip inside one future.
async fn p50_of<F: AsyncFnMut()>(mut trip: F) -> f64 {
    for _ in 0..TRIPS / 10 {
        trip().await;
    }
    let mut times = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let began = Instant::now();
        trip().await;
        times.push(began.elapsed().as_nanos() as u64);
    }
    *times.select_nth_unstable(TRIPS / 2).1 as f64
}

/// Runs the near side on CPU 0 and the far side on `cpu`, and returns what the near one measured.
fn both<T: Send>(cpu: usize, near: impl FnOnce() -> T + Send, far: impl FnOnce() + Send) -> T {
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(cpu);
            far();
        });
        let measured = scope.spawn(|| {
            pin(0);
            near()
        });
        measured.join().unwrap()
    })
}

/// epoll, edge-triggered, and one receive and one send per message.
struct BareSocket {
    socket: OwnedFd,
    epoll: OwnedFd,
    frame: [u8; LEN + 4],
}

impl BareSocket {
    fn new(socket: UnixStream) -> Self {
        socket.set_nonblocking(true).unwrap();
        let socket = OwnedFd::from(socket);
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, &socket, EventData::new_u64(0), EventFlags::IN | EventFlags::ET).unwrap();
        let mut frame = [7; LEN + 4];
        frame[..4].copy_from_slice(&(LEN as u32).to_le_bytes());
        BareSocket { socket, epoll, frame }
    }

    fn send(&mut self) -> bool {
        rustix::net::send(&self.socket, &self.frame, SendFlags::NOSIGNAL) == Ok(LEN + 4)
    }

    fn recv(&mut self) -> bool {
        let mut buffer = [0; 256];
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())
            .is_ok_and(|(_, len)| len == LEN + 4)
    }
}

fn bare_socket() -> f64 {
    let (near, far) = UnixStream::pair().unwrap();
    let (mut near, mut far) = (BareSocket::new(near), BareSocket::new(far));
    both(0, move || p50(|| assert!(near.send() && near.recv())), move || while far.recv() && far.send() {})
}

/// A slot of words, an eventfd and epoll: the least that carries 64 bytes through shared memory and sleeps.
struct BareSlot {
    slot: Arc<[AtomicU64; LEN / 8]>,
    ring: Arc<OwnedFd>,
    epoll: OwnedFd,
    heard: Arc<OwnedFd>,
}

impl BareSlot {
    fn pair() -> (BareSlot, BareSlot) {
        let bell = || Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
        let (there, back) = (bell(), bell());
        let slot: Arc<[AtomicU64; LEN / 8]> = Arc::default();
        let side = |ring: &Arc<OwnedFd>, heard: &Arc<OwnedFd>| {
            let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
            epoll::add(&epoll, heard, EventData::new_u64(0), EventFlags::IN).unwrap();
            BareSlot { slot: slot.clone(), ring: ring.clone(), epoll, heard: heard.clone() }
        };
        (side(&there, &back), side(&back, &there))
    }

    fn send(&mut self, word: u64) {
        // Relaxed: the bell orders them through the kernel.
        self.slot.iter().for_each(|slot| slot.store(word, Relaxed));
        rustix::io::write(&self.ring, &1u64.to_ne_bytes()).unwrap();
    }

    fn recv(&mut self) -> u64 {
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        rustix::io::read(&self.heard, &mut [0; 8]).unwrap();
        self.slot.iter().map(|slot| slot.load(Relaxed)).fold(0, u64::max)
    }
}

fn bare_slot() -> f64 {
    let (mut near, mut far) = BareSlot::pair();
    both(
        0,
        move || {
            let measured = p50(|| {
                near.send(1);
                assert_eq!(near.recv(), 1);
            });
            near.send(u64::MAX);
            measured
        },
        move || {
            loop {
                match far.recv() {
                    u64::MAX => return,
                    word => far.send(word),
                }
            }
        },
    )
}

/// Runs a future to its end.
trait Drive {
    fn drive<F: Future>(&mut self, future: F) -> F::Output;
    fn handle(&self) -> ipc_async::Handle;
}

impl Drive for Reactor {
    fn drive<F: Future>(&mut self, future: F) -> F::Output {
        self.block_on(future)
    }
    fn handle(&self) -> ipc_async::Handle {
        Reactor::handle(self)
    }
}

impl Drive for ReactorThread {
    fn drive<F: Future>(&mut self, future: F) -> F::Output {
        futures_lite::future::block_on(future)
    }
    fn handle(&self) -> ipc_async::Handle {
        ReactorThread::handle(self)
    }
}

fn adapter<T: Transport<Tx: Pollable, Rx: Pollable>, D: Drive>(new: fn() -> std::io::Result<D>) -> f64 {
    let (near, far) = T::pair(&Default::default()).unwrap();
    both(
        0,
        move || {
            let mut driver = new().unwrap();
            let mut near = driver.handle().attach(near);
            let mut message = Vec::new();
            driver.drive(p50_of(async || {
                near.tx.send(&[7; LEN]).await.unwrap();
                near.rx.recv(&mut message).await.unwrap();
            }))
        },
        move || {
            let mut driver = new().unwrap();
            let mut far = driver.handle().attach(far);
            let mut message = Vec::new();
            driver.drive(async {
                while far.rx.recv(&mut message).await.is_ok() {
                    far.tx.send(&message).await.unwrap();
                }
            });
        },
    )
}

/// Tokio's own socket with the same frames, on a runtime of one thread per side.
fn tokio_socket() -> f64 {
    let (near, far) = UnixStream::pair().unwrap();
    let run = || tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let open = |socket: UnixStream| {
        socket.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(socket).unwrap()
    };
    both(
        0,
        move || {
            run().block_on(async {
                let mut near = open(near);
                let (frame, mut buffer) = ([7; LEN + 4], [0; 256]);
                p50_of(async || {
                    near.write_all(&frame).await.unwrap();
                    assert_eq!(near.read(&mut buffer).await.unwrap(), LEN + 4);
                })
                .await
            })
        },
        move || {
            run().block_on(async {
                let mut far = open(far);
                let mut buffer = [0; 256];
                while far.read(&mut buffer).await.unwrap() == LEN + 4 {
                    far.write_all(&buffer[..LEN + 4]).await.unwrap();
                }
            });
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    words: [u64; 6],
}

impl Message for Reading {
    const MESSAGE_TYPE: &'static str = "bench.reading/1";
}

impl Request for Reading {
    type Reply = Reading;
}

/// Ten bytes each as postcard writes them: 60, and 9 of the call.
const READING: Reading = Reading { words: [u64::MAX; 6] };

fn spinning() -> ShmOptions {
    ShmOptions { wait: Some(WaitPolicy::Spin), ..ShmOptions::default() }
}

/// Raw round trip of as many bytes as a call has.
fn raw_trip() -> f64 {
    let (mut near, mut far) = Shm::pair(&spinning()).unwrap();
    both(
        1,
        move || {
            let mut message = Vec::new();
            p50(|| {
                near.tx.send(&[7; 69]).unwrap();
                near.rx.recv(&mut message).unwrap();
            })
        },
        move || {
            let mut message = Vec::new();
            while far.rx.recv(&mut message).is_ok() && far.tx.send(&message).is_ok() {}
        },
    )
}

fn typed_call() -> f64 {
    let (near, far) = Shm::pair(&spinning()).unwrap();
    both(
        1,
        move || {
            let mut client = Client::<Reading, _, _>::new(near);
            p50(|| assert_eq!(client.call(&READING).unwrap(), READING))
        },
        move || Server::new(far).serve(|reading: Reading| reading).unwrap(),
    )
}

/// Encoding and decoding of a request and of a reply, as mean over many.
fn codec_time() -> f64 {
    let mut buffer = Vec::new();
    let began = Instant::now();
    for _ in 0..2 * TRIPS {
        buffer.clear();
        codec::encode(std::hint::black_box(&READING), &mut buffer).unwrap();
        assert_eq!(codec::decode::<Reading>(std::hint::black_box(&buffer)), Ok(READING));
    }
    began.elapsed().as_nanos() as f64 / TRIPS as f64
}

type Contender = (&'static str, fn() -> f64);

fn main() {
    let contenders: [Contender; 10] = [
        ("uds: bare epoll, recv, send", bare_socket),
        ("uds: ipc-async, caller-driven", || adapter::<Uds, _>(Reactor::new)),
        ("uds: tokio UnixStream, current thread", tokio_socket),
        ("uds: ipc-async, reactor thread", || adapter::<Uds, _>(ReactorThread::start)),
        ("shm: bare epoll, eventfd, slot", bare_slot),
        ("shm: ipc-async, caller-driven", || adapter::<Shm, _>(Reactor::new)),
        ("shm: ipc-async, reactor thread", || adapter::<Shm, _>(ReactorThread::start)),
        ("shm: raw, spin, 69 bytes", raw_trip),
        ("shm: typed call, spin, 69 bytes", typed_call),
        ("codec: a request and a reply", codec_time),
    ];
    let mut rounds = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, measure), results) in contenders.iter().zip(&mut rounds) {
            results.push(measure());
        }
    }
    println!(
        "{:40} {:>10} {:>10} {:>10}  ns, {ROUNDS} rounds of {TRIPS} round trips",
        "", "median", "best", "worst"
    );
    for ((name, _), results) in contenders.iter().zip(&mut rounds) {
        results.sort_by(f64::total_cmp);
        println!("{name:40} {:10.0} {:10.0} {:10.0}", results[ROUNDS / 2], results[0], results[ROUNDS - 1]);
    }
}
