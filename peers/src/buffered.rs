//! Ours behind [`BufSender`], for peers that gather small messages by themselves: `uds` and `tcp`, one call of `send` per
//! message, which goes when 64 KiB are together. One way only: nobody flushes after each message of a round trip.

use ipc_core::{Address, BufSender, Listener, SetupError, Target, Transport, Wait};
use ipc_transports::{Tcp, Uds};

use crate::peer::{Accept, failed, path};

type Halves<T> = (BufSender<<T as Transport>::Tx>, <T as Transport>::Rx);

fn accepting<T: Transport>(mut listener: T::Listener) -> Accept<BufSender<T::Tx>, T::Rx>
where
    T::Listener: 'static,
{
    Box::new(move || {
        let accepted = listener.accept(Wait::Forever)?;
        Ok((BufSender::new(accepted.tx), accepted.rx))
    })
}

fn connected<T: Transport>(to: &Address) -> Result<Halves<T>, SetupError> {
    let connection = T::connect(to, &T::Options::default(), Wait::Forever)?;
    Ok((BufSender::new(connection.tx), connection.rx))
}

mod uds {
    use super::*;
    use ipc_transports::{UdsReceiver, UdsSender};

    pub struct BufferedUds;

    crate::rival!(BufferedUds, "uds-buffered", BufSender<UdsSender>, UdsReceiver);

    fn listen(at: &Address) -> Result<(Address, Accept<BufSender<UdsSender>, UdsReceiver>), SetupError> {
        let listener = Uds::listen(&uds(at)?, &Default::default())?;
        Ok((at.clone(), accepting::<Uds>(listener)))
    }

    fn connect(to: &Address) -> Result<Halves<Uds>, SetupError> {
        connected::<Uds>(&uds(to)?)
    }

    fn uds(address: &Address) -> Result<Address, SetupError> {
        let named = format!("uds:{}", path(address)?.display());
        named.parse().map_err(|error| failed("name", error))
    }
}

mod tcp {
    use super::*;
    use ipc_transports::{TcpReceiver, TcpSender};

    pub struct BufferedTcp;

    crate::rival!(BufferedTcp, "tcp-buffered", BufSender<TcpSender>, TcpReceiver);

    /// The driver gives a path: the port that the system chose is left there.
    fn listen(at: &Address) -> Result<(Address, Accept<BufSender<TcpSender>, TcpReceiver>), SetupError> {
        let any = "tcp:127.0.0.1:0".parse().map_err(|error| failed("name", error))?;
        let listener = Tcp::listen(&any, &Default::default())?;
        let Target::Inet(bound) = listener.address().target() else {
            return Err(failed("listen", "tcp at no port"));
        };
        std::fs::write(path(at)?, bound.to_string()).map_err(|error| failed("listen", error))?;
        Ok((at.clone(), accepting::<Tcp>(listener)))
    }

    fn connect(to: &Address) -> Result<Halves<Tcp>, SetupError> {
        let bound = std::fs::read_to_string(path(to)?).map_err(|error| failed("connect", error))?;
        let to = format!("tcp:{bound}").parse().map_err(|error| failed("name", error))?;
        connected::<Tcp>(&to)
    }
}

pub use tcp::BufferedTcp;
pub use uds::BufferedUds;
