//! How a memory-backed endpoint waits: look, spin, yield, park. The mechanism says what looking and parking are.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipc_core::{Wait, WaitPolicy};

/// Longest time without asking whether the peer still lives, for who spins or has nothing to sleep on that would tell.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// How long a wait sleeps on the futex, which is the cheapest to be woken from but cannot tell of the peer's death. Who waits
/// longer sleeps on descriptors, which can.
const FUTEX_FOR: Duration = Duration::from_millis(10);

/// How long `adaptive` spins before it yields and parks: about two cross-core wake-ups. The classic bound: spinning as
/// long as a sleep would cost is at most twice as bad as knowing the future (Karlin et al., SODA 1990).
const SPIN_FOR: Duration = Duration::from_micros(20);

/// How long `spin` keeps its CPU before it offers it to others once.
const YIELD_EVERY: Duration = Duration::from_micros(50);

/// Looks between two readings of the clock, which cost as much as one look or several.
const LOOKS: u32 = 256;

/// Times `adaptive` yields after spinning.
const YIELDS: u32 = 4;

/// How an endpoint waits; fixed when the connection is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    policy: WaitPolicy,
    /// Both ends can only ever run on the same CPU: while we spin, the peer cannot do what we wait for.
    share_one_cpu: bool,
}

/// Something to wait for.
pub(crate) trait Site {
    /// Why waiting is pointless.
    type Error;

    /// Whether it is there. Called in a tight loop.
    fn is_ready(&self) -> bool;

    /// Looks for what shows in memory only now and then: has the peer said that it is gone? Answers `Ok` while there is
    /// something to wait for, or when it is there after all.
    fn check(&mut self) -> Result<(), Self::Error>;

    /// As [`check`](Site::check), also asking the kernel whether the peer still lives.
    fn check_peer(&mut self) -> Result<(), Self::Error>;

    /// Announces, looks again, sleeps at most `slice`. May return early.
    fn park(&mut self, slice: Duration);

    /// As [`park`](Site::park) for a wait that has already been long: sleeps at most `left`, `None` for as long as it takes, where
    /// the peer's end shows, too. True: it shows.
    fn doze(&mut self, _left: Option<Duration>) -> Result<bool, NoDoze> {
        Err(NoDoze)
    }
}

/// There is nothing to sleep on that would tell of the peer's end; slices go on.
#[derive(Debug)]
pub(crate) struct NoDoze;

/// Why waiting ended without success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped<E> {
    /// The call's time is up.
    TimeUp,
    /// It will never be there.
    Failed(E),
}

impl Waiting {
    pub(crate) fn new(policy: WaitPolicy, share_one_cpu: bool) -> Self {
        Waiting { policy, share_one_cpu }
    }

    /// Whether waiting begins with looks at the memory: not where the peer needs this CPU, and not for who sleeps at once.
    #[inline]
    pub(crate) fn spins(self) -> bool {
        !self.share_one_cpu && self.policy != WaitPolicy::Park
    }

    /// Leaves out the looks of so long a time, where `wait` allows it and waiting would begin with looks.
    pub(crate) fn hold_back(self, time: Duration, wait: Wait) {
        if wait == Wait::Never || !self.spins() {
            return;
        }
        let end = Instant::now() + time;
        let end = if let Wait::Until(deadline) = wait { end.min(deadline) } else { end };
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }

    /// Waits until `site` is ready.
    pub(crate) fn until_ready<S: Site>(self, site: &mut S, wait: Wait) -> Result<(), Stopped<S::Error>> {
        if site.is_ready() {
            return Ok(());
        }
        site.check().map_err(Stopped::Failed)?;
        if site.is_ready() {
            return Ok(());
        }
        if wait == Wait::Never {
            return Err(Stopped::TimeUp);
        }
        match self.policy {
            WaitPolicy::Spin => self.spin(site, wait),
            WaitPolicy::Adaptive => {
                if self.spin_briefly(site, wait)? {
                    return Ok(());
                }
                park(site, wait)
            }
            WaitPolicy::Park => park(site, wait),
        }
    }

    /// Spins for as long as it takes, yielding now and then so that a peer on the same core gets to run.
    fn spin<S: Site>(self, site: &mut S, wait: Wait) -> Result<(), Stopped<S::Error>> {
        if look(site, self.looks()) {
            return Ok(());
        }
        let mut now = Instant::now();
        let (mut yielded, mut asked) = (now, now);
        loop {
            if now - yielded >= YIELD_EVERY || self.share_one_cpu {
                rustix::thread::sched_yield();
                yielded = now;
            }
            if now - asked >= SLICE {
                site.check_peer().map_err(Stopped::Failed)?;
                asked = now;
            }
            if look(site, self.looks()) {
                return Ok(());
            }
            site.check().map_err(Stopped::Failed)?;
            now = Instant::now();
            if matches!(wait, Wait::Until(deadline) if now >= deadline) {
                return time_up(site);
            }
        }
    }

    /// Spins a little, then yields a little. False: time to park.
    fn spin_briefly<S: Site>(self, site: &mut S, wait: Wait) -> Result<bool, Stopped<S::Error>> {
        if !self.share_one_cpu {
            if look(site, LOOKS) {
                return Ok(true);
            }
            let start = Instant::now();
            loop {
                if look(site, LOOKS) {
                    return Ok(true);
                }
                let now = Instant::now();
                if matches!(wait, Wait::Until(deadline) if now >= deadline) {
                    break;
                }
                if now - start >= SPIN_FOR {
                    break;
                }
            }
        }
        Ok(yield_briefly(site, &CROWD))
    }

    fn looks(self) -> u32 {
        if self.share_one_cpu { 1 } else { LOOKS }
    }
}

#[inline]
fn look<S: Site>(site: &S, times: u32) -> bool {
    for _ in 0..times {
        if site.is_ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// Offers the CPU to others a few times. False: time to park.
fn yield_briefly<S: Site>(site: &S, crowd: &Crowd) -> bool {
    if crowd.is_here() {
        return false;
    }
    for _ in 0..YIELDS {
        let long = Instant::now() + Crowd::LONG;
        rustix::thread::sched_yield();
        let crowded = crowd.note(Instant::now() >= long);
        if look(site, 1) {
            return true;
        }
        if crowded {
            return false;
        }
    }
    false
}

/// Whether busy programs share our CPU. Who yields then waits until each of them has had its turn, a few milliseconds in
/// all, while who sleeps and is woken goes before them.
struct Crowd {
    /// Waits that are still to park without yielding. Relaxed, always: a hint, and losing a count does no harm.
    parks: AtomicU32,
}

/// What this process knows of its CPUs.
static CROWD: Crowd = Crowd { parks: AtomicU32::new(0) };

impl Crowd {
    /// A yield that takes this long was no hand-over to a peer at work on one message.
    const LONG: Duration = Duration::from_millis(1);

    /// Waits that park at once after such a yield.
    const PARKS: u32 = 256;

    /// Counts one of the waits that are to park at once.
    fn is_here(&self) -> bool {
        let left = self.parks.load(Relaxed);
        if left > 0 {
            self.parks.store(left - 1, Relaxed);
        }
        left > 0
    }

    /// Told whether a yield was [`LONG`](Crowd::LONG), which it returns.
    fn note(&self, long: bool) -> bool {
        if long {
            self.parks.store(Crowd::PARKS, Relaxed);
        }
        long
    }
}

/// Sleeps: for [`FUTEX_FOR`] on the futex, and from then on on descriptors, without any slices. An endpoint that waits for
/// long does not wake up for nothing, and learns at once of its peer's end.
fn park<S: Site>(site: &mut S, wait: Wait) -> Result<(), Stopped<S::Error>> {
    let (mut asked, mut long) = (Instant::now(), false);
    loop {
        let left = wait.remaining();
        if left.is_some_and(|left| left.is_zero()) {
            return time_up(site);
        }
        let slice = if long { SLICE } else { FUTEX_FOR };
        let dozed = if long { site.doze(left) } else { Err(NoDoze) };
        let gone = dozed.unwrap_or_else(|NoDoze| {
            site.park(left.unwrap_or(slice).min(slice));
            false
        });
        if site.is_ready() {
            return Ok(());
        }
        // Signals may wake us far more often than that; the kernel is asked no more often.
        let now = Instant::now();
        if gone || now - asked >= slice {
            site.check_peer().map_err(Stopped::Failed)?;
            (asked, long) = (now, true);
        } else {
            site.check().map_err(Stopped::Failed)?;
        }
        if site.is_ready() {
            return Ok(());
        }
    }
}

/// A caller that waits in many short steps must learn of the peer's death, too.
fn time_up<S: Site>(site: &mut S) -> Result<(), Stopped<S::Error>> {
    site.check_peer().map_err(Stopped::Failed)?;
    if site.is_ready() { Ok(()) } else { Err(Stopped::TimeUp) }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use ipc_core::{Options, Receiver, RecvError, SendError, Sender, Transport};

    use crate::{Shm, ShmDirect};

    /// Ready at the given look.
    struct After(Cell<u32>);

    impl Site for After {
        type Error = ();

        fn is_ready(&self) -> bool {
            self.0.set(self.0.get().saturating_sub(1));
            self.0.get() == 0
        }

        fn check(&mut self) -> Result<(), ()> {
            Ok(())
        }

        fn check_peer(&mut self) -> Result<(), ()> {
            Ok(())
        }

        fn park(&mut self, _: Duration) {}
    }

    #[test]
    fn after_a_long_yield_the_next_waits_park_at_once() {
        let crowd = Crowd { parks: AtomicU32::new(0) };
        assert!(!crowd.is_here() && !crowd.note(false) && !crowd.is_here());
        assert!(crowd.note(true));
        for wait in 0..Crowd::PARKS {
            let site = After(Cell::new(1));
            assert!(!yield_briefly(&site, &crowd), "wait {wait}");
            assert_eq!(site.0.get(), 1, "wait {wait} has looked, so it has yielded");
        }
        assert!(!crowd.is_here(), "then it is tried again");
        assert!(yield_briefly(&After(Cell::new(1)), &crowd));
    }

    #[test]
    fn only_who_would_look_and_has_time_holds_back() {
        let (long, past) = (Duration::from_secs(3600), Wait::Until(Instant::now()));
        // An hour, each of these, did they not end at once.
        for policy in [WaitPolicy::Spin, WaitPolicy::Adaptive] {
            Waiting::new(policy, false).hold_back(long, Wait::Never);
            Waiting::new(policy, false).hold_back(long, past);
            Waiting::new(policy, true).hold_back(long, Wait::Forever);
        }
        Waiting::new(WaitPolicy::Park, false).hold_back(long, Wait::Forever);
        let (began, short) = (Instant::now(), Duration::from_micros(100));
        Waiting::new(WaitPolicy::Adaptive, false).hold_back(short, Wait::Forever);
        assert!(Instant::now() >= began + short);
    }

    /// Somebody waits at either end for so long that both sleep on descriptors; then one sends, or leaves. What the other got.
    fn after_a_long_wait<T: Transport>(
        then: impl FnOnce(T::Tx, T::Rx) -> Option<(T::Tx, T::Rx)>,
    ) -> Result<usize, RecvError>
    where
        T::Rx: 'static,
    {
        let mut options = T::Options::default();
        options.fill("wait", "park").unwrap();
        let (mut one, mut other) = T::pair(&options).unwrap();
        let waits = std::thread::spawn(move || other.rx.recv_timeout(&mut Vec::new(), 1200 * SLICE));
        let waited = one.rx.recv_timeout(&mut Vec::new(), 10 * SLICE);
        assert!(matches!(waited, Err(RecvError::TimedOut)), "{waited:?}");
        // One sleep on the futex, and the rest at once. A signal may end one early.
        let parks = one.rx.stats().parks;
        assert!((1..=4).contains(&parks), "{parks} sleeps in ten slices");
        let kept = then(one.tx, one.rx);
        let result = waits.join().unwrap();
        drop(kept);
        result
    }

    fn long_waits_end<T: Transport>()
    where
        T::Rx: 'static,
    {
        let sent = after_a_long_wait::<T>(|mut tx, rx| {
            tx.send(b"at last").unwrap();
            Some((tx, rx))
        });
        assert!(matches!(sent, Ok(7)), "{sent:?}");
        let left = after_a_long_wait::<T>(|tx, rx| {
            drop(tx);
            // Only the sender has left.
            std::mem::forget(rx);
            None
        });
        assert!(matches!(left, Err(RecvError::Closed)), "{left:?}");
        let left = after_a_long_wait::<T>(|_, _| None);
        assert!(matches!(left, Err(RecvError::Closed)), "{left:?}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps memory and asks the kernel")]
    fn who_has_waited_for_long_sleeps_on_and_is_woken() {
        std::thread::scope(|scope| {
            scope.spawn(long_waits_end::<Shm>);
            scope.spawn(long_waits_end::<ShmDirect>);
        });
    }

    fn long_waits_for_room_end<T: Transport>(capacity: Option<&str>)
    where
        T::Tx: 'static,
    {
        let mut options = T::Options::default();
        options.fill("wait", "park").unwrap();
        if let Some(capacity) = capacity {
            options.fill("capacity", capacity).unwrap();
        }
        let (mut one, mut other) = T::pair(&options).unwrap();
        while one.tx.try_send(&[1; 100]).is_ok() {}
        assert!(matches!(one.tx.send_timeout(&[2; 100], 5 * SLICE), Err(SendError::TimedOut)));
        let waits = std::thread::spawn(move || one.tx.send_timeout(&[2; 100], 1200 * SLICE));
        let waited = one.rx.recv_timeout(&mut Vec::new(), 5 * SLICE);
        assert!(matches!(waited, Err(RecvError::TimedOut)), "{waited:?}");
        // Room for one message, far less than a sender that looks again by itself would be woken for.
        other.rx.recv(&mut Vec::new()).unwrap();
        waits.join().unwrap().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps memory and asks the kernel")]
    fn who_has_waited_for_room_for_long_is_woken_for_the_first_of_it() {
        long_waits_for_room_end::<Shm>(Some("64K"));
        long_waits_for_room_end::<ShmDirect>(None);
    }
}
