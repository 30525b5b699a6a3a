//! What the report of a crash says.

use ipc_actors::{Child, CrashReport, Lifecycle, Mailbox, Supervisor, System, What};

use crate::kit::*;
use crate::support::{PATIENCE, until};

/// Runs `test` on a simulated system for each seed and on threads, with room for events.
fn watched(test: impl Fn(&System)) {
    for seed in 0..MANY {
        let system = System::builder().simulated(seed).events(1000).build().unwrap();
        test(&system);
        system.shutdown(PATIENCE);
    }
    let system = System::builder().workers(2).events(1000).build().unwrap();
    test(&system);
    system.shutdown(PATIENCE);
}

fn reports(system: &System) -> Vec<CrashReport> {
    let crash = |event: ipc_actors::Event| match event.what {
        What::Crashed(report) => {
            assert_eq!(event.actor, Some(report.address.id));
            Some(report)
        }
        _ => None,
    };
    system.events().into_iter().filter_map(crash).collect()
}

/// Has the child queue these messages for itself, and panic over the next one, of which nothing is queued.
fn panic_with_queued(kid: &ipc_actors::Addr<Kid>, notes: u64) {
    let myself = kid.clone();
    let run = move || {
        (0..notes).for_each(|note| myself.tell(Do::Note(note)).unwrap());
        panic!("as told");
    };
    kid.tell(Do::Run(Box::new(run))).unwrap();
}

/// A tree of three levels, and the child at its end.
fn deep(child: Child) -> Supervisor {
    let pipeline = Supervisor::rest_for_one("pipeline").intensity(2, PATIENCE * 1000).child(child);
    Supervisor::one_for_one("root").intensity(1, PATIENCE * 1000).child(pipeline)
}

#[test]
fn a_report_has_address_incarnation_reason_poison_queue_supervisors_and_restarts_left() {
    for mailbox in [Mailbox::unbounded(), Mailbox::bounded(100, ipc_actors::Overflow::Error)] {
        watched(|system| {
            let (_tree, mut first) =
                (tree(system, deep(kid("writer").name("the-writer").mailbox(mailbox))), None);
            for crash in 0..3_u64 {
                let writer = system.find::<Kid>("the-writer").unwrap();
                let address = writer.address();
                panic_with_queued(&writer, 5 * crash);
                until(system, || reports(system).len() > crash as usize);
                let report = reports(system).pop().unwrap();
                assert_eq!(report.address, address);
                assert_eq!(report.address.name.as_deref(), Some("the-writer"));
                assert_eq!((report.incarnation, report.was), (crash as u32, Lifecycle::Running));
                assert!(report.reason.contains("as told"), "{}", report.reason);
                assert_eq!((report.poison, u64::from(report.queued)), (Some("test.kid/1"), 5 * crash));
                assert_eq!(report.supervisor.as_deref(), Some("root/pipeline"));
                assert_eq!(
                    (report.child.as_deref(), report.restarts_left),
                    (Some("writer"), Some(2 - crash as u32))
                );
                assert_eq!(report.supervisors.len(), 2);
                first = Some(report.address.id);
                let said = report.to_string();
                let id = report.address.id;
                let parts = [
                    format!("the-writer{id} ("),
                    format!("incarnation {crash}, Running, failed: panic"),
                    "it was handling a test.kid/1; ".into(),
                    format!(
                        "{} queued; child writer of root/pipeline, which has {} restarts left",
                        5 * crash,
                        2 - crash
                    ),
                ];
                assert!(parts.iter().all(|part| said.contains(part)), "{said}");
                assert!(crash == 2 || incarnation(&writer) == crash as u32 + 1);
            }
            // The third was one too many for the pipeline, which the root makes anew: what is left is counted from the start.
            until(system, || {
                system.find::<Kid>("the-writer").is_some_and(|writer| Some(writer.id()) != first)
            });
            panic_with_queued(&system.find("the-writer").unwrap(), 0);
            until(system, || reports(system).len() == 4);
            let report = reports(system).pop().unwrap();
            assert_eq!((report.incarnation, report.restarts_left), (0, Some(2)));
        });
    }
}

#[test]
fn a_report_of_an_actor_that_nobody_supervises_says_so() {
    watched(|system| {
        let alone = system.actor(|| Kid::new(Start::Up)).start().unwrap();
        panic_with_queued(&alone, 3);
        until(system, || !reports(system).is_empty());
        let report = reports(system).pop().unwrap();
        assert_eq!(
            (report.supervisor.clone(), report.child.clone(), report.restarts_left),
            (None, None, None)
        );
        assert_eq!((report.queued, report.supervisors.len()), (3, 0));
        assert!(report.to_string().ends_with("; 3 queued; nobody supervises it"), "{report}");
    });
}

#[test]
fn a_report_counts_a_long_queue_to_ten_thousand() {
    let system = System::builder().simulated(0).events(20_000).build().unwrap();
    let alone = system.actor(|| Kid::new(Start::Up)).start().unwrap();
    panic_with_queued(&alone, 10_500);
    system.simulation().unwrap().run();
    assert_eq!(reports(&system).pop().unwrap().queued, 10_000);
}
