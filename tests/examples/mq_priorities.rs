//! POSIX message queues whose messages may overtake each other by priority.
use ipc_transports::{Mq, MqOptions, Order, Receiver, Transport, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Out of order on purpose, and only because both sides ask for it.
    let options = MqOptions { order: Some(Order::Priority), depth: Some(4), ..MqOptions::default() };
    let (mut near, mut far) = Mq::pair(&options)?;

    for (text, priority) in [("sweep the floor", 0), ("answer the door", 5), ("put out the fire", 31)] {
        near.tx.send_with_priority(text.as_bytes(), priority, Wait::Forever)?;
    }
    let mut message = Vec::new();
    for _ in 0..3 {
        far.rx.recv(&mut message)?;
        println!("{}", String::from_utf8_lossy(&message));
    }
    Ok(())
}
