//! `trine perplexity`: how well a language model predicts a text.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use trine::evaluate;

use super::args::{CompileArgs, DimArgs, RunArgs};
use super::failure::Outcome;
use super::model::compile;
use super::progress::Bar;
use super::tokenizer::TokenizerFile;
use super::{Out, write_json};

const EXAMPLES: &str = "\
Examples:
  trine perplexity model.onnx --text held-out.txt
  trine perplexity model.onnx --tokenizer tokenizer.json --text held-out.txt --context 512 --tokens 16384 --json
  trine perplexity model.onnx --text held-out.txt --ternarize exact --activations f32

The tokenizer is looked for beside the model when it is not given.";

/// How well a language model predicts a text
///
/// The text is cut into windows of --context tokens, which the model reads with nothing before them, and every token
/// but the first is predicted from those before it in its window. The loss is the mean of -ln p, in nats; the
/// perplexity is its exponential.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx, .ir or .trine
    model: PathBuf,

    /// The tokenizer, as Hugging Face writes it [default: tokenizer.json beside the model]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// The text, UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,

    /// Tokens the model reads at once
    #[arg(long, value_name = "N", default_value = "512")]
    context: NonZeroUsize,

    /// Predict only so many tokens, from the start of the text
    #[arg(long, value_name = "N")]
    tokens: Option<NonZeroUsize>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    compile: CompileArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let mut tokens = TokenizerFile::open(args.tokenizer.as_deref(), &args.model)?.encode_file(&args.text)?;
    if let Some(count) = args.tokens {
        // One more than are predicted: the first has nothing before it.
        tokens.truncate(count.get().saturating_add(1));
    }
    let program = Arc::new(compile(&args.model, &args.compile.options_for(&args.dims), args.run.weights())?);
    let start = Instant::now();
    let mut bar = Bar::new("predicting");
    let (context, threads) = (args.context.get(), args.run.threads());
    let loss = evaluate::loss(program, &[&tokens], context, threads, &mut bar)?;
    drop(bar);
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        return write_json(
            out,
            &json!({
                "model": args.model,
                "text": args.text,
                "perplexity": loss.perplexity(),
                "loss": loss.mean(),
                "tokens": loss.tokens,
                "context": context,
                "seconds": seconds,
            }),
        );
    }
    writeln!(
        out,
        "perplexity {:.4}, loss {:.5} nats a token, {} tokens in windows of {context}",
        loss.perplexity(),
        loss.mean(),
        loss.tokens
    )?;
    Ok(())
}
