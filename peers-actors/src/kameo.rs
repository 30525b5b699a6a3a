//! kameo, with unbounded mailboxes as all others have.

use crate::fixture::{Asking, Fixture, Make, Msg, Node};
use crate::on_tokio;
use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

pub struct Kameo(Runtime);

pub struct Host {
    node: Node<Kameo>,
    /// It stands in for one that panicked.
    again: bool,
}

impl Actor for Host {
    type Args = Host;
    type Error = Infallible;

    async fn on_start(host: Host, me: ActorRef<Host>) -> Result<Host, Infallible> {
        if host.again {
            Kameo::tell(&me, Msg::Alive);
        }
        Ok(host)
    }
}

/// A supervisor.
#[derive(Actor)]
struct Keeper;

pub struct Question;

impl Message<Msg<Kameo>> for Host {
    type Reply = ();

    async fn handle(&mut self, message: Msg<Kameo>, ctx: &mut Context<Self, ()>) {
        if let Some(Asking { whom, count, done }) = self.node.handle(message, || ctx.actor_ref().clone(), &())
        {
            for _ in 0..count {
                whom.ask(Question).await.expect("an answer");
            }
            let _ = done.send(0);
        }
    }
}

impl Message<Question> for Host {
    type Reply = u64;

    async fn handle(&mut self, _: Question, _: &mut Context<Self, u64>) -> u64 {
        1
    }
}

impl Fixture for Kameo {
    type Addr = ActorRef<Host>;
    type Reply = Infallible;
    type Env = ();

    fn start() -> Self {
        Kameo(on_tokio::runtime())
    }

    fn spawn(&self, node: Node<Self>) -> ActorRef<Host> {
        let _entered = self.0.enter();
        Self::spawn_within(&(), node)
    }

    fn spawn_within(_: &(), node: Node<Self>) -> ActorRef<Host> {
        Host::spawn_with_mailbox(Host { node, again: false }, mailbox::unbounded())
    }

    fn tell(to: &ActorRef<Host>, message: Msg<Self>) {
        to.tell(message).try_send().expect("it lives");
    }

    fn answer(reply: Infallible, _: u64) {
        match reply {}
    }

    const RESTARTS: bool = true;

    fn fragile(&self, make: Make<Self>) -> Box<dyn FnMut()> {
        let (keeper, fragile) = self.0.block_on(async {
            let keeper = Keeper::spawn(Keeper);
            let made = AtomicBool::new(false);
            let host = move || Host { node: make(), again: made.swap(true, Ordering::Relaxed) };
            let fragile = Host::supervise_with(&keeper, host)
                .restart_limit(u32::MAX, Duration::from_secs(1))
                .spawn_with_mailbox(mailbox::unbounded())
                .await;
            (keeper, fragile)
        });
        // The mailbox is kept, but what is queued behind a panic is lost, so the next instance tells itself.
        Box::new(move || {
            // A supervisor nobody has the address of ends.
            let _ = &keeper;
            Self::tell(&fragile, Msg::Panic);
        })
    }

    fn ask_outside(&self, whom: &ActorRef<Host>, count: u64) {
        self.0.block_on(async {
            for _ in 0..count {
                whom.ask(Question).await.expect("an answer");
            }
        });
    }
}
