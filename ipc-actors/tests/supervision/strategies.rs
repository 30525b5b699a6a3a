//! Which siblings are restarted with a child, and when a supervisor gives up.

use ipc_actors::{Backoff, ExitReason, Lifecycle, RestartPolicy, Supervisor};

use crate::kit::*;
use crate::support::{PATIENCE, everywhere, simulated, until};

#[test]
fn one_for_one_restarts_one() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")).child(kid("b")));
        let (a, b) = (tree.kid("a"), tree.kid("b"));
        a.tell(Do::Panic).unwrap();
        assert_eq!(tree.take(3), ["a ended: panic in handle", "a again", "a up"]);
        assert_eq!((incarnation(&a), incarnation(&b)), (1, 0));
    });
}

#[test]
fn the_restart_after_the_last_allowed_one_ends_the_supervisor() {
    everywhere(MANY, |system| {
        let below =
            Supervisor::one_for_one("below").intensity(2, ms(3_600_000)).child(kid("a")).child(kid("b"));
        let root = Supervisor::one_for_one("root").child(Into::<ipc_actors::Child>::into(below).temporary());
        let tree = tree(system, root);
        let below = tree.sup.supervisor("below").unwrap();
        let (a, b) = (below.child::<Kid>("a").unwrap(), below.child::<Kid>("b").unwrap());
        for _ in 0..3 {
            a.tell(Do::Panic).unwrap();
        }
        let mut lines = tree.read_until("below gives up");
        lines.extend(tree.read_until("b ended: shutdown"));
        let last = tree.take(1).pop().unwrap();
        assert!(
            last.starts_with("below ended: shutdown: more than 2 restarts in 3600s; the last was of a"),
            "{last}"
        );
        assert!(last.ends_with("as told"), "{last}");
        assert!(lines.contains(&"b ended: shutdown".into()), "siblings go with it");
        until(system, || a.lifecycle() == Lifecycle::Stopped && b.lifecycle() == Lifecycle::Stopped);
    });
}

#[test]
fn one_for_all_restarts_all_in_order() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_all("root").child(kid("a")).child(kid("b")).child(kid("c"));
        let tree = tree(system, root);
        let kids = ["a", "b", "c"].map(|id| tree.kid(id));
        kids[1].tell(Do::Panic).unwrap();
        assert_eq!(
            tree.take(9),
            [
                "b ended: panic in handle",
                "b again",
                "c stopping",
                "c ended: shutdown",
                "a stopping",
                "a ended: shutdown",
                "a up",
                "b up",
                "c up"
            ]
        );
        assert_eq!(kids.map(|kid| incarnation(&kid)), [1, 1, 1]);
    });
}

#[test]
fn rest_for_one_restarts_the_later_ones() {
    everywhere(MANY, |system| {
        let root = Supervisor::rest_for_one("root").child(kid("a")).child(kid("b")).child(kid("c"));
        let tree = tree(system, root);
        let kids = ["a", "b", "c"].map(|id| tree.kid(id));
        kids[1].tell(Do::Panic).unwrap();
        assert_eq!(
            tree.take(6),
            ["b ended: panic in handle", "b again", "c stopping", "c ended: shutdown", "b up", "c up"]
        );
        assert_eq!(kids.map(|kid| incarnation(&kid)), [0, 1, 1]);
    });
}

#[test]
fn a_child_that_never_starts_again_ends_its_supervisor_under_every_strategy() {
    for make in [Supervisor::one_for_one, Supervisor::one_for_all, Supervisor::rest_for_one] {
        everywhere(MANY, |system| {
            let root = make("root")
                .intensity(4, ms(10_000))
                .child(kid("first"))
                .child(by_script("bad", &[Start::Up], Start::Fail))
                .child(kid("last"));
            let tree = tree(system, root);
            let kids = ["first", "bad", "last"].map(|id| tree.kid(id));
            kids[1].tell(Do::Panic).unwrap();
            tree.gone();
            let lines = tree.log.rest();
            let failures = lines.iter().filter(|line| *line == "bad no start: error: does not start").count();
            assert_eq!(failures, 4, "{lines:?}");
            assert_eq!(lines.iter().filter(|line| *line == "root gives up").count(), 1);
            until(system, || kids.iter().all(|kid| kid.lifecycle() == Lifecycle::Stopped));
        });
    }
}

#[test]
fn a_sibling_that_does_not_start_again_stops_all_or_leaves_the_earlier_ones() {
    for (make, first_starts) in [
        (Supervisor::one_for_all as fn(&str) -> Supervisor, 2),
        (Supervisor::rest_for_one as fn(&str) -> Supervisor, 1),
    ] {
        everywhere(MANY, |system| {
            let root =
                make("root").child(kid("a")).child(scripted("b", &[Start::Up, Start::Fail])).child(kid("c"));
            let tree = tree(system, root);
            tree.kid("a").tell(Do::Panic).unwrap();
            let mut lines = tree.read_until("b no start: error: does not start");
            lines.extend(tree.read_until("c up"));
            assert_eq!(lines.iter().filter(|line| *line == "a up").count(), first_starts, "{lines:?}");
            assert_eq!(lines.iter().filter(|line| *line == "a stopping").count(), first_starts - 1);
            assert_eq!(lines.iter().filter(|line| *line == "b up").count(), 1);
        });
    }
}

#[test]
fn two_failures_at_once_end_in_one_consistent_restart() {
    for make in [Supervisor::one_for_one, Supervisor::one_for_all, Supervisor::rest_for_one] {
        everywhere(MANY, |system| {
            let root = make("root").child(kid("a")).child(kid("b")).child(kid("c")).child(kid("d"));
            let tree = tree(system, root.intensity(10, ms(1000)));
            let kids = ["a", "b", "c", "d"].map(|id| tree.kid(id));
            for kid in [&kids[2], &kids[1], &kids[3]] {
                kid.tell(Do::Panic).unwrap();
            }
            until(system, || {
                let children = tree.sup.which_children().unwrap();
                children.iter().all(|child| child.status == ipc_actors::ChildStatus::Running)
                    && [1, 2, 3].iter().all(|at| incarnation(&kids[*at]) > 0)
            });
            assert_eq!(ids(&tree), ["a", "b", "c", "d"]);
        });
    }
}

#[test]
fn a_temporary_sibling_goes_with_a_restart_and_does_not_return() {
    everywhere(MANY, |system| {
        for (make, failing) in [
            (Supervisor::one_for_all as fn(&str) -> Supervisor, "b"),
            (Supervisor::rest_for_one as fn(&str) -> Supervisor, "a"),
        ] {
            let root = make("root").intensity(1, ms(10_000));
            let root = root.child(kid("a")).child(kid("b")).child(kid("t").temporary());
            let tree = tree(system, root);
            let temporary = tree.kid("t");
            tree.kid(failing).tell(Do::Panic).unwrap();
            let lines = tree.read_until("b up");
            assert!(lines.contains(&"t ended: shutdown".into()), "{lines:?}");
            until(system, || temporary.lifecycle() == Lifecycle::Stopped);
            assert_eq!(ids(&tree), ["a", "b"]);
            tree.sup.stop();
            tree.gone();
        }
    });
}

#[test]
fn the_end_of_a_temporary_child_restarts_nobody() {
    for make in [Supervisor::one_for_all, Supervisor::rest_for_one] {
        everywhere(MANY, |system| {
            let root = make("root").intensity(0, ms(1000)).child(kid("t").temporary()).child(kid("b"));
            let tree = tree(system, root);
            tree.kid("t").tell(Do::Panic).unwrap();
            assert_eq!(tree.take(1), ["t ended: panic in handle"]);
            assert_eq!((ids(&tree), incarnation(&tree.kid("b"))), (vec!["b".into()], 0));
        });
    }
}

#[test]
fn a_dynamic_supervisor_restarts_with_the_argument_and_gives_up_with_all() {
    everywhere(MANY, |system| {
        let tree = tree(system, dynamic(RestartPolicy::Permanent).intensity(1, ms(10_000)));
        let (one, two) = (tree.start(Start::Up), tree.start(Start::Up));
        one.tell(Do::Panic).unwrap();
        assert_eq!(incarnation(&one), 1);
        two.tell(Do::Panic).unwrap();
        tree.gone();
        until(system, || one.lifecycle() == Lifecycle::Stopped && two.lifecycle() == Lifecycle::Stopped);
    });
}

#[test]
fn a_dynamic_child_that_is_not_needed_any_more_is_forgotten() {
    everywhere(MANY, |system| {
        let script = std::sync::Mutex::new(vec![Start::Ignore, Start::Up]);
        let root = Supervisor::try_dynamic("pool", move |(): ()| make(script.lock().unwrap().pop().unwrap()));
        let tree = tree(system, root);
        let kid = tree.sup.start::<Kid>(()).unwrap().unwrap();
        kid.tell(Do::Panic).unwrap();
        tree.read_until("pool ignored");
        assert_eq!(tree.counts().specs, 0);
    });
}

#[test]
fn a_static_child_that_is_not_needed_any_more_keeps_its_place() {
    for make in [Supervisor::one_for_one, Supervisor::one_for_all, Supervisor::rest_for_one] {
        everywhere(MANY, |system| {
            let root = make("root").child(scripted("a", &[Start::Up, Start::Ignore])).child(kid("b"));
            let tree = tree(system, root);
            tree.kid("a").tell(Do::Panic).unwrap();
            tree.read_until("a ignored");
            until(system, || tree.sup.which_child("b").unwrap().status == ipc_actors::ChildStatus::Running);
            assert_eq!((tree.counts().specs, tree.counts().active), (2, 1));
        });
    }
}

#[test]
fn restarts_that_are_far_enough_apart_go_on_for_ever() {
    simulated(MANY, |system| {
        let root = Supervisor::one_for_one("root").intensity(1, ms(1000)).backoff(Backoff::none());
        let tree = tree(system, root.child(kid("a")));
        let kid = tree.kid("a");
        for count in 1..=50 {
            kid.tell(Do::Panic).unwrap();
            system.simulation().unwrap().advance(ms(2100));
            assert_eq!(incarnation(&kid), count);
        }
    });
}

#[test]
fn the_budget_of_restarts_is_exact_at_the_edge_of_its_window() {
    for (apart, survives) in [(998, false), (1002, true)] {
        simulated(MANY, |system| {
            let root = Supervisor::one_for_one("root").intensity(1, ms(1000)).child(kid("a"));
            let tree = tree(system, root);
            let kid = tree.kid("a");
            kid.tell(Do::Panic).unwrap();
            let simulation = system.simulation().unwrap();
            simulation.advance(ms(apart));
            kid.tell(Do::Panic).unwrap();
            simulation.run();
            assert_eq!(tree.sup.lifecycle() == Lifecycle::Running, survives);
        });
    }
}

#[test]
fn a_supervisor_without_restarts_ends_with_its_first_failure() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root").intensity(0, ms(1000)).child(kid("a"));
        let tree = tree(system, root);
        tree.kid("a").tell(Do::Panic).unwrap();
        tree.gone();
    });
}

#[test]
fn a_supervisor_that_gave_up_is_restarted_by_the_one_above() {
    everywhere(MANY, |system| {
        let below = Supervisor::one_for_one("below").intensity(1, ms(10_000)).child(kid("a").name("a"));
        let tree = tree(system, Supervisor::one_for_one("root").child(below));
        let kid = system.find::<Kid>("a").unwrap();
        kid.tell(Do::Panic).unwrap();
        kid.tell(Do::Panic).unwrap();
        tree.read_until("below up");
        let fresh = system.find::<Kid>("a").unwrap();
        assert_ne!(fresh, kid, "a supervisor that is restarted makes its children anew");
        let below = tree.sup.supervisor("below").unwrap();
        assert_eq!(below.child::<Kid>("a").unwrap(), system.find::<Kid>("a").unwrap());
        assert_eq!(tree.sup.which_child("below").unwrap().restarts, 1);
        assert_eq!(below.addr().clone().into_any().incarnation(), 1);
    });
}

#[test]
fn failures_climb_to_the_root() {
    everywhere(MANY, |system| {
        let pool = dynamic(RestartPolicy::Permanent).intensity(0, ms(1000));
        let middle = Supervisor::one_for_all("middle").intensity(0, ms(1000)).child(pool);
        let root = Supervisor::one_for_one("root").intensity(0, ms(1000)).child(middle).child(kid("other"));
        let tree = tree(system, root);
        let other = tree.kid("other");
        let pool = tree.sup.supervisor("middle").unwrap().supervisor("pool").unwrap();
        let kid = pool.start::<Kid>(Start::Up).unwrap().unwrap();
        kid.tell(Do::Fail).unwrap();
        tree.gone();
        let lines = tree.log.rest();
        let gave_up: Vec<_> = lines.iter().filter(|line| line.ends_with(" gives up")).collect();
        assert_eq!(gave_up, ["pool gives up", "middle gives up", "root gives up"]);
        until(system, || other.lifecycle() == Lifecycle::Stopped);
    });
}

#[test]
fn pauses_grow_while_a_child_does_not_come_back_and_the_first_is_none() {
    simulated(MANY, |system| {
        let backoff = Backoff { base: ms(100), jitter: 0.0, ..Backoff::default() };
        let root = Supervisor::one_for_one("root").intensity(100, ms(10_000)).backoff(backoff);
        let tree = tree(system, root.child(by_script("a", &[Start::Up], Start::Fail)));
        let before = system.now();
        tree.kid("a").tell(Do::Panic).unwrap();
        let mut at = Vec::new();
        for _ in 0..4 {
            tree.read_until("a no start: error: does not start");
            at.push((system.now() - before).as_millis());
        }
        assert!(at[0] < 50, "{at:?}");
        for (pair, pause) in at.windows(2).zip([100, 200, 400]) {
            assert!((pause..pause + 50).contains(&(pair[1] - pair[0])), "{at:?}");
        }
    });
}

#[test]
fn a_group_waits_between_its_attempts_too() {
    simulated(MANY, |system| {
        let backoff = Backoff { base: ms(100), jitter: 0.0, ..Backoff::default() };
        let root = Supervisor::one_for_all("root").intensity(100, ms(10_000)).backoff(backoff);
        let script = [Start::Up, Start::Fail, Start::Fail, Start::Up];
        let tree = tree(system, root.child(kid("a")).child(scripted("b", &script)));
        let before = system.now();
        tree.kid("a").tell(Do::Panic).unwrap();
        tree.read_until("b up");
        let took = (system.now() - before).as_millis();
        assert!((300..400).contains(&took), "{took}");
        assert_eq!(tree.kid("a").ask(Do::Notes, PATIENCE), Ok(vec![]));
        assert_eq!(tree.sup.which_child("a").unwrap().restarts, 3);
        tree.kid("a").tell(Do::End(ExitReason::Normal)).unwrap();
        tree.read_until("b up");
    });
}
