//! The round trips: the bare loops, and what is held against them. Two threads and 64-byte messages. Sides that sleep
//! share one CPU, so that a trip is two context switches and the code under test instead of two interrupts to another
//! CPU; sides that spin have one each.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use ipc_async::{Reactor, ReactorThread};
use ipc_transports::message::Message;
use ipc_transports::rpc::{Client, Request, Server};
use ipc_transports::{Pollable, Receiver, Sender, Shm, ShmOptions, Transport, WaitPolicy, codec};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Timed trips of one sample.
pub(crate) const TRIPS: usize = 5_000;
const LEN: usize = 64;

/// What one row says in one round.
pub(crate) struct Sample {
    pub(crate) p50_ns: f64,
    /// By the measuring thread in all timed trips together, where that is known.
    pub(crate) allocations: Option<u64>,
}

/// Where the far side of a trip runs.
#[derive(Clone, Copy)]
enum Far {
    Here,
    OnAnother,
}

/// The two CPUs of all rows: the first that this process may use.
fn cpus() -> [usize; 2] {
    static CPUS: OnceLock<[usize; 2]> = OnceLock::new();
    *CPUS.get_or_init(|| {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let mut allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let two = [allowed.next(), allowed.next()];
        two.map(|cpu| cpu.expect("sides that spin need a CPU each: let the process use two (taskset -c 0,1)"))
    })
}

/// Keeps this thread, and those that it will start, on one CPU.
fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

/// Times of [`TRIPS`] calls of `trip`, after a tenth as many untimed ones.
fn p50(mut trip: impl FnMut()) -> Sample {
    (0..TRIPS / 10).for_each(|_| trip());
    let mut times = Vec::with_capacity(TRIPS);
    let allocated = allocation_counter::measure(|| {
        for _ in 0..TRIPS {
            let began = Instant::now();
            trip();
            times.push(began.elapsed().as_nanos() as u64);
        }
    });
    let p50_ns = *times.select_nth_unstable(TRIPS / 2).1 as f64;
    Sample { p50_ns, allocations: Some(allocated.count_total) }
}

/// As [`p50`], for a future per trip inside one future.
async fn p50_of<F: AsyncFnMut()>(mut trip: F) -> Sample {
    for _ in 0..TRIPS / 10 {
        trip().await;
    }
    let mut times = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let began = Instant::now();
        trip().await;
        times.push(began.elapsed().as_nanos() as u64);
    }
    Sample { p50_ns: *times.select_nth_unstable(TRIPS / 2).1 as f64, allocations: None }
}

/// Runs the near side on the first CPU and returns what it measured.
fn both<T: Send>(far_is: Far, near: impl FnOnce() -> T + Send, far: impl FnOnce() + Send) -> T {
    let [first, second] = cpus();
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(match far_is {
                Far::Here => first,
                Far::OnAnother => second,
            });
            far();
        });
        let measured = scope.spawn(move || {
            pin(first);
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

pub(crate) fn bare_socket() -> Sample {
    let (near, far) = UnixStream::pair().unwrap();
    let (mut near, mut far) = (BareSocket::new(near), BareSocket::new(far));
    both(
        Far::Here,
        move || p50(|| assert!(near.send() && near.recv())),
        move || while far.recv() && far.send() {},
    )
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

pub(crate) fn bare_slot() -> Sample {
    let (mut near, mut far) = BareSlot::pair();
    both(
        Far::Here,
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
pub(crate) trait Drive {
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

pub(crate) fn adapter<T: Transport<Tx: Pollable, Rx: Pollable>, D: Drive>(
    new: fn() -> std::io::Result<D>,
) -> Sample {
    let (near, far) = T::pair(&Default::default()).unwrap();
    both(
        Far::Here,
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
pub(crate) fn tokio_socket() -> Sample {
    let (near, far) = UnixStream::pair().unwrap();
    let run = || tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let open = |socket: UnixStream| {
        socket.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(socket).unwrap()
    };
    both(
        Far::Here,
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
pub(crate) fn raw_trip() -> Sample {
    let (mut near, mut far) = Shm::pair(&spinning()).unwrap();
    both(
        Far::OnAnother,
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

pub(crate) fn typed_call() -> Sample {
    let (near, far) = Shm::pair(&spinning()).unwrap();
    both(
        Far::OnAnother,
        move || {
            let mut client = Client::<Reading, _, _>::new(near);
            p50(|| assert_eq!(client.call(&READING).unwrap(), READING))
        },
        move || Server::new(far).serve(|reading: Reading| reading).unwrap(),
    )
}

/// Encoding and decoding of a request and of a reply, as mean over many.
pub(crate) fn codec_time() -> Sample {
    pin(cpus()[0]);
    let mut buffer = Vec::new();
    let began = Instant::now();
    for _ in 0..2 * TRIPS {
        buffer.clear();
        codec::encode(std::hint::black_box(&READING), &mut buffer).unwrap();
        assert_eq!(codec::decode::<Reading>(std::hint::black_box(&buffer)), Ok(READING));
    }
    Sample { p50_ns: began.elapsed().as_nanos() as f64 / TRIPS as f64, allocations: None }
}
