//! How many connections of another user one listener keeps at once, and how much memory they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Most connections at once of one user who is not ours, per listener (dbus-broker limits users likewise). What a
/// connection may hold is bounded, so this bounds what that user can make us hold. Our own user may have any number.
pub(crate) const MOST: usize = 64;

/// The users of one listener who are not ours and have places there.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<(u32, Arc<User>)>);

/// What one of them has. Relaxed, always: counts; nothing else depends on them.
#[derive(Debug, Default)]
struct User {
    places: AtomicUsize,
    bytes: AtomicU64,
}

/// A connection's place; free again once every half of the connection is gone. Of our own user, none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    held: Option<Arc<Held>>,
}

#[derive(Debug)]
struct Held {
    user: Arc<User>,
    bytes: AtomicU64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.user.places.fetch_sub(1, Relaxed);
        self.user.bytes.fetch_sub(*self.bytes.get_mut(), Relaxed);
    }
}

impl Places {
    /// A place for a client of user `uid`; `None`: that user has [`MOST`] already.
    pub(crate) fn take(&mut self, uid: Option<u32>) -> Option<Place> {
        let own = rustix::process::geteuid().as_raw();
        let Some(uid) = uid.filter(|uid| *uid != own) else { return Some(Place::default()) };
        self.0.retain(|(_, user)| user.places.load(Relaxed) > 0);
        let known = self.0.iter().position(|(known, _)| *known == uid);
        let known = known.unwrap_or_else(|| {
            self.0.push((uid, Arc::default()));
            self.0.len() - 1
        });
        let user = Arc::clone(&self.0[known].1);
        user.places.fetch_add(1, Relaxed);
        // From here on the place is given back when it is dropped.
        let held = Held { user, bytes: AtomicU64::new(0) };
        (held.user.places.load(Relaxed) <= MOST).then(|| Place { held: Some(Arc::new(held)) })
    }
}

impl Place {
    /// Counts `bytes` of memory to the user's connections, as long as this one lives. Our own user may have any number.
    ///
    /// # Errors
    /// They have so many bytes already, and these would make it more than `most`.
    pub(crate) fn charge(&self, bytes: u64, most: u64) -> Result<(), u64> {
        let Some(held) = &self.held else { return Ok(()) };
        let more = |have: u64| have.checked_add(bytes).filter(|sum| *sum <= most);
        held.user.bytes.fetch_update(Relaxed, Relaxed, more)?;
        held.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_has_so_many_places_and_gets_them_back() {
        let own = rustix::process::geteuid().as_raw();
        let (one, other) = (Some(own ^ 1), Some(own ^ 2));
        let mut places = Places::default();
        let mut taken: Vec<Place> = (0..MOST).map(|_| places.take(one).expect("a place")).collect();
        assert!(places.take(one).is_none());
        assert!(places.take(other).is_some(), "users do not take each other's");
        assert!((0..10 * MOST).all(|_| places.take(Some(own)).is_some() && places.take(None).is_some()));
        let half = taken.pop();
        let other_half = half.clone();
        drop(half);
        assert!(places.take(one).is_none(), "one half is still there");
        drop(other_half);
        assert!(places.take(one).is_some());
    }

    #[test]
    fn another_users_bytes_are_counted_over_all_of_its_connections() {
        let own = rustix::process::geteuid().as_raw();
        let mut places = Places::default();
        let mut place = |uid| places.take(Some(uid)).expect("a place");
        let (one, two, other) = (place(own ^ 1), place(own ^ 1), place(own ^ 2));
        assert_eq!(one.charge(60, 100), Ok(()));
        assert_eq!(two.charge(41, 100), Err(60));
        assert_eq!(two.charge(u64::MAX, 100), Err(60), "no sum wraps");
        assert_eq!(two.charge(40, 100), Ok(()));
        assert_eq!(other.charge(100, 100), Ok(()), "users do not take each other's");
        assert_eq!(place(own).charge(u64::MAX, 100), Ok(()));
        let half = one.clone();
        drop(one);
        assert_eq!(two.charge(1, 100), Err(100), "one half is still there");
        drop(half);
        assert_eq!(two.charge(60, 100), Ok(()));
        drop(two);
        assert_eq!(place(own ^ 1).charge(100, 100), Ok(()), "nothing is left of who has gone");
    }
}
