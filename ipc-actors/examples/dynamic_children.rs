//! Children that are started at run time, one per session, each forgotten when it ends. `cargo run -p ipc-actors --example dynamic_children`
use std::time::Duration;

use ipc_actors::{Actor, Ctx, Ignore, Message, Reply, Supervisor, System};

const PATIENCE: Duration = Duration::from_secs(10);

struct Session {
    user: String,
    said: usize,
}

enum Line {
    Say(&'static str),
    Count(Reply<(String, usize)>),
    Bye,
}

impl Message for Line {
    const MESSAGE_TYPE: &'static str = "example.line/1";
}

impl Actor for Session {
    type Msg = Line;
    type Error = Ignore;

    fn handle(&mut self, line: Line, ctx: &mut Ctx<Self>) -> Result<(), Ignore> {
        match line {
            Line::Say(text) => {
                assert!(!text.is_empty(), "a session that is told nothing fails");
                self.said += 1;
            }
            Line::Count(reply) => reply.send((self.user.clone(), self.said)),
            Line::Bye => ctx.stop(),
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = Supervisor::dynamic("sessions", |user: String| Session { user, said: 0 })
        .children(|child| child.transient())
        .max_children(100_000);
    let system = System::builder().build()?;
    let sessions = system.start(sessions)?;

    let start =
        |user: &str| sessions.start::<Session>(user.to_owned()).map(|child| child.expect("one is made"));
    let (ann, bob) = (start("ann")?, start("bob")?);
    for text in ["hello", "", "again"] {
        ann.tell(Line::Say(text))?;
    }
    // The empty line ended the first incarnation; what came after it was kept for the second, which has the argument.
    println!("{:?}", ann.ask(Line::Count, PATIENCE)?);
    bob.tell(Line::Bye)?;
    while sessions.count_children()?.specs > 1 {
        std::thread::yield_now();
    }
    sessions.terminate(ann.id())?;
    println!("{} sessions are left", sessions.count_children()?.specs);
    system.shutdown(PATIENCE);
    Ok(())
}
