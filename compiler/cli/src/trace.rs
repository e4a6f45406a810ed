//! What a command says of its work on standard error: what `-v` and `RUST_LOG` ask for, and else nothing.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::uptime;

use super::failure::warn;

/// Listens to what `RUST_LOG` names and, `verbose` times `-v`, to more and more of all of Trine.
pub fn start(verbose: u8) {
    let named = std::env::var("RUST_LOG").unwrap_or_default();
    let ours = match verbose {
        0 if named.trim().is_empty() => return,
        0 => "",
        1 => "trine=info,",
        2 => "trine=debug,",
        _ => "trine=trace,",
    };
    let directives = format!("{ours}{named}");
    let parsed = EnvFilter::builder().parse(directives.trim_end_matches(','));
    let filter = parsed.unwrap_or_else(|error| {
        let named = named.escape_debug();
        warn(format!("RUST_LOG is `{named}`, and `RUST_LOG=trine=debug` would name what to say: {error}"));
        EnvFilter::new(ours.trim_end_matches(','))
    });
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_timer(uptime());
    // Whoever runs commands in a process of theirs may listen already.
    let _ = subscriber.try_init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
}
