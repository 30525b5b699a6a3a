//! One end of a connection under test, and the cues by which the two sides of a sentence keep in step.

use std::io::{BufRead, BufReader, IoSlice, PipeReader, PipeWriter, Read, Write};
use std::time::Duration;

use ipc_transports::{Connection, Receiver, Sender, Transport, Wait};

use crate::peer::Killer;

/// How long a sentence waits for something that must happen. Half the watchdog's ten seconds: a broken transport
/// shows as a failed assertion, a hanging one as the watchdog's report.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A wait of [`PATIENCE`] from now.
pub fn patiently() -> Wait {
    Wait::within(PATIENCE)
}

/// Which part of a sentence to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The part in the test's own thread: most assertions are made here.
    Near,
    /// The part in another thread or in another process.
    Far,
}

/// One end of the connection under test.
#[derive(Debug)]
pub struct End<T: Transport> {
    /// Which part this end plays.
    pub side: Side,
    /// Sending half.
    pub tx: T::Tx,
    /// Receiving half.
    pub rx: T::Rx,
    /// Line to the other side that does not go through the transport.
    pub cue: Cue,
    /// Ends the process of the far side; the near side of a pair of processes has it.
    pub killer: Option<Killer>,
}

impl<T: Transport> End<T> {
    /// The end made of `connection`.
    pub fn new(side: Side, connection: Connection<T::Tx, T::Rx>, cue: Cue) -> Self {
        End { side, tx: connection.tx, rx: connection.rx, cue, killer: None }
    }

    /// Sends message `number` of `len` bytes; panics if it is not taken.
    pub fn send(&mut self, number: u64, len: usize) {
        send(&mut self.tx, number, len);
    }

    /// Receives one message and panics unless it is message `number` of `len` bytes.
    pub fn expect(&mut self, number: u64, len: usize) {
        expect(&mut self.rx, number, len);
    }
}

/// Sends message `number` of `len` bytes; panics if it is not taken.
pub fn send(tx: &mut impl Sender, number: u64, len: usize) {
    tx.send_with(&[IoSlice::new(&message(number, len))], patiently())
        .unwrap_or_else(|error| panic!("message {number} of {len} bytes was not taken: {error}"));
}

/// Receives one message and panics unless it is message `number` of `len` bytes.
pub fn expect(rx: &mut impl Receiver, number: u64, len: usize) {
    let mut buf = Vec::new();
    let got = rx
        .recv_with(&mut buf, patiently())
        .unwrap_or_else(|error| panic!("message {number} of {len} bytes did not arrive: {error}"));
    assert_eq!(got, buf.len(), "the length returned is not the length of the buffer");
    check(&buf, number, len);
}

/// Panics unless `bytes` is message `number` of `len` bytes. Does not print megabytes.
pub fn check(bytes: &[u8], number: u64, len: usize) {
    assert_eq!(bytes.len(), len, "message {number} has the wrong length");
    let expected = message(number, len);
    if bytes != expected {
        let at = bytes.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(len);
        panic!("message {number} of {len} bytes differs from what was sent at byte {at}");
    }
}

/// Bytes after which the contents of a message repeat. A prime: pieces of any size that a transport works in show when
/// they change places.
const PERIOD: usize = 4093;

/// The contents of message `number` of `len` bytes: no two numbers agree in more than a few bytes.
pub fn message(number: u64, len: usize) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let mut bytes = Vec::with_capacity(len + PERIOD);
    while bytes.len() < len.min(PERIOD) {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len.min(PERIOD));
    while bytes.len() < len {
        // Multiples of the period, and copied in large pieces: tests move millions of bytes.
        let more = bytes.len().min(len - bytes.len());
        bytes.extend_from_within(..more);
    }
    bytes
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough randomness for sizes, repeatable from its seed.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "an iterator could end; this cannot")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A seed no other run has, from the kernel.
    pub fn seed() -> u64 {
        let mut bytes = [0u8; 8];
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
            .expect("getrandom has no reason to fail");
        u64::from_le_bytes(bytes)
    }
}

/// A line of text to the other side and back: what a sleep would only hope for, a cue makes sure of.
pub struct Cue {
    from: BufReader<Box<dyn Read + Send>>,
    to: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Cue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cue")
    }
}

impl Cue {
    /// Both ends of a fresh line inside this process.
    pub fn pair() -> (Cue, Cue) {
        let pipe = || -> (PipeReader, PipeWriter) { std::io::pipe().expect("a pipe for cues") };
        let ((read_near, write_far), (read_far, write_near)) = (pipe(), pipe());
        (Cue::over(read_near, write_near), Cue::over(read_far, write_far))
    }

    /// A line over any two streams.
    pub fn over(from: impl Read + Send + 'static, to: impl Write + Send + 'static) -> Cue {
        Cue { from: BufReader::new(Box::new(from)), to: Box::new(to) }
    }

    /// Says `what` to the other side. A side that has already ended does not hear it, and that is for it to explain.
    pub fn tell(&mut self, what: impl std::fmt::Display) {
        let line = format!("{what}\n");
        let _ = self.to.write_all(line.as_bytes()).and_then(|()| self.to.flush());
    }

    /// The next line from the other side; panics if it has ended.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the line of cues is readable");
        assert!(line.ends_with('\n'), "the other side ended before its cue (heard {line:?})");
        line.trim_end().to_owned()
    }

    /// The next line from the other side, if it says another one before its end.
    pub fn hear_if_any(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Waits until the other side says `what`.
    pub fn wait_for(&mut self, what: &str) {
        assert_eq!(self.hear(), what);
    }

    /// The next line as a number.
    pub fn hear_number(&mut self) -> u64 {
        self.hear().parse().expect("a number as cue")
    }

    /// Waits until the other side has ended, however it did.
    pub fn wait_for_the_end(&mut self) {
        let mut rest = Vec::new();
        let _ = self.from.read_to_end(&mut rest);
    }
}
