//! One actor: its messages, its handler, a system that runs it. `cargo run -p ipc-actors --example basic`

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use ipc_actors::{Actor, Ctx, Message, Reply, System};

/// What the counter understands.
enum Count {
    Add(u64),
    /// A question: the answer goes through the reply.
    Total(Reply<u64>),
}

impl Message for Count {
    const MESSAGE_TYPE: &'static str = "example.count/1";
}

/// State that one message at a time touches: no lock, no `Arc`.
#[derive(Default)]
struct Counter(u64);

impl Actor for Counter {
    type Msg = Count;
    type Error = Infallible;

    fn handle(&mut self, message: Count, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        match message {
            Count::Add(n) => self.0 += n,
            Count::Total(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().build()?;
    let counter = system.actor(Counter::default).name("counter").start()?;

    // Any thread may send; each one's messages arrive in the order it sent them.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let counter = counter.clone();
            std::thread::spawn(move || (1..=100).try_for_each(|n| counter.tell(Count::Add(n))))
        })
        .collect();
    for thread in threads {
        thread.join().expect("it only sends").map_err(|error| error.to_string())?;
    }

    let found = system.find::<Counter>("counter").ok_or("it has its name while it lives")?;
    let total = found.ask(Count::Total, Duration::from_secs(10))?;

    // A stopped actor gives messages back to whoever sends them.
    counter.stop();
    system.wait_until_empty(Duration::from_secs(10));
    let Err(refused) = counter.tell(Count::Add(1)) else { return Err("it is gone".into()) };
    println!("afterwards: {refused}");

    system.shutdown(Duration::from_secs(10));
    println!("total: {total}");
    Ok(())
}
