//! Questions: from a thread, between actors, and answered later. `cargo run -p ipc-actors --example ask`

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use ipc_actors::{Actor, Addr, AskError, Ctx, Message, Reply, System};

const PATIENCE: Duration = Duration::from_secs(1);

/// Knows what things cost.
struct Prices;

struct PriceOf(&'static str, Reply<u32>);

impl Message for PriceOf {
    const MESSAGE_TYPE: &'static str = "example.price-of/1";
}

impl Actor for Prices {
    type Msg = PriceOf;
    type Error = Infallible;

    fn handle(&mut self, PriceOf(what, reply): PriceOf, _: &mut Ctx<Self>) -> Result<(), Infallible> {
        match what {
            "tea" => reply.send(3),
            "cake" => reply.send(4),
            // Dropped without an answer: who asked is told at once.
            _ => drop(reply),
        }
        Ok(())
    }
}

/// Adds up a bill. It asks for each price and keeps the question it has to answer until all prices are there.
struct Waiter {
    prices: Addr<Prices>,
    open: usize,
    sum: u32,
    bill: Option<Reply<Result<u32, AskError>>>,
}

enum Order {
    Bill(Vec<&'static str>, Reply<Result<u32, AskError>>),
    Price(Result<u32, AskError>),
}

impl Message for Order {
    const MESSAGE_TYPE: &'static str = "example.order/1";
}

impl Actor for Waiter {
    type Msg = Order;
    type Error = Infallible;

    fn handle(&mut self, order: Order, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match order {
            Order::Bill(things, reply) => {
                (self.open, self.sum, self.bill) = (things.len(), 0, Some(reply));
                for thing in things {
                    let prices = self.prices.clone();
                    ctx.ask(&prices, |reply| PriceOf(thing, reply), Order::Price, PATIENCE);
                }
            }
            Order::Price(Ok(price)) => {
                (self.open, self.sum) = (self.open - 1, self.sum + price);
                if self.open == 0
                    && let Some(bill) = self.bill.take()
                {
                    bill.send(Ok(self.sum));
                }
            }
            Order::Price(Err(error)) => {
                if let Some(bill) = self.bill.take() {
                    bill.send(Err(error));
                }
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().build()?;
    let prices = system.spawn(Prices)?;
    println!("tea: {}", prices.ask(|reply| PriceOf("tea", reply), PATIENCE)?);
    let waiter = system.spawn(Waiter { prices, open: 0, sum: 0, bill: None })?;
    let bill = |things: Vec<&'static str>| waiter.ask(|reply| Order::Bill(things, reply), PATIENCE);
    println!("tea and cake: {}", bill(vec!["tea", "cake"])??);
    if let Err(error) = bill(vec!["gold"])? {
        println!("gold: {error}");
    }
    system.shutdown(PATIENCE);
    Ok(())
}
