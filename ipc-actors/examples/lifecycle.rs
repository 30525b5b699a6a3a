//! The hooks of an actor in the order they run, and what an error leads to. `cargo run -p ipc-actors --example lifecycle`

use std::error::Error;
use std::fmt;
use std::time::Duration;

use ipc_actors::{Actor, Ctx, ErrorAction, ExitReason, Message, System};

struct Line(&'static str);

impl Message for Line {
    const MESSAGE_TYPE: &'static str = "example.line/1";
}

#[derive(Debug)]
struct Unreadable(bool);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreadable")
    }
}

impl Error for Unreadable {}

struct Printer;

impl Actor for Printer {
    type Msg = Line;
    type Error = Unreadable;

    fn started(&mut self, ctx: &mut Ctx<Self>) -> Result<(), Unreadable> {
        println!("started, incarnation {}", ctx.incarnation());
        Ok(())
    }

    fn handle(&mut self, Line(line): Line, ctx: &mut Ctx<Self>) -> Result<(), Unreadable> {
        match line {
            "" => Err(Unreadable(false)),
            "?" => Err(Unreadable(true)),
            "stop" => {
                ctx.stop();
                Ok(())
            }
            _ => {
                println!("message {}: {line}", ctx.message_count());
                Ok(())
            }
        }
    }

    fn on_error(&mut self, error: &Unreadable, _: &mut Ctx<Self>) -> ErrorAction {
        if error.0 { ErrorAction::Restart } else { ErrorAction::Resume }
    }

    fn stopped(&mut self, why: &ExitReason, _: &mut Ctx<Self>) {
        println!("stopped: {why}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().build()?;
    let printer = system.actor(|| Printer).name("printer").start()?;
    for line in ["one", "", "two", "?", "three", "stop"] {
        printer.tell(Line(line))?;
    }
    system.wait_until_empty(Duration::from_secs(5));
    println!("its name is free: {}", system.find::<Printer>("printer").is_none());
    Ok(())
}
