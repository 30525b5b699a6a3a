//! Futures dropped at their await points, under load: nothing is lost, repeated or torn.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use futures_lite::future;
use ipc_async::{AsyncReceiver, AsyncSender, Reactor};
use ipc_core::{Pollable, Receiver, RecvError, Sender, Transport};
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

/// Sends `count` messages, giving up often; returns how often.
async fn send_giving_up<S: Sender + Pollable>(
    tx: &mut AsyncSender<S>,
    count: u64,
    longest: usize,
    seed: u64,
) -> u64 {
    let (mut random, mut dropped) = (Random(seed), 0);
    let mut number = 0;
    while number < count {
        let message = payload(number, random.below(longest as u64) as usize);
        let before = tx.taken();
        match give_up_after(1 + random.below(2), tx.send(&message)).await {
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

/// Receives `count` messages in order, giving up often, one by one and in batches; returns how often.
async fn receive_giving_up<R: Receiver + Pollable>(rx: &mut AsyncReceiver<R>, count: u64, seed: u64) -> u64 {
    let (mut random, mut dropped, mut next) = (Random(seed), 0, 0u64);
    let mut message = Vec::new();
    let check = |bytes: &[u8], next: &mut u64| {
        assert_eq!(bytes[..8], next.to_le_bytes(), "message {next} is lost, repeated or out of order");
        assert!(bytes[8..].iter().all(|byte| *byte == *next as u8), "message {next} is torn");
        *next += 1;
    };
    while next < count {
        let polls = 1 + random.below(2);
        let done = if random.below(2) == 0 {
            let done = give_up_after(polls, rx.recv(&mut message)).await;
            done.map(|done| done.map(|_| check(&message, &mut next)))
        } else {
            let each = rx.recv_each(3, |bytes| check(bytes, &mut next));
            give_up_after(polls, each).await.map(|done| done.map(drop))
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

/// Both directions of one connection at once, on one reactor, until both sides together have dropped `drops` futures.
fn drop_futures<T>(options: &T::Options, drops: u64, longest: usize)
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (near, far) = T::pair(options).unwrap();
    let (mut near, mut far) = (handle.attach(near), handle.attach(far));
    let first = std::env::var("IPC_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5EED_u64);
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
