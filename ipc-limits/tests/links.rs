//! What every link does, between two threads and between two processes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the way tests do")]

use ipc_limits::{Bare, Driver, End, InPlace, Kind, Link, Params, create};
use std::{
    env, fs, io,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// Names the end of a link in the second process, and what that process does with it.
const SPEC: &str = "IPC_LIMITS_TEST_SPEC";
const PART: &str = "IPC_LIMITS_TEST_PART";

/// Half of the kinds spin, so with two cores only one test may run at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails instead of hanging.
fn within_ten_seconds<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let worker = thread::spawn(move || done.send(run()));
    match ended.recv_timeout(Duration::from_secs(10)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panicked) => std::panic::resume_unwind(panicked),
            Ok(_) => unreachable!("the worker sends before it ends"),
        },
    }
}

/// Every kind with every size it can carry.
fn links() -> impl Iterator<Item = Params> {
    let queue_limit = fs::read_to_string("/proc/sys/fs/mqueue/msgsize_max").unwrap();
    let queue_limit = queue_limit.trim().parse::<usize>().unwrap();
    let links = Kind::ALL.into_iter().flat_map(move |kind| {
        let sizes: &[usize] = if kind == Kind::Cacheline { &[8] } else { &[1, 16, 48, 64, 1024, 65536] };
        sizes.iter().filter_map(move |&size| match kind {
            Kind::Mq(_) if size > queue_limit => None,
            // A shallow queue, because the user's budget for queues is shared with everything else.
            Kind::Mq(_) => Some(Params { depth: 2, ..Params::new(kind, size) }),
            // A small ring, so that it fills and wraps.
            Kind::Ring => Some(Params { slots: 8, ..Params::new(kind, size) }),
            _ => Some(Params::new(kind, size)),
        })
    });
    links.flat_map(|params| {
        let seals = matches!(params.kind, Kind::Slot | Kind::Ring);
        let sealed = seals.then(|| Params { sealed: true, ..params.clone() });
        [Some(params), sealed].into_iter().flatten()
    })
}

/// Message number `sequence`: its number as far as it fits, then bytes that depend on number and place.
fn write_message(sequence: u64, message: &mut [u8]) {
    for (at, byte) in message.iter_mut().enumerate() {
        *byte = (sequence as usize * 31 + at * 7) as u8;
    }
    let stamp = sequence.to_le_bytes();
    let len = stamp.len().min(message.len());
    message[..len].copy_from_slice(&stamp[..len]);
}

fn check_message(sequence: u64, message: &[u8]) {
    let mut expected = vec![0; message.len()];
    write_message(sequence, &mut expected);
    assert!(message == expected, "message {sequence} differs");
}

/// Sends `rounds` messages and checks that each comes back with the next number.
struct Ask {
    size: usize,
    rounds: u64,
}

impl Driver for Ask {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
        let mut message = vec![0; self.size];
        for round in 0..self.rounds {
            write_message(2 * round, &mut message);
            link.send(&message)?;
            link.flush()?;
            message.fill(0);
            assert_eq!(link.recv(&mut message)?, self.size);
            check_message(2 * round + 1, &message);
        }
        Ok(())
    }
}

/// The other side of [`Ask`], until the asking side is gone.
struct Answer {
    size: usize,
}

impl Driver for Answer {
    type Output = io::Error;

    fn drive<B: Bare>(self, mut link: B) -> io::Error {
        let mut message = vec![0; self.size];
        let mut answer = |round: u64| {
            link.recv(&mut message)?;
            check_message(2 * round, &message);
            write_message(2 * round + 1, &mut message);
            link.send(&message)?;
            link.flush()
        };
        (0..).find_map(|round| answer(round).err()).unwrap()
    }
}

/// Sends messages without waiting for anything, until an error or `count`.
struct Pour {
    size: usize,
    count: u64,
}

impl Driver for Pour {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
        let mut message = vec![0; self.size];
        for sequence in 0..self.count {
            write_message(sequence, &mut message);
            link.send(&message)?;
        }
        link.flush()?;
        // The link is closed when this returns; keep it until the other side has everything.
        link.recv(&mut message)?;
        Ok(())
    }
}

/// The other side of [`Pour`]: takes `count` messages in order, then says so.
struct Drink {
    size: usize,
    count: u64,
}

impl Driver for Drink {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
        let mut message = vec![0; self.size];
        for sequence in 0..self.count {
            link.recv(&mut message)?;
            check_message(sequence, &message);
        }
        link.send(&message)?;
        link.flush()
    }
}

/// Takes one message and ends without an answer.
struct Vanish {
    size: usize,
}

impl Driver for Vanish {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
        link.recv(&mut vec![0; self.size]).map(drop)
    }
}

/// The error every side of a link may get for a peer that is gone.
fn assert_gone(params: &Params, error: io::Error) {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let gone = matches!(error.kind(), UnexpectedEof | BrokenPipe | ConnectionReset);
    assert!(gone, "{}, {} bytes: {error:?}", params.kind, params.size);
}

/// A second process that is never left behind.
struct Peer(Child);

impl Peer {
    fn spawn(part: &str, end: End) -> Peer {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "second_process", "--ignored"]).stdout(Stdio::null());
        command.env(SPEC, end.to_string()).env(PART, part);
        end.pass_to(&mut command);
        Peer(command.spawn().unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Fails only for a process that has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the second process of the other tests"]
fn second_process() {
    let Ok(spec) = env::var(SPEC) else { return };
    let end = End::inherited(&spec).unwrap();
    let size = end.params().size;
    let link = end.open().unwrap();
    match env::var(PART).unwrap().as_str() {
        "answer" => drop(link.drive(Answer { size })),
        "drink" => link.drive(Drink { size, count: 100 }).unwrap(),
        "vanish" => link.drive(Vanish { size }).unwrap(),
        part => panic!("no part {part}"),
    }
}

#[test]
fn messages_go_both_ways_between_threads() {
    let _turn = alone();
    for params in links() {
        within_ten_seconds(&format!("{params}"), move || {
            let (near, far) = create(&params).unwrap();
            let size = params.size;
            let answering = thread::spawn(move || far.open().unwrap().drive(Answer { size }));
            near.open().unwrap().drive(Ask { size, rounds: 20 }).unwrap();
            assert_gone(&params, answering.join().unwrap());
        });
    }
}

#[test]
fn messages_go_both_ways_between_processes() {
    let _turn = alone();
    for params in links() {
        within_ten_seconds(&format!("{params}"), move || {
            let (near, far) = create(&params).unwrap();
            let mut peer = Peer::spawn("answer", far);
            near.open().unwrap().drive(Ask { size: params.size, rounds: 20 }).unwrap();
            // It ends by itself because our side of the link is closed now.
            assert!(peer.0.wait().unwrap().success(), "{params}");
        });
    }
}

#[test]
fn a_stream_arrives_whole_and_in_order() {
    let _turn = alone();
    for params in links().filter(|params| params.kind.streams()) {
        within_ten_seconds(&format!("{params}"), move || {
            let (near, far) = create(&params).unwrap();
            let mut peer = Peer::spawn("drink", far);
            near.open().unwrap().drive(Pour { size: params.size, count: 100 }).unwrap();
            assert!(peer.0.wait().unwrap().success(), "{params}");
        });
    }
}

#[test]
fn a_ring_that_publishes_in_batches_holds_nothing_back_while_it_waits() {
    let _turn = alone();
    for batch in [2, 3, 8] {
        within_ten_seconds(&format!("batch {batch}"), move || {
            let params = Params { slots: 8, batch, ..Params::new(Kind::Ring, 48) };
            let (near, far) = create(&params).unwrap();
            let mut peer = Peer::spawn("drink", far);
            near.open().unwrap().drive(Pour { size: 48, count: 100 }).unwrap();
            assert!(peer.0.wait().unwrap().success());
        });
    }
}

#[test]
fn messages_are_written_and_read_where_they_lie() {
    let _turn = alone();
    fn pass(mut near: impl InPlace, mut far: impl InPlace) {
        for sequence in 0..20 {
            near.send_in_place(|message| write_message(sequence, message)).unwrap();
            near.flush().unwrap();
            far.recv_in_place(|message| check_message(sequence, message)).unwrap();
            far.send_in_place(|message| write_message(sequence + 1, message)).unwrap();
            far.flush().unwrap();
            let mut copy = [0; 48];
            assert_eq!(near.recv(&mut copy).unwrap(), 48);
            check_message(sequence + 1, &copy);
        }
    }
    let kinds = [
        (Kind::Ring, false),
        (Kind::Ring, true),
        (Kind::Slot, false),
        (Kind::Slot, true),
        (Kind::Futex, false),
    ];
    for (kind, sealed) in kinds {
        let (near, far) = create(&Params { slots: 8, sealed, ..Params::new(kind, 48) }).unwrap();
        let (near, far) = (near.open().unwrap(), far.open().unwrap());
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let read_only = |line: &str| line.contains(" r--s ") && line.contains("memfd:ipc-limits");
        assert_eq!(maps.lines().filter(|line| read_only(line)).count(), if sealed { 2 } else { 0 }, "{maps}");
        match (near, far) {
            (Link::Ring(near), Link::Ring(far)) => pass(near, far),
            (Link::Slot(near), Link::Slot(far)) => pass(near, far),
            (Link::Futex(near), Link::Futex(far)) => pass(near, far),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_receiver_learns_that_its_peer_ended() {
    let _turn = alone();
    for params in links().filter(|params| matches!(params.size, 8 | 64 | 65536)) {
        within_ten_seconds(&format!("{params}"), move || {
            let (near, far) = create(&params).unwrap();
            let _peer = Peer::spawn("vanish", far);
            let answered = near.open().unwrap().drive(Ask { size: params.size, rounds: 1 });
            assert_gone(&params, answered.unwrap_err());
        });
    }
}

#[test]
fn a_receiver_learns_that_its_peer_was_killed() {
    let _turn = alone();
    for params in links().filter(|params| matches!(params.size, 8 | 64)) {
        within_ten_seconds(&format!("{params}"), move || {
            let (near, far) = create(&params).unwrap();
            let mut peer = Peer::spawn("answer", far);
            let link = near.open().unwrap();
            let size = params.size;
            let asking = thread::spawn(move || link.drive(Ask { size, rounds: u64::MAX }));
            peer.0.kill().unwrap();
            assert_gone(&params, asking.join().unwrap().unwrap_err());
        });
    }
}

#[test]
fn a_sender_without_room_learns_that_its_peer_ended() {
    let _turn = alone();
    for params in links().filter(|params| params.kind.streams()) {
        within_ten_seconds(&format!("{params}"), move || {
            let (near, far) = create(&params).unwrap();
            let _peer = Peer::spawn("vanish", far);
            let poured = near.open().unwrap().drive(Pour { size: params.size, count: u64::MAX });
            assert_gone(&params, poured.unwrap_err());
        });
    }
}

#[test]
fn a_message_of_another_length_is_refused() {
    let _turn = alone();
    struct Misfit(usize);
    impl Driver for Misfit {
        type Output = ();
        fn drive<B: Bare>(self, mut link: B) {
            let refused = link.send(&vec![0; self.0 + 1]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
            let refused = link.recv(&mut vec![0; self.0 - 1]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }
    for params in links() {
        let (near, far) = create(&params).unwrap();
        near.open().unwrap().drive(Misfit(params.size));
        drop(far);
    }
}

#[test]
fn two_sends_without_an_answer_are_noticed_on_a_slot() {
    let _turn = alone();
    struct Twice;
    impl Driver for Twice {
        type Output = ();
        fn drive<B: Bare>(self, mut link: B) {
            link.send(&[0; 16]).unwrap();
            link.send(&[0; 16]).unwrap();
        }
    }
    struct Take;
    impl Driver for Take {
        type Output = io::Error;
        fn drive<B: Bare>(self, mut link: B) -> io::Error {
            link.recv(&mut [0; 16]).unwrap_err()
        }
    }
    let (near, far) = create(&Params::new(Kind::Slot, 16)).unwrap();
    near.open().unwrap().drive(Twice);
    let noticed = within_ten_seconds("recv", move || far.open().unwrap().drive(Take));
    assert_eq!(noticed.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn an_end_that_was_not_inherited_is_refused() {
    let (near, _far) = create(&Params::new(Kind::Slot, 16)).unwrap();
    let refused = End::inherited(&near.to_string()).unwrap_err();
    assert!(refused.to_string().contains("was not inherited"), "{refused}");
    for nonsense in ["", "kind=slot", "kind=slot,side=2,fds=3", "kind=slot,side=0,fds=1", "side=0,fds=x"] {
        let refused = End::inherited(nonsense).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{nonsense:?}");
    }
}

#[test]
fn a_size_above_the_kernels_limit_is_refused_by_name() {
    let refused = create(&Params::new(Kind::Mq(ipc_limits::Wait::Park), 1 << 30)).unwrap_err().to_string();
    assert!(refused.contains("fs.mqueue.msgsize_max"), "{refused}");
    let refused = create(&Params::new(Kind::Seqpacket(ipc_limits::Wait::Park), 1 << 30)).unwrap_err();
    assert!(refused.to_string().contains("SO_SNDBUF"), "{refused}");
}
