//! The lines that a report prints below each answer, as a program.

mod common;

use std::error::Error;
use std::thread;

use common::{Place, stdout};

/// The lines themselves, but for the two processes, which are two threads here.
fn lines(place: &str) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let mut message = Vec::new();
    let text = format!("uds:{place}");
    use ipc_transports::*;
    let address = text.parse()?;
    let mut listener = listen(&address)?;
    thread::scope(|scope| {
        let client = scope.spawn(|| -> Result<(), Box<dyn Error + Send + Sync>> {
            let mut client = connect(&address, Wait::Forever)?;
            client.tx.send(b"hello")?;
            Ok(())
        });
        let mut server = listener.accept(Wait::Forever)?;
        server.rx.recv(&mut message)?;
        client.join().map_err(|_| "the client panicked")??;
        Ok(message)
    })
}

#[test]
fn the_lines_below_an_answer_are_those_of_a_program_that_works() {
    let place = Place::new();
    assert_eq!(lines(&place.path().join("socket").display().to_string()).unwrap(), b"hello");
    place.measure("-t uds -s 64 --mode rtt --trials 1 -n 100 --quiet");
    let page = place.run("report last --format html");
    for line in [
        "use ipc_transports::*;",
        "connect(&amp;address, Wait::Forever)?;",
        "listen(&amp;address)?.accept(Wait::Forever)?;",
        "client.tx.send(b&quot;hello&quot;)?; server.rx.recv(&amp;mut message)?;",
    ] {
        assert!(stdout(&page).contains(line), "{line}");
    }
}
