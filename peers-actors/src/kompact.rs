//! kompact.

use crate::fixture::{Asking, Fixture, Make, Msg, Node};
use kompact::prelude::*;
use std::sync::{Arc, Mutex};

pub struct Kompact(KompactSystem);

#[derive(ComponentDefinition)]
pub struct Host {
    ctx: ComponentContext<Self>,
    node: Node<Kompact>,
    system: KompactSystem,
}

ignore_lifecycle!(Host);

impl Actor for Host {
    type Message = Msg<Kompact>;

    fn receive_local(&mut self, message: Msg<Kompact>) -> HandlerResult {
        let Host { ctx, node, system } = self;
        let asking = node.handle(message, || ctx.actor_ref().hold().expect("it runs"), system);
        let Some(Asking { whom, count, done }) = asking else { return Handled::OK };
        Handled::block_on(self, async move |_| {
            for _ in 0..count {
                whom.ask_with(Msg::Question).await.expect("an answer");
            }
            let _ = done.send(0);
            Handled::OK
        })
    }
}

type Current = Arc<Mutex<Option<ActorRefStrong<Msg<Kompact>>>>>;

/// Starts an actor that is made anew, at another address, when it has panicked: kompact runs what is to be done then.
fn start_fragile(
    system: &impl SystemHandle,
    whole: KompactSystem,
    make: Make<Kompact>,
    current: Current,
) -> ActorRefStrong<Msg<Kompact>> {
    let (node, within) = (make(), whole.clone());
    let host = move || Host { ctx: ComponentContext::uninitialised(), node, system: within };
    let component = system.create(host);
    let now = current.clone();
    component.set_recovery_function(move |fault| {
        fault.recover_with(move |_, system, _| {
            start_fragile(&system, whole, make, current).tell(Msg::Alive);
        })
    });
    system.start(&component);
    let address = component.actor_ref().hold().expect("it was just made");
    *now.lock().expect("nobody panics with it") = Some(address.clone());
    address
}

impl Fixture for Kompact {
    type Addr = ActorRefStrong<Msg<Self>>;
    type Reply = KPromise<u64>;
    type Env = KompactSystem;

    fn start() -> Self {
        let mut config = KompactConfig::default();
        config.set_config_value(&kompact::config_keys::system::THREADS, 2);
        Kompact(config.build().wait().expect("a system"))
    }

    fn spawn(&self, node: Node<Self>) -> Self::Addr {
        Self::spawn_within(&self.0, node)
    }

    fn spawn_within(system: &KompactSystem, node: Node<Self>) -> Self::Addr {
        let within = system.clone();
        let host = move || Host { ctx: ComponentContext::uninitialised(), node, system: within };
        let component = system.create(host);
        system.start(&component);
        component.actor_ref().hold().expect("it was just made")
    }

    fn tell(to: &Self::Addr, message: Msg<Self>) {
        to.tell(message);
    }

    fn answer(reply: KPromise<u64>, value: u64) {
        let _ = reply.fulfil(value);
    }

    const RESTARTS: bool = true;

    fn fragile(&self, make: Make<Self>) -> Box<dyn FnMut()> {
        let current = Current::default();
        start_fragile(&self.0, self.0.clone(), make, current.clone());
        Box::new(move || {
            let address = current.lock().expect("nobody panics with it").clone();
            address.expect("it was started").tell(Msg::Panic);
        })
    }

    fn ask_outside(&self, whom: &Self::Addr, count: u64) {
        for _ in 0..count {
            whom.ask_with(Msg::Question).wait();
        }
    }
}
