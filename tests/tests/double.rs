//! The suite, tested: the double that keeps the contract passes, and each broken one fails the sentence it breaks.

use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ipc_tests::double::{Double, Flaw};
use ipc_tests::place::Place;
use ipc_tests::run;
use ipc_tests::watchdog::LIMIT;

type Flawless = Double<{ Flaw::None as u8 }>;

ipc_tests::contract_in_one_process!(flawless: crate::Flawless; loan peek pollable half_close);

mod flawless_listener {
    const PEER: Option<&str> = None;

    ipc_tests::sentences!(listening, ipc_tests::place_tests, (crate::Flawless));
}

/// A sentence, the flaw that must make it fail, and whether it did.
struct Trial {
    sentence: &'static str,
    flaw: Flaw,
    fails: fn() -> bool,
}

macro_rules! dialogue_trials {
    ($($group:ident::$sentence:ident: $($flaw:ident)*;)*) => { vec![$($(Trial {
        sentence: concat!(stringify!($group), "::", stringify!($sentence)),
        flaw: Flaw::$flaw,
        fails: || catch_unwind(|| {
            type Broken = Double<{ Flaw::$flaw as u8 }>;
            run::play_in_threads::<Broken>("", ipc_tests::contract::$group::$sentence::<Broken>);
        }).is_err(),
    },)*)*] };
}

macro_rules! place_trials {
    ($($group:ident::$sentence:ident: $($flaw:ident)*;)*) => { vec![$($(Trial {
        sentence: concat!(stringify!($group), "::", stringify!($sentence)),
        flaw: Flaw::$flaw,
        fails: || catch_unwind(|| {
            ipc_tests::contract::$group::$sentence::<Double<{ Flaw::$flaw as u8 }>>(&Place::new(None));
        }).is_err(),
    },)*)*] };
}

fn trials() -> Vec<Trial> {
    let mut trials = dialogue_trials! {
        messages::messages_arrive_in_order: SwapsTwoMessages LosesEveryHundredth;
        messages::boundaries_are_kept: MergesSmallMessages DropsEmptyMessages;
        messages::the_empty_message_is_a_message: DropsEmptyMessages MergesSmallMessages;
        messages::the_largest_message_arrives_whole: CutsLongMessages;
        messages::one_byte_too_many_is_too_long_at_once: TooLongWaitsForSpace TooLongTakesWhatFits;
        messages::gathered_parts_arrive_as_their_concatenation: UsesFirstPartsOnly;
        messages::a_batch_arrives_as_its_messages: BatchLosesItsLast MergesSmallMessages;
        messages::a_batch_stops_before_a_message_that_is_too_long: BatchFailsForItsWorst;
        messages::recv_each_lends_what_is_there_up_to_its_limit: RecvEachIgnoresItsLimit;
        messages::a_receive_replaces_the_buffer: AppendsToTheBuffer;
        messages::both_directions_at_once: FlipsABit LosesEveryHundredth;
        messages::both_directions_can_be_full_at_once: OneDirectionAtATime;
        messages::a_thousand_random_sizes_keep_their_checksums: FlipsABit LosesEveryHundredth;
        waiting::an_empty_link_answers_empty: EmptyIsTimedOut;
        waiting::a_full_link_takes_nothing: FullTakesTheMessage;
        waiting::a_receive_times_out_not_before_its_deadline: ReceiveGivesUpEarly;
        waiting::a_send_times_out_not_before_its_deadline: SendGivesUpEarly;
        waiting::a_past_deadline_still_does_what_needs_no_wait: PastDeadlineDoesNothing;
        waiting::a_message_ends_the_wait_for_it: LosesEveryHundredth;
        waiting::space_ends_the_wait_for_it: LosesWhatWaitedForSpace;
        waiting::a_taken_message_arrives_whole: FullTakesTheMessage CutsLongMessages;
        ending::close_is_seen_after_the_last_message: CloseDropsWhatIsUnread CloseIsDeath CloseIsNotSticky;
        ending::close_ends_the_wait_for_a_message: CloseIsDeath;
        ending::the_sender_sees_the_close: SenderNeverSeesTheClose SenderSeesDeath;
        ending::close_ends_the_wait_for_space: SenderNeverSeesTheClose SenderSeesDeath;
        ending::a_close_with_messages_unread_is_a_close: UnreadMakesItADeath CloseDropsWhatIsUnread;
        ending::a_peer_that_closed_and_exited_has_closed: SenderSeesDeath CloseDropsWhatIsUnread;
        ending::a_dropped_sender_closes_its_direction_alone: HalfClosesBoth;
        ending::a_dropped_receiver_is_closed_to_the_sender: DroppedReceiverUnnoticed SenderSeesDeath;
        loans::a_committed_loan_is_a_message: LoanForgetsItsBytes;
        loans::a_dropped_loan_publishes_nothing: DroppedLoanPublishes DroppedLoanLeaks;
        loans::commit_len_publishes_the_front: CommitLenPublishesAll;
        loans::a_loan_keeps_to_the_longest_message: LoanIsUnlimited;
        loans::a_full_link_lends_nothing: FullLinkLends;
        peeking::a_lent_message_is_the_message: LentMessageIsStale;
        peeking::take_lends_what_ready_found: ReadyConsumes;
        peeking::ready_waits_as_a_receive_does: ReadyNeverEmpty ReceiveGivesUpEarly CloseIsDeath;
        polling::a_message_wakes_an_armed_receiver: NeverRings;
        polling::event_loops_carry_a_stream: NeverRings NeverRingsSpace;
        polling::arming_sees_what_is_already_there: ArmNeverLooks;
        polling::an_idle_armed_half_is_quiet: AlwaysRings;
        polling::space_wakes_an_armed_sender: NeverRingsSpace;
        polling::close_wakes_an_armed_receiver: NeverRingsClose;
        polling::close_wakes_an_armed_sender: NeverRingsSenderClose;
        polling::the_halves_have_different_descriptors: OneDescriptor;
    };
    trials.extend(place_trials! {
        listening::a_client_and_its_listener_talk: MaximumsDiffer;
        listening::a_hundred_clients_are_served_by_one_listener: ServesOneClient ClientsShareALink;
        listening::nobody_listening_is_not_found: WaitsForAListener;
        listening::a_second_listener_is_refused: SecondListenerReplaces;
        listening::accept_waits_as_told: AcceptNeverTimesOut;
        listening::a_client_nobody_accepts_times_out: ConnectNeverWaits;
        listening::a_listener_that_leaves_tells_the_clients_it_has_not_let_in: ListenerForgetsWhoWaits;
        listening::a_dropped_listener_leaves_its_connections: ListenerTakesConnectionsAlong;
        listening::a_wrong_option_is_a_bad_address: TakesAnyOption;
        listening::the_smaller_maximum_binds_both: ForgetsTheMaximum;
        listening::one_clients_end_is_its_own: ServesOneClient ClientsShareALink;
    });
    trials
}

/// Sentences about files and foreign sockets, which a transport in memory has none of.
const WITHOUT_A_DOUBLE: [&str; 2] =
    ["listening::a_listeners_files_are_private", "listening::a_broken_client_costs_only_itself"];

/// How many trials run at a time: most of them wait.
const AT_A_TIME: usize = 16;

/// How long may pass without the end of any trial: some wait for their patience twice.
const SILENCE: Duration = LIMIT.saturating_mul(6);

#[test]
fn every_sentence_fails_on_the_double_that_breaks_it() {
    let queue = Mutex::new(trials());
    let (passed, results) = mpsc::channel();
    let count = queue.lock().expect("nobody has it").len();
    let queue = Arc::new(queue);
    for _ in 0..AT_A_TIME {
        let (queue, passed) = (Arc::clone(&queue), passed.clone());
        // Not scoped: a trial that hangs must not keep this test from saying so.
        thread::spawn(move || {
            while let Some(trial) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                let title = format!("{} on a double that {:?}", trial.sentence, trial.flaw);
                let _ = passed.send((title, None));
                let title = format!("{} on a double that {:?}", trial.sentence, trial.flaw);
                let _ = passed.send((title, Some((trial.fails)())));
            }
        });
    }
    let mut running = Vec::new();
    let mut wrong = Vec::new();
    let mut over = 0;
    while over < count {
        match results.recv_timeout(SILENCE) {
            Ok((title, None)) => running.push(title),
            Ok((title, Some(failed))) => {
                over += 1;
                running.retain(|other| *other != title);
                if !failed {
                    wrong.push(title);
                }
            }
            Err(_) => panic!("these hang instead of failing: {running:#?}"),
        }
    }
    assert!(wrong.is_empty(), "these pass: {wrong:#?}");
}

#[test]
fn every_sentence_has_a_double_that_breaks_it() {
    let broken: Vec<&str> = trials().iter().map(|trial| trial.sentence).chain(WITHOUT_A_DOUBLE).collect();
    let names = ipc_tests::names!(always loan peek pollable half_close listening);
    for name in names {
        assert!(broken.contains(&name), "no double breaks {name}: can it fail?");
    }
}
