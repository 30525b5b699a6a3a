//! Which ends are followed by a restart, and what a restart keeps.

use ipc_actors::{
    AskError, Backoff, DeadReason, ErrorAction, ExitReason, Lifecycle, OnRestart, RestartPolicy, Supervisor,
};

use crate::kit::*;
use crate::support::{Log, PATIENCE, everywhere, simulated, until};

/// An end, whether it is normal, and the message that brings it about; `None`: a kill.
type End = (&'static str, bool, Option<fn() -> Do>);

fn ends() -> Vec<End> {
    vec![
        ("normal", true, Some(|| Do::End(ExitReason::Normal))),
        ("shutdown", true, Some(|| Do::End(ExitReason::Shutdown))),
        ("shutdown: done", true, Some(|| Do::End(ExitReason::ShutdownWith("done".into())))),
        ("panic in handle", false, Some(|| Do::Panic)),
        ("error: as told", false, Some(|| Do::Fail)),
        ("killed", false, None),
    ]
}

#[test]
fn each_policy_restarts_after_the_ends_it_says() {
    use RestartPolicy::{Permanent, Temporary, Transient};
    everywhere(MANY, |system| {
        for restart in [Permanent, Transient, Temporary] {
            for (text, normal, message) in ends() {
                let tree = tree(system, Supervisor::one_for_one("root").child(kid("a").restart(restart)));
                let kid = tree.kid("a");
                match message {
                    Some(message) => kid.tell(message()).unwrap(),
                    None => kid.kill(),
                }
                assert_eq!(tree.take(1), [format!("a ended: {text}")]);
                let again = restart == Permanent || restart == Transient && !normal;
                if again {
                    assert_eq!(tree.take(2), ["a again", "a up"]);
                    assert_eq!(incarnation(&kid), 1);
                    assert_eq!(tree.sup.which_child("a").unwrap().restarts, 1);
                } else {
                    until(system, || kid.lifecycle() == Lifecycle::Stopped);
                    assert_eq!(tree.counts().active, 0);
                    assert_eq!(tree.counts().specs, usize::from(restart != Temporary), "{text}");
                }
                tree.sup.stop();
                tree.gone();
            }
        }
    });
}

#[test]
fn dynamic_children_follow_their_policy() {
    use RestartPolicy::{Permanent, Temporary, Transient};
    everywhere(MANY, |system| {
        for restart in [Permanent, Transient, Temporary] {
            for (_, normal, message) in ends() {
                let tree = tree(system, dynamic(restart));
                let (kid, bystander) = (tree.start(Start::Up), tree.start(Start::Up));
                tree.log.rest();
                match message {
                    Some(message) => kid.tell(message()).unwrap(),
                    None => kid.kill(),
                }
                if restart == Permanent || restart == Transient && !normal {
                    tree.read_until("pool up");
                    assert_eq!(incarnation(&kid), 1);
                    assert_eq!(tree.counts().specs, 2);
                } else {
                    until(system, || kid.lifecycle() == Lifecycle::Stopped);
                    assert_eq!(tree.counts().specs, 1);
                }
                assert_eq!(incarnation(&bystander), 0);
                tree.sup.stop();
                tree.gone();
            }
        }
    });
}

#[test]
fn a_wish_of_the_child_goes_before_its_policy() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root").child(kid("stops")).child(kid("returns").transient());
        let tree = tree(system, root);
        let (stops, returns) = (tree.kid("stops"), tree.kid("returns"));
        stops.tell(Do::FailBy(ErrorAction::Stop)).unwrap();
        until(system, || stops.lifecycle() == Lifecycle::Stopped);
        returns.tell(Do::FailBy(ErrorAction::Restart)).unwrap();
        tree.read_until("returns up");
        assert_eq!((incarnation(&returns), tree.counts().active), (1, 1));
    });
}

#[test]
fn the_address_and_the_queue_are_kept_and_only_the_poison_is_lost() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").intensity(10, ms(1000)).child(kid("a")));
        let kid = tree.kid("a");
        kid.tell(Do::Note(1)).unwrap();
        kid.tell(Do::Panic).unwrap();
        for n in 2..50 {
            kid.tell(Do::Note(n)).unwrap();
            if n % 10 == 0 {
                kid.tell(if n % 20 == 0 { Do::Panic } else { Do::Fail }).unwrap();
            }
        }
        let notes = kid.ask(Do::Notes, PATIENCE).unwrap();
        assert_eq!(notes, (41..50).collect::<Vec<_>>(), "what came after the last failure, in order");
        assert_eq!(incarnation(&kid), 5);
        assert_eq!(system.dead_letters(DeadReason::Poison), 3);
        assert_eq!(system.dead_letters(DeadReason::ActorEnded), 0);
    });
}

#[test]
fn a_question_the_failed_incarnation_had_is_answered_and_one_in_the_queue_is_kept() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")));
        let (kid, log) = (tree.kid("a"), Log::new());
        // Asked by an actor, so that the test goes on.
        let asker = system.spawn(Asker { log: log.to.clone() }).unwrap();
        asker.tell(Question::AskKept(kid.clone())).unwrap();
        asker.ask(Question::Sync, PATIENCE).unwrap();
        kid.tell(Do::Panic).unwrap();
        assert_eq!(log.next(system), Err(AskError::ActorCrashed));
        assert_eq!(incarnation(&kid), 1);
    });
}

struct Asker {
    log: std::sync::mpsc::Sender<Result<u64, AskError>>,
}
enum Question {
    AskKept(ipc_actors::Addr<Kid>),
    Answer(Result<u64, AskError>),
    Sync(ipc_actors::Reply<()>),
}
impl ipc_actors::Message for Question {
    const MESSAGE_TYPE: &'static str = "test.question/1";
}
impl ipc_actors::Actor for Asker {
    type Msg = Question;
    type Error = ipc_actors::Ignore;
    fn handle(&mut self, question: Question, ctx: &mut ipc_actors::Ctx<Self>) -> Result<(), Self::Error> {
        match question {
            Question::AskKept(kid) => ctx.ask(&kid, Do::Keep, Question::Answer, PATIENCE),
            Question::Answer(answer) => drop(self.log.send(answer)),
            Question::Sync(reply) => reply.send(()),
        }
        Ok(())
    }
}

#[test]
fn a_restart_drops_or_buries_the_queue_when_it_is_told_to() {
    for (policy, letters) in [(OnRestart::Keep, 0), (OnRestart::Drop, 0), (OnRestart::DeadLetter, 5)] {
        simulated(MANY, |system| {
            let root = Supervisor::one_for_one("root").child(kid("a").on_restart(policy));
            let tree = tree(system, root);
            let kid = tree.kid("a");
            kid.tell(Do::Panic).unwrap();
            for n in 0..5 {
                kid.tell(Do::Note(n)).unwrap();
            }
            tree.read_until("a up");
            let notes = kid.ask(Do::Notes, PATIENCE).unwrap();
            assert_eq!(notes.len(), if policy == OnRestart::Keep { 5 } else { 0 });
            assert_eq!(system.dead_letters(DeadReason::Restarted), letters);
        });
    }
}

#[test]
fn a_question_in_a_queue_that_is_dropped_is_answered() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root")
            .intensity(u32::MAX, ms(1000))
            .backoff(Backoff::none())
            .child(kid("a").on_restart(OnRestart::Drop));
        let tree = tree(system, root);
        let (kid, log) = (tree.kid("a"), Log::new());
        let asker = system.spawn(Asker { log: log.to.clone() }).unwrap();
        for _ in 0..3 {
            kid.tell(Do::Panic).unwrap();
            asker.tell(Question::AskKept(kid.clone())).unwrap();
        }
        // Whatever the order: kept by an incarnation that failed, or dropped with its queue.
        let mut answers = Vec::new();
        until(system, || {
            kid.tell(Do::Fail).unwrap();
            answers.extend(log.rest());
            answers.len() == 3
        });
        assert!(answers.iter().all(|answer| matches!(answer, Err(AskError::ActorCrashed))), "{answers:?}");
    });
}

#[test]
fn an_address_works_while_its_actor_waits_to_be_restarted() {
    simulated(MANY, |system| {
        let tree =
            tree(system, Supervisor::one_for_one("root").child(scripted("a", &[Start::Up, Start::Fail])));
        let kid = tree.kid("a");
        kid.tell(Do::Panic).unwrap();
        until(system, || kid.lifecycle() == Lifecycle::Failed);
        kid.tell(Do::Note(7)).unwrap();
        assert_eq!(kid.ask(Do::Notes, PATIENCE), Ok(vec![7]));
        assert_eq!(incarnation(&kid), 2, "the first restart failed");
    });
}

#[test]
fn incarnations_only_grow() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root")
            .intensity(100, ms(10_000))
            .backoff(Backoff::none())
            .child(kid("a"));
        let tree = tree(system, root);
        let kid = tree.kid("a");
        for before in 0..50 {
            assert_eq!(incarnation(&kid), before);
            kid.tell(Do::Panic).unwrap();
        }
        assert_eq!(incarnation(&kid), 50);
    });
}

#[test]
fn a_kill_between_two_incarnations_does_not_hit_the_next() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").intensity(5, ms(1000)).child(kid("a")));
        let kid = tree.kid("a");
        kid.tell(Do::Panic).unwrap();
        kid.kill();
        kid.clone().into_any().shutdown();
        until(system, || tree.sup.which_child("a").unwrap().restarts > 0);
        assert_eq!(kid.ask(Do::Notes, PATIENCE), Ok(vec![]));
        assert!(tree.sup.which_child("a").unwrap().restarts <= 3, "each ended one incarnation at most");
    });
}
