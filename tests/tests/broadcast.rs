//! The contract of broadcasts: one writer, readers in processes of their own.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::path::Path;
use std::time::{Duration, Instant};

use ipc_async::Reactor;
use ipc_tests::broadcast::length;
use ipc_tests::end::{Random, check, message, patiently};
use ipc_tests::peer::Peer;
use ipc_tests::place::Place;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::broadcast::{BroadcastOptions, Reader, SlowReader, Writer};
use ipc_transports::{
    Address, Armed, Pollable, ReadySet, Receiver, RecvError, SendError, Sender, Target, Wait, WaitPolicy,
    WaitSet,
};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

fn place() -> (Place, Address) {
    let place = Place::new(Some(Path::new(PEER)));
    let address = Address::new("broadcast", Target::Path(place.directory().join("b"))).unwrap();
    (place, address)
}

fn peer(role: &str, address: &Address) -> Peer {
    Peer::spawn(Path::new(PEER), &["broadcast", role, &address.to_string()])
}

fn options(slow: SlowReader, wait: WaitPolicy) -> BroadcastOptions {
    BroadcastOptions {
        capacity: Some(1 << 16),
        slow: Some(slow),
        wait: Some(wait),
        ..BroadcastOptions::default()
    }
}

fn private(slow: SlowReader) -> Writer {
    Writer::private(&options(slow, WaitPolicy::Adaptive)).unwrap()
}

fn send(writer: &mut Writer, number: u64) {
    let bytes = message(number, length(number));
    writer.send_with(&[std::io::IoSlice::new(&bytes)], patiently()).unwrap();
}

#[test]
fn every_reader_in_a_process_of_its_own_gets_every_message() {
    let _watchdog = Watchdog::over("broadcast to four processes");
    for wait in [WaitPolicy::Adaptive, WaitPolicy::Park] {
        const MESSAGES: u64 = 2000;
        let (_place, address) = place();
        let mut writer = Writer::listen(&address, &options(SlowReader::Wait, wait)).unwrap();
        let address = address.with_option("wait", wait.name()).unwrap();
        let mut peers: Vec<Peer> = (0..4).map(|_| peer("count", &address)).collect();
        for _ in 0..4 {
            writer.accept(patiently()).unwrap();
        }
        for number in 0..MESSAGES {
            send(&mut writer, number);
        }
        assert_eq!((writer.readers(), writer.lost()), (4, 0));
        drop(writer);
        for peer in &mut peers {
            assert_eq!(peer.cue.as_mut().unwrap().hear_number(), MESSAGES);
        }
        peers.into_iter().for_each(Peer::finish);
    }
}

#[test]
fn a_dead_reader_holds_up_the_writer_no_longer() {
    let _watchdog = Watchdog::over("a dead reader");
    for wait in WaitPolicy::ALL {
        let (_place, address) = place();
        let mut writer = Writer::listen(&address, &options(SlowReader::Wait, wait)).unwrap();
        let victim = peer("sit", &address);
        writer.accept(patiently()).unwrap();
        let mut survivor = writer.subscribe().unwrap();
        let (mut sent, mut buf) = (0, Vec::new());
        let mut full = || {
            while writer.try_send(&message(sent, 100)).is_ok() {
                survivor.recv(&mut buf).unwrap();
                check(&buf, sent, 100);
                sent += 1;
            }
        };
        full();
        let killer = victim.killer();
        let start = Instant::now();
        killer.kill_during(|| writer.send_with(&[std::io::IoSlice::new(b"on")], patiently())).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
        survivor.recv(&mut buf).unwrap();
        assert_eq!(buf, b"on");
        assert_eq!((writer.readers(), writer.lost()), (1, 1));
    }
}

#[test]
fn a_reader_that_leaves_is_not_lost() {
    let _watchdog = Watchdog::over("a reader that leaves");
    let (_place, address) = place();
    let mut writer = Writer::listen(&address, &options(SlowReader::Wait, WaitPolicy::Park)).unwrap();
    let leaver = peer("leave", &address);
    writer.accept(patiently()).unwrap();
    // More than the ring holds: the writer has to notice.
    for number in 0..100 {
        send(&mut writer, number);
    }
    assert_eq!((writer.readers(), writer.lost()), (0, 0));
    leaver.finish();
}

#[test]
fn a_killed_writer_is_told_after_what_it_had_published() {
    for _ in 0..5 {
        let _watchdog = Watchdog::over("a killed writer");
        let (_place, address) = place();
        let mut writer = peer("write", &address);
        writer.cue.as_mut().unwrap().wait_for("listening");
        let mut reader = Reader::connect(&address, &BroadcastOptions::default(), patiently()).unwrap();
        let (mut number, mut buf) = (0, Vec::new());
        let last = 100 + Random(Random::seed()).below(200) as u64;
        let end = loop {
            match reader.recv_with(&mut buf, patiently()) {
                Ok(_) => check(&buf, number, length(number)),
                Err(error) => break error,
            }
            number += 1;
            if number == last {
                writer.killer().kill();
            }
        };
        assert!(number >= last, "only {number} messages");
        assert!(matches!(end, RecvError::PeerDied { .. }), "{end}");
        assert!(matches!(reader.try_recv(&mut buf), Err(RecvError::PeerDied { .. })), "sticky");
    }
}

#[test]
fn close_is_seen_after_the_last_message() {
    for slow in SlowReader::ALL {
        let mut writer = private(slow);
        let mut reader = writer.subscribe().unwrap();
        writer.send(b"last").unwrap();
        drop(writer);
        let mut buf = Vec::new();
        reader.recv(&mut buf).unwrap();
        assert_eq!(buf, b"last");
        assert!(matches!(reader.recv(&mut buf), Err(RecvError::Closed)));
    }
}

#[test]
fn without_readers_messages_go_nowhere_and_a_late_reader_begins_with_the_next() {
    let mut writer = private(SlowReader::Wait);
    for number in 0..100 {
        send(&mut writer, number);
    }
    let mut reader = writer.subscribe().unwrap();
    send(&mut writer, 100);
    let mut buf = Vec::new();
    reader.recv(&mut buf).unwrap();
    check(&buf, 100, length(100));
    assert!(matches!(reader.try_recv(&mut buf), Err(RecvError::Empty)));
    assert_eq!(reader.missed(), 0);
}

/// What comes is whole, in order, and numbered: received and missed add up to what was sent.
fn overtake(slow: SlowReader, seed: u64) {
    const MESSAGES: u64 = 20_000;
    let mut writer = private(slow);
    let mut readers: Vec<Reader> = (0..3).map(|_| writer.subscribe().unwrap()).collect();
    std::thread::scope(|scope| {
        for (which, mut reader) in readers.drain(..).enumerate() {
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_add(which as u64));
                let (mut received, mut buf) = (0, Vec::new());
                let mut last = None;
                loop {
                    match reader.recv_with(&mut buf, patiently()) {
                        Ok(_) => {}
                        Err(RecvError::Closed) => break,
                        Err(error) => panic!("seed {seed}: {error}"),
                    }
                    let number = u64::from_le_bytes(*buf.first_chunk().unwrap());
                    check(&buf[8..], number, length(number) % 600);
                    assert!(last < Some(number), "seed {seed}: {number} after {last:?}");
                    last = Some(number);
                    received += 1;
                    assert_eq!(received + reader.missed(), number + 1, "seed {seed}");
                    // Each reader is slow in its own way.
                    for _ in 0..random.below(1 << (2 * which + 8)) {
                        std::hint::spin_loop();
                    }
                }
                assert_eq!(last, Some(MESSAGES - 1), "seed {seed}: the last message is never overtaken");
            });
        }
        for number in 0..MESSAGES {
            let bytes = message(number, length(number) % 600);
            writer.send(&[&number.to_le_bytes(), &bytes[..]].concat()).unwrap();
        }
        drop(writer);
    });
}

#[test]
fn what_a_slow_reader_does_not_miss_is_whole_in_order_and_counted() {
    let _watchdog = Watchdog::over("slow readers that miss messages");
    overtake(SlowReader::Drop, Random::seed());
}

#[test]
fn a_reader_of_the_latest_skips_in_order_and_counts() {
    let _watchdog = Watchdog::over("readers of the latest message");
    overtake(SlowReader::Latest, Random::seed());
}

#[test]
fn a_sleeping_reader_that_is_overtaken_gets_the_oldest_kept_or_the_newest() {
    for slow in [SlowReader::Drop, SlowReader::Latest] {
        let mut writer = private(slow);
        let mut reader = writer.subscribe().unwrap();
        for number in 0..1000 {
            send(&mut writer, number);
        }
        let mut buf = Vec::new();
        reader.recv(&mut buf).unwrap();
        let number = reader.missed();
        check(&buf, number, length(number));
        match slow {
            SlowReader::Latest => assert_eq!(number, 999),
            _ => assert!((900..999).contains(&number), "{number}: the ring holds more than one message"),
        }
    }
}

#[test]
fn one_thread_waits_for_many_broadcasts_and_a_writer_for_room() {
    let _watchdog = Watchdog::over("broadcasts in one WaitSet");
    let mut writers = [private(SlowReader::Wait), private(SlowReader::Wait)];
    let mut readers: Vec<Reader> = writers.iter_mut().map(|writer| writer.subscribe().unwrap()).collect();
    let (mut set, mut ready, mut buf) = (WaitSet::new().unwrap(), Vec::new(), Vec::new());
    for (key, reader) in readers.iter_mut().enumerate() {
        assert_eq!(set.watch(key, reader).unwrap(), Armed::MaySleep);
    }
    writers[1].send(b"second").unwrap();
    set.wait(patiently(), &mut ready).unwrap();
    assert_eq!(ready, [1]);
    readers[1].disarm();
    readers[1].recv(&mut buf).unwrap();
    assert_eq!(set.watch(1, &mut readers[1]).unwrap(), Armed::MaySleep);

    while writers[0].try_send(&[0; 1000]).is_ok() {}
    assert_eq!(set.watch(7, &mut writers[0]).unwrap(), Armed::MaySleep);
    readers[0].disarm();
    readers[0].recv(&mut buf).unwrap();
    set.wait(patiently(), &mut ready).unwrap();
    assert!(ready.contains(&7), "{ready:?}");
    writers[0].disarm();
    writers[0].try_send(&[0; 1000]).unwrap();

    drop(writers);
    set.wait(patiently(), &mut ready).unwrap();
    assert!(ready.contains(&1), "the end is an event, too");
    assert!(matches!(readers[1].try_recv(&mut buf), Err(RecvError::Closed)));
}

#[test]
fn a_reader_is_awaited_like_any_other_receiver() {
    let _watchdog = Watchdog::over("an awaited reader");
    let mut writer = private(SlowReader::Wait);
    let reader = writer.subscribe().unwrap();
    let mut reactor = Reactor::new().unwrap();
    let mut reader = reactor.handle().receiver(reader);
    let sending = std::thread::spawn(move || {
        for number in 0..500 {
            send(&mut writer, number);
        }
    });
    reactor.block_on(async {
        let mut buf = Vec::new();
        for number in 0..500 {
            reader.recv(&mut buf).await.unwrap();
            check(&buf, number, length(number));
        }
        assert!(matches!(reader.recv(&mut buf).await, Err(RecvError::Closed)));
    });
    sending.join().unwrap();
}

#[test]
fn one_byte_too_many_is_too_long_and_a_full_writer_keeps_its_deadline() {
    let mut writer = private(SlowReader::Wait);
    let mut reader = writer.subscribe().unwrap();
    let longest = writer.max_message();
    assert_eq!(reader.max_message(), longest);
    writer.send(&message(1, longest)).unwrap();
    assert!(matches!(writer.try_send(&vec![0; longest + 1]), Err(SendError::TooLong { .. })));
    while writer.try_send(b"x").is_ok() {}
    let late = writer.send_timeout(b"x", Duration::from_millis(20));
    assert!(matches!(late, Err(SendError::TimedOut)));
    let mut buf = Vec::new();
    reader.recv(&mut buf).unwrap();
    check(&buf, 1, longest);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let (_place, address) = place();
    let mut writer = Writer::listen(&address, &BroadcastOptions::default()).unwrap();
    let join = std::thread::scope(|scope| {
        let joining = scope.spawn(|| {
            let shm = address.to_string().replace("broadcast:", "shm:").parse().unwrap();
            ipc_transports::connect(&shm, patiently()).map(|_| ()).unwrap_err()
        });
        let nobody = writer.accept(Wait::within(Duration::from_millis(300))).unwrap_err();
        assert_eq!(nobody.kind, ipc_transports::SetupErrorKind::TimedOut);
        joining.join().unwrap()
    });
    assert!(matches!(join.kind, ipc_transports::SetupErrorKind::Mismatch { .. }), "{join}");
    let gone = Writer::listen(&address, &BroadcastOptions::default()).unwrap_err();
    assert!(matches!(gone.kind, ipc_transports::SetupErrorKind::InUse { .. }), "{gone}");
}
