//! One thread serves many clients: a wait set tells which of them have something to say.
use std::time::Duration;

use ipc_transports::message::Message;
use ipc_transports::rpc::{Client, MultiServer, Request};
use ipc_transports::{Transport, Uds, UdsOptions, Wait, WaitSet};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Add(u64);

impl Message for Add {
    const MESSAGE_TYPE: &'static str = "sum.add/1";
}

impl Request for Add {
    type Reply = u64;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: ipc_transports::Address = format!("uds:sum-{}", std::process::id()).parse()?;
    let listener = Uds::listen(&address, &UdsOptions::default())?;

    let clients: Vec<_> = (1..=20)
        .map(|number| {
            let address = address.clone();
            std::thread::spawn(move || {
                let server = Uds::connect(&address, &UdsOptions::default(), Wait::Forever)?;
                Client::<Add, _, _>::new(server).call(&Add(number)).map_err(std::io::Error::other)
            })
        })
        .collect();

    let mut server = MultiServer::new(listener, WaitSet::new()?);
    let mut sum = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let add = |Add(number)| {
            sum += number;
            sum
        };
        server.turn(add, Wait::within(Duration::from_millis(10)))?;
    }
    for client in clients {
        client.join().map_err(|_| "a client panicked")??;
    }
    println!("the sum is {sum}");
    Ok(())
}
