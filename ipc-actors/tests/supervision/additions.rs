//! What is ours beyond OTP: health checks, panics in every place, many restarts without loss.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_actors::{
    Actor, Backoff, Ctx, DeadReason, ErrorAction, Health, HealthCheck, Lifecycle, Message, Reply,
    RestartPolicy, ShutdownPolicy, Supervisor, System,
};

use crate::kit::*;
use crate::support::{PATIENCE, everywhere, simulated, threaded, until};

const CHECK: HealthCheck = HealthCheck { interval: ms_const(10), timeout: ms_const(10_000), threshold: 2 };

const fn ms_const(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}

#[test]
fn a_panic_in_every_place_ends_an_incarnation_and_no_more() {
    everywhere(MANY, |system| {
        for (start, end) in [
            (Start::PanicInStopped, Some(Do::Fail)),
            (Start::PanicInDrop, Some(Do::Fail)),
            (Start::Up, Some(Do::PanicInSignal)),
            (Start::Up, Some(Do::Panic)),
        ] {
            let root = Supervisor::one_for_one("root").child(scripted("a", &[start])).child(kid("b"));
            let tree = tree(system, root);
            let kid = tree.kid("a");
            kid.tell(end.unwrap()).unwrap();
            tree.read_until("a up");
            assert_eq!((incarnation(&kid), incarnation(&tree.kid("b"))), (1, 0));
            tree.sup.stop();
            tree.gone();
        }
        for start in [Start::Panic, Start::PanicInFactory] {
            let root = Supervisor::one_for_one("root").child(scripted("a", &[Start::Up, start]));
            let tree = tree(system, root);
            let kid = tree.kid("a");
            kid.tell(Do::Fail).unwrap();
            tree.read_until("a up");
            assert_eq!(incarnation(&kid), 2);
            tree.sup.stop();
            tree.gone();
        }
    });
}

/// Panics when it is dropped.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

#[test]
fn a_message_that_panics_when_dropped_is_a_panic_like_any_other() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")));
        let kid = tree.kid("a");
        let bomb = Bomb;
        kid.tell(Do::Run(Box::new(move || drop(bomb)))).unwrap();
        tree.read_until("a up");
        assert_eq!(incarnation(&kid), 1);
        let bomb = Bomb;
        kid.tell(Do::Panic).unwrap();
        kid.tell(Do::Run(Box::new(move || std::mem::forget(bomb)))).unwrap();
        assert_eq!(incarnation(&kid), 2);
    });
}

#[test]
fn a_panic_while_a_panic_unwinds_aborts_the_process() {
    const CHILD: &str = "IPC_ACTORS_DOUBLE_PANIC";
    if std::env::var_os(CHILD).is_some() {
        let system = System::builder().workers(1).build().unwrap();
        let sup = system.start(Supervisor::one_for_one("root").child(kid("a"))).unwrap();
        let kid = sup.child::<Kid>("a").unwrap();
        let run = || {
            let _bomb = Bomb;
            panic!("first");
        };
        kid.tell(Do::Run(Box::new(run))).unwrap();
        kid.ask(Do::Notes, PATIENCE).unwrap();
        return;
    }
    let name = "additions::a_panic_while_a_panic_unwinds_aborts_the_process";
    let status = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "SIGABRT: {status}");
}

#[test]
fn a_resume_after_a_panic_is_refused() {
    everywhere(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a")));
        let kid = tree.kid("a");
        kid.tell(Do::FailBy(ErrorAction::Resume)).unwrap();
        assert_eq!(incarnation(&kid), 0, "after an error it is granted");
        kid.tell(Do::Panic).unwrap();
        assert_eq!(incarnation(&kid), 1);
    });
}

#[test]
fn a_child_that_says_it_failed_is_restarted_at_the_threshold() {
    everywhere(MANY, |system| {
        let tree =
            tree(system, Supervisor::one_for_one("root").child(kid("a").health(CHECK)).child(kid("b")));
        let kid = tree.kid("a");
        assert_eq!(tree.take(1), ["a healthy"]);
        kid.tell(Do::Health(Health::Degraded("slow".into()))).unwrap();
        assert_eq!(tree.take(1), ["a degraded: slow"]);
        kid.tell(Do::Health(Health::Failed("broken".into()))).unwrap();
        assert_eq!(
            tree.take(6),
            [
                "a failed: broken",
                "a killing",
                "a ended: error: unhealthy after 2 checks: broken",
                "a again",
                "a up",
                "a healthy"
            ]
        );
        assert_eq!(incarnation(&kid), 1);
    });
}

#[test]
fn one_bad_check_among_good_ones_is_forgiven() {
    simulated(MANY, |system| {
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a").health(CHECK)));
        let kid = tree.kid("a");
        for _ in 0..5 {
            kid.tell(Do::Health(Health::Failed("once".into()))).unwrap();
            tree.read_until("a failed: once");
            kid.tell(Do::Health(Health::Healthy)).unwrap();
            tree.read_until("a healthy");
        }
        assert_eq!(incarnation(&kid), 0);
    });
}

#[test]
fn a_check_that_is_not_answered_counts_and_the_supervisor_goes_on_meanwhile() {
    threaded(|system| {
        let check = HealthCheck { interval: ms(5), timeout: ms(200), threshold: 2 };
        let stuck = kid("stuck").health(check).name("stuck");
        let tree =
            tree(system, Supervisor::one_for_one("root").child(stuck).child(kid("b")).zombie_after(ms(10)));
        let (gate, stuck) = (Gate::default(), tree.kid("stuck"));
        let wait = gate.clone();
        stuck.tell(Do::Run(Box::new(move || wait.pass()))).unwrap();
        let lines = tree.read_until("stuck zombie");
        assert!(lines.iter().filter(|line| *line == "stuck no answer").count() >= 2, "{lines:?}");
        assert_eq!(tree.counts().specs, 2, "it answers");
        tree.read_until("stuck up");
        let fresh = system.find::<Kid>("stuck").unwrap();
        assert_ne!(fresh.id(), stuck.id());
        assert_eq!(incarnation(&fresh), 0);
        gate.open();
        tree.read_until("stuck reaped");
    });
}

#[test]
fn a_long_queue_is_no_illness() {
    simulated(4, |system| {
        let check = HealthCheck { interval: ms(1), timeout: ms(1), threshold: 1 };
        let tree = tree(system, Supervisor::one_for_one("root").child(kid("a").health(check)));
        let kid = tree.kid("a");
        for n in 0..100_000 {
            kid.tell(Do::Note(n)).unwrap();
        }
        assert_eq!(kid.ask(Do::Notes, PATIENCE).unwrap().len(), 100_000);
        assert_eq!((incarnation(&kid), tree.log.rest()), (0, vec!["a healthy".into()]));
    });
}

/// Adds up what it is told where a restart does not reach.
struct Tally(Arc<AtomicU64>);
enum Entry {
    Add(u64),
    Poison,
    Done(Reply<u32>),
}
impl Message for Entry {
    const MESSAGE_TYPE: &'static str = "test.entry/1";
}
impl Actor for Tally {
    type Msg = Entry;
    type Error = Failure;
    fn handle(&mut self, entry: Entry, ctx: &mut Ctx<Self>) -> Result<(), Failure> {
        match entry {
            Entry::Add(n) => drop(self.0.fetch_add(n, Ordering::SeqCst)),
            Entry::Poison => panic!("poison"),
            Entry::Done(reply) => reply.send(ctx.incarnation()),
        }
        Ok(())
    }
}

/// Crashes a child `cycles` times amid `cycles` messages, and then once more than its supervisor allows.
fn crash(system: &System, cycles: u32) {
    let sum = Arc::new(AtomicU64::new(0));
    let share = sum.clone();
    let child = ipc_actors::Child::actor("tally", move || Tally(share.clone()));
    let budget = Supervisor::one_for_one("root")
        .intensity(cycles, ms(86_400_000))
        .backoff(Backoff::none())
        .child(child);
    let sup = system.start(budget).unwrap();
    let tally = sup.child::<Tally>("tally").unwrap();
    for cycle in 0..cycles {
        tally.tell(Entry::Add(u64::from(cycle))).unwrap();
        tally.tell(Entry::Poison).unwrap();
        if cycle % 1000 == 999 {
            // The queue is kept short of filling the memory.
            tally.ask(Entry::Done, PATIENCE).unwrap();
        }
    }
    assert_eq!(tally.ask(Entry::Done, PATIENCE), Ok(cycles), "every crash was one restart");
    assert_eq!(sum.load(Ordering::SeqCst), (0..u64::from(cycles)).sum::<u64>(), "no message was lost");
    assert_eq!(system.dead_letters(DeadReason::Poison), u64::from(cycles));
    assert_eq!(sup.lifecycle(), Lifecycle::Running, "the budget is used up and not exceeded");
    tally.tell(Entry::Poison).unwrap();
    until(system, || sup.lifecycle() == Lifecycle::Stopped);
    until(system, || system.live() == 0);
}

#[test]
fn crashes_lose_nothing_but_the_poison_and_the_budget_is_exact() {
    everywhere(4, |system| crash(system, 1000));
}

#[test]
#[ignore = "the full dose: cargo test --release -p ipc-actors --test supervision -- --ignored a_hundred_thousand"]
fn a_hundred_thousand_crashes_lose_nothing_but_the_poison_and_the_budget_is_exact() {
    everywhere(1, |system| {
        let before = std::time::Instant::now();
        crash(system, 100_000);
        println!("100,000 crashes and restarts: {:?}", before.elapsed());
    });
}

#[test]
fn a_restart_storm_and_a_stop_at_once_end_well() {
    everywhere(MANY, |system| {
        let pool = dynamic(RestartPolicy::Permanent)
            .intensity(u32::MAX, ms(1000))
            .children(|child| child.shutdown(ShutdownPolicy::Timeout(ms(100))));
        let tree = tree(system, pool);
        let kids: Vec<_> = (0..20).map(|at| tree.start([Start::Up, Start::Stubborn][at % 2])).collect();
        for kid in &kids {
            kid.tell(Do::Panic).unwrap();
        }
        tree.sup.stop();
        tree.gone();
        until(system, || system.live() == 0);
    });
}
