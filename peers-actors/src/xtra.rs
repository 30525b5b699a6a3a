//! xtra, on tokio.

use crate::fixture::{Asking, Fixture, Msg, Node};
use crate::on_tokio;
use futures_util::FutureExt;
use std::convert::Infallible;
use tokio::runtime::Runtime;
use xtra::{Address, Context, Handler, Mailbox};

pub struct Xtra(Runtime);

/// An actor of xtra ends when its last strong address goes; those of every other library live until they are stopped, so
/// this one keeps an address of itself.
#[derive(xtra::Actor)]
pub struct Host {
    node: Node<Xtra>,
    me: Address<Host>,
}

pub struct Question;

impl Handler<Msg<Xtra>> for Host {
    type Return = ();

    async fn handle(&mut self, message: Msg<Xtra>, _: &mut Context<Self>) {
        let Host { node, me } = self;
        if let Some(Asking { whom, count, done }) = node.handle(message, || me.clone(), &()) {
            for _ in 0..count {
                whom.send(Question).await.expect("an answer");
            }
            let _ = done.send(0);
        }
    }
}

impl Handler<Question> for Host {
    type Return = u64;

    async fn handle(&mut self, _: Question, _: &mut Context<Self>) -> u64 {
        1
    }
}

impl Fixture for Xtra {
    type Addr = Address<Host>;
    type Reply = Infallible;
    type Env = ();

    fn start() -> Self {
        Xtra(on_tokio::runtime())
    }

    fn spawn(&self, node: Node<Self>) -> Address<Host> {
        let _entered = self.0.enter();
        Self::spawn_within(&(), node)
    }

    fn spawn_within(_: &(), node: Node<Self>) -> Address<Host> {
        let (address, mailbox) = Mailbox::unbounded();
        xtra::spawn_tokio(Host { node, me: address.clone() }, (address, mailbox))
    }

    fn tell(to: &Address<Host>, message: Msg<Self>) {
        // An unbounded mailbox takes it on the first poll.
        let sent = to.send(message).detach().now_or_never();
        drop(sent.expect("there is always room").expect("it lives"));
    }

    fn answer(reply: Infallible, _: u64) {
        match reply {}
    }

    fn ask_outside(&self, whom: &Address<Host>, count: u64) {
        self.0.block_on(async {
            for _ in 0..count {
                whom.send(Question).await.expect("an answer");
            }
        });
    }
}
