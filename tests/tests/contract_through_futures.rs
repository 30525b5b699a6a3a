//! The contract through the async adapter, for every transport; the far side of two processes is the plain one.

ipc_tests::contract!(uds: ipc_tests::adapter::OverAsync<ipc_transports::Uds>, ""; peek half_close);
ipc_tests::contract!(uds_seqpacket: ipc_tests::adapter::OverAsync<ipc_transports::UdsSeqpacket>, ""; peek half_close);
ipc_tests::contract!(tcp: ipc_tests::adapter::OverAsync<ipc_transports::Tcp>, ""; peek);
ipc_tests::contract!(pipe: ipc_tests::adapter::OverAsync<ipc_transports::Pipe>, ""; peek half_close);
ipc_tests::contract!(shm: ipc_tests::adapter::OverAsync<ipc_transports::Shm>, ""; peek half_close);
ipc_tests::contract!(mq: ipc_tests::adapter::OverAsync<ipc_transports::Mq>, ""; peek half_close);
ipc_tests::contract!(shm_direct: ipc_tests::adapter::OverAsync<ipc_transports::ShmDirect>, ""; peek half_close);
