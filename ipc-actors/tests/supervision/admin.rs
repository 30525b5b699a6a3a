//! Requests to a running supervisor, and every way they are refused.

use ipc_actors::{
    Actor, AdminError, AnyAddr, AskError, ChildStatus, Ctx, ExitReason, Ignore, Lifecycle, Message, Request,
    RestartPolicy, SpecError, Supervisor, SupervisorRef,
};

use crate::kit::*;
use crate::support::{Log, PATIENCE, everywhere, until};

#[test]
fn children_come_and_go_on_request() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")));
        let b = tree.sup.start_child(kid("b")).unwrap().unwrap();
        assert_eq!(tree.sup.start_child(kid("b")), Err(AdminError::AlreadyStarted(b.address())));
        assert_eq!(tree.sup.restart_child("b"), Err(AdminError::Running));
        assert_eq!(tree.sup.delete_child("b"), Err(AdminError::Running));
        assert_eq!(ids(&tree), ["a", "b"]);
        tree.sup.terminate_child("b").unwrap();
        tree.sup.terminate_child("b").unwrap();
        until(system, || b.lifecycle() == Lifecycle::Stopped);
        assert_eq!(tree.sup.which_child("b").unwrap().status, ChildStatus::Absent);
        assert_eq!((tree.counts().specs, tree.counts().active), (2, 1));
        assert_eq!(tree.sup.start_child(kid("b")), Err(AdminError::AlreadyPresent));
        let again = tree.sup.restart_child("b").unwrap().unwrap();
        assert_eq!(tree.sup.which_child("b").unwrap().actor, Some(again));
        tree.sup.terminate_child("b").unwrap();
        tree.sup.delete_child("b").unwrap();
        assert_eq!(tree.sup.delete_child("b"), Err(AdminError::NotFound));
        assert_eq!(tree.sup.terminate_child("b"), Err(AdminError::NotFound));
        assert_eq!(tree.sup.restart_child("b"), Err(AdminError::NotFound));
        assert_eq!(tree.sup.which_child("b"), Err(AdminError::NotFound));
        assert_eq!(tree.sup.child::<Kid>("b"), Err(AdminError::NotFound));
        assert_eq!(ids(&tree), ["a"]);
    });
}

#[test]
fn a_terminated_child_is_not_restarted_and_a_temporary_one_is_forgotten() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root").child(kid("a")).child(kid("t").temporary());
        let tree = tree(system, root);
        tree.sup.terminate_child("a").unwrap();
        tree.sup.terminate_child("t").unwrap();
        assert_eq!(tree.take(4), ["a stopping", "a ended: shutdown", "t stopping", "t ended: shutdown"]);
        assert_eq!(ids(&tree), ["a"]);
        assert_eq!(tree.log.rest(), [""; 0]);
    });
}

#[test]
fn what_names_children_is_not_for_dynamic_supervisors_and_the_other_way_round() {
    everywhere(MANY, |system| {
        let pool = tree(system, dynamic(RestartPolicy::Permanent));
        let not = Err(AdminError::NotForDynamic);
        assert_eq!(pool.sup.start_child(kid("a")), not);
        assert_eq!(pool.sup.restart_child("a"), not);
        assert_eq!(pool.sup.delete_child("a"), Err(AdminError::NotForDynamic));
        assert_eq!(pool.sup.terminate_child("a"), Err(AdminError::NotForDynamic));
        assert!(matches!(pool.sup.which_child("a"), Err(AdminError::NotForDynamic)));
        let fixed = tree(system, Supervisor::one_for_one("root").child(kid("a")));
        assert_eq!(fixed.sup.start::<Kid>(Start::Up), Err(AdminError::OnlyForDynamic));
        assert_eq!(fixed.sup.terminate(fixed.kid("a").id()), Err(AdminError::OnlyForDynamic));
    });
}

#[test]
fn a_dynamic_child_is_terminated_by_its_number_and_a_stranger_is_left_alone() {
    everywhere(MANY, |system| {
        let tree = tree(system, dynamic(RestartPolicy::Permanent));
        let (one, two) = (tree.start(Start::Up), tree.start(Start::Up));
        let stranger = outsider(system, "stranger");
        assert_eq!(tree.sup.terminate(stranger.id()), Err(AdminError::NotFound));
        assert_ne!(stranger.lifecycle(), Lifecycle::Stopped);
        tree.sup.terminate(one.id()).unwrap();
        assert_eq!(tree.sup.terminate(one.id()), Err(AdminError::NotFound));
        until(system, || one.lifecycle() == Lifecycle::Stopped);
        assert_eq!(two.lifecycle(), Lifecycle::Running);
        assert_eq!(tree.counts().specs, 1);
    });
}

#[test]
fn a_supervisor_that_has_ended_answers_that_it_has() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")));
        tree.sup.stop();
        tree.gone();
        assert_eq!(tree.sup.count_children(), Err(AdminError::Ask(AskError::Closed)));
    });
}

#[test]
fn a_supervisor_that_is_ending_says_so() {
    everywhere(MANY, |system| {
        let root = Supervisor::one_for_one("root")
            .child(kid("first"))
            .child(by_script("deaf", &[], Start::Stubborn).shutdown(ipc_actors::ShutdownPolicy::Infinity));
        let tree = tree(system, root);
        let deaf = tree.kid("deaf");
        tree.sup.stop();
        tree.read_until("deaf stopping");
        assert_eq!(tree.sup.start_child(kid("b")), Err(AdminError::ShuttingDown));
        assert_eq!(tree.sup.restart_child("deaf"), Err(AdminError::ShuttingDown));
        assert_eq!(tree.counts().active, 2);
        assert_eq!(tree.sup.which_child("deaf").unwrap().status, ChildStatus::Stopping);
        deaf.tell(Do::End(ExitReason::Shutdown)).unwrap();
        tree.gone();
    });
}

#[test]
fn a_child_that_cannot_be_here_is_refused() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root"));
        let refused = tree.sup.start_child(kid("a").temporary().significant());
        assert!(matches!(refused, Err(AdminError::Spec(SpecError { .. }))));
        let twice = Supervisor::one_for_one("below").child(kid("x")).child(kid("x"));
        assert!(matches!(tree.sup.start_child(twice), Err(AdminError::Spec(_))));
        assert_eq!(tree.counts().specs, 0);
    });
}

#[test]
fn a_whole_tree_is_added_and_removed_on_request() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root"));
        let below = Supervisor::one_for_all("below").child(kid("b1")).child(kid("b2"));
        tree.sup.start_child(below).unwrap().unwrap();
        let below = tree.sup.supervisor("below").unwrap();
        assert_eq!(below.count_children().unwrap().active, 2);
        tree.sup.terminate_child("below").unwrap();
        until(system, || system.live() == 1);
        tree.sup.delete_child("below").unwrap();
        let bad = Supervisor::one_for_all("bad").child(kid("b1")).child(scripted("b2", &[Start::Refuse]));
        let Err(AdminError::Start(error)) = tree.sup.start_child(bad) else { panic!("it does not start") };
        assert_eq!(error.to_string(), "bad/b2 did not start: error: refused");
        assert_eq!(tree.counts().specs, 0);
        until(system, || system.live() == 1);
    });
}

/// An actor that has children started from its handler, where it must not wait.
struct Boss {
    to: SupervisorRef,
    log: std::sync::mpsc::Sender<Result<Option<AnyAddr>, AdminError>>,
}

enum Order {
    Hire,
    Hired(Result<Result<Option<AnyAddr>, AdminError>, AskError>),
}
impl Message for Order {
    const MESSAGE_TYPE: &'static str = "test.order/1";
}

impl Actor for Boss {
    type Msg = Order;
    type Error = Ignore;
    fn handle(&mut self, order: Order, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
        match order {
            Order::Hire => {
                assert_eq!(self.to.count_children(), Err(AdminError::Ask(AskError::WouldBlockWorker)));
                let child = Box::new(kid("hired"));
                ctx.ask(self.to.addr(), |reply| Request::StartChild(child, reply), Order::Hired, PATIENCE);
            }
            Order::Hired(answer) => drop(self.log.send(answer.unwrap())),
        }
        Ok(())
    }
}

#[test]
fn an_actor_asks_a_supervisor_without_waiting() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root"));
        let log = Log::new();
        let boss = system.spawn(Boss { to: tree.sup.clone(), log: log.to.clone() }).unwrap();
        boss.tell(Order::Hire).unwrap();
        let hired = log.next(system).unwrap().unwrap();
        assert_eq!(tree.kid("hired").id(), hired.id());
        boss.tell(Order::Hire).unwrap();
        assert_eq!(log.next(system), Err(AdminError::AlreadyStarted(hired.address())));
    });
}
