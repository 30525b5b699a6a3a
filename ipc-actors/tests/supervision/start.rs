//! Starting: order, failures, what is ignored, what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipc_actors::{
    AdminError, AutoShutdown, Backoff, Child, ChildKind, ExitReason, Phase, RestartPolicy, ShutdownPolicy,
    StartError, SupervisionStrategy, Supervisor,
};

use crate::kit::*;
use crate::support::{FEW, Log, everywhere, until};

#[test]
fn children_start_in_order_and_the_start_waits_for_the_last() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let below = Supervisor::rest_for_one("below").child(kid("b1")).child(kid("b2"));
        let root = Supervisor::one_for_one("root")
            .child(kid("a"))
            .child(below)
            .child(kid("c"))
            .observe(observe(&log));
        let sup = system.start(root).unwrap();
        assert_eq!(log.rest(), ["a up", "b1 up", "b2 up", "below up", "c up"]);
        let counts = sup.count_children().unwrap();
        assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 3, 1, 2));
        let children = sup.which_children().unwrap();
        assert_eq!(children[1].kind, ChildKind::Supervisor);
        assert_eq!(sup.supervisor("below").unwrap().count_children().unwrap().active, 2);
        assert_eq!(sup.child::<Kid>("below").unwrap_err(), AdminError::WrongType);
    });
}

#[test]
fn a_supervisor_without_children_starts_and_stops() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_all("root"));
        assert_eq!(tree.counts().specs, 0);
        tree.sup.stop();
        tree.gone();
    });
}

#[test]
fn an_ignored_child_keeps_its_place_unless_it_is_temporary() {
    everywhere(MANY, |system| {
        let tree = tree(
            system,
            Supervisor::one_for_one("root")
                .child(scripted("permanent", &[Start::Ignore]))
                .child(kid("up"))
                .child(scripted("temporary", &[Start::Ignore]).temporary()),
        );
        let counts = tree.counts();
        assert_eq!((counts.specs, counts.active), (2, 1));
        assert_eq!(tree.sup.which_child("permanent").unwrap().actor, None);
        assert_eq!(tree.sup.which_child("temporary"), Err(AdminError::NotFound));
        assert_eq!(tree.sup.start_child(scripted("later", &[Start::Ignore]).temporary()), Ok(None));
        assert_eq!(tree.sup.start_child(scripted("kept", &[Start::Ignore]).transient()), Ok(None));
        assert_eq!(ids(&tree), ["permanent", "up", "kept"]);
        assert!(tree.sup.restart_child("permanent").unwrap().is_some());
    });
}

#[test]
fn a_dynamic_supervisor_forgets_ignored_children_and_shuts_down_cleanly() {
    for restart in [RestartPolicy::Permanent, RestartPolicy::Temporary] {
        everywhere(MANY, |system| {
            let tree = tree(system, dynamic(restart));
            assert_eq!(tree.sup.start::<Kid>(Start::Ignore).unwrap(), None);
            tree.start(Start::Up);
            assert_eq!((tree.counts().specs, tree.counts().active), (1, 1));
            tree.sup.stop();
            tree.gone();
        });
    }
}

/// A supervisor with one child that is needed while the flag is up.
fn below_while(needed: &Arc<AtomicBool>) -> Supervisor {
    let needed = needed.clone();
    Supervisor::one_for_one("below")
        .intensity(0, ms(1000))
        .child(kid("leaf"))
        .only_if(move || needed.load(Ordering::SeqCst))
}

#[test]
fn a_supervisor_that_is_not_needed_keeps_its_place_unless_it_is_temporary() {
    everywhere(FEW, |system| {
        let needed = Arc::new(AtomicBool::new(false));
        let never = Supervisor::one_for_one("never").only_if(|| false).child(kid("unborn"));
        let root = Supervisor::rest_for_one("root")
            .child(below_while(&needed))
            .child(kid("up"))
            .child(Child::from(never).temporary());
        let tree = tree(system, root);
        assert_eq!(ids(&tree), ["below", "up"]);
        assert_eq!(tree.counts().active, 1);
        until(system, || system.live() == 2);
        assert_eq!(tree.sup.which_child("below").unwrap().actor, None);
        assert_eq!(tree.sup.restart_child("below"), Ok(None), "asked again");
        needed.store(true, Ordering::SeqCst);
        assert!(tree.sup.restart_child("below").unwrap().is_some());
        assert_eq!(tree.sup.supervisor("below").unwrap().count_children().unwrap().active, 1);
    });
}

#[test]
fn a_supervisor_that_is_not_needed_any_more_is_not_restarted() {
    for make in [Supervisor::one_for_one, Supervisor::one_for_all, Supervisor::rest_for_one] {
        everywhere(FEW, |system| {
            let needed = Arc::new(AtomicBool::new(true));
            let tree = tree(system, make("root").child(below_while(&needed)).child(kid("b")));
            let leaf = tree.sup.supervisor("below").unwrap().child::<Kid>("leaf").unwrap();
            needed.store(false, Ordering::SeqCst);
            leaf.tell(Do::Panic).unwrap();
            tree.read_until("below ignored");
            until(system, || tree.sup.which_child("b").unwrap().status == ipc_actors::ChildStatus::Running);
            assert_eq!((tree.counts().specs, tree.counts().active), (2, 1));
        });
    }
}

#[test]
fn a_root_that_is_not_needed_or_does_not_know_starts_nothing() {
    everywhere(FEW, |system| {
        let root = |needed: fn() -> bool| Supervisor::one_for_one("root").child(kid("a")).only_if(needed);
        let cause = |needed| system.start(root(needed)).unwrap_err().cause;
        assert_eq!(cause(|| false), ExitReason::Ignored);
        let ExitReason::Panic(panic) = cause(|| panic!("no idea")) else { panic!("it panicked") };
        assert_eq!((panic.during, &*panic.message), (Phase::Factory, "no idea"));
        assert!(panic.location.contains("start.rs:"), "{}", panic.location);
        let below = Supervisor::one_for_one("below").child(kid("b")).only_if(|| panic!("no idea"));
        let error = system.start(Supervisor::one_for_one("root").child(below)).unwrap_err();
        assert!(
            matches!(&error.cause, ExitReason::Panic(panic) if panic.during == Phase::Factory),
            "{error}"
        );
        until(system, || system.live() == 0);
    });
}

#[test]
fn a_tree_whose_child_does_not_start_leaves_nothing_behind() {
    everywhere(MANY, |system| {
        for bad in [Start::Refuse, Start::Fail, Start::Panic, Start::PanicInFactory] {
            let log = Log::new();
            let root = Supervisor::one_for_one("root")
                .child(kid("a").name("a"))
                .child(kid("b"))
                .child(scripted("bad", &[bad]).name("bad"))
                .child(kid("never"))
                .observe(observe(&log));
            let error = system.start(root).unwrap_err();
            assert_eq!(&*error.child, "bad");
            let lines = log.rest();
            assert_eq!(lines[..2], ["a up", "b up"]);
            assert_eq!(
                lines[3..],
                ["b stopping", "b ended: shutdown", "a stopping", "a ended: shutdown"],
                "in reverse order"
            );
            crate::support::until(system, || system.live() == 0);
            assert_eq!(system.names(), []);
        }
    });
}

#[test]
fn a_panic_while_starting_says_where_it_was() {
    everywhere(MANY, |system| {
        for (start, phase) in [(Start::Panic, Phase::Started), (Start::PanicInFactory, Phase::Factory)] {
            let error =
                system.start(Supervisor::one_for_one("root").child(scripted("a", &[start]))).unwrap_err();
            let ExitReason::Panic(panic) = &error.cause else { panic!("{error}") };
            assert_eq!(panic.during, phase);
            assert!(panic.location.contains("kit.rs:"), "{}", panic.location);
        }
    });
}

#[test]
fn a_failed_start_names_every_supervisor_on_the_way() {
    everywhere(MANY, |system| {
        let deep = Supervisor::one_for_one("deep").child(scripted("leaf", &[Start::Refuse]));
        let middle = Supervisor::one_for_one("middle").child(deep);
        let error = system.start(Supervisor::one_for_one("root").child(middle)).unwrap_err();
        assert_eq!(error.to_string(), "middle/deep/leaf did not start: error: refused");
        assert_eq!(error.root().cause, ExitReason::Error("refused".into()));
    });
}

#[test]
fn a_long_chain_of_causes_is_written_in_bounds() {
    let mut error = StartError { child: "leaf".into(), cause: ExitReason::Error("x".repeat(10_000).into()) };
    for _ in 0..1000 {
        error = StartError { child: "up".into(), cause: ExitReason::StartFailed(Arc::new(error)) };
    }
    let text = error.to_string();
    assert!(text.len() < 700 && text.starts_with("up/up/") && text.ends_with("xxx..."), "{text}");
    // A chain this long would overflow the stack if it were dropped link by link.
    std::mem::forget(error);
}

#[test]
fn a_child_whose_restart_on_request_fails_stays_in_the_list() {
    everywhere(MANY, |system| {
        let tree =
            tree(system, Supervisor::one_for_one("root").child(scripted("a", &[Start::Up, Start::Refuse])));
        tree.sup.terminate_child("a").unwrap();
        let Err(AdminError::Start(error)) = tree.sup.restart_child("a") else { panic!("refused") };
        assert_eq!(error.cause, ExitReason::Error("refused".into()));
        assert_eq!((tree.counts().specs, tree.counts().active), (1, 0));
        assert!(tree.sup.restart_child("a").unwrap().is_some());
    });
}

#[test]
fn a_dynamic_child_that_does_not_start_is_an_error_and_forgotten() {
    everywhere(MANY, |system| {
        let tree = tree(system, dynamic(RestartPolicy::Permanent).max_children(1));
        for start in [Start::Refuse, Start::Fail, Start::Panic] {
            assert!(matches!(tree.sup.start::<Kid>(start), Err(AdminError::Start(_))));
        }
        assert_eq!(tree.counts().specs, 0);
        assert_eq!(tree.sup.start::<Kid>(5u8), Err(AdminError::WrongType));
        tree.start(Start::Up);
        assert_eq!(tree.sup.start::<Kid>(Start::Up), Err(AdminError::TooManyChildren { max: 1 }));
    });
}

#[test]
fn a_name_that_an_outsider_has_is_an_error_with_the_outsiders_address() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root"));
        let holder = outsider(system, "taken");
        let refused = tree.sup.start_child(kid("a").name("taken"));
        assert_eq!(refused, Err(AdminError::AlreadyStarted(holder.address())));
        assert_eq!(tree.counts().specs, 0);
        assert_ne!(holder.lifecycle(), ipc_actors::Lifecycle::Stopped);
        let error = system.start(Supervisor::one_for_one("two").child(kid("a").name("taken"))).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
    });
}

#[test]
fn a_name_is_free_again_when_its_claimant_does_not_get_up() {
    everywhere(MANY, |system| {
        let refused = system.try_actor(|| make(Start::Refuse)).name("claimed").start();
        assert!(matches!(refused, Err(ipc_actors::SpawnError::Factory(_))));
        assert_eq!(system.names(), []);
        for start in [Start::Panic, Start::Fail] {
            let claimant = system.actor(move || Kid::new(start)).name("claimed").start().unwrap();
            until(system, || claimant.lifecycle() == ipc_actors::Lifecycle::Stopped);
            until(system, || system.find::<Kid>("claimed").is_none());
        }
        let holder = outsider(system, "claimed");
        assert_eq!(system.find::<Kid>("claimed").map(ipc_actors::Addr::into_any), Some(holder));
    });
}

#[test]
fn the_defaults_are_those_of_elixir() {
    let text =
        format!("{:?}", Supervisor::one_for_one("root").child(kid("a")).child(Supervisor::one_for_all("b")));
    assert!(
        text.contains("Permanent") && text.contains("Timeout(5s)") && text.contains("Infinity"),
        "{text}"
    );
}

#[test]
fn two_children_with_one_id_are_refused() {
    let root = Supervisor::one_for_one("root").child(kid("a")).child(kid("a"));
    assert!(root.check().unwrap_err().to_string().contains("two children are called a"));
    let below = Supervisor::one_for_one("above").child(root);
    assert_eq!(&*below.check().unwrap_err().supervisor, "root", "also below");
    everywhere(1, |system| {
        let error = system.start(below.clone()).unwrap_err();
        assert!(error.to_string().contains("two children"), "{error}");
        assert_eq!(system.live(), 0);
    });
}

#[test]
fn impossible_numbers_are_refused() {
    let root = || Supervisor::one_for_one("root");
    assert!(root().intensity(0, Duration::from_nanos(1)).check().is_ok());
    assert!(root().intensity(3, Duration::ZERO).check().is_err());
    assert!(root().backoff(Backoff { jitter: 1.5, ..Backoff::default() }).check().is_err());
    assert!(root().backoff(Backoff { factor: 0.5, ..Backoff::default() }).check().is_err());
    assert!(root().backoff(Backoff { factor: f64::NAN, ..Backoff::default() }).check().is_err());
    assert!(Supervisor::new("root", SupervisionStrategy::Dynamic).check().is_err());
    assert!(dynamic(RestartPolicy::Permanent).child(kid("a")).check().is_err());
}

#[test]
fn significance_goes_with_automatic_shutdown_and_without_permanence() {
    use RestartPolicy::{Permanent, Temporary, Transient};
    let mut allowed = 0;
    for auto in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for restart in [Permanent, Transient, Temporary] {
            for shutdown in [ShutdownPolicy::Kill, ShutdownPolicy::Infinity, ShutdownPolicy::Timeout(ms(1))] {
                for supervisor in [false, true] {
                    for significant in [false, true] {
                        let child = if supervisor { Supervisor::one_for_one("a").into() } else { kid("a") };
                        let child = child.restart(restart).shutdown(shutdown);
                        let child = if significant { child.significant() } else { child };
                        let root = Supervisor::one_for_one("root").auto_shutdown(auto);
                        let fine = !significant || restart != Permanent && auto != AutoShutdown::Never;
                        assert_eq!(root.clone().child(child).check().is_ok(), fine);
                        allowed += usize::from(fine);
                    }
                }
            }
        }
    }
    assert_eq!(allowed, 54 + 24);
    let pool = |auto| {
        dynamic(RestartPolicy::Temporary)
            .children(|child| child.temporary().significant())
            .auto_shutdown(auto)
            .check()
    };
    assert!(pool(AutoShutdown::Never).is_err() && pool(AutoShutdown::AllSignificant).is_ok());
}
