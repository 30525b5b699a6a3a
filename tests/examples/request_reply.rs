//! Request and reply over shared memory, with errors as values and a deadline.
use std::time::Duration;

use ipc_transports::message::Message;
use ipc_transports::rpc::{Client, Request, Server};
use ipc_transports::{Shm, ShmOptions, Transport};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Divide(i64, i64);

impl Message for Divide {
    const MESSAGE_TYPE: &'static str = "calculator.divide/1";
}

impl Request for Divide {
    type Reply = Result<i64, String>;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (near, far) = Shm::pair(&ShmOptions::default())?;
    let server = std::thread::spawn(|| {
        Server::new(far).serve(|Divide(a, b)| a.checked_div(b).ok_or_else(|| format!("{a} by {b}")))
    });

    let mut client = Client::<Divide, _, _>::new(near);
    println!("{:?}", client.call(&Divide(42, 6))?);
    println!("{:?}", client.call_timeout(&Divide(1, 0), Duration::from_secs(1))?);

    // Closing the connection ends the server.
    drop(client);
    server.join().map_err(|_| "the server panicked")??;
    Ok(())
}
