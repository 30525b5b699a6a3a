//! About how much memory a plan takes: whoever measures 50 processes over rings of 64 MiB should know before.

use ipc_results::units::size;

use crate::hog::{self, Hog};
use crate::lists;
use crate::matrix::PlannedCell;
use crate::pattern::Pattern;
use crate::plan::Plan;
use crate::workload::Mode;

/// The pages of the program that all its processes share.
const PROGRAM: u64 = 10 << 20;

/// What a process has to itself: stack, allocator, tables. Measured as `Pss_Anon` of runners, hogs and workers: 0.3 to 1 MiB.
const PROCESS: u64 = 1 << 20;

/// A histogram of a worker, and the one that it is sent in.
const HISTOGRAMS: u64 = 2 * 8 * 24_000;

/// Both rings of a connection over `shm`, unless a capacity is set.
const RING: u64 = 1 << 20;

impl Plan {
    /// Bytes that the largest trial has in memory at once, with the runner; what the kernel keeps for sockets, pipes and
    /// queues is not in it.
    pub(crate) fn peak_memory(&self) -> u64 {
        let possible = self.cells.iter().filter(|cell| cell.impossible.is_none());
        let awake = self.awake.len() as u64 * PROCESS;
        PROGRAM + PROCESS + possible.map(|cell| of_trial(cell) + awake).max().unwrap_or(0)
    }

    /// The same for people: `peak memory ≈ 96 MiB`.
    pub(crate) fn peak_memory_text(&self) -> String {
        format!("peak memory ≈ {}", size(self.peak_memory().next_multiple_of(1 << 20)))
    }
}

fn of_trial(cell: &PlannedCell) -> u64 {
    let (size, connections) = (cell.point.size as u64, cell.connections() as u64);
    let processes = match cell.point.mode {
        Mode::Pattern(Pattern::Mesh) => connections,
        Mode::Pattern(_) => connections + 1,
        _ if cell.one_process => 1,
        _ => cell.crowd.map_or(2, |crowd| (crowd.servers() + crowd.connections()) as u64),
    };
    let connections = match cell.point.mode {
        Mode::Pattern(Pattern::Mesh) => processes * processes.saturating_sub(1) / 2,
        _ => connections,
    };
    // One to send from and one to receive into, on either side.
    let payloads = 4 * connections * size * u64::from(cell.batch.max(1));
    let hogs = cell.background.into_iter().flat_map(|background| background.hogs());
    let hogs: u64 = hogs
        .map(|(hog, _)| PROCESS + if hog == Hog::Memory { 2 * hog::MEMORY_BYTES as u64 } else { 0 })
        .sum();
    processes * (PROCESS + HISTOGRAMS) + payloads + connections * shared(cell) + hogs
}

/// Both directions of one connection, where they are in memory of the processes.
fn shared(cell: &PlannedCell) -> u64 {
    let option = |name: &str| Some(*lists::sizes(cell.options.get(name)?).ok()?.first()? as u64);
    match &*cell.point.transport {
        "shm" | "inproc" => 2 * option("capacity").unwrap_or(RING),
        "shm-direct" => 2 * option("max_message").unwrap_or(0).max(cell.point.size as u64),
        _ => 0,
    }
}
