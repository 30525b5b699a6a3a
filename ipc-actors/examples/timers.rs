//! A timer that repeats and one that goes off once. `cargo run -p ipc-actors --example timers`

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use ipc_actors::{Actor, Ctx, Message, System, TimerRef};

enum Clock {
    Tick,
    Enough,
}

impl Message for Clock {
    const MESSAGE_TYPE: &'static str = "example.clock/1";
}

#[derive(Default)]
struct Watch {
    ticks: u32,
    ticking: Option<TimerRef>,
}

impl Actor for Watch {
    type Msg = Clock;
    type Error = Infallible;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        self.ticking = Some(ctx.every(Duration::from_millis(10), || Clock::Tick));
        Ok(())
    }

    fn handle(&mut self, clock: Clock, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match clock {
            Clock::Tick => {
                self.ticks += 1;
                if self.ticks == 5
                    && let Some(ticking) = self.ticking.take()
                {
                    ctx.cancel(ticking);
                    ctx.after(Duration::from_millis(5), Clock::Enough);
                }
            }
            Clock::Enough => {
                println!("{} ticks in {:?}", self.ticks, ctx.now());
                ctx.stop();
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().build()?;
    system.spawn(Watch::default())?;
    system.wait_until_empty(Duration::from_secs(5));
    Ok(())
}
