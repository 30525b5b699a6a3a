//! Stopping: order, patience, kills, and children that end by themselves meanwhile.

use std::time::Instant;

use ipc_actors::{ExitReason, RestartPolicy, ShutdownPolicy, Supervisor};

use crate::kit::*;
use crate::support::{PATIENCE, everywhere, simulated, until};

#[test]
fn children_stop_in_reverse_order_each_after_the_other() {
    everywhere(MANY, |system| {
        let below = Supervisor::one_for_one("below").child(kid("b1")).child(kid("b2"));
        let root = Supervisor::one_for_one("root").child(kid("a")).child(below).child(kid("c"));
        let tree = tree(system, root);
        tree.sup.stop();
        let stop = |id| [format!("{id} stopping"), format!("{id} ended: shutdown")];
        let mut expected = stop("c").to_vec();
        expected.push("below stopping".into());
        expected.extend(stop("b2").into_iter().chain(stop("b1")));
        expected.push("below ended: shutdown".into());
        expected.extend(stop("a"));
        assert_eq!(tree.take(expected.len()), expected);
        tree.gone();
    });
}

#[test]
fn infinity_waits_for_workers_and_supervisors() {
    simulated(MANY, |system| {
        let below = Supervisor::one_for_one("below")
            .child(by_script("slow", &[], Start::Stubborn).shutdown(ShutdownPolicy::Timeout(ms(60_000))));
        let root = Supervisor::one_for_one("root")
            .child(by_script("slower", &[], Start::Stubborn).shutdown(ShutdownPolicy::Infinity))
            .child(below);
        let tree = tree(system, root);
        let slower = tree.kid("slower");
        tree.sup.stop();
        let simulation = system.simulation().unwrap();
        simulation.advance(ms(59_000));
        assert_eq!(tree.log.rest(), ["below stopping", "slow stopping"]);
        simulation.advance(ms(2_000));
        assert_eq!(
            tree.log.rest(),
            ["slow killing", "slow ended: killed", "below ended: shutdown", "slower stopping"]
        );
        simulation.advance(ms(1_000_000));
        assert_eq!(tree.log.rest(), [""; 0]);
        slower.tell(Do::End(ExitReason::Shutdown)).unwrap();
        tree.gone();
    });
}

#[test]
fn a_child_that_does_not_stop_in_time_is_killed_and_its_sibling_is_not() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root")
            .child(kid("good").shutdown(ShutdownPolicy::Timeout(PATIENCE)))
            .child(by_script("deaf", &[], Start::Stubborn).shutdown(ShutdownPolicy::Timeout(ms(20))));
        let tree = tree(system, root);
        tree.sup.stop();
        assert_eq!(
            tree.take(5),
            ["deaf stopping", "deaf killing", "deaf ended: killed", "good stopping", "good ended: shutdown"]
        );
        tree.gone();
    });
}

#[test]
fn dynamic_children_stop_together_and_take_as_long_as_one() {
    simulated(MANY, |system| {
        let pool = dynamic(RestartPolicy::Permanent)
            .children(|child| child.shutdown(ShutdownPolicy::Timeout(ms(1000))));
        let tree = tree(system, pool);
        for _ in 0..10 {
            tree.start(Start::Stubborn);
        }
        tree.log.rest();
        let before = system.now();
        tree.sup.stop();
        tree.gone();
        let took = system.now() - before;
        assert!(took >= ms(1000) && took < ms(1100), "{took:?}");
        let lines = tree.log.rest();
        assert_eq!(lines.iter().filter(|line| *line == "pool ended: killed").count(), 10);
    });
}

#[test]
fn a_kill_runs_no_hook_and_many_are_killed_at_once() {
    everywhere(MANY, |system| {
        let pool = dynamic(RestartPolicy::Transient).children(|child| child.shutdown(ShutdownPolicy::Kill));
        let tree = tree(system, pool);
        for _ in 0..10 {
            tree.start(Start::PanicInStopped);
        }
        tree.log.rest();
        tree.sup.stop();
        tree.gone();
        let lines = tree.log.rest();
        assert_eq!(lines.iter().filter(|line| *line == "pool killing").count(), 10);
        assert_eq!(lines.iter().filter(|line| *line == "pool ended: killed").count(), 10);
    });
}

#[test]
fn children_that_end_by_themselves_while_the_supervisor_stops_keep_their_reasons() {
    let reasons = [
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::ShutdownWith("done".into()),
        ExitReason::Error("other".into()),
    ];
    let policies = [RestartPolicy::Temporary, RestartPolicy::Transient, RestartPolicy::Permanent];
    everywhere(MANY, |system| {
        let mut root = Supervisor::one_for_one("root").intensity(100, ms(1000));
        let (mut number, mut all) = (0, Vec::new());
        for restart in policies {
            for reason in &reasons {
                root = root.child(kid(&format!("{number:02}")).restart(restart));
                all.push((format!("{number:02}"), reason.clone()));
                number += 1;
            }
        }
        let tree = tree(system, root);
        let kids: Vec<_> = all.iter().map(|(id, _)| tree.kid(id)).collect();
        tree.log.rest();
        tree.sup.stop();
        for (kid, (_, reason)) in kids.iter().zip(&all) {
            // It may have been stopped already.
            let _ = kid.tell(Do::End(reason.clone()));
        }
        tree.gone();
        let lines = tree.log.rest();
        for (id, reason) in &all {
            let ends: Vec<_> =
                lines.iter().filter(|line| line.starts_with(&format!("{id} ended: "))).collect();
            // One that ended before the supervisor heard of its own stop may have been restarted.
            let last = ends.last().expect("it ended");
            assert!(
                **last == format!("{id} ended: {reason}") || **last == format!("{id} ended: shutdown"),
                "{lines:?}"
            );
        }
        let stops: Vec<_> = lines.iter().filter(|line| line.ends_with(" stopping")).collect();
        assert!(stops.is_sorted_by(|one, two| one > two), "in reverse order: {lines:?}");
    });
}

#[test]
fn a_dynamic_supervisor_stops_once_whatever_its_children_end_with_meanwhile() {
    everywhere(MANY, |system| {
        let tree = tree(system, dynamic(RestartPolicy::Permanent));
        let kids: Vec<_> = (0..6).map(|_| tree.start(Start::Up)).collect();
        tree.log.rest();
        tree.sup.stop();
        for (at, kid) in kids.iter().enumerate() {
            let _ =
                kid.tell([Do::Panic, Do::Fail, Do::End(ExitReason::Normal)].into_iter().nth(at % 3).unwrap());
        }
        tree.gone();
        until(system, || system.live() == 0);
    });
}

#[test]
fn a_system_shutdown_stops_trees_in_order_and_in_time() {
    everywhere(MANY, |system| {
        let below = Supervisor::one_for_all("below").child(kid("b"));
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")).child(below));
        let end = system.shutdown(PATIENCE);
        assert_eq!((end.killed, end.stuck, system.live()), (0, 0, 0));
        assert_eq!(tree.log.rest().last().unwrap(), "a ended: shutdown");
    });
}

#[test]
fn ten_thousand_supervised_actors_shut_down_and_none_is_killed() {
    everywhere(1, |system| {
        let mut root = Supervisor::one_for_one("root");
        let pools: Vec<_> = (0..10).map(|at| format!("pool{at}")).collect();
        for pool in &pools {
            root = root.child(Supervisor::try_dynamic(pool, make).children(|child| child.temporary()));
        }
        let sup = system.start(root).unwrap();
        for pool in &pools {
            let pool = sup.supervisor(pool).unwrap();
            for _ in 0..1000 {
                pool.start::<Kid>(Start::Up).unwrap();
            }
        }
        let before = Instant::now();
        let end = system.shutdown(PATIENCE);
        println!("graceful shutdown of {} actors: {:?}", end.actors, before.elapsed());
        assert_eq!((end.actors, end.killed, end.stuck), (10_011, 0, 0));
    });
}

#[test]
fn a_child_stuck_in_its_handler_becomes_a_zombie_and_is_reaped_when_it_returns() {
    crate::support::threaded(|system| {
        let root = Supervisor::one_for_one("root")
            .child(kid("stuck").name("stuck").shutdown(ShutdownPolicy::Timeout(ms(10))))
            .child(kid("good"))
            .zombie_after(ms(10));
        let tree = tree(system, root);
        let (gate, stuck) = (Gate::default(), tree.kid("stuck"));
        hang(&stuck, &gate);
        tree.sup.terminate_child("stuck").unwrap();
        assert_eq!(tree.take(3), ["stuck stopping", "stuck killing", "stuck zombie"]);
        let fresh = tree.sup.restart_child("stuck").unwrap().unwrap();
        assert_ne!(fresh.id(), stuck.id(), "the replacement has a cell of its own");
        assert_eq!(system.find::<Kid>("stuck").unwrap().id(), fresh.id(), "and the name");
        gate.open();
        assert_eq!(tree.read_until("stuck reaped").len(), 2);
        until(system, || stuck.lifecycle() == ipc_actors::Lifecycle::Stopped);
        assert_eq!(tree.counts().active, 2);
    });
}

#[test]
fn a_shutdown_does_not_wait_for_a_zombie() {
    crate::support::threaded(|system| {
        let stuck = kid("stuck").shutdown(ShutdownPolicy::Kill);
        let tree = tree(system, Supervisor::one_for_one("root").child(stuck).zombie_after(ms(10)));
        let gate = Gate::default();
        hang(&tree.kid("stuck"), &gate);
        tree.sup.stop();
        tree.gone();
        assert_eq!(tree.log.rest(), ["stuck killing", "stuck zombie"]);
        gate.open();
        until(system, || system.live() == 0);
    });
}
