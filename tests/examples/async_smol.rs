//! Async under smol's executor: our reactor has a thread of its own, the executor runs the tasks.
use ipc_async::ReactorThread;
use ipc_transports::{Shm, ShmOptions, Transport};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reactor = ReactorThread::start()?;
    let (near, far) = Shm::pair(&ShmOptions::default())?;
    let mut near = reactor.handle().attach(near);
    let mut far = reactor.handle().attach(far);

    let executor = async_executor::Executor::new();
    let echo = executor.spawn(async move {
        let mut message = Vec::new();
        while far.rx.recv(&mut message).await.is_ok() {
            message.reverse();
            far.tx.send(&message).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    futures_lite::future::block_on(executor.run(async {
        let mut reply = Vec::new();
        for word in ["stressed", "diaper"] {
            near.tx.send(word.as_bytes()).await?;
            near.rx.recv(&mut reply).await?;
            println!("{}", String::from_utf8_lossy(&reply));
        }
        drop(near);
        echo.await?;
        Ok(())
    }))
}
