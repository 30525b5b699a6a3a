//! The choice of mechanism at run time: an address decides, an enum carries it. Every call is one `match` away from
//! the mechanism itself.

use std::io::IoSlice;
use std::ops::Deref;
use std::os::fd::BorrowedFd;

use ipc_core::{
    Address, Armed, Capabilities, Connection, Interest, Listener, Options, PeekReceiver, Pollable, Receiver,
    RecvError, SendError, Sender, SetupError, SetupErrorKind, Stats, Transport, Wait,
};

/// A connection over whichever mechanism the address named.
///
/// ```
/// use ipc_transports::{AnyConnection, SendError, Sender};
/// fn greet(connection: &mut AnyConnection) -> Result<(), SendError> {
///     connection.tx.send(b"hello")
/// }
/// ```
pub type AnyConnection = Connection<AnySender, AnyReceiver>;

macro_rules! mechanisms {
    ($($variant:ident($transport:ty)),+ $(,)?) => {
        /// The sending half of some mechanism.
        ///
        /// ```
        /// use ipc_transports::{AnySender, Sender, Shm, Transport, Uds};
        /// let ((ring, _), (socket, _)) = (Shm::pair(&Default::default())?, Uds::pair(&Default::default())?);
        /// let senders = [AnySender::Shm(ring.tx), AnySender::Uds(socket.tx)];
        /// assert!(senders.iter().all(|tx| tx.max_message() >= 64 * 1024));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnySender {
            $(#[doc = concat!("Of [`", stringify!($transport), "`](crate::", stringify!($transport), ").")]
            $variant(<$transport as Transport>::Tx),)+
        }

        /// The receiving half of some mechanism.
        ///
        /// ```
        /// use ipc_transports::{AnyReceiver, Receiver, Sender, Transport, Uds};
        /// let (mut near, far) = Uds::pair(&Default::default())?;
        /// near.tx.send(b"hello")?;
        /// let mut rx = AnyReceiver::Uds(far.rx);
        /// assert_eq!(rx.recv(&mut Vec::new())?, 5);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyReceiver {
            $(#[doc = concat!("Of [`", stringify!($transport), "`](crate::", stringify!($transport), ").")]
            $variant(<$transport as Transport>::Rx),)+
        }

        /// A message lent by some mechanism.
        ///
        /// ```
        /// use ipc_transports::{AnyReceiver, PeekReceiver, Sender, Shm, Transport, Wait};
        /// let (mut near, far) = Shm::pair(&Default::default())?;
        /// near.tx.send(b"hello")?;
        /// let mut rx = AnyReceiver::Shm(far.rx);
        /// assert_eq!(&*rx.recv_ref(Wait::Forever)?, b"hello");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyMessage<'a> {
            $(#[doc = concat!("Of [`", stringify!($transport), "`](crate::", stringify!($transport), ").")]
            $variant(<<$transport as Transport>::Rx as PeekReceiver>::Message<'a>),)+
        }

        /// A listener of some mechanism.
        ///
        /// ```
        /// use ipc_transports::{AnyListener, Listener, SetupErrorKind, Wait};
        /// let at = format!("shm:doc-any-{}", std::process::id()).parse()?;
        /// let mut listener = ipc_transports::listen(&at)?;
        /// assert!(matches!(listener, AnyListener::Shm(_)));
        /// let nobody = listener.accept(Wait::Never).unwrap_err();
        /// assert_eq!(nobody.kind, SetupErrorKind::TimedOut);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyListener {
            $(#[doc = concat!("Of [`", stringify!($transport), "`](crate::", stringify!($transport), ").")]
            $variant(<$transport as Transport>::Listener),)+
        }

        /// The schemes [`listen`] and [`connect`] know.
        pub const SCHEMES: &[&str] = &[$(<$transport as Transport>::NAME),+];

        /// Listens at `at` with the options of its query.
        ///
        /// # Errors
        /// As [`Transport::listen`]; `BadAddress` for an unknown scheme, with the schemes there are.
        ///
        /// ```
        /// use ipc_transports::{Listener, Receiver, Sender, Wait};
        /// let address = format!("uds:doc-any-l-{}", std::process::id()).parse()?;
        /// let mut listener = ipc_transports::listen(&address)?;
        /// let client = std::thread::spawn(move || {
        ///     let mut connection = ipc_transports::connect(&address, Wait::Forever).unwrap();
        ///     connection.tx.send(b"chosen at run time").unwrap();
        /// });
        /// let mut connection = listener.accept(Wait::Forever)?;
        /// let mut message = Vec::new();
        /// connection.rx.recv(&mut message)?;
        /// assert_eq!(message, b"chosen at run time");
        /// client.join().unwrap();
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn listen(at: &Address) -> Result<AnyListener, SetupError> {
            match at.scheme() {
                $(<$transport as Transport>::NAME => {
                    <$transport>::listen(at, &Default::default()).map(AnyListener::$variant)
                })+
                _ => Err(unknown_scheme("listen on", at)),
            }
        }

        /// Connects to `to` with the options of its query.
        ///
        /// # Errors
        /// As [`Transport::connect`]; `BadAddress` for an unknown scheme, with the schemes there are.
        ///
        /// ```
        /// use ipc_transports::{Listener, Receiver, Sender, Wait};
        /// let address = format!("uds:doc-any-c-{}", std::process::id()).parse()?;
        /// let mut listener = ipc_transports::listen(&address)?;
        /// let client = std::thread::spawn(move || {
        ///     let mut connection = ipc_transports::connect(&address, Wait::Forever).unwrap();
        ///     connection.tx.send(b"chosen at run time").unwrap();
        /// });
        /// let mut connection = listener.accept(Wait::Forever)?;
        /// let mut message = Vec::new();
        /// connection.rx.recv(&mut message)?;
        /// assert_eq!(message, b"chosen at run time");
        /// client.join().unwrap();
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn connect(to: &Address, wait: Wait) -> Result<AnyConnection, SetupError> {
            match to.scheme() {
                $(<$transport as Transport>::NAME => {
                    let made = <$transport>::connect(to, &Default::default(), wait)?;
                    Ok(made.map(AnySender::$variant, AnyReceiver::$variant))
                })+
                _ => Err(unknown_scheme("connect to", to)),
            }
        }

        /// What the mechanism of an address can do here with the options of its query.
        ///
        /// # Errors
        /// As [`Transport::capabilities_with`]; `BadAddress` for an unknown scheme, with the schemes there are, and for an
        /// option that is unknown or does not parse.
        ///
        /// ```
        /// let can = ipc_transports::capabilities(&"shm:frames?capacity=64K".parse()?)?;
        /// assert!(can.loan && can.max_message < 65536);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn capabilities(address: &Address) -> Result<Capabilities, SetupError> {
            match address.scheme() {
                $(<$transport as Transport>::NAME => {
                    let options = <$transport as Transport>::Options::default().resolved(address)?;
                    <$transport>::capabilities_with(&options)
                })+
                _ => Err(unknown_scheme("use", address)),
            }
        }

        impl Sender for AnySender {
            #[inline]
            fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
                match self { $(AnySender::$variant(tx) => tx.send_with(parts, wait)),+ }
            }

            #[inline]
            fn send_batch(&mut self, messages: &[IoSlice<'_>], wait: Wait) -> Result<usize, SendError> {
                match self { $(AnySender::$variant(tx) => tx.send_batch(messages, wait)),+ }
            }

            #[inline]
            fn flush(&mut self, wait: Wait) -> Result<(), SendError> {
                match self { $(AnySender::$variant(tx) => tx.flush(wait)),+ }
            }

            #[inline]
            fn max_message(&self) -> usize {
                match self { $(AnySender::$variant(tx) => tx.max_message()),+ }
            }

            fn stats(&self) -> Stats {
                match self { $(AnySender::$variant(tx) => tx.stats()),+ }
            }
        }

        impl Receiver for AnyReceiver {
            #[inline]
            fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
                match self { $(AnyReceiver::$variant(rx) => rx.recv_with(buf, wait)),+ }
            }

            #[inline]
            fn recv_each<F: FnMut(&[u8])>(
                &mut self,
                limit: usize,
                wait: Wait,
                each: F,
            ) -> Result<usize, RecvError> {
                match self { $(AnyReceiver::$variant(rx) => rx.recv_each(limit, wait, each)),+ }
            }

            fn stats(&self) -> Stats {
                match self { $(AnyReceiver::$variant(rx) => rx.stats()),+ }
            }
        }

        impl PeekReceiver for AnyReceiver {
            type Message<'a> = AnyMessage<'a> where Self: 'a;

            #[inline]
            fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
                match self { $(AnyReceiver::$variant(rx) => rx.ready(wait)),+ }
            }

            #[inline]
            fn take(&mut self) -> Option<AnyMessage<'_>> {
                match self { $(AnyReceiver::$variant(rx) => rx.take().map(AnyMessage::$variant)),+ }
            }
        }

        impl Deref for AnyMessage<'_> {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                match self { $(AnyMessage::$variant(message) => message),+ }
            }
        }

        impl Pollable for AnySender {
            fn fd(&self) -> BorrowedFd<'_> {
                match self { $(AnySender::$variant(tx) => tx.fd()),+ }
            }
            fn interest(&self) -> Interest {
                match self { $(AnySender::$variant(tx) => tx.interest()),+ }
            }
            fn arm(&mut self) -> std::io::Result<Armed> {
                match self { $(AnySender::$variant(tx) => tx.arm()),+ }
            }
            fn disarm(&mut self) {
                match self { $(AnySender::$variant(tx) => tx.disarm()),+ }
            }
        }

        impl Pollable for AnyReceiver {
            fn fd(&self) -> BorrowedFd<'_> {
                match self { $(AnyReceiver::$variant(rx) => rx.fd()),+ }
            }
            fn interest(&self) -> Interest {
                match self { $(AnyReceiver::$variant(rx) => rx.interest()),+ }
            }
            fn arm(&mut self) -> std::io::Result<Armed> {
                match self { $(AnyReceiver::$variant(rx) => rx.arm()),+ }
            }
            fn disarm(&mut self) {
                match self { $(AnyReceiver::$variant(rx) => rx.disarm()),+ }
            }
        }

        impl Pollable for AnyListener {
            fn fd(&self) -> BorrowedFd<'_> {
                match self { $(AnyListener::$variant(listener) => listener.fd()),+ }
            }
            fn interest(&self) -> Interest {
                match self { $(AnyListener::$variant(listener) => listener.interest()),+ }
            }
            fn arm(&mut self) -> std::io::Result<Armed> {
                match self { $(AnyListener::$variant(listener) => listener.arm()),+ }
            }
            fn disarm(&mut self) {
                match self { $(AnyListener::$variant(listener) => listener.disarm()),+ }
            }
        }

        impl Listener for AnyListener {
            type Tx = AnySender;
            type Rx = AnyReceiver;

            fn accept(&mut self, wait: Wait) -> Result<AnyConnection, SetupError> {
                match self {
                    $(AnyListener::$variant(listener) => {
                        listener.accept(wait).map(|made| made.map(AnySender::$variant, AnyReceiver::$variant))
                    })+
                }
            }

            fn address(&self) -> &Address {
                match self { $(AnyListener::$variant(listener) => listener.address()),+ }
            }
        }
    };
}

use crate::{InProc, Mq, Pipe, Shm, ShmDirect, Tcp, Uds, UdsSeqpacket};

mechanisms! {
    Uds(Uds),
    UdsSeqpacket(UdsSeqpacket),
    Tcp(Tcp),
    Pipe(Pipe),
    Shm(Shm),
    ShmDirect(ShmDirect),
    Mq(Mq),
    InProc(InProc),
}

fn unknown_scheme(op: &'static str, address: &Address) -> SetupError {
    SetupError::new(SetupErrorKind::BadAddress, op, address).because(std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        format!("unknown transport {:?}; there are: {}", address.scheme(), SCHEMES.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_or_option_is_refused_by_name() {
        let refused = |text: &str| capabilities(&text.parse().unwrap()).unwrap_err().to_string();
        assert!(refused("udp:x").contains("there are: uds, "), "{}", refused("udp:x"));
        assert!(refused("uds:x?bogus=1").contains("unknown option \"bogus\""));
        assert!(refused("uds:x?sndbuf=lots").contains("sndbuf=lots"));
    }

    #[test]
    fn what_an_address_can_do_follows_from_its_options() {
        let longest = |text: &str| capabilities(&text.parse().unwrap()).map(|can| can.max_message);
        assert_eq!(longest("uds:x?max_message=64K").unwrap(), 64 << 10);
        assert_eq!(longest("tcp:127.0.0.1:0?max_message=32M").unwrap(), 32 << 20);
        assert_eq!(longest("pipe:x").unwrap(), 16 << 20);
        assert_eq!(longest("shm:x?capacity=64K").unwrap(), (32 << 10) - 8);
        assert_eq!(longest("inproc:x?max_message=100").unwrap(), 100);
        assert_eq!(longest("shm-direct:x?capacity=64K").unwrap(), 32 << 10);
        assert!(longest("uds-seqpacket:x?sndbuf=4K").unwrap() < longest("uds-seqpacket:x").unwrap());
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_with_the_range() {
        let refused = |text: &str| capabilities(&text.parse().unwrap()).unwrap_err();
        for (text, range) in [
            ("shm:x?capacity=5000", "a power of two from 4096"),
            ("inproc:x?max_message=1M", "use capacity=4194304"),
            ("shm-direct:x?capacity=3G", "at most 2147483648"),
            ("mq:x?priority=32", "0 to 31"),
        ] {
            let error = refused(text);
            assert_eq!(error.kind, SetupErrorKind::BadAddress, "{error}");
            assert!(error.to_string().contains(range), "{error}");
        }
    }
}
