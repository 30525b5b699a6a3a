//! Many connections of one process, each with an end of its own.

use std::sync::mpsc;
use std::thread;

use ipc_async::Reactor;
use ipc_transports::{Connection, PeerInfo, Pollable, Receiver, Sender, Transport};

use super::endpoint::now;
use super::{Awaited, Blocking, Broken, Endpoint, Executor, InPlace, all};

/// How the ends wait: each in the calls of a thread of its own, or all on one reactor.
pub(crate) trait Crowd<Tx, Rx>: Executor {
    type End: Endpoint + Send;

    /// Makes a connection one of them.
    fn attach(&self, halves: Blocking<Tx, Rx>) -> Self::End;

    /// Gives a connection back.
    fn detach(&self, end: Self::End) -> Blocking<Tx, Rx>;

    /// Serves every one of `them` at once, on other threads than this one, while `look` knows which those are.
    fn beside<S: Send, R>(
        &mut self,
        them: &mut [S],
        serve: impl AsyncFn(&mut S) -> Result<(), Broken> + Sync,
        look: impl FnOnce(&[i32]) -> R,
    ) -> (R, Result<(), Broken>);
}

/// Something to do with many connections of `T`.
pub(crate) trait Crowded<T: Transport> {
    type Output;

    fn with(self, crowd: &mut impl Crowd<T::Tx, T::Rx>) -> Self::Output;
}

impl<Tx: Sender, Rx: Receiver> Crowd<Tx, Rx> for InPlace {
    type End = Blocking<Tx, Rx>;

    fn attach(&self, halves: Blocking<Tx, Rx>) -> Self::End {
        halves
    }

    fn detach(&self, end: Self::End) -> Blocking<Tx, Rx> {
        end
    }

    fn beside<S: Send, R>(
        &mut self,
        them: &mut [S],
        serve: impl AsyncFn(&mut S) -> Result<(), Broken> + Sync,
        look: impl FnOnce(&[i32]) -> R,
    ) -> (R, Result<(), Broken>) {
        let serve = &serve;
        on_threads(them.iter_mut().map(|one| move || now(serve(one))), look)
    }
}

impl<Tx: Sender + Pollable, Rx: Receiver + Pollable> Crowd<Tx, Rx> for Reactor {
    type End = Awaited<Tx, Rx>;

    fn attach(&self, halves: Blocking<Tx, Rx>) -> Self::End {
        let connection = Connection::new(halves.tx, halves.rx, PeerInfo::default(), Vec::new());
        let handle = self.handle();
        let Connection { tx, rx, .. } = handle.attach(connection);
        Awaited { tx, rx, handle }
    }

    fn detach(&self, end: Self::End) -> Blocking<Tx, Rx> {
        Blocking { tx: end.tx.into_inner(), rx: end.rx.into_inner() }
    }

    fn beside<S: Send, R>(
        &mut self,
        them: &mut [S],
        serve: impl AsyncFn(&mut S) -> Result<(), Broken> + Sync,
        look: impl FnOnce(&[i32]) -> R,
    ) -> (R, Result<(), Broken>) {
        on_threads([|| self.block_on(all(them.iter_mut().map(|one| serve(one))))], look)
    }
}

/// Does each of `work` on a thread of its own while `look` has their ids; the first error of them.
fn on_threads<W: FnOnce() -> Result<(), Broken> + Send, R>(
    work: impl IntoIterator<Item = W>,
    look: impl FnOnce(&[i32]) -> R,
) -> (R, Result<(), Broken>) {
    thread::scope(|scope| {
        let (told, ids) = mpsc::channel();
        let start = |work: W| {
            let told = told.clone();
            scope.spawn(move || {
                // This thread keeps the other end until it has heard from everybody.
                let _ = told.send(rustix::thread::gettid().as_raw_nonzero().get());
                work()
            })
        };
        let threads: Vec<_> = work.into_iter().map(start).collect();
        let ids: Vec<i32> = ids.iter().take(threads.len()).collect();
        let seen = look(&ids);
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Broken::NoPair)));
        (seen, ended.collect::<Result<Vec<()>, _>>().map(drop))
    })
}
