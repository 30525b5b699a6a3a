//! The sentences of the contract. Each is one function that plays both sides, so that it reads as a dialogue; the lists
//! at the end say which need what. `docs/transports.md` has them as prose.

pub mod death;
pub mod ending;
pub mod listening;
pub mod loans;
pub mod messages;
pub mod peeking;
pub mod polling;
pub mod waiting;

/// Calls `$then!` with the sentences of one list: `sentences!(LIST, then, (arguments))` becomes
/// `then!((arguments) module::sentence …)`.
#[macro_export]
macro_rules! sentences {
    // Every transport, in one process and across two.
    (always, $then:path, $arguments:tt) => {
        $then! { $arguments
            messages::messages_arrive_in_order
            messages::boundaries_are_kept
            messages::the_empty_message_is_a_message
            messages::the_largest_message_arrives_whole
            messages::one_byte_too_many_is_too_long_at_once
            messages::gathered_parts_arrive_as_their_concatenation
            messages::a_batch_arrives_as_its_messages
            messages::a_batch_stops_before_a_message_that_is_too_long
            messages::recv_each_lends_what_is_there_up_to_its_limit
            messages::a_receive_replaces_the_buffer
            messages::both_directions_at_once
            messages::both_directions_can_be_full_at_once
            messages::a_thousand_random_sizes_keep_their_checksums
            waiting::an_empty_link_answers_empty
            waiting::a_full_link_takes_nothing
            waiting::a_receive_times_out_not_before_its_deadline
            waiting::a_send_times_out_not_before_its_deadline
            waiting::a_past_deadline_still_does_what_needs_no_wait
            waiting::a_message_ends_the_wait_for_it
            waiting::space_ends_the_wait_for_it
            waiting::a_taken_message_arrives_whole
            ending::close_is_seen_after_the_last_message
            ending::close_ends_the_wait_for_a_message
            ending::the_sender_sees_the_close
            ending::close_ends_the_wait_for_space
            ending::a_close_with_messages_unread_is_a_close
            ending::a_peer_that_closed_and_exited_has_closed
            ending::a_dropped_sender_closes_its_direction_alone
        }
    };
    // Transports that can tell the peer that one direction alone has ended at its receiver: all but tcp, whose protocol
    // has no word for it.
    (half_close, $then:path, $arguments:tt) => {
        $then! { $arguments
            ending::a_dropped_receiver_is_closed_to_the_sender
        }
    };
    // Every transport, across two processes.
    (death, $then:path, $arguments:tt) => {
        $then! { $arguments
            death::a_waiting_receiver_is_told_of_a_killed_peer
            death::a_receiver_with_a_deadline_is_told_of_a_killed_peer
            death::a_waiting_sender_is_told_of_a_killed_peer
            death::a_sender_with_a_deadline_is_told_of_a_killed_peer
            death::a_sender_that_did_not_wait_is_told_of_a_killed_peer
            death::what_a_killed_peer_had_sent_arrives_first
            death::half_a_message_is_never_delivered
        }
    };
    // Those of the above that wait, across two processes, for the policy that never sleeps.
    (spinning, $then:path, $arguments:tt) => {
        $then! { $arguments
            messages::messages_arrive_in_order
            messages::both_directions_at_once
            waiting::a_receive_times_out_not_before_its_deadline
            waiting::a_send_times_out_not_before_its_deadline
            waiting::a_message_ends_the_wait_for_it
            waiting::space_ends_the_wait_for_it
            ending::close_ends_the_wait_for_a_message
            ending::close_ends_the_wait_for_space
        }
    };
    // Transports that can lend memory to the sender.
    (loan, $then:path, $arguments:tt) => {
        $then! { $arguments
            loans::a_committed_loan_is_a_message
            loans::a_dropped_loan_publishes_nothing
            loans::commit_len_publishes_the_front
            loans::a_loan_keeps_to_the_longest_message
            loans::a_full_link_lends_nothing
        }
    };
    // Transports that can lend a message to the receiver.
    (peek, $then:path, $arguments:tt) => {
        $then! { $arguments
            peeking::a_lent_message_is_the_message
            peeking::take_lends_what_ready_found
            peeking::ready_waits_as_a_receive_does
        }
    };
    // Transports that an event loop can wait for.
    (pollable, $then:path, $arguments:tt) => {
        $then! { $arguments
            polling::a_message_wakes_an_armed_receiver
            polling::event_loops_carry_a_stream
            polling::arming_sees_what_is_already_there
            polling::an_idle_armed_half_is_quiet
            polling::space_wakes_an_armed_sender
            polling::close_wakes_an_armed_receiver
            polling::close_wakes_an_armed_sender
            polling::the_halves_have_different_descriptors
        }
    };
    // The same, across two processes.
    (pollable_death, $then:path, $arguments:tt) => {
        $then! { $arguments
            polling::death_wakes_an_armed_receiver
            polling::death_wakes_an_armed_sender
        }
    };
    // Every transport with addresses.
    (listening, $then:path, $arguments:tt) => {
        $then! { $arguments
            listening::a_client_and_its_listener_talk
            listening::a_hundred_clients_are_served_by_one_listener
            listening::nobody_listening_is_not_found
            listening::a_second_listener_is_refused
            listening::accept_waits_as_told
            listening::a_client_nobody_accepts_times_out
            listening::a_listener_that_leaves_tells_the_clients_it_has_not_let_in
            listening::a_dropped_listener_leaves_its_connections
            listening::a_listeners_files_are_private
            listening::a_wrong_option_is_a_bad_address
            listening::the_smaller_maximum_binds_both
            listening::a_broken_client_costs_only_itself
            listening::one_clients_end_is_its_own
        }
    };
    // The same, with other processes.
    (listening_processes, $then:path, $arguments:tt) => {
        $then! { $arguments
            listening::eight_processes_are_served_by_one_listener
            listening::a_listener_of_another_process_is_not_replaced
            listening::a_killed_listeners_address_is_taken_over
        }
    };
}
