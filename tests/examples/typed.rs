//! A channel of values. Both programs state the same fingerprint, so that others are refused at the hello.
use ipc_transports::typed::{TypedReceiver, TypedSender};
use ipc_transports::{Fingerprint, Transport, Uds, UdsOptions, Wait};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Opened { file: String },
    Progress(f32),
    Thumbnail { width: u16 },
}

const EVENTS: Fingerprint = Fingerprint::of(&["viewer.event/1"]);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = UdsOptions { fingerprint: Some(EVENTS), ..UdsOptions::default() };
    let (near, far) = Uds::pair(&options)?;
    let mut tx = TypedSender::<Event, _>::new(near.tx);
    let mut rx = TypedReceiver::<Event, _>::new(far.rx);

    tx.send(&Event::Opened { file: "cat.png".into() })?;
    tx.send(&Event::Progress(0.5))?;
    // Large bytes go beside the value, neither encoded nor copied.
    tx.send_with_bytes(&Event::Thumbnail { width: 64 }, &[0x55; 64 * 64], Wait::Forever)?;

    println!("{:?}", rx.recv()?);
    println!("{:?}", rx.recv()?);
    let (event, pixels) = rx.recv_with_bytes(Wait::Forever)?;
    println!("{event:?} with {} bytes", pixels.len());
    Ok(())
}
