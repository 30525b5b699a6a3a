//! The contract, for every transport.

use ipc_tests::{contract, contract_in_one_process, for_each_transport};

for_each_transport!(contract);

// The same ring in other pages, mapped elsewhere.
contract!(shm_in_huge_pages: ipc_transports::Shm, "hugepages=true"; loan peek pollable half_close);

// Its listeners and clients are threads; a client need not wait for `accept`, and both ends get the listener's options.
contract_in_one_process!(inproc: ipc_transports::InProc; loan peek pollable half_close);

/// The policy that never sleeps, which every mechanism has: it must still time out, see an end and see a death.
mod spinning {
    macro_rules! spinning_tests {
        ($module:ident: $transport:ty, ""; $($capability:ident)*) => {
            mod $module {
                const PEER: &str = env!("CARGO_BIN_EXE_peer");

                ipc_tests::sentences!(spinning, ipc_tests::across_two_tests, ($transport, "wait=spin"));
                ipc_tests::sentences!(death, ipc_tests::death_tests, ($transport, "wait=spin"));
            }
        };
        ($($with_options:tt)*) => {};
    }
    ipc_tests::for_each_transport!(spinning_tests);
}
