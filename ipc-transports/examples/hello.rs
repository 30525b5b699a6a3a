//! Two processes, one message. The address decides the mechanism: try `shm:…`, `pipe:…`, `mq:…`, `tcp:127.0.0.1:0`.
use ipc_transports::{Listener, Receiver, Sender, Wait, connect, listen};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(address) = std::env::args().nth(1) {
        let mut connection = connect(&address.parse()?, Wait::Forever)?;
        connection.tx.send(b"hello from the other process")?;
        return Ok(());
    }
    let mut listener = listen(&format!("uds:hello-{}", std::process::id()).parse()?)?;
    let address = listener.address().to_string();
    let mut child = std::process::Command::new(std::env::current_exe()?).arg(address).spawn()?;
    let mut connection = listener.accept(Wait::Forever)?;
    let mut message = Vec::new();
    connection.rx.recv(&mut message)?;
    println!("{}", String::from_utf8_lossy(&message));
    child.wait()?;
    Ok(())
}
