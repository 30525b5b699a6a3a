//! Supervisors under bad children, in bad moments, and with many of them.

use std::time::Instant;

use ipc_actors::{
    Actor, AdminError, Backoff, Child, ChildStatus, Ctx, ExitReason, Ignore, Lifecycle, Message,
    RestartPolicy, ShutdownPolicy, Supervisor,
};

use crate::kit::*;
use crate::support::{Log, PATIENCE, everywhere, simulated, threaded, until};

#[test]
fn a_child_that_is_deaf_does_not_keep_its_supervisor() {
    everywhere(MANY, |system| {
        for policy in [ShutdownPolicy::Kill, ShutdownPolicy::Timeout(ms(5))] {
            let root = Supervisor::one_for_all("root").child(kid("a"));
            let root = root.child(by_script("deaf", &[], Start::Stubborn).shutdown(policy));
            let tree = tree(system, root);
            tree.kid("a").tell(Do::Panic).unwrap();
            tree.read_until("deaf up");
            tree.sup.stop();
            tree.gone();
        }
    });
}

#[test]
fn a_failure_in_a_nested_tree_restarts_the_subtree_but_not_dynamic_children() {
    everywhere(MANY, |system| {
        let inner = Supervisor::one_for_all("inner")
            .child(kid("a").name("a"))
            .child(dynamic(RestartPolicy::Permanent));
        let tree = tree(system, Supervisor::one_for_one("root").child(inner).child(kid("other")));
        let inner = tree.sup.supervisor("inner").unwrap();
        let pool = inner.supervisor("pool").unwrap();
        let one = pool.start::<Kid>(Start::Up).unwrap().unwrap();
        tree.log.rest();
        let a = system.find::<Kid>("a").unwrap();
        a.tell(Do::Panic).unwrap();
        tree.read_until("pool up");
        until(system, || inner.count_children().unwrap().active == 2);
        assert_eq!(pool.count_children().unwrap().specs, 0, "what was started at run time is not");
        until(system, || one.lifecycle() == Lifecycle::Stopped);
        assert_eq!((incarnation(&a), incarnation(&tree.kid("other"))), (1, 0));
    });
}

#[test]
fn counts_tell_workers_from_supervisors_and_the_active_from_the_rest() {
    simulated(MANY, |system| {
        let backoff = Backoff { base: ms(1000), jitter: 0.0, ..Backoff::default() };
        let root = Supervisor::one_for_one("root").backoff(backoff).child(kid("a"));
        let root = root.child(Supervisor::one_for_one("b")).child(scripted("c", &[Start::Up, Start::Fail]));
        let tree = tree(system, root);
        tree.sup.terminate_child("a").unwrap();
        tree.kid("c").tell(Do::Panic).unwrap();
        tree.read_until("c no start: error: does not start");
        let counts = tree.counts();
        assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 1, 1, 2));
        let status: Vec<_> = tree.sup.which_children().unwrap().iter().map(|child| child.status).collect();
        assert_eq!(status, [ChildStatus::Absent, ChildStatus::Running, ChildStatus::Restarting]);
    });
}

#[derive(Clone)]
struct Heavy(#[allow(dead_code, reason = "counted by whoever made it")] std::sync::Arc<()>);

struct Light;
enum Nothing {}
impl Message for Nothing {
    const MESSAGE_TYPE: &'static str = "test.nothing/1";
}
impl Actor for Light {
    type Msg = Nothing;
    type Error = Ignore;
    fn handle(&mut self, message: Nothing, _: &mut Ctx<Self>) -> Result<(), Ignore> {
        match message {}
    }
}

#[test]
fn the_argument_of_a_temporary_child_goes_with_its_start() {
    for (restart, held) in [(RestartPolicy::Temporary, 1), (RestartPolicy::Permanent, 2)] {
        everywhere(MANY, |system| {
            let root = Supervisor::dynamic("pool", |_: Heavy| Light).children(|child| child.restart(restart));
            let tree = tree(system, root);
            let heavy = std::sync::Arc::new(());
            tree.sup.start::<Light>(Heavy(heavy.clone())).unwrap();
            until(system, || std::sync::Arc::strong_count(&heavy) == held);
        });
    }
}

#[test]
fn ending_many_dynamic_children_costs_no_more_than_in_proportion() {
    let took = std::cell::RefCell::new(Vec::new());
    for count in [1_000u64, 10_000] {
        threaded(|system| {
            let tree = tree(system, dynamic(RestartPolicy::Temporary));
            let kids: Vec<_> = (0..count).map(|_| tree.start(Start::Up)).collect();
            let before = Instant::now();
            for kid in &kids {
                tree.sup.terminate(kid.id()).unwrap();
            }
            took.borrow_mut().push(before.elapsed().as_nanos() as u64 / count);
            assert_eq!(tree.counts().specs, 0);
        });
    }
    println!("ns per termination with 1,000 and 10,000 children: {:?}", took.take());
}

#[test]
fn a_thousand_static_children_start_and_stop_in_order() {
    everywhere(1, |system| {
        let names: Vec<_> = (0..1000).map(|at| format!("{at:04}")).collect();
        let root = names.iter().fold(Supervisor::one_for_one("root"), |root, id| root.child(kid(id)));
        let tree = tree(system, root);
        assert_eq!(ids(&tree), names);
        tree.sup.stop();
        tree.gone();
        let stops: Vec<_> = tree.log.rest().into_iter().filter(|line| line.ends_with(" stopping")).collect();
        assert_eq!(stops.len(), 1000);
        assert!(stops.is_sorted_by(|one, two| one > two));
    });
}

#[test]
fn a_supervisor_answers_while_a_start_fails_over_and_over() {
    for make in [Supervisor::one_for_one, Supervisor::rest_for_one, Supervisor::one_for_all] {
        everywhere(MANY, |system| {
            let backoff = Backoff { base: ms(20), factor: 1.0, ..Backoff::default() };
            let root = make("root").intensity(1_000_000, ms(1000)).backoff(backoff);
            let root =
                root.child(kid("a")).child(by_script("bad", &[Start::Up], Start::Fail)).child(kid("z"));
            let tree = tree(system, root);
            tree.kid("bad").tell(Do::Panic).unwrap();
            tree.read_until("bad no start: error: does not start");
            let seen = |error: AdminError| {
                // Between two attempts it waits, during one it is there.
                assert!(matches!(error, AdminError::Restarting | AdminError::Running), "{error:?}");
            };
            seen(tree.sup.restart_child("bad").unwrap_err());
            seen(tree.sup.delete_child("bad").unwrap_err());
            tree.sup.terminate_child("bad").unwrap();
            tree.sup.delete_child("bad").unwrap();
            until(system, || tree.counts().active == 2);
            assert_eq!(ids(&tree), ["a", "z"]);
        });
    }
}

#[test]
fn a_supervisor_ends_while_a_start_fails_over_and_over() {
    for make in [Supervisor::one_for_one, Supervisor::rest_for_one, Supervisor::one_for_all] {
        everywhere(MANY, |system| {
            let backoff = Backoff { base: ms(20), factor: 1.0, ..Backoff::default() };
            let root = make("root").intensity(1_000_000, ms(1000)).backoff(backoff);
            let tree = tree(system, root.child(kid("a")).child(by_script("bad", &[Start::Up], Start::Fail)));
            tree.kid("bad").tell(Do::Panic).unwrap();
            tree.read_until("bad no start: error: does not start");
            tree.sup.stop();
            tree.gone();
        });
    }
}

#[test]
fn a_dynamic_supervisor_answers_while_a_start_fails_over_and_over() {
    everywhere(MANY, |system| {
        let root = Supervisor::try_dynamic("pool", |starts: std::sync::Arc<std::sync::atomic::AtomicU32>| {
            // The first start works and no other does.
            let first = starts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            make(if first { Start::Up } else { Start::Fail })
        });
        let backoff = Backoff { base: ms(20), factor: 1.0, ..Backoff::default() };
        let tree = tree(system, root.intensity(1_000_000, ms(1000)).backoff(backoff));
        let starts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let kid = tree.sup.start::<Kid>(starts).unwrap().unwrap();
        kid.tell(Do::Panic).unwrap();
        tree.read_until("pool no start: error: does not start");
        assert_eq!(tree.counts().specs, 1);
        tree.sup.terminate(kid.id()).unwrap();
        assert_eq!(tree.counts().specs, 0);
    });
}

#[test]
fn a_dynamic_supervisor_goes_on_after_its_first_death() {
    everywhere(MANY, |system| {
        let tree = tree(system, dynamic(RestartPolicy::Temporary));
        for _ in 0..3 {
            let kid = tree.start(Start::Up);
            kid.kill();
            until(system, || tree.counts().specs == 0);
        }
        let kid = tree.start(Start::Up);
        assert_eq!(tree.sup.which_children().unwrap()[0].actor, Some(kid.into_any()));
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_its_children_along() {
    everywhere(MANY, |system| {
        let below = Supervisor::one_for_one("below").child(kid("b"));
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")).child(below));
        tree.kid("a").tell(Do::Panic).unwrap();
        tree.sup.addr().kill();
        until(system, || system.live() == 0);
    });
}

#[test]
fn a_killed_supervisor_is_restarted_and_its_children_have_their_names_again() {
    everywhere(MANY, |system| {
        let below = Supervisor::one_for_one("below").child(kid("a").name("a")).child(kid("b").name("b"));
        let tree = tree(system, Supervisor::one_for_one("root").child(below));
        let (old, below) = (system.find::<Kid>("a").unwrap(), tree.sup.supervisor("below").unwrap());
        // One is about to be restarted when it happens.
        system.find::<Kid>("b").unwrap().tell(Do::Panic).unwrap();
        below.addr().kill();
        tree.read_until("below up");
        until(system, || old.lifecycle() == Lifecycle::Stopped);
        let fresh = system.find::<Kid>("a").unwrap();
        assert_ne!(fresh, old);
        assert_eq!(below.child::<Kid>("a").unwrap(), fresh);
        until(system, || system.live() == 4);
    });
}

#[test]
fn a_worker_has_its_name_before_and_after_a_restart() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a").name("a").transient()));
        let kid = system.find::<Kid>("a").unwrap();
        for end in [Do::Panic, Do::Fail] {
            kid.tell(end).unwrap();
            assert_eq!(kid.ask(Do::Notes, PATIENCE), Ok(vec![]));
            assert_eq!(system.find::<Kid>("a"), Some(kid.clone()));
        }
        kid.tell(Do::End(ExitReason::Normal)).unwrap();
        until(system, || kid.lifecycle() == Lifecycle::Stopped);
        assert_eq!(system.find::<Kid>("a"), None);
        tree.sup.restart_child("a").unwrap();
        assert!(system.find::<Kid>("a").is_some());
    });
}

#[test]
fn a_restart_storm_of_ten_thousand_children_ends_with_all_of_them_running() {
    everywhere(1, |system| {
        let tree = tree(system, dynamic(RestartPolicy::Permanent).intensity(u32::MAX, ms(1000)));
        let kids: Vec<_> = (0..10_000).map(|_| tree.start(Start::Up)).collect();
        for kid in &kids {
            kid.tell(Do::Panic).unwrap();
        }
        assert!(kids.iter().all(|kid| incarnation(kid) == 1));
        assert_eq!(tree.counts().active, 10_000);
    });
}

#[test]
fn a_tree_is_started_from_no_handler() {
    struct Starter(std::sync::mpsc::Sender<String>);
    impl Actor for Starter {
        type Msg = Nothing;
        type Error = Ignore;
        fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
            let error = ctx.system().start(Supervisor::one_for_one("root")).unwrap_err();
            let _ = self.0.send(error.to_string());
            Ok(())
        }
        fn handle(&mut self, message: Nothing, _: &mut Ctx<Self>) -> Result<(), Ignore> {
            match message {}
        }
    }
    everywhere(1, |system| {
        let log = Log::new();
        system.spawn(Starter(log.to.clone())).unwrap();
        assert!(log.next(system).contains("worker's thread"));
    });
}

#[test]
fn a_clone_of_a_child_is_a_child_of_its_own() {
    everywhere(1, |system| {
        let child: Child = kid("a");
        let root = Supervisor::one_for_one("root")
            .child(child.clone())
            .child(Supervisor::one_for_one("b").child(child));
        let tree = tree(system, root);
        assert_ne!(tree.kid("a"), tree.sup.supervisor("b").unwrap().child::<Kid>("a").unwrap());
    });
}
