//! A process that lowers its limit of descriptors to none once it is connected, as sandboxes do: the kernel then refuses
//! `poll`. A test of its own program, since the limit is the process's.

use std::time::Duration;

use ipc_transports::{Options, Receiver, RecvError, Sender, Shm, ShmDirect, Transport, Wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// Somebody sleeps on descriptors when the limit comes; then somebody waits who no longer can.
fn waits_for_long<T: Transport>()
where
    T::Rx: 'static,
{
    let mut options = T::Options::default();
    options.fill("wait", "park").unwrap_or_else(|error| panic!("{error}"));
    let (mut one, mut other) = T::pair(&options).unwrap_or_else(|error| panic!("{error}"));
    let (tell, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut message = Vec::new();
        tell.send(other.rx.recv_with(&mut message, Wait::Forever).map(|_| message))
    });
    let mut message = Vec::new();
    let waited = one.rx.recv_timeout(&mut message, HALF_A_SECOND);
    let before = one.rx.stats().parks;
    let usual = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..usual }).expect("a lower limit");
    let sent = one.tx.send(b"at last");
    let received = hear.recv_timeout(Duration::from_secs(20));
    let waited_again = one.rx.recv_timeout(&mut message, HALF_A_SECOND);
    setrlimit(Resource::Nofile, usual).expect("the limit as it was");
    assert!(matches!(waited, Err(RecvError::TimedOut)), "{waited:?}");
    assert!(sent.is_ok(), "{sent:?}");
    assert!(matches!(received, Ok(Ok(ref message)) if message == b"at last"), "not woken: {received:?}");
    assert!(matches!(waited_again, Err(RecvError::TimedOut | RecvError::Closed)), "{waited_again:?}");
    // Ten slices of 50 ms and the first sleep, of 10 ms.
    let parks = one.rx.stats().parks - before;
    assert!(parks <= 16, "{parks} sleeps in half a second");
}

#[test]
fn a_limit_of_no_descriptors_neither_loses_a_ring_nor_keeps_a_processor_busy() {
    waits_for_long::<Shm>();
    waits_for_long::<ShmDirect>();
}
