//! Compiles the committed ternary language model, shows one layer before and after, lets the model write, and
//! compares its speed with that of the same model whose layers stay f32, with every other pass on.
//!
//!     cargo run --example quickstart

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use tokenizers::Tokenizer;
use trine::generate::{Decoder, Sampler};
use trine::{Module, Options};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/lm");
const PROMPT: &str = "The best way to";
const TOKENS: usize = 128;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let ternary = Options::default();
    let mut module = trine::load(format!("{MODELS}/f32.onnx"))?;
    // Every pass but the one that finds ternary layers: fused norms, attention and products are compiled all the same.
    let passes = ternary.pipeline(&module)?.without("detect-ternary");
    let f32_only = Options { passes: Some(passes), ..Options::default() };
    println!("--- one layer as imported\n{}", lines(&module, "gate"));
    trine::optimize(&mut module, &ternary)?;
    println!("--- and lowered: no weight is multiplied by\n{}", lines(&module, "gate"));

    println!("--- text");
    let fast = generate(&ternary, true)?;
    let slow = generate(&f32_only, false)?;
    println!(
        "\n--- speed, every other pass on\nternary {fast:.0} tokens/s, f32 {slow:.0} tokens/s: {:.1} times",
        fast / slow
    );
    Ok(())
}

/// The statements about values whose names hold `part`, of the first few.
fn lines(module: &Module, part: &str) -> String {
    let text = trine_ir::text::print(module);
    let about = text.lines().filter(|line| line.starts_with("  %") && line.contains(part));
    about.take(6).collect::<Vec<_>>().join("\n") + "\n"
}

/// Lets the model go on from the prompt; returns tokens a second.
fn generate(options: &Options, show: bool) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let tokenizer = Tokenizer::from_file(format!("{MODELS}/tokenizer.json"))?;
    let program = Arc::new(trine::compile(format!("{MODELS}/f32.onnx"), options)?);
    let prompt = tokenizer.encode(PROMPT, true)?;
    let mut decoder = Decoder::new(program, 1, prompt.len() + TOKENS)?;
    let (sampler, mut text) = (Sampler::default(), tokenizer.decode_stream(true));
    let mut next = sampler.pick(decoder.feed(prompt.get_ids())?, 0).ok_or("no logits")?;
    let start = Instant::now();
    for step in 1..=TOKENS as u64 {
        if let Some(text) = text.step(next)?.filter(|_| show) {
            print!("{}{text}", if step == 1 { PROMPT } else { "" });
            std::io::stdout().flush()?;
        }
        next = sampler.pick(decoder.feed(&[next])?, step).ok_or("no logits")?;
    }
    Ok(TOKENS as f64 / start.elapsed().as_secs_f64())
}
