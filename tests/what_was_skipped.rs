//! Prints what the tests before it left out or skipped. Cargo runs tests in the order of their names, and this one prints
//! for itself.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;

use trine_ukernel::Features;

fn main() {
    println!();
    let left_out = recorded("left-out");
    if !left_out.is_empty() {
        print("left out, for it needs a network, Python, a C compiler or other tools", &left_out);
        println!("all of it runs with: TRINE_OUTSIDE=1 cargo test");
    }
    print("skipped", &recorded("skipped"));
    let here = Features::detect();
    let lacking: Vec<_> = trine_ukernel::all()
        .filter(|kernel| kernel.address.is_some() && !here.contains(kernel.needs))
        .map(|kernel| kernel.name.to_string())
        .collect();
    print("microkernels that this machine cannot run", &lacking);
    println!();
}

/// The lines that tests of this `cargo test` recorded.
fn recorded(kind: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kind).join(parent_id().to_string());
    let mut lines: Vec<String> =
        fs::read_to_string(path).unwrap_or_default().lines().map(String::from).collect();
    lines.sort();
    lines
}

fn print(what: &str, lines: &[String]) {
    println!("{what}: {}", lines.len());
    lines.iter().for_each(|line| println!("    {line}"));
}
