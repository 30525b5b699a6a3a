//! Aeron IPC (the C media driver and client, through rusteron): exclusive publications, polling in batches of ten
//! fragments, fragments reassembled, as in its own ping-pong and throughput samples. Clients busy-poll; the driver's
//! agents share one sleeping thread inside the server, because a busy one would need a third core.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Target, Wait};
use rusteron_client::*;
use rusteron_media_driver::testing::EmbeddedDriver;
use send_wrapper::SendWrapper;

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

const UP: i32 = 1001;
const DOWN: i32 = 1002;
const FRAGMENTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(10);

pub struct AeronIpc;

/// Its handles keep to one thread, and so does a worker of the driver; the wrapper checks. The media driver stops with
/// the last half.
pub struct Tx(SendWrapper<(AeronExclusivePublication, Option<Rc<EmbeddedDriver>>)>);

pub struct Rx(SendWrapper<Polled>);

pub struct Polled {
    subscription: AeronSubscription,
    assembler: Handler<AeronFragmentAssembler>,
    inbox: Rc<RefCell<Inbox>>,
    _driver: Option<Rc<EmbeddedDriver>>,
}

/// Messages of one poll, back to back.
#[derive(Default)]
struct Inbox {
    bytes: Vec<u8>,
    lens: VecDeque<usize>,
    read: usize,
}

impl Inbox {
    fn pop(&mut self, buf: &mut Vec<u8>) -> Option<usize> {
        let len = self.lens.pop_front()?;
        buf.clear();
        buf.extend_from_slice(&self.bytes[self.read..self.read + len]);
        self.read += len;
        if self.lens.is_empty() {
            self.bytes.clear();
            self.read = 0;
        }
        Some(len)
    }
}

struct OnMessage(Rc<RefCell<Inbox>>);

impl AeronFragmentHandlerCallback for OnMessage {
    fn handle_aeron_fragment_handler(&mut self, message: &[u8], _: AeronHeader) {
        let mut inbox = self.0.borrow_mut();
        inbox.bytes.extend_from_slice(message);
        inbox.lens.push_back(message.len());
    }
}

crate::rival!(AeronIpc, "aeron", Tx, Rx);

fn ends(
    dir: &str,
    publish: i32,
    subscribe: i32,
    driver: Option<Rc<EmbeddedDriver>>,
) -> Result<(Tx, Rx), SetupError> {
    let fail = |error| failed("use aeron", format!("{error:?}"));
    let context = AeronContext::new().map_err(fail)?;
    context.set_dir(&cformat!("{dir}")).map_err(fail)?;
    let aeron = Aeron::new(&context).map_err(fail)?;
    aeron.start().map_err(fail)?;
    let publication = aeron
        .async_add_exclusive_publication(AERON_IPC_STREAM, publish)
        .and_then(|adding| adding.poll_blocking(PATIENCE))
        .map_err(fail)?;
    let subscription = aeron
        .async_add_subscription(AERON_IPC_STREAM, subscribe, Handlers::NONE, Handlers::NONE)
        .and_then(|adding| adding.poll_blocking(PATIENCE))
        .map_err(fail)?;
    let inbox = Rc::new(RefCell::new(Inbox::default()));
    let (assembler, _) = Handler::with_fragment_assembler(OnMessage(inbox.clone())).map_err(fail)?;
    Ok((
        Tx(SendWrapper::new((publication, driver.clone()))),
        Rx(SendWrapper::new(Polled { subscription, assembler, inbox, _driver: driver })),
    ))
}

/// Its rendezvous is a directory of the driver's choice, which the driver of the trial hands to the client.
fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
    let driver = EmbeddedDriver::launch_with(|context| {
        context.set_threading_mode(
            rusteron_media_driver::bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED,
        )?;
        context.set_shared_idle_strategy(c"sleep-ns")?;
        Ok(())
    })
    .map_err(|error| failed("start the aeron driver", format!("{error:?}")))?;
    let dir = driver.dir().to_owned();
    let address = at.with_target(Target::Path(dir.clone().into()));
    let driver = SendWrapper::new(Rc::new(driver));
    Ok((address, Box::new(move || ends(&dir, DOWN, UP, Some(driver.take())))))
}

fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
    ends(&path(to)?.to_string_lossy(), UP, DOWN, None)
}

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
        loop {
            match self.0.0.offer(&parts[0]) {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() => std::hint::spin_loop(),
                Err(error) => return Err(send_failed(error)),
            }
        }
    }

    fn max_message(&self) -> usize {
        8 << 20
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl Receiver for Rx {
    fn recv_with(&mut self, buf: &mut Vec<u8>, _: Wait) -> Result<usize, RecvError> {
        let polled = &*self.0;
        loop {
            if let Some(len) = polled.inbox.borrow_mut().pop(buf) {
                return Ok(len);
            }
            let fragments =
                polled.subscription.poll(Some(&polled.assembler), FRAGMENTS).map_err(recv_failed)?;
            if fragments == 0 {
                std::hint::spin_loop();
            }
        }
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        one_by_one(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
