//! Sending in place: the memory lent is the message.

use ipc_transports::{Loan, LoanSender, SendError, Sender, Transport, Wait};

use super::messages::{fill, fill_len};
use crate::end::{End, Side, message, patiently};

/// What is written into a loan arrives as one message when it is committed.
pub fn a_committed_loan_is_a_message<T>(mut end: End<T>)
where
    T: Transport<Tx: LoanSender>,
{
    for number in 0..200 {
        let len = (number as usize * 31 % 3000).min(end.tx.max_message());
        if end.side == Side::Near {
            end.expect(number, len);
            continue;
        }
        let mut loan = end.tx.loan(len, patiently()).expect("the near side receives");
        assert_eq!(loan.len(), len, "a loan has the length asked for");
        loan.copy_from_slice(&message(number, len));
        loan.commit().expect("the near side lives");
    }
}

/// A loan that is dropped publishes nothing and takes no room from the messages after it.
pub fn a_dropped_loan_publishes_nothing<T>(mut end: End<T>)
where
    T: Transport<Tx: LoanSender>,
{
    if end.side == Side::Near {
        return (0..300).for_each(|number| end.expect(number, 10));
    }
    let large = end.tx.max_message();
    for number in 0..300 {
        let mut loan = end.tx.loan(large, patiently()).expect("dropped loans use nothing up");
        loan[..3].copy_from_slice(b"not");
        drop(loan);
        end.send(number, 10);
    }
}

/// `commit_len` publishes the front of the loan, down to nothing; more than the loan is `TooLong` and publishes nothing.
pub fn commit_len_publishes_the_front<T>(mut end: End<T>)
where
    T: Transport<Tx: LoanSender>,
{
    let lens = [100, 99, 1, 0, 50];
    for (number, len) in lens.into_iter().enumerate() {
        if end.side == Side::Near {
            end.expect(number as u64, len);
            continue;
        }
        let answer = end.tx.loan(100, patiently()).expect("the near side receives").commit_len(101);
        assert!(matches!(answer, Err(SendError::TooLong { len: 101, max: 100 })), "{answer:?}");
        let mut loan = end.tx.loan(100, patiently()).expect("the near side receives");
        loan[..len].copy_from_slice(&message(number as u64, len));
        loan.commit_len(len).expect("the near side lives");
    }
}

/// A loan longer than `max_message` is `TooLong` at once; one of exactly that length is lent.
pub fn a_loan_keeps_to_the_longest_message<T>(mut end: End<T>)
where
    T: Transport<Tx: LoanSender>,
{
    let max = end.tx.max_message();
    if end.side == Side::Near {
        return end.expect(1, max);
    }
    for wait in [Wait::Never, Wait::Forever] {
        match end.tx.loan(max + 1, wait) {
            Err(SendError::TooLong { len, max: limit }) => assert_eq!((len, limit), (max + 1, max)),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{} bytes lent over a maximum of {max}", max + 1),
        }
    }
    let mut loan = end.tx.loan(max, patiently()).expect("the longest message fits");
    loan.copy_from_slice(&message(1, max));
    loan.commit().expect("the near side lives");
}

/// On a full link a loan is `Full` with `Never` and `TimedOut` after its deadline, and takes nothing.
pub fn a_full_link_lends_nothing<T>(mut end: End<T>)
where
    T: Transport<Tx: LoanSender>,
{
    let len = fill_len(&end.tx);
    if end.side == Side::Far {
        let sent = end.cue.hear_number();
        return (0..=sent).for_each(|number| end.expect(number, len));
    }
    let sent = fill(&mut end.tx, 0);
    let answer = end.tx.loan(len, Wait::Never).map(drop);
    assert!(matches!(answer, Err(SendError::Full)), "{answer:?}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(20);
    let answer = end.tx.loan(len, Wait::Until(deadline)).map(drop);
    assert!(matches!(answer, Err(SendError::TimedOut)), "{answer:?}");
    assert!(std::time::Instant::now() >= deadline, "gave up before the deadline");
    end.cue.tell(sent);
    end.send(sent, len);
}
