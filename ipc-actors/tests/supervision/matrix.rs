//! The twelve cells: {panic, error, hang, kill} of {a child, a supervisor, a hook}, each survived by the rest.

use ipc_actors::{HealthCheck, Lifecycle, ShutdownPolicy, Supervisor};

use crate::kit::*;
use crate::support::{everywhere, threaded, until};

/// A tree with a part that fails and a part that must not notice.
fn with_bystander(child: impl Into<ipc_actors::Child>) -> Supervisor {
    Supervisor::one_for_one("root").child(kid("bystander")).child(child).zombie_after(ms(10))
}

fn bystander_is_well(tree: &Tree<'_>) {
    assert_eq!(incarnation(&tree.kid("bystander")), 0);
    tree.sup.stop();
    tree.gone();
}

#[test]
fn child_panics() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(kid("a")));
        let kid = tree.kid("a");
        kid.tell(Do::Panic).unwrap();
        assert_eq!(tree.read_until("a up")[0], "a ended: panic in handle");
        bystander_is_well(&tree);
    });
}

#[test]
fn child_returns_an_error() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(kid("a")));
        tree.kid("a").tell(Do::Fail).unwrap();
        assert_eq!(tree.read_until("a up")[0], "a ended: error: as told");
        bystander_is_well(&tree);
    });
}

#[test]
fn child_hangs() {
    threaded(|system| {
        let check = HealthCheck { interval: ms(5), timeout: ms(5), threshold: 1 };
        let tree = tree(system, with_bystander(kid("a").health(check)));
        let gate = Gate::default();
        let wait = gate.clone();
        tree.kid("a").tell(Do::Run(Box::new(move || wait.pass()))).unwrap();
        tree.read_until("a zombie");
        tree.read_until("a up");
        gate.open();
        tree.read_until("a reaped");
        bystander_is_well(&tree);
    });
}

#[test]
fn child_is_killed() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(kid("a")));
        tree.kid("a").kill();
        assert_eq!(tree.read_until("a up")[0], "a ended: killed");
        bystander_is_well(&tree);
    });
}

fn below() -> Supervisor {
    Supervisor::one_for_one("below").child(kid("a").name("a")).intensity(0, ms(1000))
}

/// A supervisor runs no code of the user's, so it panics and errs through its children: it gives up.
#[test]
fn supervisor_gives_up_over_a_panic() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(below()));
        system.find::<Kid>("a").unwrap().tell(Do::Panic).unwrap();
        tree.read_until("below up");
        assert!(system.find::<Kid>("a").is_some());
        bystander_is_well(&tree);
    });
}

#[test]
fn supervisor_gives_up_over_an_error() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(below()));
        system.find::<Kid>("a").unwrap().tell(Do::Fail).unwrap();
        tree.read_until("below up");
        bystander_is_well(&tree);
    });
}

/// A supervisor that waits for a child that never stops is, for the one above, one that hangs.
#[test]
fn supervisor_hangs() {
    everywhere(MANY, |system| {
        let deaf = by_script("deaf", &[], Start::Stubborn).shutdown(ShutdownPolicy::Infinity);
        let below: ipc_actors::Child = Supervisor::one_for_one("below").child(deaf).into();
        let tree = tree(system, with_bystander(below.shutdown(ShutdownPolicy::Timeout(ms(10)))));
        let deaf = tree.sup.supervisor("below").unwrap().child::<Kid>("deaf").unwrap();
        tree.sup.terminate_child("below").unwrap();
        tree.read_until("below ended: killed");
        // Nobody is left who would lose patience with it.
        deaf.kill();
        until(system, || deaf.lifecycle() == Lifecycle::Stopped);
        bystander_is_well(&tree);
    });
}

#[test]
fn supervisor_is_killed() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(below()));
        let old = system.find::<Kid>("a").unwrap();
        tree.sup.supervisor("below").unwrap().addr().kill();
        tree.read_until("below up");
        until(system, || old.lifecycle() == Lifecycle::Stopped);
        bystander_is_well(&tree);
    });
}

#[test]
fn hook_panics() {
    everywhere(MANY, |system| {
        for start in [Start::Panic, Start::PanicInFactory, Start::PanicInStopped, Start::PanicInDrop] {
            let tree = tree(system, with_bystander(scripted("a", &[Start::Up, start])));
            let kid = tree.kid("a");
            kid.tell(Do::Fail).unwrap();
            tree.read_until("a up");
            kid.tell(Do::Fail).unwrap();
            tree.read_until("a up");
            bystander_is_well(&tree);
        }
    });
}

#[test]
fn hook_returns_an_error() {
    everywhere(MANY, |system| {
        let tree = tree(system, with_bystander(scripted("a", &[Start::Up, Start::Fail, Start::Refuse])));
        let kid = tree.kid("a");
        kid.tell(Do::Fail).unwrap();
        tree.read_until("a up");
        assert_eq!(incarnation(&kid), 3);
        bystander_is_well(&tree);
    });
}

#[test]
fn hook_hangs() {
    threaded(|system| {
        let gate = Gate::default();
        let wait = gate.clone();
        let slow = ipc_actors::Child::actor("slow", move || {
            wait.pass();
            Kid::new(Start::Up)
        });
        let tree = tree(system, with_bystander(kid("a")));
        let request = {
            let addr = tree.sup.addr().clone();
            move || addr.ask(|reply| ipc_actors::Request::StartChild(Box::new(slow), reply), ms(10))
        };
        assert_eq!(request(), Err(ipc_actors::AskError::TimedOut));
        assert_eq!(tree.counts().specs, 3, "the supervisor is not held up");
        tree.kid("bystander").ask(Do::Notes, ms(10_000)).unwrap();
        gate.open();
        tree.read_until("slow up");
        bystander_is_well(&tree);
    });
}

#[test]
fn hook_is_killed() {
    threaded(|system| {
        let (gate, started) = (Gate::default(), Gate::default());
        let (wait, entered) = (gate.clone(), started.clone());
        let slow = ipc_actors::Child::actor("slow", move || {
            entered.open();
            wait.pass();
            Kid::new(Start::Up)
        });
        let tree = tree(system, with_bystander(kid("a")));
        let addr = tree.sup.addr().clone();
        let _ = addr.ask(|reply| ipc_actors::Request::StartChild(Box::new(slow.temporary()), reply), ms(1));
        started.pass();
        tree.sup.which_child("slow").unwrap().actor.unwrap().kill();
        gate.open();
        let lines = tree.read_until("slow ended: killed");
        assert_eq!(lines[0], "slow up", "a kill is obeyed between two pieces of the user's code");
        bystander_is_well(&tree);
    });
}
