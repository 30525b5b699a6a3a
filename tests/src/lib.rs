//! The contract of a transport, as tests.
//!
//! A *sentence* ([`mod@contract`]) is one generic function that plays both sides of a dialogue. It runs with the two sides in
//! two threads and with the two sides in two processes; the second process is the program `peer`, which finds the
//! sentence by its name. Every transport gets all of them by its one line in [`for_each_transport`], which also says what
//! the transport can do beyond the required.

pub mod contract;

pub mod end;
pub mod peer;
pub mod place;
pub mod run;
pub mod table;
pub mod turn;
pub mod watchdog;

/// The transports under test: calls `$then!(module: type, "options"; capabilities)` for each.
#[macro_export]
macro_rules! for_each_transport {
    ($then:ident) => {
        $then!(uds: ipc_transports::Uds, ""; peek pollable);
        $then!(mq: ipc_transports::Mq, ""; peek pollable);
        $then!(mq_spin: ipc_transports::Mq, "wait=spin"; peek pollable);
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

            $crate::sentences!(always => dialogue_tests!($transport, $options));
            $($crate::sentences!($capability => dialogue_tests!($transport, $options));)*
            $crate::sentences!(death => death_tests!($transport, $options));
            $($crate::death_sentences!($capability => death_tests!($transport, $options));)*
            $crate::sentences!(listening => place_tests!($transport));
            $crate::sentences!(listening_processes => place_tests!($transport));
        }
    };
}

/// The sentences about death that go with a capability.
#[doc(hidden)]
#[macro_export]
macro_rules! death_sentences {
    (pollable => $then:ident!($($arguments:tt)*)) => {
        $crate::sentences!(pollable_death => $then!($($arguments)*));
    };
    ($other:ident => $then:ident!($($arguments:tt)*)) => {};
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
                Some(PEER),
                stringify!($sentence),
                $crate::contract::$group::$sentence::<$transport>,
            );
        }
    )* };
}
