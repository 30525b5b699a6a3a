//! POSIX message queues: `mq:NAME`, `mq:/absolute/path`.
//!
//! Each side makes the queue it sends on, takes its name away and hands the receiving end over the control socket, so
//! nobody else can reach it and nothing is left behind. The kernel keeps the boundaries of messages, so the payload is
//! bare; the hello and the goodbyes go over the control socket.

mod halves;
mod name;
mod sys;

use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use ipc_core::hello::{Agreed, Hello};
use ipc_core::{
    Address, Capabilities, Connection, Fingerprint, Listener, OptionError, Options, Pair, PeerInfo,
    SetupError, SetupErrorKind, Transport, Wait, WaitPolicy,
};

use crate::control::{self, Control, ControlListener};
use crate::doorbell::pollable_listener;
use crate::errno::setup_error;
use crate::features::{Features, features, unsupported};
use crate::handshake::{Greeted, agreed_in_a_pair, own_hello};
use crate::stream::Attempts;
use halves::Link;
use name::Ends;
use sys::{Limits, Size};

pub use halves::{MqReceiver, MqSender};

const LAYOUT: u64 = Hello::layout_of("mq bare/1");

/// Where the hello's flags carry the priority of all messages of the speaker, five bits.
const FLAG_PRIORITY_SHIFT: u32 = 8;

/// The speaker takes and sends messages of every priority.
const FLAG_BY_PRIORITY: u32 = 1 << 13;

/// POSIX message queues. Of the kernel's mechanisms the one that keeps messages apart by itself and knows priorities;
/// few, shallow and short-messaged with the limits that systems come with: see [`MqOptions`].
///
/// ```no_run
/// use ipc_transports::{Mq, MqOptions, Receiver, Sender, Transport};
/// let (mut one, mut other) = Mq::pair(&MqOptions::default())?;
/// one.tx.send(b"hello")?;
/// let mut message = Vec::new();
/// other.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mq;

/// The order in which messages of one connection arrive.
///
/// ```
/// use ipc_transports::{Mq, MqOptions, Order, Transport, Wait};
/// for (order, may_overtake) in [(Order::Sent, false), (Order::Priority, true)] {
///     let (mut near, _far) = Mq::pair(&MqOptions { order: Some(order), ..Default::default() })?;
///     let sent = near.tx.send_with_priority(b"urgent", 9, Wait::Forever);
///     assert_eq!(sent.is_ok(), may_overtake);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As sent; every message of a direction has the same priority.
    #[default]
    Sent,
    /// By priority, then as sent: allows [`MqSender::send_with_priority`].
    Priority,
}

impl FromStr for Order {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sent" => Ok(Order::Sent),
            "priority" => Ok(Order::Priority),
            _ => Err("order is sent or priority"),
        }
    }
}

/// Options of [`Mq`]; `None` means the default.
///
/// Queues are counted against what one user may have: a queue takes `depth · (max_message + 96)` bytes of
/// `RLIMIT_MSGQUEUE` (819,200 unless raised), so with the defaults four connections of two queues each fit.
///
/// ```
/// use ipc_transports::{MqOptions, Mq, Transport};
/// let options = MqOptions { depth: Some(4), ..Default::default() };
/// let (near, _far) = Mq::pair(&options)?;
/// # let _ = &near;
/// println!("{:?}", near.effective);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MqOptions {
    /// Messages the queue this side sends on holds, `depth=`; default 10, or fewer where a queue would otherwise take
    /// more than an eighth of `RLIMIT_MSGQUEUE`. At most `/proc/sys/fs/mqueue/msg_max` (10 unless raised).
    pub depth: Option<usize>,
    /// Longest message in bytes, `max_message=`; default and maximum `/proc/sys/fs/mqueue/msgsize_max` (8192 unless
    /// raised). The smaller of both sides counts.
    pub max_message: Option<usize>,
    /// Priority of every message this side sends, `priority=`, `0..=31`; default 0.
    pub priority: Option<u32>,
    /// `order=sent` (default) or `priority`, which lets single messages overtake others; only if both sides ask for it.
    pub order: Option<Order>,
    /// `park` (default) or `spin`: attempts before a call sleeps, `wait=`. `adaptive` is `park` here.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// A further user whose processes may connect or be connected to, `allow_uid=`; default our own only.
    pub allow_uid: Option<u32>,
}

impl Options for MqOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "depth" => OptionError::fill(&mut self.depth, key, value),
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "priority" => OptionError::fill(&mut self.priority, key, value),
            "order" => OptionError::fill(&mut self.order, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "allow_uid" => OptionError::fill(&mut self.allow_uid, key, value),
            _ => Err(OptionError::unknown(
                key,
                &["depth", "max_message", "priority", "order", "wait", "fingerprint", "allow_uid"],
            )),
        }
    }
}

/// Options that are complete and within their ranges.
#[derive(Clone, Debug)]
struct Settings {
    size: Size,
    priority: u32,
    order: Order,
    spins: u32,
    fingerprint: u64,
    allowed_uids: Vec<u32>,
    features: &'static Features,
}

impl Settings {
    /// # Errors
    /// `BadAddress` for a value out of range, `Unsupported` where there are no message queues.
    fn new(options: &MqOptions, op: &'static str, target: &str) -> Result<Settings, SetupError> {
        let features = features(op)?;
        if !features.mq {
            return Err(unsupported(
                op,
                target,
                "needs the feature mq: a kernel with POSIX message queues (CONFIG_POSIX_MQUEUE)",
            ));
        }
        let refuse = |why: String| {
            Err(SetupError::new(SetupErrorKind::BadAddress, op, target)
                .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, why)))
        };
        if options.depth == Some(0) || options.max_message == Some(0) {
            return refuse("depth and max_message are at least 1".into());
        }
        let priority = options.priority.unwrap_or(0);
        if priority >= sys::PRIORITIES {
            return refuse(format!("priority={priority}: a priority is 0 to {}", sys::PRIORITIES - 1));
        }
        Ok(Settings {
            size: Limits::now().fit(options.depth, options.max_message),
            priority,
            order: options.order.unwrap_or_default(),
            spins: Attempts::under(options.wait, false).always,
            fingerprint: options.fingerprint.map_or(0, Fingerprint::number),
            allowed_uids: options.allow_uid.into_iter().collect(),
            features,
        })
    }

    fn hello(&self) -> Hello {
        let order = if self.order == Order::Priority { FLAG_BY_PRIORITY } else { 0 };
        let flags = self.priority << FLAG_PRIORITY_SHIFT | order;
        let fingerprint = self.fingerprint;
        Hello { fingerprint, ..own_hello(LAYOUT, self.size.max_message, 0, flags) }
    }

    /// Puts a connection together: we send on `send` and receive on `receive`, which `theirs` sends on.
    ///
    /// # Errors
    /// `Mismatch` when `receive` is not a queue as announced.
    fn connection(
        &self,
        send: OwnedFd,
        receive: OwnedFd,
        theirs: &Hello,
        agreed: Agreed,
        control: Control,
        peer: PeerInfo,
    ) -> Result<Connection<MqSender, MqReceiver>, SetupError> {
        const OP: &str = "use the queue from";
        let fail = |error| setup_error(OP, "the peer", error);
        let received = match sys::attributes(receive.as_fd()) {
            Ok(attributes) => attributes.size,
            Err(error) => {
                let told = format!("the peer's descriptor is no message queue: {error}");
                return Err(SetupError::new(SetupErrorKind::Denied, OP, "the peer")
                    .because(std::io::Error::new(std::io::ErrorKind::InvalidData, told)));
            }
        };
        if received.max_message as u64 > theirs.max_message {
            let (ours, theirs) = (theirs.max_message, received.max_message as u64);
            let kind = SetupErrorKind::Mismatch { what: "the announced and the real queue", ours, theirs };
            return Err(SetupError::new(kind, OP, "the peer"));
        }
        let depth = sys::attributes(send.as_fd()).map_err(fail)?.size.depth;
        let max_message = agreed.max_message as usize;
        let by_priority = self.order == Order::Priority && theirs.flags & FLAG_BY_PRIORITY != 0;
        let their_priority = theirs.flags >> FLAG_PRIORITY_SHIFT & (sys::PRIORITIES - 1);
        let control = Arc::new(control);
        let link = |queue| Link { queue, control: control.clone(), spins: self.spins };
        let tx = MqSender::new(link(send), max_message, self.priority, by_priority);
        let rx =
            MqReceiver::new(link(receive), received.max_message, (!by_priority).then_some(their_priority));
        let effective = vec![
            ("depth", depth as u64),
            ("peer_depth", received.depth as u64),
            ("max_message", agreed.max_message),
            ("priority", self.priority.into()),
        ];
        Ok(Connection::new(tx, rx, peer, effective))
    }
}

/// The one queue a hello must bring.
fn only_queue(greeted: &mut Greeted, op: &'static str, target: &str) -> Result<OwnedFd, SetupError> {
    let brought = greeted.fds.len() as u64;
    match greeted.fds.pop() {
        Some(queue) if brought == 1 => Ok(queue),
        _ => {
            let kind =
                SetupErrorKind::Mismatch { what: "descriptors in the hello", ours: 1, theirs: brought };
            Err(SetupError::new(kind, op, target))
        }
    }
}

/// Accepts [`Mq`] connections.
///
/// ```
/// use ipc_transports::{Listener, Mq, Receiver, Sender, Transport, Wait};
/// let at = format!("mq:doc-listener-{}", std::process::id()).parse()?;
/// let mut listener = Mq::listen(&at, &Default::default())?;
/// let client = std::thread::spawn(move || Mq::connect(&at, &Default::default(), Wait::Forever));
/// let mut served = listener.accept(Wait::Forever)?;
/// let mut client = client.join().expect("it does not panic")?;
/// client.tx.send(b"hello")?;
/// assert_eq!(served.rx.recv(&mut Vec::new())?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MqListener {
    control: ControlListener,
    settings: Settings,
}

impl Listener for MqListener {
    type Tx = MqSender;
    type Rx = MqReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Connection<MqSender, MqReceiver>, SetupError> {
        const OP: &str = "accept on";
        let target = self.control.address().to_string();
        let settings = &self.settings;
        loop {
            let (control, peer, made) = self.control.accept(
                wait,
                || settings.hello(),
                |_, mut greeted, agreed| {
                    let receive = only_queue(&mut greeted, OP, &target)?;
                    let size = Size { max_message: agreed.max_message as usize, ..settings.size };
                    let Ends { send, receive: for_peer } = name::anonymous(size)?;
                    Ok((vec![for_peer], (send, receive, greeted.hello, agreed)))
                },
            )?;
            let (send, receive, theirs, agreed) = made;
            // A client whose descriptor is not what it said costs that client only.
            if let Ok(connection) = settings.connection(send, receive, &theirs, agreed, control, peer) {
                return Ok(connection);
            }
        }
    }

    fn address(&self) -> &Address {
        self.control.address()
    }
}

pollable_listener!(MqListener: control);

impl Transport for Mq {
    const NAME: &'static str = "mq";
    type Options = MqOptions;
    type Tx = MqSender;
    type Rx = MqReceiver;
    type Listener = MqListener;

    fn listen(at: &Address, options: &MqOptions) -> Result<MqListener, SetupError> {
        let settings = Settings::new(&options.resolved(at)?, "listen on", &at.to_string())?;
        let control = ControlListener::bind(at, &settings.allowed_uids, settings.features)?;
        Ok(MqListener { control, settings })
    }

    fn connect(
        to: &Address,
        options: &MqOptions,
        wait: Wait,
    ) -> Result<Connection<MqSender, MqReceiver>, SetupError> {
        const OP: &str = "connect to";
        let target = to.to_string();
        let settings = Settings::new(&options.resolved(to)?, OP, &target)?;
        let Ends { send, receive: for_peer } = name::anonymous(settings.size)?;
        let hello = settings.hello();
        let fds = [for_peer.as_fd()];
        let (control, mut greeted, agreed) =
            control::connect(to, &settings.allowed_uids, settings.features, &hello, &fds, wait)?;
        let receive = only_queue(&mut greeted, OP, &target)?;
        settings.connection(send, receive, &greeted.hello, agreed, control, greeted.peer)
    }

    fn pair(options: &MqOptions) -> Result<Pair<Mq>, SetupError> {
        const OP: &str = "pair";
        const TARGET: &str = "of message queues";
        let settings = Settings::new(options, OP, TARGET)?;
        let (one, other, peer) = control::pair(settings.features)?;
        let there = name::anonymous(settings.size)?;
        let back = name::anonymous(settings.size)?;
        let hello = settings.hello();
        let agreed = agreed_in_a_pair(&hello);
        let end = |send, receive, control| settings.connection(send, receive, &hello, agreed, control, peer);
        Ok((end(there.send, back.receive, one)?, end(back.send, there.receive, other)?))
    }

    fn capabilities() -> Capabilities {
        let limits = Limits::now();
        capabilities_of(limits.fit(None, None), &limits)
    }

    fn capabilities_with(options: &MqOptions) -> Result<Capabilities, SetupError> {
        let settings = Settings::new(options, "use", "mq")?;
        Ok(capabilities_of(settings.size, &Limits::now()))
    }
}

fn capabilities_of(size: Size, limits: &Limits) -> Capabilities {
    let queues = (limits.budget_bytes / size.budget_bytes().max(1)).min(limits.queues_max);
    Capabilities {
        max_clients: Some(usize::try_from(queues / 2).unwrap_or(usize::MAX)),
        max_message: size.max_message,
        loan: false,
        peek: true,
        pollable: true,
        priorities: sys::PRIORITIES,
    }
}
