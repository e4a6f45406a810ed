//! Prints what the tests before it skipped. Cargo runs tests in the order of their names, and this one prints for itself.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;

use trine_ukernel::Features;

fn main() {
    let record = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped").join(parent_id().to_string());
    let skipped = fs::read_to_string(record).unwrap_or_default();
    println!("\nskipped: {}", skipped.lines().count());
    skipped.lines().for_each(|line| println!("    {line}"));
    let here = Features::detect();
    let lacking: Vec<_> = trine_ukernel::all()
        .filter(|kernel| !here.contains(kernel.needs))
        .map(|kernel| kernel.name)
        .collect();
    println!("microkernels that this machine cannot run: {}", lacking.len());
    lacking.iter().for_each(|name| println!("    {name}"));
    println!();
}
