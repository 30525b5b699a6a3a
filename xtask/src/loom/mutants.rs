//! Seeded ordering bugs: what a tired hand might do to the lock-free parts.

use super::Result;
use anyhow::ensure;

/// One passage of one file, changed.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    /// The models that are run over it: a part of their names.
    pub(super) models: &'static str,
    from: &'static str,
    to: &'static str,
}

impl Mutant {
    /// `text` with the passage changed; it must be there exactly once.
    pub(super) fn applied(&self, text: &str) -> Result<String> {
        let found = text.matches(self.from).count();
        ensure!(found == 1, "{}: its passage is {found} times in {}", self.name, self.file);
        Ok(text.replace(self.from, self.to))
    }
}

const RING: &str = "ipc-transports/src/ring.rs";
const CUT_THROUGH: &str = "ipc-transports/src/ring/cut_through.rs";
const BELL: &str = "ipc-transports/src/bell.rs";
const SLOT: &str = "ipc-transports/src/slot.rs";
const INBOX: &str = "ipc-actors/src/inbox.rs";
const BATCH: &str = "ipc-actors/src/inbox/batch.rs";
const IDLE: &str = "ipc-actors/src/idle.rs";
const TABLE: &str = "ipc-async/src/table.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "timers: the driver is not woken",
        file: "ipc-actors/src/timers.rs",
        models: "alarms::models",
        from: "let wake = due < state.sleeps_until;",
        to: "let wake = due.is_zero() && due < state.sleeps_until;",
    },
    Mutant {
        name: "alarms: a late token is not told apart",
        file: "ipc-actors/src/alarms.rs",
        models: "alarms::models",
        from: ".filter(|place| place.generation == generation)",
        to: ".filter(|_| generation > 0)",
    },
    Mutant {
        name: "table: generations are not compared",
        file: "ipc-actors/src/table.rs",
        models: "table::models",
        from: "slot.actor.clone().filter(|_| slot.generation == id.generation())",
        to: "slot.actor.clone()",
    },
    Mutant {
        name: "references given up relaxed",
        file: "ipc-actors/src/cell.rs",
        models: "table::models",
        from: "self.0.fetch_sub(count, Ordering::Release) != count",
        to: "self.0.fetch_sub(count, Ordering::Relaxed) != count",
    },
    Mutant {
        name: "control word: taken by load and store",
        file: "ipc-actors/src/status.rs",
        models: "models::l13",
        from: "self.control.fetch_and(!bits, Ordering::Acquire) & bits",
        to: "{ let all = self.control.load(Ordering::Acquire); self.control.store(all & !bits, Ordering::Release); all & bits }",
    },
    Mutant {
        name: "mailbox rests relaxed",
        file: INBOX,
        models: "models::l12",
        from: "compare_exchange(BUSY, IDLE, Ordering::Release, Ordering::Relaxed)",
        to: "compare_exchange(BUSY, IDLE, Ordering::Relaxed, Ordering::Relaxed)",
    },
    Mutant {
        name: "mailbox claimed relaxed",
        file: INBOX,
        models: "models::l12",
        from: "compare_exchange(IDLE, BUSY, Ordering::Acquire, Ordering::Relaxed)",
        to: "compare_exchange(IDLE, BUSY, Ordering::Relaxed, Ordering::Relaxed)",
    },
    Mutant {
        name: "mailbox closed without taking what is queued",
        file: INBOX,
        models: "models::l12",
        from: "if chain != BUSY && chain != IDLE && chain != CLOSED {",
        to: "if chain != BUSY && chain != IDLE && chain != CLOSED && false {",
    },
    Mutant {
        name: "flag of a place raised relaxed",
        file: BATCH,
        models: "models::each_place_of_a_batch",
        from: "self.flag(index).store(1, Ordering::Release)",
        to: "self.flag(index).store(1, Ordering::Relaxed)",
    },
    Mutant {
        name: "producer looks for sleepers without a fence",
        file: IDLE,
        models: "idle::models",
        from: "        fence(Ordering::SeqCst);\n        // Relaxed: ordered by the fence.",
        to: "        // Relaxed: ordered by the fence.",
    },
    Mutant {
        name: "worker lies down without a fence",
        file: IDLE,
        models: "idle::models",
        from: "        // Between the announcement and the caller's look at the queues: pairs with the fence in `choose`.\n        fence(Ordering::SeqCst);",
        to: "",
    },
    Mutant {
        name: "a relieved worker leaves the rest of its batch",
        file: IDLE,
        models: "idle::models",
        from: "            remove(&mut state.searchers, index);\n            if found {",
        to: "            let counts = state.searchers.contains(&index);\n            remove(&mut state.searchers, index);\n            if found && !counts {\n                remove(&mut state.sleepers, index);\n                return false;\n            }\n            if found {",
    },
    Mutant {
        name: "workers are counted before the change",
        file: IDLE,
        models: "idle::models",
        from: "        let result = change(&mut state);\n        self.searching.store(state.searchers.len(), Ordering::SeqCst);\n        self.sleeping.store(state.sleepers.len(), Ordering::SeqCst);\n        result",
        to: "        self.searching.store(state.searchers.len(), Ordering::SeqCst);\n        self.sleeping.store(state.sleepers.len(), Ordering::SeqCst);\n        change(&mut state)",
    },
    Mutant {
        name: "commit word stored relaxed",
        file: RING,
        models: "ring::models::l1_",
        from: "self.ours.store_commit(start, word, Ordering::Release)",
        to: "self.ours.store_commit(start, word, Ordering::Relaxed)",
    },
    Mutant {
        name: "padding word stored relaxed",
        file: RING,
        models: "ring::models::l2",
        from: "self.ours.store_commit(self.offset(self.head) as usize, padding, Ordering::Release)",
        to: "self.ours.store_commit(self.offset(self.head) as usize, padding, Ordering::Relaxed)",
    },
    Mutant {
        name: "padding published before its record",
        file: RING,
        models: "ring::models::l2",
        from: "unsafe { self.ours.store_commit(start, word, Ordering::Relaxed) };\n        self.store_padding();",
        to: "let late = (start, word);\n        self.store_padding(); unsafe { self.ours.store_commit(late.0, late.1, Ordering::Relaxed) };",
    },
    Mutant {
        name: "bytes shown relaxed",
        file: CUT_THROUGH,
        models: "ring::models::l14",
        from: "self.ours.store_commit(start, word, Ordering::Release)",
        to: "self.ours.store_commit(start, word, Ordering::Relaxed)",
    },
    Mutant {
        name: "padding leads to an old commit word",
        file: CUT_THROUGH,
        models: "ring::models::l14",
        from: "self.ours.store_commit(start, unfinished_word(space.start), Ordering::Relaxed)",
        to: "self.ours.load_commit(start)",
    },
    Mutant {
        name: "a message shows beyond what is written",
        file: CUT_THROUGH,
        models: "ring::models::l14",
        from: "unfinished_word(space.start) | (at + written) as u64;",
        to: "unfinished_word(space.start) | (at + bytes.len()) as u64;",
    },
    Mutant {
        name: "batch published relaxed",
        file: RING,
        models: "ring::models::l1_",
        from: "self.ours.store_commit(self.offset(position) as usize, word, Ordering::Release)",
        to: "self.ours.store_commit(self.offset(position) as usize, word, Ordering::Relaxed)",
    },
    Mutant {
        name: "commit word behind a record not cleared",
        file: RING,
        models: "ring::models::l2",
        from: "self.ours.store_commit(self.offset(end) as usize, 0, Ordering::Relaxed)",
        to: "self.ours.load_commit(self.offset(end) as usize)",
    },
    Mutant {
        name: "no line left free behind the last record",
        file: RING,
        models: "ring::models::l1_",
        from: "if end + LINE as u64 - self.consumed > self.capacity {",
        to: "if end - self.consumed > self.capacity {",
    },
    Mutant {
        name: "sleeper announces without a fence",
        file: BELL,
        models: "bell::models::l3",
        from: "            // SeqCst: pairs with the fence in Waker::peer_sleeps.\n            Barrier::Both => fence(Ordering::SeqCst),",
        to: "            Barrier::Both => fence(Ordering::AcqRel),",
    },
    Mutant {
        name: "waker looks without a fence",
        file: BELL,
        models: "bell::models::l3",
        from: "Barrier::Both => fence(Ordering::SeqCst),\n            // The peer's membarrier",
        to: "Barrier::Both => fence(Ordering::Acquire),\n            // The peer's membarrier",
    },
    Mutant {
        name: "bell sampled after the announcement",
        file: BELL,
        models: "bell::models::l3",
        from: "let sample = self.sample(theirs);\n        self.announce(ours, WokenBy::Futex);\n        let sleeps = nothing_to_do();",
        to: "self.announce(ours, WokenBy::Futex);\n        let sleeps = nothing_to_do();\n        let sample = self.sample(theirs);",
    },
    Mutant {
        name: "no second look after the announcement",
        file: BELL,
        models: "bell::models::l3",
        from: "let sleeps = nothing_to_do();",
        to: "let sleeps = true;",
    },
    Mutant {
        name: "announcements without a new ticket",
        file: BELL,
        models: "bell::models::l3",
        from: "self.ticket = self.ticket.wrapping_add(TICKET);",
        to: "",
    },
    Mutant {
        name: "bell rung but not counted",
        file: BELL,
        models: "bell::models::l3",
        from: "now.wrapping_add(1)",
        to: "now",
    },
    Mutant {
        name: "goodbye stored relaxed",
        file: BELL,
        models: "bell::models::l5",
        from: "ours.store(self.state, GONE, Ordering::Release);",
        to: "ours.store(self.state, GONE, Ordering::Relaxed);",
    },
    Mutant {
        name: "slot: a dead reader's count not repaired",
        file: SLOT,
        models: "slot::models::l8",
        from: "self.cells.store(Word::Taken, self.count | left, Ordering::Relaxed);",
        to: "let _ = left;",
    },
    Mutant {
        name: "slot: a published message thrown away",
        file: SLOT,
        models: "slot::models::l8",
        from: "let whole = self.party == Party::Reader && published != self.count;",
        to: "let whole = self.party == Party::Reader && published == self.count;",
    },
    Mutant {
        name: "waker table: an early event forgotten",
        file: TABLE,
        models: "model::wakers",
        from: "entry.event = true;\n        entry.waker.take()",
        to: "let waker = entry.waker.take();\n        entry.event = waker.is_none();\n        waker",
    },
    Mutant {
        name: "waker table: the wait does not look again",
        file: TABLE,
        models: "model::wakers",
        from: "if entry.event {",
        to: "if entry.event && entry.waker.is_some() {",
    },
];
