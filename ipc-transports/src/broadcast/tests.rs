//! What needs a look behind the public face: readers and writers that lie.
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test that unwraps fails where it should; it vouches for itself"
)]

use ipc_core::{PeekReceiver, Receiver, RecvError, SendError, Sender, Wait};

use super::*;
use crate::backing::Backing;

fn small(slow: SlowReader) -> BroadcastOptions {
    BroadcastOptions { capacity: Some(4096), slow: Some(slow), ..BroadcastOptions::default() }
}

#[test]
fn a_join_round_trips_and_an_unknown_policy_is_refused() {
    for slow in SlowReader::ALL {
        let join = Join { position: 1 << 40, number: 77, slow };
        assert_eq!(Join::decode(&join.encode()), Some(join));
        assert_eq!(slow.name().parse(), Ok(slow));
    }
    let mut bytes = Join { position: 0, number: 0, slow: SlowReader::Wait }.encode();
    bytes[16] = 3;
    assert_eq!(Join::decode(&bytes), None);
}

#[test]
fn a_message_too_long_for_the_ring_is_refused_with_the_capacity_that_carries_it() {
    let refused = |max_message| {
        let options = BroadcastOptions { max_message: Some(max_message), ..small(SlowReader::Wait) };
        Writer::private(&options).unwrap_err().to_string()
    };
    assert!(refused(2040).ends_with("carries up to 2032; use capacity=8192)"), "{}", refused(2040));
    assert!(refused(usize::MAX).ends_with("the largest, capacity=1073741824, up to 536870896)"));
}

#[test]
fn a_reader_that_claims_what_was_never_written_is_cut_off() {
    let mut writer = Writer::private(&small(SlowReader::Wait)).unwrap();
    let liar = writer.subscribe().unwrap();
    let mut honest = writer.subscribe().unwrap();
    writer.send(b"one").unwrap();
    liar.lie(1 << 30);
    assert_eq!((writer.readers(), writer.lost()), (1, 1));
    let mut buf = Vec::new();
    honest.recv(&mut buf).unwrap();
    // Also one that goes back, and so could hold up the writer for ever.
    writer.send(b"two").unwrap();
    honest.recv(&mut buf).unwrap();
    while writer.try_send(&[0; 1000]).is_ok() {}
    honest.recv(&mut buf).unwrap();
    writer.send(&[0; 900]).unwrap();
    honest.lie(64);
    assert_eq!((writer.readers(), writer.lost()), (0, 2));
}

#[test]
fn a_writer_that_lies_about_what_it_gave_up_is_corrupt() {
    for slow in [SlowReader::Drop, SlowReader::Latest] {
        let mut writer = Writer::private(&small(slow)).unwrap();
        let mut reader = writer.subscribe().unwrap();
        writer.send(b"fine").unwrap();
        let mut buf = Vec::new();
        reader.recv(&mut buf).unwrap();
        writer.memory().store_consumed(64 * 3 + 1);
        let error = reader.recv_with(&mut buf, Wait::Forever).unwrap_err();
        assert!(matches!(error, RecvError::Corrupt { .. }), "{error}");
        assert!(matches!(reader.try_recv(&mut buf), Err(RecvError::Corrupt { .. })), "sticky");
    }
}

#[test]
fn a_full_ring_says_so_and_takes_nothing() {
    let mut writer = Writer::private(&small(SlowReader::Wait)).unwrap();
    let mut reader = writer.subscribe().unwrap();
    let mut sent = 0u64;
    while writer.try_send(&sent.to_le_bytes()).is_ok() {
        sent += 1;
    }
    assert!(matches!(writer.try_send(b"x"), Err(SendError::Full)));
    let late = writer.send_timeout(b"x", std::time::Duration::from_millis(1));
    assert!(matches!(late, Err(SendError::TimedOut)));
    let mut buf = Vec::new();
    for number in 0..sent {
        reader.recv(&mut buf).unwrap();
        assert_eq!(buf, number.to_le_bytes());
    }
    assert!(matches!(reader.try_recv(&mut buf), Err(RecvError::Empty)));
    let too_long = writer.max_message() + 1;
    assert!(matches!(writer.send(&vec![0; too_long]), Err(SendError::TooLong { .. })));
}

#[test]
fn messages_are_lent_in_place_to_those_who_trust_the_writer_and_copied_else() {
    // SAFETY: the writer of this test is our own code, which changes no published byte.
    let trust = unsafe { Trust::peer() };
    for trust in [Trust::default(), trust] {
        let capacity = Some(1 << 16);
        let mut writer =
            Writer::private(&BroadcastOptions { trust, capacity, ..Default::default() }).unwrap();
        let mut reader = writer.subscribe().unwrap();
        let (mut got, mut sent) = (0u64, 0u64);
        let whole = |bytes: &[u8], number: u64| assert_eq!(bytes, number.to_le_bytes().repeat(99));
        for _ in 0..200 {
            while writer.try_send(&sent.to_le_bytes().repeat(99)).is_ok() {
                sent += 1;
            }
            let ring =
                writer.memory().base() as usize..writer.memory().base() as usize + writer.memory().len();
            let message = reader.recv_ref(Wait::Never).unwrap();
            whole(&message, got);
            assert_eq!(ring.contains(&(message.as_ptr() as usize)), trust.is_given());
            drop(message);
            got += 1;
            let many = reader.recv_each(10, Wait::Never, |bytes| {
                whole(bytes, got);
                got += 1;
            });
            assert_eq!(many.unwrap(), 10);
        }
        assert_eq!(reader.stats().messages, got);
    }
}
