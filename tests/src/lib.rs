//! The contract of a transport, as tests.
//!
//! A *sentence* ([`mod@contract`]) is one generic function that plays both sides of a dialogue. It runs with the two sides in
//! two threads and with the two sides in two processes; the second process is the program `peer`, which finds the
//! sentence by its name. Every transport gets all of them by its one line in [`for_each_transport`], which also says what
//! the transport can do beyond the required. The suite is itself tested on a scripted in-memory transport ([`double`])
//! that can be told to break each sentence.

pub mod adapter;
pub mod alone;
pub mod broadcast;
pub mod chaos;
pub mod contract;
#[cfg(doctest)]
mod cookbook;
pub mod double;
pub mod end;
pub mod fork;
pub mod peer;
pub mod place;
pub mod queue;
pub mod run;
pub mod stepper;
pub mod table;
pub mod traces;
pub mod turn;
pub mod watchdog;

/// The transports under test: calls `$then!(module: type, "options"; capabilities)` for each.
#[macro_export]
macro_rules! for_each_transport {
    ($then:ident) => {
        $then!(uds: ipc_transports::Uds, ""; peek pollable half_close);
        $then!(uds_with_checksums: ipc_transports::Uds, "check=crc"; peek pollable half_close);
        $then!(uds_seqpacket: ipc_transports::UdsSeqpacket, ""; peek pollable half_close);
        $then!(tcp: ipc_transports::Tcp, ""; peek pollable);
        $then!(pipe: ipc_transports::Pipe, ""; peek pollable half_close);
        $then!(shm: ipc_transports::Shm, ""; loan peek pollable half_close);
        $then!(shm_that_parks: ipc_transports::Shm, "wait=park"; loan peek pollable half_close);
        $then!(shm_direct: ipc_transports::ShmDirect, ""; peek pollable half_close);
        $then!(shm_direct_that_parks: ipc_transports::ShmDirect, "wait=park"; peek pollable half_close);
        $then!(mq: ipc_transports::Mq, ""; peek pollable half_close);
    };
}

/// All tests of one transport, as a module of its name. Needs the program `peer` of this package.
#[macro_export]
macro_rules! contract {
    ($module:ident: $transport:ty, $options:literal; $($capability:ident)*) => {
        mod $module {
            const PEER: &str = env!("CARGO_BIN_EXE_peer");

            #[test]
            fn the_line_of_this_transport_names_what_it_can_do() {
                $crate::run::capabilities::<$transport>(&[$(stringify!($capability)),*]);
            }

            $crate::sentences!(always, $crate::dialogue_tests, ($transport, $options));
            $($crate::sentences!($capability, $crate::dialogue_tests, ($transport, $options));)*
            $crate::sentences!(death, $crate::death_tests, ($transport, $options));
            $($crate::death_sentences!($capability, $crate::death_tests, ($transport, $options));)*

            mod listener {
                const PEER: Option<&str> = Some(super::PEER);

                $crate::sentences!(listening, $crate::place_tests, ($transport));
                $crate::sentences!(listening_processes, $crate::place_tests, ($transport));
            }
        }
    };
}

/// The tests of a transport that does not leave its process.
#[macro_export]
macro_rules! contract_in_one_process {
    ($module:ident: $transport:ty; $($capability:ident)*) => {
        mod $module {
            #[test]
            fn the_line_of_this_transport_names_what_it_can_do() {
                $crate::run::capabilities::<$transport>(&[$(stringify!($capability)),*]);
            }

            $crate::sentences!(always, $crate::in_one_tests, ($transport));
            $($crate::sentences!($capability, $crate::in_one_tests, ($transport));)*
        }
    };
}

/// The sentences about death that go with a capability.
#[doc(hidden)]
#[macro_export]
macro_rules! death_sentences {
    (pollable, $then:path, $arguments:tt) => {
        $crate::sentences!(pollable_death, $then, $arguments);
    };
    ($other:ident, $then:path, $arguments:tt) => {};
}

/// One test per sentence and arrangement.
#[doc(hidden)]
#[macro_export]
macro_rules! dialogue_tests {
    (($transport:ty, $options:literal) $($group:ident::$sentence:ident)*) => { $(
        mod $sentence {
            use $crate::run::{Ends, across_two_processes, in_one_process};

            #[test]
            fn in_one() {
                in_one_process::<$transport>(
                    concat!(stringify!($group), "::", stringify!($sentence)),
                    $options,
                    $crate::contract::$group::$sentence::<$transport>,
                );
            }

            #[test]
            fn across_two() {
                across_two_processes::<$transport>(
                    super::PEER,
                    concat!(stringify!($group), "::", stringify!($sentence)),
                    $options,
                    Ends::ByItself,
                    $crate::contract::$group::$sentence::<$transport>,
                );
            }
        }
    )* };
}

/// One test per sentence, with the two sides in two threads.
#[doc(hidden)]
#[macro_export]
macro_rules! in_one_tests {
    (($transport:ty) $($group:ident::$sentence:ident)*) => { $(
        #[test]
        fn $sentence() {
            $crate::run::in_one_process::<$transport>(
                stringify!($sentence), "", $crate::contract::$group::$sentence::<$transport>,
            );
        }
    )* };
}

/// One test per sentence, with the two sides in two processes.
#[doc(hidden)]
#[macro_export]
macro_rules! across_two_tests {
    (($transport:ty, $options:literal) $($group:ident::$sentence:ident)*) => { $(
        #[test]
        fn $sentence() {
            $crate::run::across_two_processes::<$transport>(
                PEER,
                concat!(stringify!($group), "::", stringify!($sentence)),
                $options,
                $crate::run::Ends::ByItself,
                $crate::contract::$group::$sentence::<$transport>,
            );
        }
    )* };
}

/// One test per sentence, across two processes, of which one is killed.
#[doc(hidden)]
#[macro_export]
macro_rules! death_tests {
    (($transport:ty, $options:literal) $($group:ident::$sentence:ident)*) => { $(
        #[test]
        fn $sentence() {
            $crate::run::across_two_processes::<$transport>(
                PEER,
                concat!(stringify!($group), "::", stringify!($sentence)),
                $options,
                $crate::run::Ends::Killed,
                $crate::contract::$group::$sentence::<$transport>,
            );
        }
    )* };
}

/// One test per sentence about listeners.
#[doc(hidden)]
#[macro_export]
macro_rules! place_tests {
    (($transport:ty) $($group:ident::$sentence:ident)*) => { $(
        #[test]
        fn $sentence() {
            $crate::run::at_a_place::<$transport>(
                PEER,
                stringify!($sentence),
                $crate::contract::$group::$sentence::<$transport>,
            );
        }
    )* };
}
