//! Values over real connections, and programs that do not share their types.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use ipc_tests::place::Place;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::raw::{RawReceiver, RawSender};
use ipc_transports::typed::{TypedReceiver, TypedRecvError, TypedSendError, TypedSender};
use ipc_transports::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use ipc_transports::{
    Fingerprint, Listener, Mq, Options, Pipe, RecvError, SetupErrorKind, Shm, ShmDirect, Tcp, Transport, Uds,
    UdsSeqpacket, Wait,
};
use ipc_transports::{PeekReceiver, Sender};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point(f64, f64),
    Path { name: String, corners: Vec<(f64, f64)> },
}

/// Both ends of one direction.
fn link<T>() -> (TypedSender<T, <Uds as Transport>::Tx>, TypedReceiver<T, <Uds as Transport>::Rx>, impl Sized)
where
    T: Serialize + for<'a> Deserialize<'a>,
{
    let (near, far) = Uds::pair(&Default::default()).unwrap();
    (TypedSender::new(near.tx), TypedReceiver::new(far.rx), (near.rx, far.tx))
}

#[test]
fn values_arrive_as_they_were_sent() {
    let _watchdog = Watchdog::over("values_arrive_as_they_were_sent");
    let (mut tx, mut rx, _others) = link::<Shape>();
    let corners: Vec<_> = (0..1000).map(|n| (f64::from(n), -0.5)).collect();
    for shape in [Shape::Point(1.0, f64::MIN), Shape::Path { name: "hull".into(), corners }] {
        tx.send(&shape).unwrap();
        assert_eq!(rx.recv().unwrap(), shape);
    }
    assert!(matches!(rx.try_recv(), Err(TypedRecvError::Recv(RecvError::Empty))));
    drop(tx);
    assert!(matches!(rx.recv(), Err(TypedRecvError::Recv(RecvError::Closed))));
}

#[test]
fn bytes_beside_a_value_arrive_beside_it() {
    let (mut tx, mut rx, _others) = link::<u32>();
    let image = vec![0xAB; 100_000];
    tx.send_with_bytes(&7, &image, Wait::Never).unwrap();
    tx.send_with_bytes(&8, &[], Wait::Never).unwrap();
    assert_eq!(rx.recv_with_bytes(Wait::Forever).unwrap(), (7, &image[..]));
    assert_eq!(rx.recv_with_bytes(Wait::Forever).unwrap(), (8, &[][..]));
}

#[test]
fn a_value_that_does_not_encode_leaves_the_wire_untouched() {
    #[derive(Deserialize)]
    struct Stubborn(bool);
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 { serializer.serialize_bool(true) } else { Err(serde::ser::Error::custom("no")) }
        }
    }
    let (mut tx, mut rx, _others) = link::<Stubborn>();
    assert!(matches!(tx.send(&Stubborn(false)), Err(TypedSendError::Encode(_))));
    assert!(matches!(rx.try_recv(), Err(TypedRecvError::Recv(RecvError::Empty))));
    tx.send(&Stubborn(true)).unwrap();
    assert!(rx.recv().unwrap().0);
}

#[test]
fn a_message_of_another_type_costs_only_itself() {
    let (mut tx, rx, _others) = link::<(u8, bool)>();
    let mut rx = TypedReceiver::<bool, _>::new(rx.into_inner());
    tx.send(&(1, true)).unwrap();
    let mut tx = TypedSender::<bool, _>::new(tx.into_inner());
    tx.send(&true).unwrap();
    assert!(matches!(rx.recv(), Err(TypedRecvError::Decode(_))));
    assert!(rx.recv().unwrap());
}

/// Two programs that state different types are kept apart at the hello, and each is told both fingerprints; a program
/// that states none talks to both.
fn fingerprints_keep_apart<T: Transport>() {
    let _watchdog = Watchdog::over("fingerprints_keep_apart");
    let (shop, bank) = (Fingerprint::of(&["order/1"]), Fingerprint::of(&["account/1"]));
    let with = |stated: Option<Fingerprint>| {
        let mut options = T::Options::default();
        if let Some(fingerprint) = stated {
            options.fill("fingerprint", &fingerprint.to_string()).unwrap();
        }
        options
    };
    let place = Place::new(None);
    let mut listener = T::listen(&place.address::<T>(), &with(Some(shop))).unwrap();
    let to = listener.address().clone();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let refused = T::connect(&to, &with(Some(bank)), Wait::Forever).err().unwrap();
            let what = "message types (fingerprint)";
            let kind = SetupErrorKind::Mismatch { what, ours: bank.number(), theirs: shop.number() };
            assert_eq!(refused.kind, kind);
            let sentence = refused.to_string();
            assert!(
                sentence.contains(&bank.to_string()) && sentence.contains(&shop.to_string()),
                "{sentence}"
            );
            T::connect(&to, &with(Some(shop)), Wait::Forever).unwrap();
            T::connect(&to, &with(None), Wait::Forever).unwrap();
        });
        for _ in 0..2 {
            listener.accept(Wait::Forever).unwrap();
        }
        client.join().unwrap();
    });
}

#[test]
fn programs_with_other_message_types_are_refused() {
    fingerprints_keep_apart::<Uds>();
    fingerprints_keep_apart::<Tcp>();
    fingerprints_keep_apart::<UdsSeqpacket>();
    fingerprints_keep_apart::<Pipe>();
    fingerprints_keep_apart::<Shm>();
    fingerprints_keep_apart::<Mq>();
    fingerprints_keep_apart::<ShmDirect>();
}

/// A reading as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[zerocopy(crate = "ipc_transports::zerocopy")]
#[repr(C)]
struct Reading {
    at_ns: u64,
    values: [f32; 4],
}

const READING: Reading = Reading { at_ns: 7, values: [0.5, -1.0, 2.0, f32::MAX] };

/// Receives one [`READING`], after one message that is none.
fn a_reading_comes_after_what_is_none(rx: &mut impl PeekReceiver) {
    assert!(matches!(rx.recv_of::<Reading>(Wait::Forever), Err(RecvError::Corrupt { .. })));
    assert_eq!(*rx.recv_of::<Reading>(Wait::Forever).unwrap(), READING);
}

#[test]
fn plain_old_data_is_written_in_the_transports_memory_and_read_as_itself() {
    let _watchdog = Watchdog::over("plain_old_data_is_written_in_the_transports_memory_and_read_as_itself");
    let (mut near, mut far) = Shm::pair(&Default::default()).unwrap();
    // Dropped, a loan says nothing.
    let _ = near.tx.loan_of::<Reading>(Wait::Never).unwrap();
    near.tx.send(b"no reading").unwrap();
    let mut reading = near.tx.loan_of::<Reading>(Wait::Never).unwrap();
    *reading = READING;
    reading.commit().unwrap();
    a_reading_comes_after_what_is_none(&mut far.rx);
}

#[test]
fn plain_old_data_comes_over_what_lends_no_memory_too() {
    let _watchdog = Watchdog::over("plain_old_data_comes_over_what_lends_no_memory_too");
    let (mut near, mut far) = Uds::pair(&Default::default()).unwrap();
    near.tx.send(b"no reading").unwrap();
    near.tx.send(READING.as_bytes()).unwrap();
    a_reading_comes_after_what_is_none(&mut far.rx);
}
