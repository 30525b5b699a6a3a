//! iceoryx2 0.10 publish–subscribe of byte slices, one service per direction, busy polling, no overflow (the sender
//! waits for room, as ours does). Messages are copied in and out here.

use std::io::IoSlice;

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Wait};
use send_wrapper::SendWrapper;

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

type Service = ipc::Service;

/// Messages a subscriber holds; with larger ones the shared memory would grow beyond reason.
const QUEUED: usize = 64;

pub struct Iceoryx2;

/// Its fastest service keeps to one thread, and so does a worker of the driver; the wrapper checks.
#[allow(clippy::type_complexity, reason = "the names are theirs")]
pub struct Tx(SendWrapper<(Publisher<Service, [u8], ()>, Node<Service>)>);
#[allow(clippy::type_complexity, reason = "the names are theirs")]
pub struct Rx(SendWrapper<(Subscriber<Service, [u8], ()>, Node<Service>)>);

crate::rival!(Iceoryx2, "iceoryx2", Tx, Rx);

fn sender(name: &str) -> Result<Tx, SetupError> {
    let node = NodeBuilder::new().create::<Service>().map_err(|error| failed("create node", error))?;
    let service = node
        .service_builder(&name.try_into().map_err(|_| failed("name", name))?)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(QUEUED)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .map_err(|error| failed("open service", error))?;
    let publisher = service
        .publisher_builder()
        .initial_max_slice_len(64)
        .allocation_strategy(AllocationStrategy::PowerOfTwo)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(|error| failed("create publisher", error))?;
    Ok(Tx(SendWrapper::new((publisher, node))))
}

fn receiver(name: &str) -> Result<Rx, SetupError> {
    let node = NodeBuilder::new().create::<Service>().map_err(|error| failed("create node", error))?;
    let service = node
        .service_builder(&name.try_into().map_err(|_| failed("name", name))?)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(QUEUED)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .map_err(|error| failed("open service", error))?;
    let subscriber =
        service.subscriber_builder().create().map_err(|error| failed("create subscriber", error))?;
    Ok(Rx(SendWrapper::new((subscriber, node))))
}

fn names(address: &Address) -> Result<[String; 2], SetupError> {
    let path = path(address)?;
    Ok(["up", "down"].map(|direction| format!("{}.{direction}", path.display())))
}

/// Both ports exist before the server says that it listens, so nothing the client sends is lost.
fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
    let [up, down] = names(at)?;
    let (rx, tx) = (receiver(&up)?, sender(&down)?);
    Ok((at.clone(), Box::new(move || Ok((tx, rx)))))
}

fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
    let [up, down] = names(to)?;
    Ok((sender(&up)?, receiver(&down)?))
}

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
        let sample = self.0.0.loan_slice_uninit(parts[0].len()).map_err(send_failed)?;
        sample.write_from_slice(&parts[0]).send().map(drop).map_err(send_failed)
    }

    fn max_message(&self) -> usize {
        crate::peer::CAPABILITIES.max_message
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl Receiver for Rx {
    fn recv_with(&mut self, buf: &mut Vec<u8>, _: Wait) -> Result<usize, RecvError> {
        loop {
            if let Some(sample) = self.0.0.receive().map_err(recv_failed)? {
                buf.clear();
                buf.extend_from_slice(sample.payload());
                return Ok(buf.len());
            }
            std::hint::spin_loop();
        }
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        one_by_one(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
