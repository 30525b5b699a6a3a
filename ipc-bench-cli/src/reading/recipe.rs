//! How to use what a cell measured: its address with options, and five lines of Rust.

use ipc_results::Cell;
use ipc_results::html::Recipe;

/// The lines, with the address left open; `tests/recipe.rs` compiles and runs them.
const LINES: &str = r#"use ipc_transports::*;
let address = "ADDRESS".parse()?;
let mut server = listen(&address)?.accept(Wait::Forever)?;
let mut client = connect(&address, Wait::Forever)?;
client.tx.send(b"hello")?; server.rx.recv(&mut message)?;"#;

/// The recipe of a cell.
pub(crate) fn recipe(cell: &Cell) -> Recipe {
    let address = address(cell);
    let code = LINES.replace("ADDRESS", &address);
    Recipe { address, code }
}

/// The address that gives what the cell had, with the options that were asked for.
fn address(cell: &Cell) -> String {
    let place = if cell.transport == "tcp" { "127.0.0.1:7777" } else { "NAME" };
    let own = format!("{}.", cell.transport);
    // Dimensions of the id are what differs from the defaults: `shm/rtt/64/shm.capacity=1M/wait=spin`.
    let options: Vec<&str> = cell
        .id
        .split('/')
        .skip(3)
        .filter_map(|dimension| {
            dimension
                .strip_prefix(own.as_str())
                .or_else(|| dimension.starts_with("wait=").then_some(dimension))
        })
        .collect();
    let query = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    format!("{}:{place}{query}", cell.transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> String {
        let mut parts = id.split('/');
        let transport = parts.next().unwrap();
        let text = format!(
            r#"{{"id":"{id}","transport":"{transport}","mode":"rtt","size_bytes":64,"status":"ok"}}"#
        );
        address(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn an_address_has_the_options_of_its_cell() {
        assert_eq!(of("shm/rtt/64"), "shm:NAME");
        assert_eq!(of("tcp/rtt/64"), "tcp:127.0.0.1:7777");
        assert_eq!(of("shm/rtt/64/shm.capacity=1M/wait=spin"), "shm:NAME?capacity=1M&wait=spin");
    }
}
