//! Receiving from many connections on one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use ipc_async::{AsyncReceiver, Handle};
use ipc_transports::{Armed, Pollable, ReadySet, Receiver, RecvError, Wait, WaitSet};

use super::party::Awaiting;
use crate::workload::{Broken, all, within};

/// Messages taken from one connection before the next has its turn.
pub(super) const TURN: usize = 64;

/// How long a wait may last before somebody is told that we are alive.
const SILENCE: Duration = Duration::from_secs(1);

/// What becomes of the messages.
pub(crate) trait Arriving {
    /// A message came over connection `edge`; whether it was its last.
    fn take(&mut self, edge: usize, message: &[u8]) -> Result<bool, Broken>;

    /// About once a second.
    fn idle(&mut self);
}

/// Receives from one connection, waiting in the call, until its last message.
pub(crate) fn one<Rx: Receiver>(rx: &mut Rx, arriving: &mut impl Arriving) -> Result<(), Broken> {
    let mut buf = Vec::new();
    loop {
        match rx.recv_timeout(&mut buf, SILENCE) {
            Ok(_) if arriving.take(0, &buf)? => return Ok(()),
            Ok(_) => {}
            Err(RecvError::TimedOut) => arriving.idle(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives from all connections until each has had its last message: looks `looks` times in vain before it sleeps, and
/// then on all of them at once.
pub(crate) fn many<Rx: Receiver + Pollable>(
    rxs: &mut [Rx],
    looks: u32,
    arriving: &mut impl Arriving,
) -> Result<(), Broken> {
    let mut set = WaitSet::new().map_err(RecvError::Io)?;
    let mut turn: VecDeque<usize> = (0..rxs.len()).collect();
    let (mut open, mut vain, mut fired) = (rxs.len(), 0, Vec::new());
    loop {
        while let Some(key) = turn.pop_front() {
            let rx = &mut rxs[key];
            let mut last = Ok(false);
            let got = rx.recv_each(TURN, Wait::Never, |message| {
                if matches!(last, Ok(false)) {
                    last = arriving.take(key, message);
                }
            });
            match got {
                Ok(_) => {
                    vain = 0;
                    if last? {
                        open -= 1;
                        set.unwatch(key, rx).map_err(RecvError::Io)?;
                    } else {
                        turn.push_back(key);
                    }
                }
                Err(RecvError::Empty) if vain < looks => {
                    vain += 1;
                    turn.push_back(key);
                    std::hint::spin_loop();
                }
                Err(RecvError::Empty) => {
                    if set.watch(key, rx).map_err(RecvError::Io)? == Armed::Ready {
                        rx.disarm();
                        turn.push_back(key);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if open == 0 {
            return Ok(());
        }
        set.wait(Wait::within(SILENCE), &mut fired).map_err(RecvError::Io)?;
        if fired.is_empty() {
            arriving.idle();
        }
        vain = 0;
        for key in fired.drain(..) {
            rxs[key].disarm();
            turn.push_back(key);
        }
    }
}

/// The same on a reactor: all connections are awaited at once.
pub(super) async fn awaited<Rx: Receiver + Pollable>(
    rxs: &mut [Awaiting<AsyncReceiver<Rx>>],
    handle: &Handle,
    arriving: &mut impl Arriving,
) -> Result<(), Broken> {
    let arriving = RefCell::new(arriving);
    let until_last = async |edge: usize, rx: &mut Awaiting<AsyncReceiver<Rx>>| {
        loop {
            let mut last = Ok(false);
            rx.recv_turn(|message| {
                if matches!(last, Ok(false)) {
                    last = arriving.borrow_mut().take(edge, message);
                }
            })
            .await?;
            if last? {
                return Ok(());
            }
        }
    };
    let mut edges = pin!(all(rxs.iter_mut().enumerate().map(|(edge, rx)| until_last(edge, rx))));
    loop {
        match within(handle, SILENCE, edges.as_mut()).await {
            Some(done) => return done,
            None => arriving.borrow_mut().idle(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_transports::{Sender, Transport, Uds};

    use super::*;

    struct Count(Vec<u64>);

    impl Arriving for Count {
        fn take(&mut self, edge: usize, message: &[u8]) -> Result<bool, Broken> {
            self.0[edge] += 1;
            Ok(message == b"end")
        }

        fn idle(&mut self) {}
    }

    #[test]
    fn everything_from_everybody_arrives_whoever_is_slow() {
        for looks in [0, 100] {
            let (ours, theirs): (Vec<_>, Vec<_>) =
                (0..8).map(|_| Uds::pair(&Default::default()).unwrap()).unzip();
            let (mut rxs, _txs): (Vec<_>, Vec<_>) = ours.into_iter().map(|one| (one.rx, one.tx)).unzip();
            let senders: Vec<_> = theirs
                .into_iter()
                .enumerate()
                .map(|(index, mut other)| {
                    std::thread::spawn(move || {
                        for _ in 0..index * 100 {
                            other.tx.send(b"message").unwrap();
                        }
                        other.tx.send(b"end").unwrap();
                        other
                    })
                })
                .collect();
            let mut count = Count(vec![0; 8]);
            many(&mut rxs, looks, &mut count).unwrap();
            assert_eq!(count.0, [1, 101, 201, 301, 401, 501, 601, 701]);
            senders.into_iter().for_each(|sender| drop(sender.join().unwrap()));
        }
    }
}
