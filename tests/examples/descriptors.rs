//! An open file handed to another process beside a message, and who that process is.
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

use ipc_transports::{Transport, Uds, UdsOptions, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut near, mut far) = Uds::pair(&UdsOptions::default())?;
    println!("the peer is user {:?}", far.peer.uid);

    let mut file = tempfile::tempfile()?;
    near.tx.send_fds(b"write your name into this file", &[file.as_fd()], Wait::Forever)?;

    let mut message = Vec::new();
    let mut received = far.rx.recv_fds(&mut message, Wait::Forever)?;
    println!("{} ({} descriptor)", String::from_utf8_lossy(&message), received.len());
    std::fs::File::from(received.remove(0)).write_all(b"far side")?;

    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    println!("{text}");
    Ok(())
}
