//! ractor.

use crate::fixture::{Asking, Fixture, Make, Msg, Node};
use crate::on_tokio;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime, RpcReplyPort, SupervisionEvent};
use std::sync::{Arc, Mutex};
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

type Current = Arc<Mutex<Option<ActorRef<Msg<Ractor>>>>>;

/// Starts a [`Host`] and, each time it fails, another one at another address.
struct Keeper;

struct Kept {
    make: Make<Ractor>,
    current: Current,
}

async fn start_fragile(
    keeper: &ActorRef<()>,
    kept: &Kept,
) -> Result<ActorRef<Msg<Ractor>>, ActorProcessingErr> {
    let (fragile, _) = Actor::spawn_linked(None, Host, (kept.make)(), keeper.get_cell()).await?;
    *kept.current.lock().expect("nobody panics with it") = Some(fragile.clone());
    Ok(fragile)
}

impl Actor for Keeper {
    type Msg = ();
    type State = Kept;
    type Arguments = Kept;

    async fn pre_start(&self, me: ActorRef<()>, kept: Kept) -> Result<Kept, ActorProcessingErr> {
        start_fragile(&me, &kept).await?;
        Ok(kept)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        kept: &mut Kept,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            start_fragile(&me, kept).await?.send_message(Msg::Alive)?;
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

    const RESTARTS: bool = true;

    fn fragile(&self, make: Make<Self>) -> Box<dyn FnMut()> {
        let current = Current::default();
        let kept = Kept { make, current: current.clone() };
        self.0.block_on(Actor::spawn(None, Keeper, kept)).expect("a supervisor");
        Box::new(move || {
            let address = current.lock().expect("nobody panics with it").clone();
            Self::tell(&address.expect("it was started"), Msg::Panic);
        })
    }

    fn ask_outside(&self, whom: &Self::Addr, count: u64) {
        self.0.block_on(async {
            for _ in 0..count {
                ask(whom).await;
            }
        });
    }
}
