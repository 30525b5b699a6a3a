//! Three stages, the slow one throttled, and a pool in the middle. `cargo run -p ipc-actors --example pipeline`

use std::convert::Infallible;
use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ipc_actors::{Actor, ActorPool, Addr, Ctx, Mailbox, Message, Overflow, PoolStrategy, System};

struct Number(u64);

impl Message for Number {
    const MESSAGE_TYPE: &'static str = "example.number/1";
}

/// Makes numbers as fast as it can, a few per message to itself.
struct Source(ActorPool<Square>, u64);

impl Actor for Source {
    type Msg = Number;
    type Error = Infallible;

    fn handle(&mut self, Number(next): Number, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        for number in next..(next + 10).min(self.1) {
            // The pool lives as long as this program; a number that nobody takes would be lost.
            self.0.tell(Number(number)).unwrap_or_else(|error| eprintln!("lost: {error}"));
        }
        if next + 10 < self.1 {
            let _ = ctx.addr().tell(Number(next + 10));
        }
        Ok(())
    }
}

/// Squares.
struct Square(Addr<Sink>);

impl Actor for Square {
    type Msg = Number;
    type Error = Infallible;

    fn handle(&mut self, Number(number): Number, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        let _ = self.0.tell(Number(number * number));
        Ok(())
    }
}

/// Adds up, and says so at the end.
struct Sink {
    left: u64,
    sum: u64,
    done: Sender<u64>,
}

impl Actor for Sink {
    type Msg = Number;
    type Error = Infallible;

    /// Who sends more than this rests until the sink has caught up; no worker waits.
    const MAILBOX: Mailbox =
        Mailbox::bounded(64, Overflow::Throttle { max_mute: Duration::from_millis(100) });

    fn handle(&mut self, Number(number): Number, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        (self.left, self.sum) = (self.left - 1, self.sum + number);
        if self.left == 0 {
            let _ = self.done.send(self.sum);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    const COUNT: u64 = 1_000;
    let system = System::builder().build()?;
    let (done, told) = channel();
    let sink = system.spawn(Sink { left: COUNT, sum: 0, done })?;
    let mut squares = Vec::new();
    for _ in 0..4 {
        squares.push(system.spawn(Square(sink.clone()))?);
    }
    let pool = ActorPool::new(PoolStrategy::RoundRobin, squares);
    let source = system.spawn(Source(pool, COUNT))?;
    source.tell(Number(0))?;
    println!("sum of squares below {COUNT}: {}", told.recv()?);
    system.shutdown(Duration::from_secs(1));
    Ok(())
}
