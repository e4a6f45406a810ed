//! Watches the passes rewrite a model: after each that changes something, what it did and how much is left.
//!
//!     cargo run --example watch_passes [MODEL]

use trine::Options;
use trine::pass::{Driver, Dump};
use trine_ir::{Kind, Module};

const MLP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/mlp.onnx");

fn main() -> Result<(), trine::Error> {
    let path = std::env::args().nth(1).unwrap_or(MLP.into());
    let mut module = trine::load(path)?;
    println!("imported: {}", ops(&module));
    let mut driver = Driver::new().print_after("changed", |dump: Dump| {
        println!("\n{}: {} rewrites in {:.1?}", dump.step, dump.report.rewrites, dump.report.time);
        println!("  {}", ops(dump.module));
        for layer in &dump.report.layers {
            println!("  {layer}");
        }
    });
    driver.run(&Options::default().pipeline(&module)?, &mut module)?;
    drop(driver);
    println!("\n{}", trine_ir::text::print(&module));
    Ok(())
}

/// How many ops there are, and of which kinds.
fn ops(module: &Module) -> String {
    let graphs: Vec<_> = module.functions.values().map(|f| &f.graph).collect();
    let count = |kind: Kind| {
        graphs.iter().map(|g| g.order().iter().filter(|n| g.kind(**n) == Some(kind)).count()).sum::<usize>()
    };
    let counts = Kind::ALL.iter().map(|kind| (kind.mnemonic(), count(*kind)));
    let words: Vec<_> = counts.filter(|(_, n)| *n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    words.join(", ")
}
