//! Who is to be woken by which event: the one thing that reactor and futures share.

use std::task::{Context, Poll, Waker};

/// One registered descriptor.
#[derive(Debug, Default)]
struct Entry {
    /// An event came since [`Table::clear`].
    event: bool,
    waker: Option<Waker>,
}

/// Entries by token. Tokens are used again, so an event may reach the next owner of a token: a wake-up too many.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    free: Vec<usize>,
}

impl Table {
    pub(crate) fn insert(&mut self) -> usize {
        let token = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        self.entries[token] = Entry::default();
        token
    }

    pub(crate) fn remove(&mut self, token: usize) {
        self.entries[token] = Entry::default();
        self.free.push(token);
    }

    /// Forgets events so far. To be called before a half is tried: an event that comes after it is kept.
    pub(crate) fn clear(&mut self, token: usize) {
        self.entries[token].event = false;
    }

    /// Ready if an event came since [`clear`](Table::clear), else to be woken by the next one.
    pub(crate) fn poll(&mut self, token: usize, context: &Context<'_>) -> Poll<()> {
        let entry = &mut self.entries[token];
        if entry.event {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Nobody waits for this token any more.
    pub(crate) fn forget_waker(&mut self, token: usize) {
        self.entries[token].waker = None;
    }

    /// Notes an event and returns who waits for it.
    pub(crate) fn event(&mut self, token: usize) -> Option<Waker> {
        let entry = self.entries.get_mut(token)?;
        entry.event = true;
        entry.waker.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_before_the_wait_is_not_lost_and_one_before_the_try_is_forgotten() {
        let mut table = Table::default();
        let token = table.insert();
        let context = Context::from_waker(Waker::noop());
        table.event(token);
        assert!(table.poll(token, &context).is_ready());
        table.clear(token);
        assert!(table.poll(token, &context).is_pending());
        assert!(table.event(token).is_some());
        assert!(table.event(token).is_none(), "a waker is used once");
        table.remove(token);
        assert_eq!((table.insert(), table.len()), (token, 1));
        assert!(table.poll(token, &context).is_pending(), "the next owner begins without an event");
        assert!(table.event(99).is_none());
    }
}
