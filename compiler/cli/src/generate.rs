//! `trine generate`: text from a language model.

mod stop;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use trine::generate::{Decoder, Names, Sampler};

use super::Out;
use super::args::{CompileArgs, DimArgs, MemoryArgs, RunArgs};
use super::failure::{Failure, Outcome};
use super::model::{compile_within, is_artefact};
use super::progress::Spinner;
use super::tokenizer::TokenizerFile;

const EXAMPLES: &str = "\
Examples:
  trine generate model.onnx --tokenizer tokenizer.json --prompt \"The capital of France is\" -n 32
  trine generate model.onnx --prompt \"Once\" --temperature 0.8 --top-p 0.95 --seed 7
  trine generate model.onnx --prompt \"Once\" --ternarize exact

The tokenizer is looked for beside the model when it is not given.";

/// Generate text with a language model
///
/// MODEL takes input_ids (and attention_mask, position_ids, past_key_values.*, if it has them) and gives logits. Where a
/// genai_config.json lies beside it, its inputs and outputs are called what that says.
/// Greedy unless a temperature is given; the same seed gives the same text. Text goes to standard output as it
/// comes, speed to standard error.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx, .ir or .trine
    model: PathBuf,

    /// The tokenizer, as Hugging Face writes it [default: tokenizer.json beside the model]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// The text to go on from
    #[arg(short, long, value_name = "TEXT")]
    prompt: String,

    /// How many tokens to generate at most
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 64)]
    count: usize,

    /// Draw tokens at this temperature instead of taking the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = parse_temperature)]
    temperature: f32,

    /// Draw only from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = parse_probability)]
    top_p: f32,

    /// What the draws follow from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// A token to stop at, besides those that files beside the tokenizer name (repeatable)
    #[arg(long, value_name = "TOKEN")]
    stop: Vec<String>,

    /// Print the ids of the tokens, a line each, instead of text
    #[arg(long)]
    ids: bool,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    compile: CompileArgs,

    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    memory: MemoryArgs,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let max_bytes = args.memory.max_bytes();
    let options = args.compile.options_for(&args.dims);
    let load = || compile_within(&args.model, &options, args.run.weights(), max_bytes);
    // A compiled model is there as fast as a tokenizer; before others are compiled it is known to be right.
    let (text, program) = match is_artefact(&args.model) {
        true => std::thread::scope(|scope| {
            let text = scope.spawn(|| Text::open(&args));
            let program = load();
            (text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), program)
        }),
        false => (Ok(Text::open(&args)?), load()),
    };
    let (text, program) = (text?, Arc::new(program?));
    let prompt = text.encode(&args.prompt)?;
    let names = names_beside(&args.model)?;
    let (threads, capacity) = (args.run.threads(), prompt.len().saturating_add(args.count));
    let mut decoder = Decoder::with_memory(program, threads, capacity, &names, max_bytes)?;
    let sampler = Sampler { temperature: args.temperature, top_p: args.top_p, seed: args.seed };
    let mut stream = text.file.tokenizer.decode_stream(true);
    let progress = Spinner::new("reading the prompt");
    let start = Instant::now();
    let mut next = pick(sampler, decoder.feed(&prompt)?, 0)?;
    let read = start.elapsed();
    drop(progress);
    if !args.ids {
        write!(out, "{}", args.prompt)?;
    }
    let start = Instant::now();
    let mut made = 0;
    while made < args.count && !text.stops.contains(&next) {
        made += 1;
        if args.ids {
            writeln!(out, "{next}")?;
        } else if let Some(piece) = stream.step(next).map_err(|e| text.file.failure(&e))? {
            write!(out, "{piece}")?;
        }
        out.flush()?;
        if made < args.count {
            next = pick(sampler, decoder.feed(&[next])?, made as u64)?;
        }
    }
    if !args.ids {
        writeln!(out)?;
        out.flush()?;
    }
    let rate = |count: usize, time: std::time::Duration| count as f64 / time.as_secs_f64().max(1e-9);
    eprintln!(
        "{} prompt tokens at {:.1}/s, {made} tokens at {:.1}/s",
        prompt.len(),
        rate(prompt.len(), read),
        rate(made.saturating_sub(1), start.elapsed())
    );
    Ok(())
}

/// What `genai_config.json` beside the model calls its inputs and outputs, if there is one.
fn names_beside(model: &Path) -> Result<Names, Failure> {
    match std::fs::read_to_string(model.with_file_name("genai_config.json")) {
        Ok(text) => Ok(Names::of_genai_config(&text)?),
        Err(_) => Ok(Names::default()),
    }
}

fn pick(sampler: Sampler, logits: &[f32], step: u64) -> Result<u32, Failure> {
    let token = sampler.pick(logits, step);
    token.ok_or_else(|| {
        Failure::input("the model's logits are not numbers", "its weights or its inputs overflow")
    })
}

/// The tokenizer, and where generation ends.
struct Text {
    file: TokenizerFile,
    stops: Vec<u32>,
}

impl Text {
    fn open(args: &Args) -> Result<Text, Failure> {
        let file = TokenizerFile::open(args.tokenizer.as_deref(), &args.model)?;
        let mut stops = stop::tokens(&file.path, &file.tokenizer);
        for token in &args.stop {
            match file.tokenizer.token_to_id(token) {
                Some(id) => stops.push(id),
                None => {
                    let message = format!("the tokenizer has no token `{}`", token.escape_debug());
                    return Err(Failure::usage(message, "--stop takes a single token, not text"));
                }
            }
        }
        Ok(Text { file, stops })
    }

    /// The prompt as tokens, of which there must be some.
    fn encode(&self, prompt: &str) -> Result<Vec<u32>, Failure> {
        match self.file.encode(prompt)? {
            ids if ids.is_empty() => {
                Err(Failure::usage("the prompt is empty", "give some text to go on from: --prompt TEXT"))
            }
            ids => Ok(ids),
        }
    }
}

fn parse_temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(t) if t >= 0.0 && t.is_finite() => Ok(t),
        _ => Err("a temperature is a number from 0 up".into()),
    }
}

fn parse_probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err("a probability is a number from 0 to 1".into()),
    }
}
