//! ipc-actors.

use crate::fixture::{Asking, Fixture, Make, Msg, Node};
use ipc_actors::{Actor, Addr, AskError, Backoff, Child, Ctx, Message, Reply, Supervisor, System};
use std::convert::Infallible;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Ours(System);

pub struct Host {
    node: Node<Ours>,
    system: System,
    asking: Option<Asking<Ours>>,
}

impl Message for Msg<Ours> {
    const MESSAGE_TYPE: &'static str = "peers.msg/1";
}

impl Host {
    fn ask_next(&mut self, ctx: &mut Ctx<Self>) {
        let Some(asking) = &mut self.asking else { return };
        if asking.count == 0 {
            let _ = asking.done.send(0);
            self.asking = None;
            return;
        }
        asking.count -= 1;
        ctx.ask(&asking.whom, Msg::Question, answered, PATIENCE);
    }
}

fn answered(answer: Result<u64, AskError>) -> Msg<Ours> {
    answer.expect("an answer");
    Msg::Answered
}

impl Actor for Host {
    type Msg = Msg<Ours>;
    type Error = Infallible;

    fn handle(&mut self, message: Msg<Ours>, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        if let Msg::Answered = message {
            self.ask_next(ctx);
        } else if let Some(asking) = self.node.handle(message, || ctx.addr(), &self.system) {
            self.asking = Some(asking);
            self.ask_next(ctx);
        }
        Ok(())
    }
}

impl Fixture for Ours {
    type Addr = Addr<Host>;
    type Reply = Reply<u64>;
    type Env = System;

    fn start() -> Self {
        Ours(System::builder().workers(2).build().expect("a system"))
    }

    fn spawn(&self, node: Node<Self>) -> Addr<Host> {
        Self::spawn_within(&self.0, node)
    }

    fn spawn_within(system: &System, node: Node<Self>) -> Addr<Host> {
        system.spawn(Host { node, system: system.clone(), asking: None }).expect("room for one more")
    }

    #[inline]
    fn tell(to: &Addr<Host>, message: Msg<Self>) {
        to.tell(message).expect("it lives");
    }

    fn answer(reply: Reply<u64>, value: u64) {
        reply.send(value);
    }

    const RESTARTS: bool = true;

    fn fragile(&self, make: Make<Self>) -> Box<dyn FnMut()> {
        let system = self.0.clone();
        let child =
            Child::actor("fragile", move || Host { node: make(), system: system.clone(), asking: None });
        let root = Supervisor::one_for_one("root")
            .intensity(1_000_000, Duration::from_secs(1))
            .backoff(Backoff::none())
            .child(child);
        let root = self.0.start(root).expect("a tree");
        let fragile = root.child::<Host>("fragile").expect("it runs");
        Box::new(move || {
            [Msg::Panic, Msg::Alive].into_iter().for_each(|message| Self::tell(&fragile, message))
        })
    }

    fn shut_down(&self) -> bool {
        let ended = self.0.shutdown(PATIENCE);
        assert_eq!(ended.killed, 0, "each ends by itself");
        true
    }

    fn ask_outside(&self, whom: &Addr<Host>, count: u64) {
        for _ in 0..count {
            whom.ask(Msg::Question, PATIENCE).expect("an answer");
        }
    }
}
