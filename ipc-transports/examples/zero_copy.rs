//! A megabyte that is written once, into shared memory, and read there by the other process.
#![allow(unsafe_code, reason = "lending in place is a promise about the peer that only the caller can make")]
use ipc_transports::{Listener, Loan, LoanSender, PeekReceiver, Shm, ShmOptions, Transport, Trust, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: both ends run this program, which never touches a message after sending it.
    let trust = unsafe { Trust::peer() };
    let options = ShmOptions { capacity: Some(4 << 20), trust, ..ShmOptions::default() };
    if let Some(address) = std::env::args().nth(1) {
        let mut connection = Shm::connect(&address.parse()?, &options, Wait::Forever)?;
        let mut image = connection.tx.loan(1 << 20, Wait::Forever)?; // space in the ring itself
        image.fill(7);
        image.commit()?;
        return Ok(());
    }
    let mut listener = Shm::listen(&format!("shm:image-{}", std::process::id()).parse()?, &options)?;
    let address = listener.address().to_string();
    let mut child = std::process::Command::new(std::env::current_exe()?).arg(address).spawn()?;
    let mut connection = listener.accept(Wait::Forever)?;
    let image = connection.rx.recv_ref(Wait::Forever)?; // lent where it lies; freed when dropped
    println!("{} bytes, all sevens: {}", image.len(), image.iter().all(|byte| *byte == 7));
    child.wait()?;
    Ok(())
}
