//! Futures of every awaiting method dropped at their await points, under load: nothing is lost, repeated or torn.
//! More than 100,000 drops in all, from seeds that are printed.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::future::Future;
use std::io::IoSlice;
use std::pin::pin;
use std::task::{Context, Poll};

use futures_lite::future;
use ipc_async::{AsyncReceiver, AsyncSender, Reactor};
use ipc_core::{Listener, Loan, PeekReceiver, Pollable, RecvError, Sender, Transport, Wait};
use ipc_transports::{Mq, MqOptions, Pipe, PipeOptions, Shm, ShmOptions, Tcp, Uds, UdsOptions, UdsSeqpacket};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// Polls `future` up to `polls` times, each after the task was woken, and drops it if it is not done by then.
async fn give_up_after<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    future::poll_fn(|context: &mut Context<'_>| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        left -= 1;
        if left == 0 { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; len.max(8)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Sends `count` messages, giving up often, one by one, in parts and in batches; returns how often.
async fn send_giving_up<S: Sender + Pollable>(
    tx: &mut AsyncSender<S>,
    count: u64,
    longest: usize,
    seed: u64,
) -> u64 {
    let (mut random, mut dropped) = (Random(seed), 0);
    let mut number = 0;
    while number < count {
        let mut message = |number| payload(number, random.below(longest as u64) as usize);
        let batch: Vec<_> = (number..count.min(number + 3)).map(&mut message).collect();
        let slices: Vec<_> = batch.iter().map(|message| IoSlice::new(message)).collect();
        let (head, tail) = batch[0].split_at(5);
        let before = tx.taken();
        let polls = 1 + random.below(2);
        let sent = match random.below(4) {
            0 => give_up_after(polls, tx.send_batch(&slices)).await.map(|sent| sent.map(drop)),
            1 => give_up_after(polls, tx.send_parts(&[IoSlice::new(head), IoSlice::new(tail)])).await,
            2 => give_up_after(polls, tx.flush()).await,
            _ => give_up_after(polls, tx.send(&batch[0])).await,
        };
        match sent {
            Some(sent) => sent.unwrap(),
            None => {
                dropped += 1;
                future::yield_now().await;
            }
        }
        number += tx.taken() - before;
    }
    tx.flush().await.unwrap();
    dropped
}

/// Receives `count` messages in order, giving up often, copied, lent and in batches; returns how often.
async fn receive_giving_up<R: PeekReceiver + Pollable>(
    rx: &mut AsyncReceiver<R>,
    count: u64,
    seed: u64,
) -> u64 {
    let (mut random, mut dropped, mut next) = (Random(seed), 0, 0u64);
    let mut message = Vec::new();
    let check = |bytes: &[u8], next: &mut u64| {
        assert_eq!(bytes[..8], next.to_le_bytes(), "message {next} is lost, repeated or out of order");
        assert!(bytes[8..].iter().all(|byte| *byte == *next as u8), "message {next} is torn");
        *next += 1;
    };
    while next < count {
        let polls = 1 + random.below(2);
        let done = match random.below(4) {
            0 => {
                let each = rx.recv_each(3, |bytes| check(bytes, &mut next));
                give_up_after(polls, each).await.map(|done| done.map(drop))
            }
            1 => {
                let lent = give_up_after(polls, rx.recv_ref()).await;
                lent.map(|lent| lent.map(|message| check(&message, &mut next)))
            }
            2 => {
                let ready = give_up_after(polls, rx.ready()).await;
                ready.map(|ready| ready.map(|()| rx.take().into_iter().for_each(|m| check(&m, &mut next))))
            }
            _ => {
                let done = give_up_after(polls, rx.recv(&mut message)).await;
                done.map(|done| done.map(|_| check(&message, &mut next)))
            }
        };
        match done {
            Some(received) => received.unwrap(),
            None => {
                dropped += 1;
                future::yield_now().await;
            }
        }
    }
    dropped
}

fn first_seed() -> u64 {
    std::env::var("IPC_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5EED)
}

/// Both directions of one connection at once, on one reactor, until both sides together have dropped `drops` futures.
fn drop_futures<T>(options: &T::Options, drops: u64, longest: usize)
where
    T: Transport<Tx: Pollable, Rx: PeekReceiver + Pollable>,
{
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (near, far) = T::pair(options).unwrap();
    let (mut near, mut far) = (handle.attach(near), handle.attach(far));
    let first = first_seed();
    let (mut dropped, mut round) = (0, 0);
    while dropped < drops {
        let seed = first + 10 * round;
        println!("{}: IPC_SEED={seed}", T::NAME);
        let count = 2_000;
        let there = future::zip(
            send_giving_up(&mut near.tx, count, longest, seed),
            receive_giving_up(&mut far.rx, count, seed + 1),
        );
        let back = future::zip(
            send_giving_up(&mut far.tx, count, longest, seed + 2),
            receive_giving_up(&mut near.rx, count, seed + 3),
        );
        let ((a, b), (c, d)) = reactor.block_on(future::zip(there, back));
        assert!(a + b + c + d > 0, "nothing was dropped: the link is too wide for this test");
        dropped += a + b + c + d;
        round += 1;
    }
    println!("{}: {dropped} futures dropped in {round} rounds", T::NAME);
    drop(far);
    assert!(matches!(reactor.block_on(near.rx.recv(&mut Vec::new())), Err(RecvError::Closed)));
}

#[test]
fn dropped_futures_lose_and_repeat_nothing_over_sockets() {
    let narrow = UdsOptions { sndbuf: Some(4096), ..Default::default() };
    drop_futures::<Uds>(&narrow, 55_000, 6_000);
    drop_futures::<UdsSeqpacket>(&narrow, 20_000, 1_000);
    drop_futures::<Tcp>(&Default::default(), 300, 20_000);
}

#[test]
fn dropped_futures_lose_and_repeat_nothing_over_pipes() {
    drop_futures::<Pipe>(&PipeOptions { capacity: Some(4096), ..Default::default() }, 15_000, 9_000);
}

#[test]
fn dropped_futures_lose_and_repeat_nothing_over_shared_memory() {
    drop_futures::<Shm>(&ShmOptions { capacity: Some(8192), ..Default::default() }, 15_000, 3_000);
}

#[test]
fn dropped_futures_lose_and_repeat_nothing_over_queues() {
    let options = MqOptions { depth: Some(2), max_message: Some(1024), ..Default::default() };
    drop_futures::<Mq>(&options, 5_000, 1_000);
}

/// A loan given up was never lent; one that is dropped, or lent in vain, sends nothing.
#[test]
fn dropped_loans_leave_no_gap() {
    let (seed, count) = (first_seed(), 20_000);
    println!("loans: IPC_SEED={seed}");
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (near, far) = Shm::pair(&ShmOptions { capacity: Some(4096), ..Default::default() }).unwrap();
    let (mut near, mut far) = (handle.attach(near), handle.attach(far));
    let lending = async {
        let (mut random, mut dropped, mut number) = (Random(seed), 0, 0);
        while number < count {
            let message = payload(number, random.below(1_500) as usize);
            match give_up_after(1, near.tx.loan(message.len())).await {
                Some(lent) => {
                    let mut loan = lent.unwrap();
                    loan.copy_from_slice(&message);
                    if random.below(4) > 0 {
                        loan.commit().unwrap();
                        number += 1;
                    }
                }
                None => {
                    dropped += 1;
                    future::yield_now().await;
                }
            }
        }
        dropped
    };
    let both = future::zip(lending, receive_giving_up(&mut far.rx, count, seed + 1));
    let (dropped, _) = reactor.block_on(both);
    assert!(dropped > 1_000, "{dropped} loans given up: the ring is too wide for this test");
}

/// A client whose handshake is under way when an accept is given up is accepted by a later one.
#[test]
fn dropped_accepts_lose_no_client() {
    let (seed, count) = (first_seed(), 300u64);
    println!("accepts: IPC_SEED={seed}");
    let listener = Tcp::listen(&"tcp:127.0.0.1:0".parse().unwrap(), &Default::default()).unwrap();
    let to = listener.address().clone();
    let (go, goes) = std::sync::mpsc::channel();
    let clients = std::thread::spawn(move || {
        let connect = |number: u64| {
            goes.recv().unwrap();
            let mut client = Tcp::connect(&to, &Default::default(), Wait::Forever).unwrap();
            client.tx.send(&number.to_le_bytes()).unwrap();
            client
        };
        (0..count).map(connect).collect::<Vec<_>>()
    });
    let mut reactor = Reactor::new().unwrap();
    let mut listener = reactor.handle().listener(listener);
    reactor.block_on(async {
        let (mut random, mut dropped, mut message) = (Random(seed), 0, Vec::new());
        for next in 0..count {
            // One is given up while nobody comes, others from then on, wherever the handshake is.
            assert!(give_up_after(1, listener.accept()).await.is_none(), "nobody was told to come");
            go.send(()).unwrap();
            let accepted = loop {
                match give_up_after(1 + random.below(2), listener.accept()).await {
                    Some(accepted) => break accepted,
                    None => dropped += 1,
                }
                future::yield_now().await;
            };
            accepted.unwrap().rx.recv(&mut message).await.unwrap();
            assert_eq!(message, u64::to_le_bytes(next), "client {next} is lost or came twice");
        }
        println!("{count} accepts given up before their client came, {dropped} after");
    });
    clients.join().unwrap();
}
