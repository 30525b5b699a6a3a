//! `explain`: what a number, a word of the tables or a warning means.

use crate::command::print;
use crate::error::{Failure, nearest};

/// A topic, the other words it is looked up under, and what there is to say.
struct Topic {
    name: &'static str,
    also: &'static [&'static str],
    text: &'static str,
}

const TOPICS: &[Topic] = &[
    Topic {
        name: "trial",
        also: &["trials", "±", "ci", "interval"],
        text: "A fresh set of processes with a connection of its own. Every printed figure is the median over trials of that\n\
figure in each trial; ± is the larger half of its interval. Messages of one trial share one placement and are one\n\
sample of it, so they are never pooled for inference.",
    },
    Topic {
        name: "percentile",
        also: &["p50", "p90", "p95", "p99", "p99.9", "p99.99"],
        text: "p99 is the latency that 99 of 100 messages of a trial did not exceed. It is printed only where at least ten\n\
messages lie beyond it: p99.9 needs 10,000 messages per trial. Otherwise it is – with the reason.",
    },
    Topic {
        name: "limit",
        also: &["×limit", "xlimit", "yardstick", "yardsticks"],
        text: "×limit is p50 divided by what the machine itself takes for the same, measured in the same round by the same loop:\n\
a cache line there and back for a side that spins, a futex or pipe round trip for one that sleeps. 1× is the floor.",
    },
    Topic {
        name: "rtt",
        also: &["round trip"],
        text: "Ping-pong: a message there, the same bytes back, one at a time. The time runs from the end of the round trip before\n\
it to the end of this one. It is never halved and called one-way.",
    },
    Topic {
        name: "stream",
        also: &["throughput", "msg/s"],
        text: "As many messages as fit, one way. Delivered messages divided by (last receive − first send); both stamps are in the\n\
file. Process start, connecting and tearing down are outside.",
    },
    Topic {
        name: "wait",
        also: &["spin", "park", "adaptive"],
        text: "How a side waits for the next message. spin: looks until it is there, and burns a CPU. park: sleeps in the kernel,\n\
and pays a wake-up; beside messages of 8 KiB or more sockets and pipes look for some 25 us before that. adaptive: looks\n\
for a while, then sleeps. Compare rows that wait alike.",
    },
    Topic {
        name: "verdict",
        also: &["improved", "regressed", "unchanged", "inconclusive", "holm", "p(holm)"],
        text: "regressed and improved need all of: p below 0.05 after Holm's adjustment over every compared figure, an interval\n\
that excludes no change, and a change beyond the limit (2 %, for times also 20 ns). unchanged needs the whole interval\n\
within the limit. Everything else is inconclusive: these trials do not tell. ab compares each trial with its neighbour of\n\
the other side, by the exact sign test over pairs; runs made apart are two samples, compared by the exact Mann-Whitney test.",
    },
    Topic {
        name: "saturated",
        also: &["load", "open loop", "response", "service"],
        text: "In open loop the times of sending are fixed in advance. response counts from the intended time, service from the\n\
actual one. A point that did not reach 99 % of the requested rate is saturated and claims no latency.",
    },
    Topic {
        name: "W03",
        also: &["steal", "◦", "flags"],
        text: "More than one trial in twenty was disturbed; those are marked ◦ and kept. steal: the hypervisor gave a CPU in use to\n\
somebody else. major_faults: pages came from the disk. migrations: a pinned worker was moved, or one that was free to move was\n\
moved more than five times as often as in the median trial of its cell. throttled: heat or a quota slowed a CPU.\n\
involuntary_switches: it lost its CPU more than five times as often as the median trial. A comparison also says when its\n\
verdict would be another without them. --retry-flagged N makes such trials again and keeps both; or measure on a machine of\n\
your own.",
    },
    Topic {
        name: "W05",
        also: &["debug"],
        text: "A debug build measures itself. Use `cargo xtask bench`, which builds the way every published number was built.",
    },
    Topic {
        name: "W06",
        also: &["warm-up", "warmup", "steady"],
        text: "Windows of the warm-up did not agree within ±5 % before it was over. Longer trials, --pin, or a quieter machine help;\n\
ipc-bench doctor says what disturbs.",
    },
    Topic {
        name: "W07",
        also: &["two cpus"],
        text: "With two CPUs, both sides spinning leave none for anything else: interrupts and the system run on theirs, so high\n\
percentiles are pessimistic.",
    },
    Topic {
        name: "W08",
        also: &[],
        text: "A yardstick could not be measured; ×limit of the cells it serves is missing. The message says why.",
    },
    Topic {
        name: "W09",
        also: &["base"],
        text: "ab had nothing to compare with: the base has no ipc-bench, or one that speaks another worker protocol.",
    },
    Topic {
        name: "W10",
        also: &["merge", "merged"],
        text: "The file was joined from several runs. Environment and yardsticks are those of the first.",
    },
    Topic {
        name: "W11",
        also: &["sched", "mlock", "fifo", "hugepages"],
        text: "The system did not grant the real-time priority, the locked memory or the huge pages that were asked for. The cells\n\
were measured without; what was granted is among their settings in force (sched_fifo, locked_bytes, huge_bytes).",
    },
    Topic {
        name: "W12",
        also: &["condvar", "lock", "kill-safe"],
        text: "Cells with shm-direct.lock=condvar sleep on a condition variable of the C library, as most people build it. They are\n\
for comparison: a process killed inside pthread_cond_signal leaves its lock held, and the other side hangs for ever.",
    },
    Topic {
        name: "W13",
        also: &["perf", "counters", "syscalls", "instructions"],
        text: "--perf counts what the kernel and the processor count while the messages are measured, in the measuring thread of each\n\
worker and those it starts, user and kernel together, divided by the messages. Each counter is a number or – with the reason;\n\
W13 says that none could be had. system calls need tracefs; the others need kernel.perf_event_paranoid 1 or CAP_PERFMON. Counting\n\
costs time at each system call and each switch, so the times of such a run are not those of one without.",
    },
    Topic {
        name: "W14",
        also: &["inproc", "one process", "threads"],
        text: "inproc joins the threads of one process. Its cells are measured in one worker, the client on one thread and the server on\n\
another, each on the CPU that the process of that side has in the other cells, by the same loops with the same checks. They\n\
say what the ring itself costs; nothing in them crosses the boundary of a process, so they are no answer to which mechanism\n\
to use between two. What needs processes of their own is refused: patterns, scenes, --pairs, --clients, server and client.",
    },
];

/// Prints what there is to say on a topic; without one, the topics.
pub(crate) fn explain(topic: Option<&str>) -> Result<(), Failure> {
    let Some(asked) = topic else {
        let list: String = TOPICS
            .iter()
            .map(|topic| {
                let also = if topic.also.is_empty() {
                    String::new()
                } else {
                    format!("also: {}", topic.also.join(", "))
                };
                format!("{:<12} {also}\n", topic.name).trim_end().to_owned() + "\n"
            })
            .collect();
        return print(&list);
    };
    let same = |name: &&str| name.eq_ignore_ascii_case(asked);
    let words = || TOPICS.iter().flat_map(|topic| std::iter::once(&topic.name).chain(topic.also)).copied();
    match TOPICS.iter().find(|topic| same(&topic.name) || topic.also.iter().any(&same)) {
        Some(topic) => print(&format!("{}\n\n{}\n", topic.name, topic.text)),
        None => {
            let near = nearest(asked, words()).map(|word| format!("did you mean {word}?"));
            Err(Failure::usage(format!("there is no topic {asked:?}"))
                .why(format!(
                    "there are: {}",
                    TOPICS.iter().map(|topic| topic.name).collect::<Vec<_>>().join(", ")
                ))
                .fix(near.unwrap_or_else(|| "ipc-bench explain lists every word it knows".into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_leads_to_two_topics() {
        let mut words: Vec<String> = TOPICS
            .iter()
            .flat_map(|topic| std::iter::once(&topic.name).chain(topic.also))
            .map(|word| word.to_lowercase())
            .collect();
        let count = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
