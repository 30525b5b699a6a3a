//! How many connections of another user one listener keeps at once.

use std::sync::{Arc, Weak};

/// Most connections at once of one user who is not ours, per listener (dbus-broker limits users likewise). What a
/// connection may hold is bounded, so this bounds what that user can make us hold. Our own user may have any number.
pub(crate) const MOST: usize = 64;

/// The places that are taken, by their users.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<(u32, Weak<()>)>);

/// A connection's place; free again once every half of the connection is gone. Of our own user, none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    _held: Option<Arc<()>>,
}

impl Places {
    /// A place for a client of user `uid`; `None`: that user has [`MOST`] already.
    pub(crate) fn take(&mut self, uid: Option<u32>) -> Option<Place> {
        let own = rustix::process::geteuid().as_raw();
        let Some(uid) = uid.filter(|uid| *uid != own) else { return Some(Place::default()) };
        self.0.retain(|(_, place)| place.strong_count() > 0);
        if self.0.iter().filter(|(user, _)| *user == uid).count() >= MOST {
            return None;
        }
        let held = Arc::new(());
        self.0.push((uid, Arc::downgrade(&held)));
        Some(Place { _held: Some(held) })
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
}
