use std::io::IoSlice;
use std::time::Duration;

use ipc_core::{Armed, Loan, LoanSender, PeekReceiver, Pollable, Receiver, RecvError, SendError, Sender};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;
use crate::features::features;
use crate::places::Places;

pub(super) type Ends = Pair<Shm>;

pub(super) fn pair(query: &str) -> Ends {
    let mut options = ShmOptions::default();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap();
        options.fill(key, value).unwrap();
    }
    Shm::pair(&options).unwrap()
}

pub(super) fn soon() -> Wait {
    Wait::within(Duration::from_secs(10))
}

#[test]
fn both_directions_carry_messages_under_every_policy() {
    for policy in WaitPolicy::ALL {
        let (mut one, mut other) = pair(&format!("wait={policy}"));
        let echo = std::thread::spawn(move || {
            let mut message = Vec::new();
            while other.rx.recv(&mut message).is_ok() {
                other.tx.send(&message).unwrap();
            }
        });
        let mut answer = Vec::new();
        for len in (0..300).chain([4096, 65_536, one.tx.max_message()]) {
            let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            one.tx.send_with(&[IoSlice::new(&message)], soon()).unwrap();
            assert_eq!(one.rx.recv_with(&mut answer, soon()).unwrap(), len);
            assert_eq!(answer, message, "{policy}");
        }
        drop(one);
        echo.join().unwrap();
    }
}

#[test]
fn a_stream_through_a_small_ring_arrives_in_order_under_every_policy() {
    for policy in WaitPolicy::ALL {
        let (mut one, mut other) = pair(&format!("wait={policy}&capacity=4096"));
        let sender = std::thread::spawn(move || {
            let numbers: Vec<[u8; 8]> = (0..20_000u64).map(u64::to_le_bytes).collect();
            let batch: Vec<IoSlice<'_>> = numbers.iter().map(|number| IoSlice::new(number)).collect();
            let mut sent = 0;
            while sent < batch.len() {
                sent += one.tx.send_batch(&batch[sent..], soon()).unwrap();
            }
            one.tx.stats()
        });
        let mut next = 0u64;
        while next < 20_000 {
            let each = |message: &[u8]| {
                assert_eq!(message, next.to_le_bytes());
                next += 1;
            };
            other.rx.recv_each(50, soon(), each).unwrap();
        }
        let stats = sender.join().unwrap();
        assert_eq!((stats.messages, stats.bytes), (20_000, 160_000));
        assert_eq!(other.rx.stats().messages, 20_000);
        assert!(matches!(other.rx.recv_with(&mut Vec::new(), soon()), Err(RecvError::Closed)));
    }
}

#[test]
fn long_messages_are_tried_whole_and_in_pieces_and_arrive_however_they_are_sent() {
    let (mut one, mut other) = pair("wait=spin");
    let (mut received, mut ways) = (Vec::new(), [0; 2]);
    let mut check = |message: &[u8]| {
        other.rx.recv_with(&mut received, soon()).unwrap();
        assert!(received == message, "a message of {} bytes has changed", message.len());
    };
    for number in 0..900_usize {
        ways[usize::from(one.tx.ring().copies_in_pieces())] += 1;
        let message: Vec<u8> = (0..2049 + number * 97 % 6144).map(|at| (at * 3 + number) as u8).collect();
        let (head, tail) = message.split_at(number);
        match number % 3 {
            0 => one.tx.send(&message).unwrap(),
            1 => one.tx.send_with(&[IoSlice::new(head), IoSlice::new(tail)], soon()).unwrap(),
            _ => {
                let batch = [IoSlice::new(&message), IoSlice::new(tail)];
                assert_eq!(one.tx.send_batch(&batch, soon()).unwrap(), 2);
            }
        }
        check(&message);
        if number % 3 == 2 {
            check(tail);
        }
    }
    assert!(ways[0] >= 640 && ways[1] >= 128, "whole and in pieces: {ways:?}");
}

#[test]
fn parts_are_one_message() {
    let (mut one, mut other) = pair("");
    one.tx.send_with(&[IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")], Wait::Never).unwrap();
    let mut message = Vec::new();
    other.rx.try_recv(&mut message).unwrap();
    assert_eq!(message, b"hello");
}

#[test]
fn one_byte_too_many_is_refused_at_once() {
    let (mut one, _other) = pair("capacity=4K&max_message=100");
    assert_eq!(one.tx.max_message(), 100);
    let error = one.tx.send(&[0; 101]).unwrap_err();
    assert!(matches!(error, SendError::TooLong { len: 101, max: 100 }), "{error}");
    let long = [0; 101];
    assert_eq!(one.tx.send_batch(&[IoSlice::new(b"a"), IoSlice::new(&long)], Wait::Never).unwrap(), 1);
}

#[test]
fn full_and_empty_answer_at_once_and_deadlines_are_kept() {
    let (mut one, mut other) = pair("capacity=4096");
    let mut message = vec![1];
    assert!(matches!(other.rx.try_recv(&mut message), Err(RecvError::Empty)));
    assert!(message.is_empty());
    let short = Duration::from_millis(20);
    assert!(matches!(other.rx.recv_timeout(&mut message, short), Err(RecvError::TimedOut)));
    while one.tx.try_send(&[7; 8]).is_ok() {}
    assert!(matches!(one.tx.try_send(b"x"), Err(SendError::Full)));
    assert!(matches!(one.tx.send_timeout(b"x", short), Err(SendError::TimedOut)));
    other.rx.try_recv(&mut message).unwrap();
    one.tx.try_send(b"x").unwrap();
}

#[test]
fn close_is_seen_after_the_last_message() {
    let (mut one, mut other) = pair("");
    one.tx.send(b"last").unwrap();
    drop(one.tx);
    let mut message = Vec::new();
    other.rx.recv(&mut message).unwrap();
    assert_eq!(message, b"last");
    for _ in 0..2 {
        assert!(matches!(other.rx.recv(&mut message), Err(RecvError::Closed)));
    }
    other.tx.send(b"the other way still works").unwrap();
    one.rx.recv(&mut message).unwrap();
    drop(one.rx);
    for _ in 0..2 {
        assert!(matches!(other.tx.send(b"x"), Err(SendError::Closed)));
    }
}

#[test]
fn close_wakes_who_waits() {
    for policy in WaitPolicy::ALL {
        let (one, mut other) = pair(&format!("wait={policy}&capacity=4096"));
        while other.tx.try_send(&[0; 1000]).is_ok() {}
        let sender = std::thread::spawn(move || other.tx.send(&[0; 1000]));
        let receiver = std::thread::spawn(move || other.rx.recv(&mut Vec::new()));
        drop(one);
        assert!(matches!(sender.join().unwrap(), Err(SendError::Closed)));
        assert!(matches!(receiver.join().unwrap(), Err(RecvError::Closed)));
    }
}

#[test]
fn a_peer_that_vanishes_without_goodbye_has_died() {
    for policy in WaitPolicy::ALL {
        let (mut one, other) = pair(&format!("wait={policy}&capacity=4096"));
        // What is left of a killed process: its descriptors closed, nothing said.
        let peer_control = Arc::clone(other.rx.control());
        rustix::net::shutdown(peer_control.socket(), rustix::net::Shutdown::Both).unwrap();
        let mut message = Vec::new();
        assert!(matches!(one.rx.recv(&mut message), Err(RecvError::PeerDied { partial_bytes: 0 })));
        while one.tx.try_send(&[0; 1000]).is_ok() {}
        assert!(matches!(one.tx.send(&[0; 1000]), Err(SendError::PeerDied)));
        drop(other);
    }
}

#[test]
fn the_death_of_a_peer_ends_a_wait_that_has_been_long() {
    let (mut one, mut other) = pair("wait=park");
    let peer_control = Arc::clone(other.rx.control());
    let waits = std::thread::spawn(move || (one.rx.recv(&mut Vec::new()), one));
    let waited = other.rx.recv_timeout(&mut Vec::new(), Duration::from_millis(200));
    assert!(matches!(waited, Err(RecvError::TimedOut)), "{waited:?}");
    rustix::net::shutdown(peer_control.socket(), rustix::net::Shutdown::Both).unwrap();
    let (ended, _one) = waits.join().unwrap();
    assert!(matches!(ended, Err(RecvError::PeerDied { partial_bytes: 0 })), "{ended:?}");
}

#[test]
fn a_dropped_loan_publishes_nothing() {
    let (mut one, mut other) = pair("");
    let mut message = Vec::new();
    one.tx.loan(100, Wait::Never).unwrap().fill(9);
    assert!(matches!(other.rx.try_recv(&mut message), Err(RecvError::Empty)));
    let mut loan = one.tx.loan(5, Wait::Never).unwrap();
    loan.copy_from_slice(b"hello");
    loan.commit_len(4).unwrap();
    other.rx.try_recv(&mut message).unwrap();
    assert_eq!(message, b"hell");
    let loan = one.tx.loan(5, Wait::Never).unwrap();
    assert!(matches!(loan.commit_len(6), Err(SendError::TooLong { len: 6, max: 5 })));
}

#[test]
#[allow(unsafe_code)]
fn a_lent_message_is_the_same_in_place_and_copied() {
    // SAFETY: the peer is this test, which changes nothing it has sent.
    for trust in [Trust::default(), unsafe { Trust::peer() }] {
        let options = ShmOptions { trust, capacity: Some(4096), ..Default::default() };
        let (mut one, mut other) = Shm::pair(&options).unwrap();
        assert!(other.rx.take().is_none());
        for round in 0..100u8 {
            one.tx.send(&[round; 1500]).unwrap();
            other.rx.ready(Wait::Never).unwrap();
            assert_eq!(*other.rx.take().unwrap(), [round; 1500]);
            assert!(matches!(other.rx.recv_ref(Wait::Never), Err(RecvError::Empty)));
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    let timeout = Timespec::try_from(wait).unwrap();
    rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

#[test]
fn an_armed_receiver_becomes_readable_when_there_is_something_to_receive() {
    let (mut one, mut other) = pair("");
    let mut message = Vec::new();
    for round in 0..3 {
        assert_eq!(other.rx.arm().unwrap(), Armed::MaySleep, "round {round}");
        assert!(!is_readable(other.rx.fd(), Duration::ZERO));
        one.tx.send(b"x").unwrap();
        assert!(is_readable(other.rx.fd(), Duration::from_secs(10)));
        other.rx.disarm();
        assert!(!is_readable(other.rx.fd(), Duration::ZERO));
        assert_eq!(other.rx.arm().unwrap(), Armed::Ready);
        other.rx.try_recv(&mut message).unwrap();
    }
    assert_eq!(other.rx.arm().unwrap(), Armed::MaySleep);
    drop(one);
    assert!(is_readable(other.rx.fd(), Duration::from_secs(10)));
    other.rx.disarm();
    assert!(matches!(other.rx.try_recv(&mut message), Err(RecvError::Closed)));
}

#[test]
fn an_armed_sender_becomes_readable_when_there_is_room() {
    let (mut one, mut other) = pair("capacity=4096");
    let mut message = Vec::new();
    while one.tx.try_send(b"x").is_ok() {}
    assert_eq!(one.tx.arm().unwrap(), Armed::MaySleep);
    assert!(!is_readable(one.tx.fd(), Duration::ZERO));
    other.rx.try_recv(&mut message).unwrap();
    assert!(is_readable(one.tx.fd(), Duration::from_secs(10)));
    one.tx.disarm();
    one.tx.try_send(b"x").unwrap();
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let refused = |query: &str| {
        let address: Address = format!("shm:x?{query}").parse().unwrap();
        Shm::listen(&address, &ShmOptions::default()).unwrap_err().to_string()
    };
    assert!(refused("capacity=5000").contains("a power of two from 4096"));
    assert!(refused("peer_capacity=2G").contains("peer_capacity=2147483648: from 4096 to 1073741824"));
    assert!(refused("peer_capacity=0").contains("peer_capacity=0: from 4096"));
    assert!(refused("capacity=2G").contains("a power of two from 4096"));
    assert!(
        refused("capacity=4096&max_message=2048").contains("use capacity=8192"),
        "{}",
        refused("max_message=2048")
    );
    let most = refused("max_message=1G");
    assert!(most.ends_with("the largest, capacity=1073741824, up to 536870904)"), "{most}");
    for past_everything in [usize::MAX, usize::MAX - 8, usize::MAX / 2 - 7, 1 << 62] {
        assert!(
            refused(&format!("max_message={past_everything}")).contains("the largest, capacity=1073741824")
        );
    }
    assert!(refused("depth=1").contains("this transport has: capacity"));
    assert!(refused("wait=sleep").contains("spin, park or adaptive"));
}

#[test]
#[allow(unsafe_code)]
fn two_sides_that_trust_each_other_meet_and_one_alone_is_refused_by_name() {
    // SAFETY: both ends are in this test, which writes to no memory of the other.
    let mutual = ShmOptions { trust: unsafe { Trust::mutual() }, ..Default::default() };
    let (_directory, address) = somewhere();
    let mut listener = Shm::listen(&address, &mutual).unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Shm::connect(&address, &mutual, soon()).unwrap());
        let (mut far, mut near) = (listener.accept(soon()).unwrap(), client.join().unwrap());
        near.tx.send(&[3; 4088]).unwrap();
        // In place, as the lower level of trust has it.
        assert_eq!(*far.rx.recv_ref(soon()).unwrap(), [3; 4088]);
        // A client without it does not map what no seal keeps from being written or made holes in.
        let client = scope.spawn(|| Shm::connect(&address, &ShmOptions::default(), soon()));
        drop(listener.accept(soon()));
        let told = client.join().unwrap().unwrap_err().to_string();
        assert!(told.contains("Trust::mutual is for both or neither"), "{told}");
    });
    // Nor does such a listener, who hangs up.
    let told = one_refused_one_served(ShmOptions::default(), |address| {
        Shm::connect(address, &mutual, soon()).unwrap_err().to_string()
    });
    assert!(told.contains("hung up") && told.contains("Trust::mutual"), "{told}");
}

#[test]
fn listener_and_client_meet_and_keep_to_the_smaller_maximum() {
    let (_directory, address) = somewhere();
    let mut listener =
        Shm::listen(&address, &ShmOptions { capacity: Some(8192), ..Default::default() }).unwrap();
    let client = std::thread::spawn(move || {
        let options = ShmOptions { capacity: Some(1 << 16), max_message: Some(30_000), ..Default::default() };
        let mut made = Shm::connect(&address, &options, soon()).unwrap();
        assert_eq!(made.tx.max_message(), 4088);
        made.tx.send(&[3; 4088]).unwrap();
        let mut message = Vec::new();
        made.rx.recv_with(&mut message, soon()).unwrap();
        message
    });
    let mut made = listener.accept(soon()).unwrap();
    let mut message = Vec::new();
    made.rx.recv_with(&mut message, soon()).unwrap();
    assert_eq!(message, [3; 4088]);
    made.tx.send(b"welcome").unwrap();
    assert_eq!(client.join().unwrap(), b"welcome");
}

/// A directory that goes with its test.
struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An address of this test's own.
fn somewhere() -> (Directory, Address) {
    let own = u64::from_le_bytes(crate::handshake::random());
    let directory = Directory(std::env::temp_dir().join(format!("ipc-shm-{own:x}")));
    std::fs::create_dir(&directory.0).unwrap();
    let address = format!("shm:{}", directory.0.join("s").display()).parse().unwrap();
    (directory, address)
}

/// What two clients are told, the first with `first` and the second with a small ring, by a listener with `options`,
/// which has to let in the second.
fn one_refused_one_served(options: ShmOptions, first: impl FnOnce(&Address) -> String + Send) -> String {
    let (_directory, address) = somewhere();
    let mut listener = Shm::listen(&address, &options).unwrap();
    std::thread::scope(|scope| {
        let address = &address;
        let clients = scope.spawn(move || {
            let told = first(address);
            let small = ShmOptions { capacity: Some(8192), ..Default::default() };
            let mut served = Shm::connect(address, &small, soon()).unwrap();
            served.tx.send(b"small").unwrap();
            told
        });
        let mut made = listener.accept(soon()).unwrap();
        let mut message = Vec::new();
        made.rx.recv_with(&mut message, soon()).unwrap();
        assert_eq!(message, b"small");
        clients.join().unwrap()
    })
}

#[test]
fn a_client_that_brings_more_than_it_may_is_dropped_and_told_of_the_limit() {
    let connecting = |capacity, peer_capacity| {
        move |address: &Address| {
            let options = ShmOptions { capacity: Some(capacity), peer_capacity, ..Default::default() };
            Shm::connect(address, &options, soon()).unwrap_err().to_string()
        }
    };
    let listening = |capacity, peer_capacity| ShmOptions {
        capacity: Some(capacity),
        peer_capacity: Some(peer_capacity),
        ..Default::default()
    };
    let told = one_refused_one_served(listening(4096, 8192), connecting(16_384, None));
    assert!(told.contains("hung up"), "{told}");
    // Refused by the default.
    let default = ShmOptions { capacity: Some(4096), ..Default::default() };
    let told = one_refused_one_served(default, connecting(128 << 20, None));
    assert!(
        told.contains("capacity=134217728") && told.contains("use peer_capacity=134217728 there"),
        "{told}"
    );
    // The listener brings too much: the client says so itself.
    let (_directory, address) = somewhere();
    let mut listener = Shm::listen(&address, &listening(16_384, 16_384)).unwrap();
    let told = std::thread::scope(|scope| {
        let client = scope.spawn(|| connecting(4096, Some(8192))(&address));
        drop(listener.accept(soon()));
        client.join().unwrap()
    });
    assert!(
        told.contains("16384 bytes, more than peer_capacity=8192; use peer_capacity=16384 here"),
        "{told}"
    );
}

#[test]
fn another_users_rings_beyond_allow_bytes_are_refused_with_the_numbers_and_the_fix() {
    let greeted = |places: &mut Places| {
        let another = rustix::process::geteuid().as_raw() ^ 1;
        let hello =
            ring_setup::hello(LAYOUT, 100, 8192, None, WaitPolicy::Adaptive, features("test").unwrap());
        let mut greeted = Greeted::made_up(hello, Vec::new());
        greeted.place = places.take(Some(another)).unwrap();
        greeted
    };
    let options =
        ShmOptions { capacity: Some(4096), allow_bytes: Some(2 * (4096 + 8192)), ..Default::default() };
    let settings = Settings::new(&options, "listen on", &"a test").unwrap();
    let mut places = Places::default();
    let guests: Vec<Greeted> = (0..3).map(|_| greeted(&mut places)).collect();
    settings.charge(&guests[0], &"shm:x").unwrap();
    settings.charge(&guests[1], &"shm:x").unwrap();
    let told = settings.charge(&guests[2], &"shm:x").unwrap_err();
    assert_eq!(told.kind, SetupErrorKind::Denied);
    let told = told.to_string();
    assert!(
        told.contains("12288 bytes of rings would make 36864 of this user, more than allow_bytes=24576; use allow_bytes=36864"),
        "{told}"
    );
    drop(guests);
    settings.charge(&greeted(&mut places), &"shm:x").unwrap();
    let too_little = ShmOptions { allow_bytes: Some(4096), ..Default::default() };
    let told = Settings::new(&too_little, "listen on", &"a test").unwrap_err().to_string();
    assert!(told.contains("allow_bytes=4096: one connection has 1052672 at least"), "{told}");
}

#[test]
fn a_peer_may_bring_as_much_as_we_do() {
    let (_directory, address) = somewhere();
    let options = ShmOptions { capacity: Some(2 * DEFAULT_PEER_CAPACITY), ..Default::default() };
    let mut listener = Shm::listen(&address, &options).unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Shm::connect(&address, &options, soon()).map(drop));
        let made = listener.accept(soon()).unwrap();
        assert!(made.effective.contains(&("peer_capacity", 2 * DEFAULT_PEER_CAPACITY as u64)));
        client.join().unwrap().unwrap();
    });
}

/// In a process of its own, because the limit on address space holds for all of it.
#[test]
fn memory_that_cannot_be_mapped_costs_its_client_alone() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const ALONE: &str = "IPC_TEST_ALONE";
    const CAPACITY: usize = 64 << 20;
    let name = "shm::tests::memory_that_cannot_be_mapped_costs_its_client_alone";
    if std::env::var_os(ALONE).is_none() {
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        let output = test.args([name, "--exact"]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let told = one_refused_one_served(ShmOptions::default(), |address| {
        let options = ShmOptions { capacity: Some(CAPACITY), ..Default::default() };
        let settings = Settings::new(&options, "connect to", address).unwrap();
        let mut ours = Side::new(&settings, settings.hello()).unwrap();
        // The descriptor stays, the mapping goes.
        ours.memory = Memory::heap(DATA);
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let limit = getrlimit(Resource::As);
        let tight = pages * rustix::param::page_size() as u64 + CAPACITY as u64 / 2;
        setrlimit(Resource::As, Rlimit { current: Some(tight), ..limit }).unwrap();
        let error = control::connect(address, &[], settings.features, &ours.hello, &ours.fds(), soon());
        setrlimit(Resource::As, limit).unwrap();
        error.unwrap_err().to_string()
    });
    assert!(told.contains("hung up"), "{told}");
}

#[test]
fn a_ring_in_huge_pages_says_how_much_of_it_is_and_carries_every_message() {
    let Some(page) = memory::huge_page() else {
        println!("skipped: this kernel has no huge pages of shared memory");
        return;
    };
    let of = |ends: &Connection<ShmSender, ShmReceiver>, name: &str| {
        ends.effective.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    };
    let (_directory, at) = somewhere();
    let capacity = 2 * page;
    let options = ShmOptions { hugepages: Some(true), capacity: Some(capacity), ..ShmOptions::default() };
    let mut listener = Shm::listen(&at, &options).unwrap();
    let client = {
        let options = options.clone();
        std::thread::spawn(move || Shm::connect(&at, &options, soon()).unwrap())
    };
    let (mut served, mut client) = (listener.accept(soon()).unwrap(), client.join().unwrap());
    for (side, ends, other) in [("listener", &served, &client), ("client", &client, &served)] {
        let (ours, seen) = (of(ends, "huge_bytes").unwrap(), of(other, "peer_huge_bytes").unwrap());
        match of(ends, "huge_errno") {
            None => assert_eq!((ours, seen), (capacity as u64, capacity as u64), "{side}"),
            Some(errno) => {
                println!("{side}: refused: {}", std::io::Error::from_raw_os_error(errno as i32));
                assert!(ours < capacity as u64, "{side}: refused, and there all the same");
            }
        }
    }
    let mut got = Vec::new();
    for len in [0, 1, 64, 4096, 100_000, client.tx.max_message()].repeat(5) {
        let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        client.tx.send_with(&[IoSlice::new(&message)], soon()).unwrap();
        assert_eq!(served.rx.recv_with(&mut got, soon()).unwrap(), len);
        assert_eq!(got, message);
        served.tx.send_with(&[IoSlice::new(&message)], soon()).unwrap();
        assert_eq!(client.rx.recv_with(&mut got, soon()).unwrap(), len);
        assert_eq!(got, message);
    }
    let (small, _) = pair("");
    assert_eq!(of(&small, "huge_bytes"), None, "nobody asked");
    let (default, _) = pair("hugepages=true");
    assert_eq!(of(&default, "capacity"), Some(page.max(1 << 20) as u64));
}

#[test]
fn a_ring_smaller_than_a_huge_page_is_refused_with_the_capacity_that_is_not() {
    let Some(page) = memory::huge_page() else { return };
    let options = ShmOptions { hugepages: Some(true), capacity: Some(page / 2), ..ShmOptions::default() };
    let error = Shm::pair(&options).unwrap_err();
    assert!(matches!(error.kind, SetupErrorKind::BadAddress), "{error}");
    let fix =
        format!("a ring of {} bytes is smaller than a huge page of {page}; use capacity={page}", page / 2);
    assert!(error.to_string().contains(&fix), "{error}");
}
