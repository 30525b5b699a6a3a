//! A secret both sides of a TCP connection read from a file, and the proof that they have it. The secret itself never
//! travels: each side shows a MAC of both hellos under it (HMAC-SHA256, RFC 2104), whose nonces are fresh.
//!
//! ```text
//! after the hellos, both with flag bit 2:
//! connector → listener             listener → connector, if the connector's proof is right
//! offset 64                96      offset 64                96
//!        ┌─────────────────┐              ┌─────────────────┐
//!        │ proof, 32 bytes │              │ proof, 32 bytes │
//!        └─────────────────┘              └─────────────────┘
//! proof  HMAC-SHA256(key, text): key is the whole file, text is
//! offset 0                  12     13                77               141
//!        ┌──────────────────┬──────┬─────────────────┬────────────────┐
//!        │ "ipc token 1\0"  │ role │ connector hello │ listener hello │   role: 'C' or 'L', who proves
//!        └──────────────────┴──────┴─────────────────┴────────────────┘
//! ```

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use ipc_core::hello::{FLAG_TOKEN, Hello};
use ipc_core::{SetupError, SetupErrorKind, Wait};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use sha2::Sha256;

use crate::errno::setup_error;
use crate::handshake::{Greeted, say, sleep};

/// Bytes of a proof.
const PROOF_LEN: usize = 32;

/// Bytes a secret may have: fewer could be guessed from an overheard proof, more is some other file.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=4096;

/// What begins every text under the MAC, so that no other use of the same key gives a proof.
const PURPOSE: &[u8; 12] = b"ipc token 1\0";

/// Who proves: a proof shown by one side is none when shown back to it.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Role {
    Connector = b'C',
    Listener = b'L',
}

/// The secret of a file.
pub(crate) struct Token {
    key: Vec<u8>,
    path: PathBuf,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Token {
    /// Reads the secret: every byte of the file, a newline at its end included.
    ///
    /// # Errors
    /// `Denied` when somebody else may read the file or owns it; `BadAddress` when it is no regular file, cannot be
    /// read or has a length outside 16 to 4096 bytes. All name the option and the file, never what is in it.
    pub(crate) fn read(
        path: &Path,
        op: &'static str,
        target: impl fmt::Display,
    ) -> Result<Token, SetupError> {
        let refuse = |kind, why: String| {
            let text = format!("token={}: {why}", path.display());
            Err(SetupError::new(kind, op, &target)
                .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, text)))
        };
        // Non-blocking, so that a fifo in its place does not hold us up before it is recognised.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(error) => return refuse(SetupErrorKind::BadAddress, format!("cannot be read ({error})")),
        };
        // Of the open file: what the name means may change between two looks.
        let Ok(found) = file.metadata() else {
            return refuse(SetupErrorKind::BadAddress, "cannot be read".into());
        };
        if !found.is_file() {
            return refuse(SetupErrorKind::BadAddress, "is not a regular file".into());
        }
        let uid = rustix::process::geteuid().as_raw();
        if found.uid() != uid && found.uid() != 0 {
            let why = format!("belongs to uid {}, not to us (uid {uid})", found.uid());
            return refuse(SetupErrorKind::Denied, why);
        }
        if found.mode() & 0o077 != 0 {
            let mode = found.mode() & 0o7777;
            let why = format!("others have access to it (mode {mode:04o}); use chmod 600");
            return refuse(SetupErrorKind::Denied, why);
        }
        let mut key = Vec::new();
        if let Err(error) = file.take(*LENGTHS.end() as u64 + 1).read_to_end(&mut key) {
            return refuse(SetupErrorKind::BadAddress, format!("cannot be read ({error})"));
        }
        if !LENGTHS.contains(&key.len()) {
            let (least, most) = LENGTHS.into_inner();
            let why = match key.len() {
                len if len < least => format!("has {len} bytes, but a secret needs {least} to {most}"),
                _ => format!("is longer than {most} bytes, the most a secret may have"),
            };
            return refuse(SetupErrorKind::BadAddress, why);
        }
        Ok(Token { key, path: path.to_owned() })
    }

    fn mac(&self, role: Role, connector: &Hello, listener: &Hello) -> Hmac<Sha256> {
        // A key of any length is taken: one longer than a block is hashed first (RFC 2104, section 2).
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(PURPOSE);
        mac.update(&[role as u8]);
        mac.update(&connector.encode());
        mac.update(&listener.encode());
        mac
    }

    fn denied(&self, op: &'static str, target: &str, why: &str) -> SetupError {
        let text = format!("token={}: {why}", self.path.display());
        SetupError::new(SetupErrorKind::Denied, op, target)
            .because(std::io::Error::new(std::io::ErrorKind::PermissionDenied, text))
    }

    /// The connecting side, after the hellos: shows our proof and checks the listener's.
    ///
    /// # Errors
    /// `Denied` when the listener asks for no token, does not take ours, or has another one; `TimedOut`.
    pub(crate) fn show(
        &self,
        socket: &OwnedFd,
        ours: &Hello,
        theirs: &Hello,
        wait: Wait,
        target: &str,
    ) -> Result<(), SetupError> {
        const OP: &str = "connect to";
        if theirs.flags & FLAG_TOKEN == 0 {
            return Err(self.denied(OP, target, "the listener has none, so it cannot be the one we mean"));
        }
        let fail = |error| setup_error(OP, target, error);
        let refused = || self.denied(OP, target, "the listener did not take it: its file is another one");
        let proof = self.mac(Role::Connector, ours, theirs).finalize().into_bytes();
        match send_whole(socket.as_fd(), &proof) {
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(refused()),
            sent => sent.map_err(fail)?,
        }
        let mut answer = Incoming::default();
        loop {
            match answer.read(socket.as_fd()) {
                Ok(Progress::Whole) => break,
                Ok(Progress::Waiting) if wait.is_over() => {
                    return Err(SetupError::new(SetupErrorKind::TimedOut, OP, target));
                }
                Ok(Progress::Waiting) => {
                    sleep(&mut [PollFd::new(socket, PollFlags::IN)], wait.remaining()).map_err(fail)?;
                }
                Ok(Progress::HungUp) | Err(Errno::CONNRESET) => return Err(refused()),
                Err(error) => return Err(fail(error)),
            }
        }
        // Compared in constant time by `verify_slice`.
        self.mac(Role::Listener, ours, theirs)
            .verify_slice(&answer.bytes)
            .map_err(|_| self.denied(OP, target, "the listener has another one"))
    }
}

/// That a listener asks for a token which we were not given.
///
/// # Errors
/// `Denied`, naming the option, if it does.
pub(crate) fn none_wanted(theirs: &Hello, target: &str) -> Result<(), SetupError> {
    if theirs.flags & FLAG_TOKEN == 0 {
        return Ok(());
    }
    let why = "the listener asks for a token; give its file as ?token=FILE";
    Err(SetupError::new(SetupErrorKind::Denied, "connect to", target)
        .because(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why)))
}

/// What a listener asks of its clients beyond their hello.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The secret they must have.
    pub(crate) token: Token,
    /// Our hello, but for the nonce.
    pub(crate) hello: Hello,
}

impl Gate {
    /// Answers a client's hello with ours, after which it owes its proof.
    ///
    /// # Errors
    /// The client has no token, which our hello has told it, or is gone.
    pub(crate) fn challenge(&self, socket: BorrowedFd<'_>, greeted: Greeted) -> Result<Challenge, Errno> {
        let ours = Hello { nonce: u64::from_le_bytes(crate::handshake::random()), ..self.hello };
        say(socket, &ours, &[])?;
        if greeted.hello.flags & FLAG_TOKEN == 0 {
            return Err(Errno::ACCESS);
        }
        Ok(Challenge { greeted: Some(greeted), ours, proof: Incoming::default() })
    }

    /// Takes what is there of the client's proof; the client, once it is whole and right.
    ///
    /// # Errors
    /// The proof is wrong, or the client is gone.
    pub(crate) fn judge(
        &self,
        socket: BorrowedFd<'_>,
        challenge: &mut Challenge,
    ) -> Result<Option<Greeted>, Errno> {
        match challenge.proof.read(socket)? {
            Progress::Waiting => Ok(None),
            Progress::HungUp => Err(Errno::CONNRESET),
            Progress::Whole => {
                let mut greeted = challenge.greeted.take().ok_or(Errno::INVAL)?;
                // Compared in constant time by `verify_slice`.
                self.token
                    .mac(Role::Connector, &greeted.hello, &challenge.ours)
                    .verify_slice(&challenge.proof.bytes)
                    .map_err(|_| Errno::ACCESS)?;
                let proof = self.token.mac(Role::Listener, &greeted.hello, &challenge.ours);
                greeted.owed =
                    Some(Owed { hello: challenge.ours, proof: proof.finalize().into_bytes().into() });
                Ok(Some(greeted))
            }
        }
    }
}

/// A client that has our hello and owes its proof.
#[derive(Debug)]
pub(crate) struct Challenge {
    greeted: Option<Greeted>,
    ours: Hello,
    proof: Incoming,
}

/// What a listener still has to say to a client it lets in: its own proof, behind the hello it has said.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) hello: Hello,
    proof: [u8; PROOF_LEN],
}

impl Owed {
    /// Says it.
    pub(crate) fn pay(&self, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
        send_whole(socket, &self.proof)
    }
}

/// A proof on its way in.
#[derive(Debug, Default)]
struct Incoming {
    bytes: [u8; PROOF_LEN],
    got: usize,
}

enum Progress {
    Whole,
    Waiting,
    HungUp,
}

impl Incoming {
    /// Takes what is there, never a byte beyond the proof.
    fn read(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<Progress> {
        while self.got < PROOF_LEN {
            match rustix::net::recv(socket, &mut self.bytes[self.got..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Ok(Progress::HungUp),
                Ok((read, _)) => self.got += read,
                Err(Errno::AGAIN) => return Ok(Progress::Waiting),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Whole)
    }
}

/// Sends a proof; a fresh socket has room for it.
fn send_whole(socket: BorrowedFd<'_>, proof: &[u8]) -> rustix::io::Result<()> {
    match rustix::io::retry_on_intr(|| {
        rustix::net::send(socket, proof, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    })? {
        sent if sent == proof.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}
