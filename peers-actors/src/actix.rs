//! actix: one arbiter, because its actors do not move between threads.

use crate::fixture::{Asking, Fixture, Msg, Node};
use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Handler, Message, SystemRunner, WrapFuture};
use std::convert::Infallible;

pub struct Actix {
    arbiter: Arbiter,
    // Only holds the arbiter's system.
    _keep: std::thread::JoinHandle<()>,
}

pub struct Host(Node<Actix>);

pub struct Question;

impl Message for Msg<Actix> {
    type Result = ();
}

impl Message for Question {
    type Result = u64;
}

impl Actor for Host {
    type Context = Context<Self>;
}

impl Handler<Msg<Actix>> for Host {
    type Result = ();

    fn handle(&mut self, message: Msg<Actix>, ctx: &mut Context<Self>) {
        if let Some(Asking { whom, count, done }) = self.0.handle(message, || ctx.address(), &()) {
            let questions = async move {
                for _ in 0..count {
                    whom.send(Question).await.expect("an answer");
                }
                let _ = done.send(0);
            };
            ctx.spawn(questions.into_actor(self));
        }
    }
}

impl Handler<Question> for Host {
    type Result = u64;

    fn handle(&mut self, _: Question, _: &mut Context<Self>) -> u64 {
        1
    }
}

impl Fixture for Actix {
    type Addr = Addr<Host>;
    type Reply = Infallible;
    type Env = ();

    fn start() -> Self {
        let (to, from) = crossbeam_channel::bounded(1);
        let system = move || {
            let runner: SystemRunner = actix::System::new();
            runner.block_on(async { to.send(Arbiter::new()).expect("the trial waits") });
            // It ends with the process.
            let _ = runner.run();
        };
        let keep = std::thread::spawn(system);
        Actix { arbiter: from.recv().expect("an arbiter"), _keep: keep }
    }

    fn spawn(&self, node: Node<Self>) -> Addr<Host> {
        Host::start_in_arbiter(&self.arbiter.handle(), move |ctx: &mut Context<Host>| {
            ctx.set_mailbox_capacity(0);
            Host(node)
        })
    }

    fn spawn_within(_: &(), node: Node<Self>) -> Addr<Host> {
        Host(node).start()
    }

    fn tell(to: &Addr<Host>, message: Msg<Self>) {
        to.do_send(message);
    }

    fn answer(reply: Infallible, _: u64) {
        match reply {}
    }

    fn ask_outside(&self, whom: &Addr<Host>, count: u64) {
        let (to, from) = crossbeam_channel::bounded(1);
        let whom = whom.clone();
        // Its futures want its runtime; the thread outside waits for each.
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async move {
            for _ in 0..count {
                whom.send(Question).await.expect("an answer");
            }
            to.send(()).expect("we wait");
        });
        from.recv().expect("it ends");
    }
}
