//! A timer that repeats and one that goes off once. `cargo run -p ipc-actors --example timers`

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use ipc_actors::{Actor, Ctx, Message, System};

enum Clock {
    Tick,
    Enough,
}

impl Message for Clock {
    const MESSAGE_TYPE: &'static str = "example.clock/1";
}

struct Watch(u32);

impl Actor for Watch {
    type Msg = Clock;
    type Error = Infallible;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        ctx.every(Duration::from_millis(10), || Clock::Tick);
        ctx.after(Duration::from_millis(55), Clock::Enough);
        Ok(())
    }

    fn handle(&mut self, clock: Clock, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match clock {
            Clock::Tick => self.0 += 1,
            Clock::Enough => {
                println!("{} ticks in {:?}", self.0, ctx.now());
                ctx.stop();
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().build()?;
    system.spawn(Watch(0))?;
    system.wait_until_empty(Duration::from_secs(5));
    Ok(())
}
