//! A pool of supervised workers that share jobs by load, and one that fails without losing what the others do. Each
//! offloads its blocking part. `cargo run -p ipc-actors --example worker_pool`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ipc_actors::{
    Actor, ActorPool, Child, Ctx, Mailbox, Message, OffloadError, PoolStrategy, Supervisor, System,
};

enum Job {
    /// Count the words of this text.
    Words(u32, &'static str),
    /// How many there are in which text.
    Counted(Result<(u32, usize), OffloadError>),
}

impl Message for Job {
    const MESSAGE_TYPE: &'static str = "example.job/1";
}

struct Worker {
    results: Sender<(u32, usize)>,
}

impl Actor for Worker {
    type Msg = Job;
    type Error = Infallible;

    /// Counted, because the pool goes by how much each member has before it.
    const MAILBOX: Mailbox = Mailbox::counted();

    fn handle(&mut self, job: Job, ctx: &mut Ctx<Self>) -> Result<(), Infallible> {
        match job {
            Job::Words(_, text) if text.contains("poison") => panic!("cannot read this"),
            // A handler must not block its worker, so slow work goes to the pool of threads for it.
            Job::Words(number, text) => {
                ctx.offload(move || (number, text.split_whitespace().count()), Job::Counted);
            }
            Job::Counted(Ok(counted)) => drop(self.results.send(counted)),
            Job::Counted(Err(error)) => eprintln!("a job failed: {error}"),
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    const TEXTS: [&str; 3] = ["one", "to be or not to be", "the quick brown fox"];
    let system = System::builder().build()?;
    let (results, done) = channel();

    let mut workers = Supervisor::one_for_one("workers");
    for n in 0..4 {
        let results = results.clone();
        let id = format!("worker-{n}");
        workers = workers.child(Child::actor(&id, move || Worker { results: results.clone() }).name(&id));
    }
    let tree = system.start(workers)?;
    // Addresses stay good when their actors are restarted, so the pool needs no upkeep.
    let members: Vec<_> = (0..4).filter_map(|n| system.find::<Worker>(&format!("worker-{n}"))).collect();
    let pool = ActorPool::new(PoolStrategy::LeastLoaded, members);

    pool.tell(Job::Words(0, "poison"))?;
    for number in 0..30 {
        pool.tell(Job::Words(number, TEXTS[number as usize % TEXTS.len()]))?;
    }
    // The restart cost the one message its actor failed over; what was queued behind it was kept.
    let counted: BTreeMap<_, _> = done.iter().take(30).collect();
    println!("{} of 30 jobs, {} words", counted.len(), counted.values().sum::<usize>());
    drop(tree);
    system.shutdown(Duration::from_secs(10));
    Ok(())
}
