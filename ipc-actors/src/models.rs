//! Models of the mailbox word, of the reply slot, of supervisors and children and of muted senders, explored by loom: `cargo xtask loom`.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::inbox::{Inbox, Lists, Node, Push};
use crate::reply::{self, AskError};
use crate::status::{Status, control};
use crate::sync::Mutex;
use ipc_core::Priority;

/// An actor reduced to its mailbox: whoever wakes it runs it, as a worker would. Loom fails the model when two threads
/// are in `lists` at a time, or when one of them does not see what the other did there.
struct Actor {
    inbox: Inbox,
    lists: UnsafeCell<Lists<u32>>,
    handled: AtomicU32,
}

// SAFETY: what the models check: whoever owns the mailbox is the only one in `lists`.
unsafe impl Sync for Actor {}

impl Actor {
    fn new() -> Arc<Actor> {
        let lists = UnsafeCell::new(Lists::new());
        Arc::new(Actor { inbox: Inbox::busy(), lists, handled: AtomicU32::new(0) })
    }

    /// Sends a message in a node of its own. False: the mailbox is closed and gave it back.
    fn push(&self, message: u32) -> bool {
        // SAFETY: `lists` are of `u32`.
        let pushed = unsafe { self.inbox.push(Node::message(message, Priority::Normal, None)) };
        self.sent(pushed.map_err(Node::into_message))
    }

    /// Sends a message beside others, when there are some.
    fn send(&self, message: u32) -> bool {
        // SAFETY: `lists` are of `u32`.
        self.sent(unsafe { self.inbox.tell(message, None) })
    }

    /// Sends a message as an actor does: to an actor that rests without a push. False: the mailbox is closed.
    fn hand_over(&self, message: u32) -> bool {
        if !self.inbox.claim() {
            return self.send(message);
        }
        self.lists.with_mut(|lists| {
            // SAFETY: as above.
            unsafe { &mut *lists }.put(Node::message(message, Priority::Normal, None));
        });
        self.run();
        true
    }

    fn sent(&self, pushed: Result<Push, u32>) -> bool {
        if pushed == Ok(Push::Woke) {
            self.run();
        }
        pushed.is_ok()
    }

    /// An actor that has not looked yet at these messages: the first is a node, the others are in a batch.
    fn behind(messages: u32) -> Arc<Actor> {
        let actor = Actor::new();
        (0..messages).for_each(|message| assert!(actor.send(message)));
        actor
    }

    fn run(&self) {
        loop {
            self.handle_all(|lists| _ = self.inbox.grab(lists));
            if self.inbox.rest() {
                return;
            }
        }
    }

    fn handle_all(&self, grab: impl FnOnce(&mut Lists<u32>)) {
        self.lists.with_mut(|lists| {
            // SAFETY: as above.
            let lists = unsafe { &mut *lists };
            grab(lists);
            while let Some(node) = lists.take() {
                drop(node.open());
                self.handled.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

#[test]
fn l12_no_message_is_lost_and_one_thread_at_a_time_owns_the_actor() {
    loom::model(|| {
        let actor = Actor::new();
        let senders = [1, 2].map(|message| {
            let actor = actor.clone();
            thread::spawn(move || actor.push(message))
        });
        actor.run();
        for sender in senders {
            assert!(sender.join().unwrap());
        }
        assert_eq!(actor.handled.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn l12_a_sender_that_claims_a_resting_actor_owns_it_alone() {
    loom::model(|| {
        let actor = Actor::new();
        actor.run();
        let sender = {
            let actor = actor.clone();
            thread::spawn(move || actor.hand_over(1))
        };
        assert!(actor.hand_over(2));
        assert!(sender.join().unwrap());
        assert_eq!(actor.handled.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn l12_a_claim_does_not_undo_a_close() {
    loom::model(|| {
        let actor = Actor::new();
        let sender = {
            let actor = actor.clone();
            thread::spawn(move || actor.hand_over(1))
        };
        actor.handle_all(|lists| actor.inbox.close(lists));
        let taken = sender.join().unwrap();
        assert_eq!(actor.handled.load(Ordering::SeqCst), u32::from(taken));
        assert!(!actor.hand_over(2));
    });
}

#[test]
fn l12_a_closing_mailbox_hands_each_message_to_exactly_one_side() {
    loom::model(|| {
        let actor = Actor::new();
        let senders = [1, 2].map(|message| {
            let actor = actor.clone();
            thread::spawn(move || actor.push(message))
        });
        actor.handle_all(|lists| actor.inbox.close(lists));
        let returned = senders.map(|sender| u32::from(!sender.join().unwrap())).iter().sum::<u32>();
        assert_eq!(actor.handled.load(Ordering::SeqCst) + returned, 2);
    });
}

#[test]
fn each_place_of_a_batch_is_written_by_its_sender_and_then_read_by_the_owner() {
    // In a model a batch has three places, of which one is taken: the sender finds two, or that the batch is gone.
    loom::model(|| {
        let actor = Actor::behind(2);
        let sender = {
            let actor = actor.clone();
            thread::spawn(move || actor.send(1) && actor.send(2))
        };
        actor.run();
        assert!(sender.join().unwrap());
        assert_eq!(actor.handled.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn a_mailbox_that_closes_over_a_batch_hands_each_message_to_exactly_one_side() {
    loom::model(|| {
        let actor = Actor::behind(2);
        let senders = [1, 2].map(|message| {
            let actor = actor.clone();
            thread::spawn(move || actor.send(message))
        });
        actor.handle_all(|lists| actor.inbox.close(lists));
        let returned = senders.map(|sender| u32::from(!sender.join().unwrap())).iter().sum::<u32>();
        assert_eq!(actor.handled.load(Ordering::SeqCst) + returned, 4);
    });
}

/// A supervisor or a child reduced to its mailbox and its links, which follow `watch.rs`: links are asked for through
/// mailboxes, and who ends answers with an exit.
struct Relative {
    inbox: Inbox,
    state: UnsafeCell<Relation>,
}

struct Relation {
    lists: Lists<u32>,
    /// One bit per relative that this one is linked to.
    links: u32,
    /// Exits that were news.
    exits: u32,
}

// SAFETY: as above.
unsafe impl Sync for Relative {}

const LINK: u32 = 1;
const UNLINK: u32 = 2;
/// The exit of the child of bit 4, 8, …
const EXIT: u32 = 3;

/// In a child's `links`.
const SUPERVISOR: u32 = 1;
const OLD: u32 = 4;
const NEW: u32 = 8;

impl Relation {
    fn obey(&mut self, word: u32) {
        match word {
            LINK => self.links |= SUPERVISOR,
            UNLINK => self.links &= !SUPERVISOR,
            exit => {
                let from = exit & !EXIT;
                self.exits += u32::from(self.links & from != 0);
                self.links &= !from;
            }
        }
    }

    fn obey_all(&mut self) {
        while let Some(node) = self.lists.take() {
            self.obey(node.into_message());
        }
    }
}

impl Relative {
    fn new() -> Arc<Relative> {
        let state = UnsafeCell::new(Relation { lists: Lists::new(), links: 0, exits: 0 });
        Arc::new(Relative { inbox: Inbox::busy(), state })
    }

    fn turn<R>(&self, act: impl FnOnce(&mut Relation) -> R) -> R {
        // SAFETY: as above.
        self.state.with_mut(|state| act(unsafe { &mut *state }))
    }

    /// False: it has ended.
    fn tell(&self, word: u32) -> bool {
        // SAFETY: `lists` are of `u32`.
        let pushed = unsafe { self.inbox.push(Node::message(word, Priority::Normal, None)) };
        if matches!(pushed, Ok(Push::Woke)) {
            self.run();
        }
        pushed.is_ok()
    }

    fn run(&self) {
        loop {
            self.turn(|own| {
                self.inbox.grab(&mut own.lists);
                own.obey_all();
            });
            if self.inbox.rest() {
                return;
            }
        }
    }

    /// As a supervisor: links to `child`, in a turn of this one's.
    fn link(&self, child: &Relative, bit: u32) {
        self.turn(|own| own.links |= bit);
        if !child.tell(LINK) {
            self.tell(EXIT | bit);
        }
    }

    fn unlink(&self, child: &Relative, bit: u32) {
        self.turn(|own| own.links &= !bit);
        child.tell(UNLINK);
    }

    /// As the child of that bit: a last turn, then the end, which tells `supervisor` if it is linked or was about to be.
    fn end(&self, supervisor: &Relative, bit: u32) {
        self.turn(|own| {
            self.inbox.grab(&mut own.lists);
            own.obey_all();
            let linked = own.links & SUPERVISOR != 0;
            if linked {
                supervisor.tell(EXIT | bit);
            }
            self.inbox.close(&mut own.lists);
            while let Some(node) = own.lists.take() {
                if node.into_message() == LINK {
                    supervisor.tell(EXIT | bit);
                }
            }
        });
    }
}

#[test]
fn l13_a_link_to_a_child_that_ends_is_answered_by_one_exit() {
    loom::model(|| {
        let (supervisor, child) = (Relative::new(), Relative::new());
        let ends = {
            let supervisor = supervisor.clone();
            let child = child.clone();
            thread::spawn(move || child.end(&supervisor, OLD))
        };
        supervisor.link(&child, OLD);
        supervisor.run();
        ends.join().unwrap();
        assert_eq!(supervisor.turn(|own| (own.exits, own.links)), (1, 0));
    });
}

#[test]
fn l13_the_end_of_a_replaced_child_is_no_news_and_leaves_the_link_to_the_next_one() {
    loom::model(|| {
        let (supervisor, old, new) = (Relative::new(), Relative::new(), Relative::new());
        let ends = {
            let supervisor = supervisor.clone();
            let old = old.clone();
            thread::spawn(move || old.end(&supervisor, OLD))
        };
        supervisor.link(&old, OLD);
        supervisor.unlink(&old, OLD);
        supervisor.link(&new, NEW);
        supervisor.run();
        ends.join().unwrap();
        assert_eq!(supervisor.turn(|own| (own.exits, own.links)), (0, NEW));
    });
}

/// A child whose incarnation is over and whose parent decides. The control word and the mailbox are the real ones; a turn does
/// what `wait_for_parent` in `run.rs` and `Task::run` do.
struct Failed {
    status: Status,
    inbox: Inbox,
    lists: UnsafeCell<Lists<u32>>,
    restarts: AtomicU32,
    releases: AtomicU32,
}

// SAFETY: as above.
unsafe impl Sync for Failed {}

impl Failed {
    fn new() -> Arc<Failed> {
        Arc::new(Failed {
            status: Status::new(true),
            inbox: Inbox::busy(),
            lists: UnsafeCell::new(Lists::new()),
            restarts: AtomicU32::new(0),
            releases: AtomicU32::new(0),
        })
    }

    fn run(&self) {
        loop {
            // SAFETY: as above.
            self.lists.with_mut(|lists| self.inbox.grab(unsafe { &mut *lists }));
            let requests = self.status.take(u32::MAX);
            if requests & control::RELEASE != 0 {
                self.releases.fetch_add(1, Ordering::SeqCst);
            } else if requests & control::RESTART != 0 {
                self.restarts.fetch_add(1, Ordering::SeqCst);
            }
            if self.inbox.rest() {
                return;
            }
        }
    }

    /// As `AnyAddr::demand`.
    fn demand(&self, request: u32) {
        if self.status.request(request) {
            // SAFETY: `lists` are of `u32`.
            let pushed = unsafe { self.inbox.push(Node::message(0, Priority::Normal, None)) };
            if matches!(pushed, Ok(Push::Woke)) {
                self.run();
            }
        }
    }

    fn decisions(&self) -> (u32, u32) {
        (self.restarts.load(Ordering::SeqCst), self.releases.load(Ordering::SeqCst))
    }
}

#[test]
fn l13_a_child_that_comes_to_rest_sees_what_its_supervisor_decides() {
    for (request, decisions) in [(control::RESTART, (1, 0)), (control::RELEASE, (0, 1))] {
        loom::model(move || {
            let child = Failed::new();
            let supervisor = {
                let child = child.clone();
                thread::spawn(move || child.demand(request))
            };
            child.run();
            supervisor.join().unwrap();
            assert_eq!(child.decisions(), decisions);
        });
    }
}

#[test]
fn l13_a_restart_is_not_lost_beside_a_stop_of_the_incarnation_that_is_over() {
    loom::model(|| {
        let child = Failed::new();
        child.run();
        let stranger = {
            let child = child.clone();
            thread::spawn(move || child.demand(control::STOP))
        };
        child.demand(control::RESTART);
        stranger.join().unwrap();
        assert_eq!(child.decisions(), (1, 0));
    });
}

/// A sender that is to rest for a receiver. The lock and the control word are the real ones; the steps are those of `mute.rs`.
struct Muted {
    status: Status,
    queued: crate::sync::AtomicU32,
    resting: Mutex<bool>,
    /// Turns that the sender was given.
    turns: AtomicU32,
}

impl Muted {
    fn new(queued: u32) -> Arc<Muted> {
        Arc::new(Muted {
            status: Status::new(false),
            queued: crate::sync::AtomicU32::new(queued),
            resting: Mutex::new(false),
            turns: AtomicU32::new(0),
        })
    }

    fn schedule(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
    }

    /// As `Inner::rest`, by the sender's worker.
    fn rest(&self) {
        let mut resting = self.resting.lock();
        let caught_up = self.queued.load(Ordering::Relaxed) == 0;
        if caught_up || self.status.has_request() {
            drop(resting);
            return self.schedule();
        }
        *resting = true;
    }

    /// As `Inner::unmute`.
    fn unmute(&self) {
        if std::mem::take(&mut *self.resting.lock()) {
            self.schedule();
        }
    }

    /// As the receiver: `Core::uncount` and `Inner::room_made`.
    fn take_one(&self) {
        if self.queued.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.unmute();
        }
    }
}

#[test]
fn a_sender_that_goes_to_rest_goes_on_once_when_its_receiver_catches_up() {
    loom::model(|| {
        let sender = Muted::new(2);
        let receiver = {
            let sender = sender.clone();
            thread::spawn(move || (0..2).for_each(|_| sender.take_one()))
        };
        sender.rest();
        receiver.join().unwrap();
        assert_eq!(sender.turns.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_sender_that_goes_to_rest_goes_on_once_when_something_is_demanded_of_it() {
    loom::model(|| {
        let sender = Muted::new(1);
        let others = {
            let (killer, timer) = (sender.clone(), sender.clone());
            [
                thread::spawn(move || {
                    killer.status.request(control::KILL);
                    killer.unmute();
                }),
                thread::spawn(move || timer.unmute()),
            ]
        };
        sender.rest();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(sender.turns.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_answer_is_taken_or_dropped_once_whoever_leaves_last() {
    loom::model(|| {
        let told = std::sync::Arc::new(());
        let (waiter, reply) = reply::to_thread::<std::sync::Arc<()>>();
        let answer = told.clone();
        let replier = thread::spawn(move || reply.send(answer));
        let taken = waiter.take();
        replier.join().unwrap();
        match taken {
            Ok(answer) => assert_eq!(std::sync::Arc::strong_count(&answer), 2),
            Err(error) => {
                assert_eq!(error, AskError::TimedOut);
                assert_eq!(std::sync::Arc::strong_count(&told), 1, "the late answer is dropped");
            }
        }
    });
}
