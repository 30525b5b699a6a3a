//! No library: a tokio task with a channel, and a thread with a channel. For orientation, not for the ratio.

use crate::fixture::{Asking, Fixture, Msg, Node};
use crate::on_tokio;
use crossbeam_channel as crossbeam;
use std::sync::mpsc;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

pub struct Task(Runtime);

async fn ask(whom: &tokio_mpsc::UnboundedSender<Msg<Task>>) {
    let (to, from) = oneshot::channel();
    whom.send(Msg::Question(to)).expect("it lives");
    from.await.expect("an answer");
}

impl Fixture for Task {
    type Addr = tokio_mpsc::UnboundedSender<Msg<Self>>;
    type Reply = oneshot::Sender<u64>;
    type Env = ();

    fn start() -> Self {
        Task(on_tokio::runtime())
    }

    fn spawn(&self, node: Node<Self>) -> Self::Addr {
        let _entered = self.0.enter();
        Self::spawn_within(&(), node)
    }

    fn spawn_within(_: &(), mut node: Node<Self>) -> Self::Addr {
        let (to, mut from) = tokio_mpsc::unbounded_channel();
        let me = to.clone();
        tokio::spawn(async move {
            while let Some(message) = from.recv().await {
                if let Some(Asking { whom, count, done }) = node.handle(message, || me.clone(), &()) {
                    for _ in 0..count {
                        ask(&whom).await;
                    }
                    let _ = done.send(0);
                }
            }
        });
        to
    }

    fn tell(to: &Self::Addr, message: Msg<Self>) {
        to.send(message).expect("it lives");
    }

    fn answer(reply: oneshot::Sender<u64>, value: u64) {
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

macro_rules! thread_with {
    ($name:ident, $sender:ty, $channel:expr) => {
        pub struct $name;

        impl Fixture for $name {
            type Addr = $sender;
            type Reply = std::convert::Infallible;
            type Env = ();

            const DIVISOR: u64 = 20;

            fn start() -> Self {
                $name
            }

            fn spawn(&self, node: Node<Self>) -> Self::Addr {
                Self::spawn_within(&(), node)
            }

            fn spawn_within(_: &(), mut node: Node<Self>) -> Self::Addr {
                let (to, from) = $channel;
                let me: $sender = to.clone();
                std::thread::spawn(move || {
                    while let Ok(message) = from.recv() {
                        node.handle(message, || me.clone(), &());
                    }
                });
                to
            }

            fn tell(to: &Self::Addr, message: Msg<Self>) {
                to.send(message).expect("it lives");
            }

            fn answer(reply: std::convert::Infallible, _: u64) {
                match reply {}
            }

            fn ask_outside(&self, _: &Self::Addr, _: u64) {
                unreachable!("a channel has no questions")
            }
        }
    };
}

thread_with!(StdThread, mpsc::Sender<Msg<StdThread>>, mpsc::channel());
thread_with!(CrossbeamThread, crossbeam::Sender<Msg<CrossbeamThread>>, crossbeam::unbounded());
