//! One message to many processes, copied once: a writer, and readers that start this program again.
use ipc_transports::broadcast::{BroadcastOptions, Reader, Writer};
use ipc_transports::{Address, Receiver, RecvError, Sender, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = BroadcastOptions::default();
    if let Some(address) = std::env::args().nth(1) {
        return read(&address.parse()?, &options);
    }
    let mut writer = Writer::listen(&format!("broadcast:news-{}", std::process::id()).parse()?, &options)?;
    let address = writer.address().map(ToString::to_string).unwrap_or_default();
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(std::process::Command::new(std::env::current_exe()?).arg(&address).spawn()?);
        writer.accept(Wait::Forever)?;
    }
    for headline in ["rain", "more rain", "sun"] {
        writer.send(headline.as_bytes())?;
    }
    // The readers see the close after the last message and end.
    drop(writer);
    for child in &mut children {
        child.wait()?;
    }
    println!("three readers, three headlines each");
    Ok(())
}

fn read(address: &Address, options: &BroadcastOptions) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = Reader::connect(address, options, Wait::Forever)?;
    let (mut headline, mut read) = (Vec::new(), 0);
    loop {
        match reader.recv(&mut headline) {
            Ok(_) => read += 1,
            Err(RecvError::Closed) if read == 3 => return Ok(()),
            Err(error) => return Err(format!("after {read} headlines: {error}").into()),
        }
    }
}
