//! Named sets of settings.

/// One preset: the values it gives to settings that nobody else sets.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Setting and value, as on the command line.
    pub(crate) values: &'static [(&'static str, &'static str)],
}

/// Used when none is named.
pub(crate) const DEFAULT: &str = "quick";

pub(crate) const ALL: &[Preset] = &[
    Preset {
        name: "quick",
        about: "every transport at three sizes, round trips and throughput, in about a minute",
        values: &[
            ("transport", "all"),
            ("size", "64,4K,64K"),
            ("mode", "rtt,stream"),
            ("trials", "5"),
            ("duration", "200ms"),
            ("warmup", "50ms"),
        ],
    },
    Preset {
        name: "latency",
        about: "round trips of small messages, long enough for p99.9",
        values: &[
            ("transport", "all"),
            ("size", "64,256,512,1K,4K"),
            ("mode", "rtt"),
            ("trials", "7"),
            ("duration", "1s"),
        ],
    },
    Preset {
        name: "throughput",
        about: "streams from 64 bytes to 16 MiB",
        values: &[
            ("transport", "all"),
            ("size", "64,512,4K,64K,1M,16M"),
            ("mode", "stream"),
            ("batch", "1,32"),
            ("trials", "7"),
            ("duration", "500ms"),
        ],
    },
    Preset {
        name: "load",
        about: "open loop from 10 % to 90 % of what each transport carries, with the knee of every curve",
        values: &[
            ("transport", "all"),
            ("size", "64,4K"),
            ("mode", "load"),
            ("rate", "10%..95%+10%"),
            ("trials", "5"),
            ("duration", "300ms"),
            ("warmup", "50ms"),
        ],
    },
    Preset {
        name: "periodic",
        about: "messages at 100 Hz and 1 kHz between sides that sleep, as in a control loop",
        values: &[
            ("transport", "all"),
            ("size", "64,1K"),
            ("mode", "load"),
            ("rate", "100Hz,1kHz"),
            ("wait", "park"),
            ("trials", "5"),
            ("duration", "2s"),
            ("warmup", "100ms"),
        ],
    },
    Preset {
        name: "load-noload",
        about: "round trips on a quiet machine and beside two computing processes, with the ratio",
        values: &[
            ("transport", "all"),
            ("size", "64,4K"),
            ("mode", "rtt"),
            ("background", "none,cpu:2"),
            ("trials", "7"),
            ("duration", "300ms"),
        ],
    },
    Preset {
        name: "seeds",
        about: "what the systems that came before printed: small and large messages, and patterns of 10 and 50 processes",
        values: &[
            ("transport", "all"),
            ("size", "64,256,512,1K,4K,1M"),
            ("mode", "rtt,oneway,stream,fan-out,fan-in,pipeline,broadcast,mesh"),
            ("peers", "10,50"),
            ("trials", "5"),
            ("duration", "200ms"),
            ("warmup", "50ms"),
        ],
    },
    Preset {
        name: "container",
        about: "what crosses the border of a container by a shared directory or a port; its plan shows the command lines",
        values: &[
            ("transport", "uds,shm,shm-direct,tcp"),
            ("size", "64,4K,64K"),
            ("mode", "rtt,stream"),
            ("trials", "5"),
            ("duration", "200ms"),
            ("warmup", "50ms"),
        ],
    },
    #[cfg(feature = "codecs")]
    Preset {
        name: "codec",
        about: "every codec with every document, alone and over two transports",
        values: &[
            ("transport", "uds,shm"),
            ("mode", "codec"),
            ("trials", "5"),
            ("duration", "200ms"),
            ("warmup", "1ms"),
        ],
    },
    Preset {
        name: "ci",
        about: "enough trials for a gate, in about five minutes",
        values: &[
            ("transport", "all"),
            ("size", "64,4K,64K"),
            ("mode", "rtt,stream"),
            ("trials", "7"),
            ("duration", "500ms"),
            ("time-budget", "6m"),
        ],
    },
    Preset {
        name: "full",
        about: "every size from 64 bytes to 1 MiB, round trips and throughput",
        values: &[
            ("transport", "all"),
            ("size", "64..1M*4"),
            ("mode", "rtt,stream"),
            ("trials", "9"),
            ("duration", "1s"),
        ],
    },
    Preset {
        name: "soak",
        about: "one long trial per transport and mode",
        values: &[
            ("transport", "all"),
            ("size", "1K"),
            ("mode", "rtt,stream"),
            ("trials", "1"),
            ("duration", "3m"),
        ],
    },
];

/// What to type for a server in one container and its client in another; docker takes the same words.
pub(crate) const CONTAINERS: &str = "\
podman build -t ipc-bench .
podman run -d --rm --name ipc-server --ipc=private -v ipc-run:/run/ipc ipc-bench server uds:/run/ipc/uds.sock shm:/run/ipc/shm.sock mq:/run/ipc/mq.sock
podman run --rm --ipc=private -v ipc-run:/run/ipc ipc-bench client shm:/run/ipc/shm.sock -p container
podman run --rm --ipc=private -v ipc-run:/run/ipc ipc-bench client mq:/run/ipc/mq.sock --mode rtt -s 64
podman stop ipc-server && podman volume rm ipc-run
";

pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}
