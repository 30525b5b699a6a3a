//! The ways in which a program can wait on a transport's connection: in the call, or on a reactor.

use ipc_async::Reactor;
use ipc_transports::{LoanSender, Pollable, Transport};

use crate::pattern::gather::{self, Arriving};
use crate::pattern::party::{Calls, Futures, Part};

use crate::error::Failure;
use crate::mechanism::Ended;
use crate::workload::{Access, Blocking, Crowd, Crowded, InPlace, Io, Lending, Task, Work};

/// Both halves of a transport's connection.
pub(crate) type Halves<T> = Blocking<<T as Transport>::Tx, <T as Transport>::Rx>;

/// What is known of the halves of `T` beside that they block.
pub(crate) trait Ways<T: Transport> {
    /// In the order of [`Io::ALL`].
    const ALL: &'static [Io];

    /// Whether messages can be written and read where they lie.
    const LENDS: bool = false;

    /// Does `task` over the connection, used as the work says, and gives it back.
    ///
    /// # Errors
    /// It cannot be used this way.
    fn perform<K: Task>(work: &Work, halves: Halves<T>, task: K) -> Result<(Halves<T>, K::Output), Failure>;

    /// Does `part` with what comes in and what goes out of one process of a pattern, used as the work says.
    ///
    /// # Errors
    /// It cannot be used this way.
    fn among<P: Part>(
        work: &Work,
        rxs: Vec<T::Rx>,
        txs: Vec<T::Tx>,
        looks: u32,
        part: P,
    ) -> Result<P::Output, Failure>;

    /// Does something with many connections, used as the work says.
    ///
    /// # Errors
    /// They cannot be used this way.
    fn crowd<C: Crowded<T>>(work: &Work, crowded: C) -> Result<C::Output, Failure>;

    /// Receives from all connections until each has had its last message; looks so often in vain before it sleeps.
    ///
    /// # Errors
    /// A connection broke, or nobody can wait on several.
    fn gather(rxs: &mut [T::Rx], looks: u32, arriving: &mut impl Arriving) -> Result<(), Ended>;
}

/// Halves that block and may be unable to do anything else.
#[derive(Debug)]
pub(crate) struct Blocks;

impl<T: Transport> Ways<T> for Blocks {
    const ALL: &'static [Io] = &[Io::Sync];

    fn perform<K: Task>(
        work: &Work,
        mut halves: Halves<T>,
        task: K,
    ) -> Result<(Halves<T>, K::Output), Failure> {
        in_the_call::<T>(work)?;
        if work.access == Access::Loan {
            return Err(Failure::failed(format!("{} lends no memory", T::NAME)));
        }
        let output = task.over(&mut halves, &mut InPlace);
        Ok((halves, output))
    }

    fn among<P: Part>(
        work: &Work,
        rxs: Vec<T::Rx>,
        txs: Vec<T::Tx>,
        looks: u32,
        part: P,
    ) -> Result<P::Output, Failure> {
        in_the_call::<T>(work)?;
        Ok(part.among(&mut Calls::<T, Self>::new(rxs, txs, looks)))
    }

    fn crowd<C: Crowded<T>>(work: &Work, crowded: C) -> Result<C::Output, Failure> {
        in_the_call::<T>(work)?;
        Ok(crowded.with(&mut InPlace))
    }

    fn gather(rxs: &mut [T::Rx], _looks: u32, arriving: &mut impl Arriving) -> Result<(), Ended> {
        match rxs {
            [only] => gather::one(only, arriving).map_err(Ended::lost),
            several => Err(Failure::failed(format!(
                "{} connections of {} cannot be waited on at once",
                several.len(),
                T::NAME
            ))
            .why("it was added without a descriptor that says when it is ready")
            .fix("make its halves Pollable and add it using with_pollable")
            .into()),
        }
    }
}

/// Refuses to await what can only wait in its calls.
fn in_the_call<T: Transport>(work: &Work) -> Result<(), Failure> {
    match work.io {
        Io::Sync => Ok(()),
        Io::Async => Err(Failure::failed(format!("{} cannot be awaited", T::NAME))),
    }
}

/// Halves with a descriptor that says when they are ready.
#[derive(Debug)]
pub(crate) struct Polls;

impl<T: Transport> Ways<T> for Polls
where
    T::Tx: Pollable,
    T::Rx: Pollable,
{
    const ALL: &'static [Io] = &Io::ALL;

    fn perform<K: Task>(work: &Work, halves: Halves<T>, task: K) -> Result<(Halves<T>, K::Output), Failure> {
        if work.io == Io::Sync {
            return <Blocks as Ways<T>>::perform(work, halves, task);
        }
        let mut reactor = reactor()?;
        let mut end = reactor.attach(halves);
        let output = task.over(&mut end, &mut reactor);
        Ok((reactor.detach(end), output))
    }

    fn among<P: Part>(
        work: &Work,
        rxs: Vec<T::Rx>,
        txs: Vec<T::Tx>,
        looks: u32,
        part: P,
    ) -> Result<P::Output, Failure> {
        if work.io == Io::Sync {
            return Ok(part.among(&mut Calls::<T, Self>::new(rxs, txs, looks)));
        }
        Ok(part.among(&mut Futures::new(reactor()?, rxs, txs)))
    }

    fn crowd<C: Crowded<T>>(work: &Work, crowded: C) -> Result<C::Output, Failure> {
        match work.io {
            Io::Sync => <Blocks as Ways<T>>::crowd(work, crowded),
            Io::Async => Ok(crowded.with(&mut reactor()?)),
        }
    }

    fn gather(rxs: &mut [T::Rx], looks: u32, arriving: &mut impl Arriving) -> Result<(), Ended> {
        match rxs {
            [only] => gather::one(only, arriving),
            several => gather::many(several, looks, arriving),
        }
        .map_err(Ended::lost)
    }
}

/// The one that a measuring process drives.
///
/// # Errors
/// There are no descriptors left.
pub(crate) fn reactor() -> Result<Reactor, Failure> {
    Reactor::new().map_err(|error| Failure::failed("no reactor can be made").why(error))
}

/// Halves that have such a descriptor, and a sender that lends its memory.
#[derive(Debug)]
pub(crate) struct Lends;

impl<T: Transport> Ways<T> for Lends
where
    T::Tx: Pollable + LoanSender,
    T::Rx: Pollable,
{
    const ALL: &'static [Io] = &Io::ALL;
    const LENDS: bool = true;

    fn perform<K: Task>(work: &Work, halves: Halves<T>, task: K) -> Result<(Halves<T>, K::Output), Failure> {
        if work.access == Access::Copy {
            return <Polls as Ways<T>>::perform(work, halves, task);
        }
        let mut lending = Lending(halves);
        let output = task.over(&mut lending, &mut InPlace);
        Ok((lending.0, output))
    }

    fn among<P: Part>(
        work: &Work,
        rxs: Vec<T::Rx>,
        txs: Vec<T::Tx>,
        looks: u32,
        part: P,
    ) -> Result<P::Output, Failure> {
        <Polls as Ways<T>>::among(work, rxs, txs, looks, part)
    }

    fn crowd<C: Crowded<T>>(work: &Work, crowded: C) -> Result<C::Output, Failure> {
        <Polls as Ways<T>>::crowd(work, crowded)
    }

    fn gather(rxs: &mut [T::Rx], looks: u32, arriving: &mut impl Arriving) -> Result<(), Ended> {
        <Polls as Ways<T>>::gather(rxs, looks, arriving)
    }
}
