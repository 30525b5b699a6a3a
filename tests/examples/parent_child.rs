//! A parent and the child it starts, over the child's standard input and output.
use ipc_transports::{Pipe, PipeOptions, Receiver, RecvError, Sender, Transport, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = PipeOptions::default();
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child(&options);
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let (mut child, mut connection) = Pipe::spawn(command.arg("child"), &options, Wait::Forever)?;
    let mut reply = Vec::new();
    for word in ["pipes", "are", "enough"] {
        connection.tx.send(word.as_bytes())?;
        connection.rx.recv(&mut reply)?;
        println!("{}", String::from_utf8_lossy(&reply));
    }
    // The child sees the close and ends.
    drop(connection);
    child.wait()?;
    Ok(())
}

fn child(options: &PipeOptions) -> Result<(), Box<dyn std::error::Error>> {
    let mut parent = Pipe::connect(&"pipe:".parse()?, options, Wait::Forever)?;
    let mut word = Vec::new();
    loop {
        match parent.rx.recv(&mut word) {
            Ok(_) => parent.tx.send(&word.to_ascii_uppercase())?,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
