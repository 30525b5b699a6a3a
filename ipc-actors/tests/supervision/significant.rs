//! Significant children, whose end shuts their supervisor down.

use ipc_actors::{AutoShutdown, Child, ErrorAction, ExitReason, Lifecycle, RestartPolicy, Supervisor};

use crate::kit::*;
use crate::support::{everywhere, until};

fn any(name: &str) -> Supervisor {
    Supervisor::one_for_one(name).auto_shutdown(AutoShutdown::AnySignificant)
}

#[test]
fn insignificant_children_never_shut_it_down() {
    everywhere(MANY, |system| {
        let root = any("root").child(kid("t").temporary()).child(kid("n").transient());
        let tree = tree(system, root.child(kid("s").temporary().significant()));
        for id in ["t", "n"] {
            let kid = tree.kid(id);
            kid.tell(Do::End(ExitReason::Normal)).unwrap();
            until(system, || kid.lifecycle() == Lifecycle::Stopped);
        }
        assert_eq!(tree.counts().active, 1);
    });
}

#[test]
fn every_end_of_a_significant_temporary_child_does_but_its_termination() {
    everywhere(MANY, |system| {
        for how in 0..3 {
            let root = any("root").child(kid("a")).child(kid("s").temporary().significant());
            let tree = tree(system, root);
            let kid = tree.kid("s");
            match how {
                0 => kid.tell(Do::End(ExitReason::Normal)).unwrap(),
                1 => kid.tell(Do::Panic).unwrap(),
                _ => kid.kill(),
            }
            tree.gone();
            let lines = tree.log.rest();
            assert_eq!(lines[1..], ["root shuts itself down", "a stopping", "a ended: shutdown"]);
        }
        let root = any("root").child(kid("a")).child(kid("s").temporary().significant());
        let tree = tree(system, root);
        tree.sup.terminate_child("s").unwrap();
        assert_eq!((tree.counts().specs, tree.counts().active), (1, 1));
    });
}

#[test]
fn only_a_normal_end_of_a_significant_transient_child_does() {
    everywhere(MANY, |system| {
        let tree = tree(system, any("root").child(kid("s").transient().significant()));
        let kid = tree.kid("s");
        kid.tell(Do::Panic).unwrap();
        kid.tell(Do::Fail).unwrap();
        assert_eq!(incarnation(&kid), 2);
        kid.tell(Do::End(ExitReason::Normal)).unwrap();
        tree.gone();
    });
}

#[test]
fn a_significant_child_that_stops_on_its_own_wish_does() {
    everywhere(MANY, |system| {
        let tree = tree(system, any("root").child(kid("s").transient().significant()));
        tree.kid("s").tell(Do::FailBy(ErrorAction::Stop)).unwrap();
        tree.gone();
    });
}

#[test]
fn with_all_significant_the_last_one_does() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root").auto_shutdown(AutoShutdown::AllSignificant);
        let root = root.child(kid("s1").temporary().significant()).child(kid("a"));
        let tree = tree(system, root.child(kid("s2").transient().significant()));
        let (one, two) = (tree.kid("s1"), tree.kid("s2"));
        one.tell(Do::End(ExitReason::Normal)).unwrap();
        until(system, || one.lifecycle() == Lifecycle::Stopped);
        assert_eq!(tree.counts().active, 2);
        two.tell(Do::End(ExitReason::Normal)).unwrap();
        tree.gone();
    });
}

#[test]
fn significant_dynamic_children_do() {
    everywhere(MANY, |system| {
        for auto in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            let pool = dynamic(RestartPolicy::Temporary).children(|child| child.temporary().significant());
            let tree = tree(system, pool.auto_shutdown(auto));
            let (one, two) = (tree.start(Start::Up), tree.start(Start::Up));
            one.tell(Do::End(ExitReason::Normal)).unwrap();
            if auto == AutoShutdown::AllSignificant {
                until(system, || one.lifecycle() == Lifecycle::Stopped);
                assert_eq!(tree.counts().active, 1);
                two.tell(Do::End(ExitReason::Normal)).unwrap();
            }
            tree.gone();
        }
    });
}

#[test]
fn a_significant_bystander_of_a_restart_does_not() {
    everywhere(MANY, |system| {
        for make in [Supervisor::one_for_all, Supervisor::rest_for_one] {
            let root = make("root").auto_shutdown(AutoShutdown::AnySignificant).child(kid("a"));
            let root =
                root.child(kid("t").temporary().significant()).child(kid("n").transient().significant());
            let tree = tree(system, root);
            tree.kid("a").tell(Do::Panic).unwrap();
            tree.read_until("n up");
            assert_eq!(ids(&tree), ["a", "n"]);
            tree.sup.stop();
            tree.gone();
        }
    });
}

#[test]
fn an_automatic_shutdown_below_can_cause_one_above() {
    everywhere(MANY, |system| {
        let below: Child = any("below").child(kid("s").transient().significant()).into();
        let tree = tree(system, any("root").child(kid("a")).child(below.transient().significant()));
        let below = tree.sup.supervisor("below").unwrap();
        below.child::<Kid>("s").unwrap().tell(Do::End(ExitReason::Normal)).unwrap();
        tree.gone();
        let lines = tree.log.rest();
        assert_eq!(lines.iter().filter(|line| line.ends_with("shuts itself down")).count(), 2);
        assert_eq!(lines.last().unwrap(), "a ended: shutdown");
    });
}
