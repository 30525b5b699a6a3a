//! A run with two arms: one file with both sides of an `ab`.
//!
//! Twins have the same id but for the dimension `arm`: `shm/rtt/64/arm=a` and `shm/rtt/64/arm=b`. What each side is
//! called stands in the tags `arm.a` and `arm.b`.

use crate::run::Run;

/// The values of the dimension, in the order in which the sides are compared.
const SIDES: [&str; 2] = ["a", "b"];

/// The tag that says what a side is called.
pub fn tag(side: &str) -> String {
    format!("arm.{side}")
}

/// Both sides as runs of their own, each with its name; cells without an arm are in neither. `None` for a run without
/// arms.
pub fn split(run: &Run) -> Option<[(String, Run); 2]> {
    let sides = SIDES.map(|side| {
        let name = run.tags.get(&tag(side)).cloned().unwrap_or_else(|| side.to_owned());
        let mut own = run.clone();
        own.cells.retain_mut(|cell| {
            let arm = format!("arm={side}");
            let has = cell.id.split('/').any(|dimension| dimension == arm);
            let without: Vec<&str> = cell.id.split('/').filter(|dimension| *dimension != arm).collect();
            cell.id = without.join("/");
            has
        });
        (name, own)
    });
    sides.iter().all(|(_, own)| !own.cells.is_empty()).then_some(sides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::run::Tool;

    #[test]
    fn twins_get_the_same_id_and_each_side_its_name() {
        let mut run = Run::new("r", "2026-11-21T01:42:07Z", Tool::default());
        assert!(split(&run).is_none());
        for id in ["shm/rtt/64/arm=a/wait=spin", "shm/rtt/64/arm=b/wait=spin", "shm/rtt/64"] {
            run.cells.push(Cell::new(id, "shm", "rtt", 64));
        }
        run.tags.insert(tag("b"), "new".into());
        let [(a, old), (b, new)] = split(&run).unwrap();
        assert_eq!([a.as_str(), b.as_str()], ["a", "new"]);
        for side in [old, new] {
            let ids: Vec<&str> = side.cells.iter().map(|cell| cell.id.as_str()).collect();
            assert_eq!(ids, ["shm/rtt/64/wait=spin"]);
        }
    }
}
