//! Plain old data in the transport's own memory: a struct is written where the receiver will read it, without an
//! encoding. Needs the feature `raw`; [`zerocopy`] proves that every bit pattern is a value.
//!
//! ```
//! use ipc_core::raw::{RawReceiver, RawSender};
//! use ipc_core::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
//! use ipc_core::{Loan, LoanSender, PeekReceiver, Wait};
//!
//! #[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
//! # #[zerocopy(crate = "ipc_core::zerocopy")]
//! #[repr(C)]
//! struct Sample {
//!     at_ns: u64,
//!     value: [f32; 4],
//! }
//! # fn over(tx: &mut impl LoanSender, rx: &mut impl PeekReceiver) -> Result<(), Box<dyn std::error::Error>> {
//! let mut sample = tx.loan_of::<Sample>(Wait::Forever)?;
//! *sample = Sample { at_ns: 1, value: [0.0; 4] };
//! sample.commit()?;
//! assert_eq!(rx.recv_of::<Sample>(Wait::Forever)?.at_ns, 1);
//! # Ok(())
//! # }
//! ```

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Loan, LoanSender, PeekReceiver, RecvError, SendError, Wait};

/// What may travel as its own bytes: any bit pattern is a value, no padding, no pointers.
///
/// ```
/// fn travels<T: ipc_core::raw::Pod>() {}
/// travels::<[f32; 4]>();
/// ```
pub trait Pod: FromBytes + IntoBytes + KnownLayout + Immutable {}
impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Pod for T {}

/// A `T` in the transport's memory, to be written in place. Its first contents are unspecified; dropped, it publishes
/// nothing.
///
/// ```
/// use ipc_core::raw::TypedLoan;
/// fn publish<L: ipc_core::Loan>(mut loan: TypedLoan<u64, L>) -> Result<(), ipc_core::SendError> {
///     *loan = 42;
///     loan.commit()
/// }
/// ```
#[derive(Debug)]
pub struct TypedLoan<T, L> {
    loan: L,
    holds: PhantomData<T>,
}

impl<T: Pod, L: Loan> TypedLoan<T, L> {
    /// Publishes it.
    ///
    /// # Errors
    /// As [`Loan::commit`].
    pub fn commit(self) -> Result<(), SendError> {
        self.loan.commit()
    }
}

const CHECKED: &str = "length and alignment were checked when it was lent, and a loan does not move";

impl<T: Pod, L: Loan> Deref for TypedLoan<T, L> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        T::ref_from_bytes(&self.loan).expect(CHECKED)
    }
}

impl<T: Pod, L: Loan> DerefMut for TypedLoan<T, L> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        T::mut_from_bytes(&mut self.loan).expect(CHECKED)
    }
}

/// Typed loans on every sender that lends.
///
/// ```
/// use ipc_core::{LoanSender, SendError, Wait, raw::RawSender};
/// fn send(tx: &mut impl LoanSender) -> Result<(), SendError> {
///     let mut reading = tx.loan_of::<[u32; 2]>(Wait::Forever)?;
///     *reading = [1, 2];
///     reading.commit()
/// }
/// ```
pub trait RawSender: LoanSender {
    /// Lends space for one `T`.
    ///
    /// # Errors
    /// As [`LoanSender::loan`]; `Io` with `InvalidInput` when the transport's memory is not aligned for a `T`.
    fn loan_of<T: Pod>(&mut self, wait: Wait) -> Result<TypedLoan<T, Self::Loan<'_>>, SendError> {
        let mut loan = self.loan(size_of::<T>(), wait)?;
        match T::mut_from_bytes(&mut loan) {
            Ok(_) => Ok(TypedLoan { loan, holds: PhantomData }),
            Err(_) => Err(SendError::Io(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("this transport's messages are not aligned to {} bytes", align_of::<T>()),
            ))),
        }
    }
}

impl<S: LoanSender> RawSender for S {}

/// A received `T`: in place where the transport lends it well aligned, else a copy.
///
/// ```
/// use ipc_core::raw::TypedMessage;
/// fn sum<M: std::ops::Deref<Target = [u8]>>(message: &TypedMessage<[u32; 2], M>) -> u32 {
///     message.iter().sum()
/// }
/// ```
#[derive(Debug)]
pub struct TypedMessage<T, M>(Held<T, M>);

#[derive(Debug)]
enum Held<T, M> {
    InPlace(M),
    Copied(T),
}

impl<T: Pod, M: Deref<Target = [u8]>> Deref for TypedMessage<T, M> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.0 {
            Held::InPlace(message) => T::ref_from_bytes(message).expect(CHECKED),
            Held::Copied(value) => value,
        }
    }
}

/// Typed messages on every receiver that lends.
///
/// ```
/// use ipc_core::{PeekReceiver, RecvError, Wait, raw::RawReceiver};
/// fn first(rx: &mut impl PeekReceiver) -> Result<u32, RecvError> {
///     Ok(rx.recv_of::<[u32; 2]>(Wait::Forever)?[0])
/// }
/// ```
pub trait RawReceiver: PeekReceiver {
    /// Waits for a message and lends it as a `T`.
    ///
    /// # Errors
    /// As [`Receiver::recv_with`](crate::Receiver::recv_with); `Corrupt` for a message that is not as long as a `T`:
    /// that message is gone, and the next one can be received.
    fn recv_of<T: Pod>(&mut self, wait: Wait) -> Result<TypedMessage<T, Self::Message<'_>>, RecvError> {
        let message = self.recv_ref(wait)?;
        if message.len() != size_of::<T>() {
            return Err(RecvError::Corrupt { what: "a message is not as long as the type it should be" });
        }
        match T::ref_from_bytes(&message) {
            Ok(_) => Ok(TypedMessage(Held::InPlace(message))),
            Err(_) => match T::read_from_bytes(&message) {
                Ok(value) => Ok(TypedMessage(Held::Copied(value))),
                Err(_) => {
                    Err(RecvError::Corrupt { what: "a message is not as long as the type it should be" })
                }
            },
        }
    }
}

impl<R: PeekReceiver> RawReceiver for R {}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::{Receiver, Sender, Stats};

    /// One message of memory, aligned to 8 bytes or one off.
    #[derive(Default)]
    struct Memory {
        words: [u64; 8],
        skew: usize,
        len: Option<usize>,
    }

    struct Lent<'a>(&'a mut Memory, usize);

    impl Deref for Lent<'_> {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0.words.as_bytes()[self.0.skew..][..self.1]
        }
    }

    impl DerefMut for Lent<'_> {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.0.words.as_mut_bytes()[self.0.skew..][..self.1]
        }
    }

    impl Loan for Lent<'_> {
        fn commit(self) -> Result<(), SendError> {
            self.0.len = Some(self.1);
            Ok(())
        }
        fn commit_len(self, len: usize) -> Result<(), SendError> {
            self.0.len = Some(len);
            Ok(())
        }
    }

    impl Sender for Memory {
        fn send_with(&mut self, _: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
            Err(SendError::Full)
        }
        fn max_message(&self) -> usize {
            56
        }
        fn stats(&self) -> Stats {
            Stats::default()
        }
    }

    impl LoanSender for Memory {
        type Loan<'a> = Lent<'a>;
        fn loan(&mut self, len: usize, _: Wait) -> Result<Lent<'_>, SendError> {
            Ok(Lent(self, len))
        }
    }

    impl Receiver for Memory {
        fn recv_with(&mut self, _: &mut Vec<u8>, _: Wait) -> Result<usize, RecvError> {
            Err(RecvError::Empty)
        }
        fn recv_each<F: FnMut(&[u8])>(&mut self, _: usize, _: Wait, _: F) -> Result<usize, RecvError> {
            Err(RecvError::Empty)
        }
        fn stats(&self) -> Stats {
            Stats::default()
        }
    }

    impl PeekReceiver for Memory {
        type Message<'a> = Lent<'a>;
        fn ready(&mut self, _: Wait) -> Result<(), RecvError> {
            self.len.map(|_| ()).ok_or(RecvError::Empty)
        }
        fn take(&mut self) -> Option<Lent<'_>> {
            let len = self.len.take()?;
            Some(Lent(self, len))
        }
    }

    #[test]
    fn a_value_is_written_and_read_in_place() {
        let mut memory = Memory::default();
        assert!(matches!(memory.recv_of::<[u64; 3]>(Wait::Never), Err(RecvError::Empty)));
        let mut loan = memory.loan_of::<[u64; 3]>(Wait::Never).unwrap();
        *loan = [1, 2, 3];
        loan[1] += 40;
        loan.commit().unwrap();
        let message = memory.recv_of::<[u64; 3]>(Wait::Never).unwrap();
        assert!(matches!(message.0, Held::InPlace(_)));
        assert_eq!(*message, [1, 42, 3]);
    }

    #[test]
    fn misaligned_memory_is_refused_to_the_sender_and_copied_for_the_receiver() {
        let mut memory = Memory { skew: 1, ..Memory::default() };
        let refused = memory.loan_of::<u64>(Wait::Never).map(drop).unwrap_err();
        assert!(refused.to_string().contains("aligned to 8 bytes"), "{refused}");
        *memory.loan_of::<[u8; 8]>(Wait::Never).unwrap() = 77u64.to_le_bytes();
        memory.len = Some(8);
        assert_eq!(*memory.recv_of::<u64>(Wait::Never).unwrap(), 77);
    }

    #[test]
    fn a_message_of_another_length_is_not_the_type() {
        let mut memory = Memory { len: Some(7), ..Memory::default() };
        assert!(matches!(memory.recv_of::<u64>(Wait::Never), Err(RecvError::Corrupt { .. })));
    }
}
