//! The contract, for every transport.

use ipc_tests::{contract, for_each_transport};

for_each_transport!(contract);
