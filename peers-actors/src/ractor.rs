//! ractor.

use crate::fixture::{Asking, Fixture, Msg, Node};
use crate::on_tokio;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime, RpcReplyPort};
use tokio::runtime::Runtime;

pub struct Ractor(Runtime);

pub struct Host;

async fn ask(whom: &ActorRef<Msg<Ractor>>) {
    match whom.call(Msg::Question, None).await {
        Ok(CallResult::Success(_)) => {}
        _ => panic!("no answer"),
    }
}

impl Actor for Host {
    type Msg = Msg<Ractor>;
    type State = Node<Ractor>;
    type Arguments = Node<Ractor>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        node: Node<Ractor>,
    ) -> Result<Node<Ractor>, ActorProcessingErr> {
        Ok(node)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        node: &mut Node<Ractor>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(Asking { whom, count, done }) = node.handle(message, || me.clone(), &()) {
            for _ in 0..count {
                ask(&whom).await;
            }
            let _ = done.send(0);
        }
        Ok(())
    }
}

impl Fixture for Ractor {
    type Addr = ActorRef<Msg<Self>>;
    type Reply = RpcReplyPort<u64>;
    type Env = ();

    fn start() -> Self {
        Ractor(on_tokio::runtime())
    }

    fn spawn(&self, node: Node<Self>) -> Self::Addr {
        let _entered = self.0.enter();
        Self::spawn_within(&(), node)
    }

    fn spawn_within(_: &(), node: Node<Self>) -> Self::Addr {
        ActorRuntime::spawn_instant(None, Host, node).expect("a fresh actor").0
    }

    fn tell(to: &Self::Addr, message: Msg<Self>) {
        to.send_message(message).expect("it lives");
    }

    fn answer(reply: RpcReplyPort<u64>, value: u64) {
        let _ = reply.send(value);
    }

    fn ask_outside(&self, whom: &Self::Addr, count: u64) {
        self.0.block_on(async {
            for _ in 0..count {
                ask(whom).await;
            }
        });
    }
}
