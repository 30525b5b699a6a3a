//! Loom model L11: registering a waker against an event against giving up, in `ipc-async`'s table of wakers. It stands
//! here because `--cfg loom` reaches every crate of a build, and the executors that ipc-async is tested with do not
//! build with it.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::table::Table;

/// Wakes a thread that waits as an executor does.
struct Parked {
    woken: Mutex<bool>,
    wakes: Condvar,
}

impl Parked {
    fn new() -> Arc<Parked> {
        Arc::new(Parked { woken: Mutex::new(false), wakes: Condvar::new() })
    }

    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.wakes.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.wakes.notify_all();
    }
}

/// The reactor's part of one turn: note the event under the lock, wake outside it.
fn turn(table: &Mutex<Table>, token: usize) {
    let woken = table.lock().unwrap().event(token);
    if let Some(waker) = woken {
        waker.wake();
    }
}

#[test]
fn l11_an_event_around_the_registration_of_a_waker_is_not_lost() {
    loom::model(|| {
        let table = Arc::new(Mutex::new(Table::default()));
        let ready = Arc::new(AtomicBool::new(false));
        let token = table.lock().unwrap().insert();
        let reactor = {
            let (table, ready) = (table.clone(), ready.clone());
            thread::spawn(move || {
                // What the peer does before the kernel reports it. Relaxed: the table's lock orders it.
                ready.store(true, Ordering::Relaxed);
                turn(&table, token);
            })
        };
        let parked = Parked::new();
        let waker = Waker::from(parked.clone());
        let context = Context::from_waker(&waker);
        loop {
            // As `Half::poll`: forget old events, try, wait for a new one.
            table.lock().unwrap().clear(token);
            if ready.load(Ordering::Relaxed) {
                break;
            }
            while table.lock().unwrap().poll(token, &context).is_pending() {
                parked.wait();
            }
        }
        reactor.join().unwrap();
    });
}

#[test]
fn l11_a_dropped_wait_is_not_woken_and_the_next_owner_of_its_token_is() {
    loom::model(|| {
        let table = Arc::new(Mutex::new(Table::default()));
        let token = table.lock().unwrap().insert();
        let reactor = {
            let table = table.clone();
            thread::spawn(move || turn(&table, token))
        };
        let first = Parked::new();
        let waker = Waker::from(first.clone());
        let is_pending = table.lock().unwrap().poll(token, &Context::from_waker(&waker)).is_pending();
        let mut locked = table.lock().unwrap();
        locked.forget_waker(token);
        locked.remove(token);
        assert_eq!(locked.insert(), token);
        drop(locked);
        let dropped = Arc::strong_count(&first);
        assert!(dropped <= 3, "the waker outlives its wait: {dropped} handles, pending {is_pending}");
        // An event meant for the first owner may reach the second: a wake-up too many, never one too few.
        let second = Parked::new();
        let waker = Waker::from(second.clone());
        let late = {
            let table = table.clone();
            thread::spawn(move || turn(&table, token))
        };
        while table.lock().unwrap().poll(token, &Context::from_waker(&waker)).is_pending() {
            second.wait();
        }
        late.join().unwrap();
        reactor.join().unwrap();
    });
}
