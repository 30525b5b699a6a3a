//! Pools and names.

use std::collections::BTreeSet;

use ipc_actors::{ActorPool, Addr, PoolError, PoolStrategy};

use crate::kit::*;
use crate::support::{FEW, Log, MANY, everywhere, simulated, until};

#[test]
fn round_robin_goes_around_and_passes_over_who_is_gone() {
    everywhere(FEW, |system| {
        let log = Log::new();
        let all = members(system, &log, 3);
        let pool = ActorPool::new(PoolStrategy::RoundRobin, all.clone());
        (0..6).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
        assert_eq!(who_did(&log, system, 6), [0, 1, 2, 0, 1, 2]);
        all[1].stop();
        until(system, || pool.live().len() == 2);
        (0..30).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
        let did = who_did(&log, system, 30);
        assert!(!did.contains(&1) && did.contains(&0) && did.contains(&2), "{did:?}");
        assert_eq!(pool.len(), 2, "who is gone is forgotten");
        all.iter().for_each(Addr::stop);
        until(system, || pool.live().is_empty());
        assert!(matches!(pool.tell(Job::Do(9)), Err(PoolError::Empty(Job::Do(9)))));
    });
}

#[test]
fn a_random_pool_makes_the_same_choices_from_the_same_seed_and_uses_everybody() {
    simulated(8, |system| {
        let choices = |seed| {
            let log = Log::new();
            let pool = ActorPool::new(PoolStrategy::Random { seed }, members(system, &log, 4));
            (0..64).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
            who_did(&log, system, 64)
        };
        let did = choices(7);
        assert_eq!(did, choices(7));
        assert_ne!(did, choices(8));
        assert_eq!(did.iter().collect::<BTreeSet<_>>().len(), 4);
    });
}

#[test]
fn the_strategies_that_go_by_load_avoid_who_has_much_to_do() {
    // Simulated: nobody runs while the test sends, so the queues are what was sent.
    simulated(8, |system| {
        for strategy in [PoolStrategy::LeastLoaded, PoolStrategy::PowerOfTwo { seed: 3 }] {
            let log = Log::new();
            let all = members(system, &log, 2);
            (0..100).for_each(|job| all[0].tell(Job::Do(job)).expect("room"));
            let pool = ActorPool::new(strategy, all);
            (100..150).for_each(|job| pool.tell(Job::Do(job)).expect("room"));
            let did = who_did(&log, system, 150);
            let to_the_idle = did[100..].iter().filter(|name| **name == 1).count();
            let least = if strategy == PoolStrategy::LeastLoaded { 50 } else { 25 };
            assert!(to_the_idle >= least, "{strategy:?}: {to_the_idle}");
        }
    });
}

#[test]
fn a_key_belongs_to_one_member_and_moves_only_with_it() {
    everywhere(16, |system| {
        let log = Log::new();
        let all = members(system, &log, 4);
        let pool = ActorPool::new(PoolStrategy::RoundRobin, all.clone());
        let owners = |pool: &ActorPool<Member>| {
            (0..40).for_each(|key| pool.tell_by_key(&key, Job::Do(key)).expect("room"));
            who_did(&log, system, 40)
        };
        let before = owners(&pool);
        assert_eq!(before, owners(&pool));
        assert!(pool.remove(all[2].id()) && !pool.remove(all[2].id()));
        for (then, now) in before.iter().zip(owners(&pool)) {
            assert!(now == *then || *then == 2, "a key of {then} moved to {now}");
        }
    });
}

#[test]
fn a_broadcast_reaches_every_living_member_and_forgets_the_dead() {
    everywhere(MANY, |system| {
        let log = Log::new();
        let all = members(system, &log, 5);
        let pool = ActorPool::new(PoolStrategy::RoundRobin, all.clone());
        all[3].tell(Job::Panic).expect("it lives");
        until(system, || pool.live().len() == 4);
        assert_eq!(pool.broadcast(&Job::Do(1)), 4);
        let told: BTreeSet<_> = log.take(system, 4).into_iter().map(|(name, _)| name).collect();
        assert_eq!(told, BTreeSet::from([0, 1, 2, 4]));
        assert_eq!(pool.len(), 4);
    });
}

/// One of two racing claimants gets a name, and it is free when its holder is gone.
#[test]
fn two_claim_one_name_and_one_gets_it() {
    everywhere(FEW, |system| {
        let log: Log<(u32, u64)> = Log::new();
        for round in 0..50 {
            let name = format!("claimed-{round}");
            let claim = || {
                let to = log.to.clone();
                system.actor(move || Member { name: 0, log: to.clone() }).name(&name).start()
            };
            let claims = if system.simulation().is_some() {
                vec![claim(), claim()]
            } else {
                std::thread::scope(|scope| {
                    let other = scope.spawn(claim);
                    vec![claim(), other.join().expect("no panic")]
                })
            };
            assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1);
            let holder = claims.into_iter().flatten().next().expect("one has it");
            assert_eq!(system.find::<Member>(&name).as_ref(), Some(&holder));
            holder.tell(Job::Panic).expect("it lives");
            until(system, || system.find::<Member>(&name).is_none());
        }
    });
}
