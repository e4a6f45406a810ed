//! `trine accuracy`: how often a classifier is right.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use trine::evaluate;
use trine::npz::Npz;
use trine_ir::Type;

use super::args::{CompileArgs, DimArgs, RunArgs};
use super::failure::Outcome;
use super::inputs;
use super::model::compile;
use super::progress::Spinner;
use super::{Out, write_json};

const EXAMPLES: &str = "\
Examples:
  trine accuracy model.onnx --data test.npz
  trine accuracy model.onnx --data test.npz --labels target --ternarize exact --json

In numpy: numpy.savez(\"test.npz\", x=images, y=labels)";

/// How often a classifier is right
///
/// The data is an .npz of arrays with the names of the model's inputs (or `x` for the only one) and of labels, integers
/// from 0. Examples lie along the first axis. The answer is the class with the highest of the model's `logits`, or of its
/// first output of that shape.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx, .ir or .trine
    model: PathBuf,

    /// Inputs and labels
    #[arg(long, value_name = "FILE.npz")]
    data: PathBuf,

    /// The array of the labels
    #[arg(long, value_name = "NAME", default_value = "y")]
    labels: String,

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
    let mut data = Npz::open(&args.data)?;
    let labels = inputs::labels(&args.data, &mut data, &args.labels)?;
    let mut options = args.compile.options_for(&args.dims);
    options.fed = inputs::defaults_among(&args.model, data.names())?;
    let program = Arc::new(compile(&args.model, &options, args.run.weights())?);
    let ports: Vec<(&str, &Type)> = program.inputs.iter().map(|p| (p.name.as_str(), &p.ty)).collect();
    let tensors = inputs::read_named(&args.data, &mut data, &ports)?;
    let progress = Spinner::new(format!("running {}", args.model.display()));
    let accuracy = evaluate::accuracy(program, &tensors, &labels, args.run.threads())?;
    drop(progress);
    if args.json {
        return write_json(
            out,
            &json!({
                "model": args.model,
                "data": args.data,
                "accuracy": accuracy.share(),
                "right": accuracy.right,
                "examples": accuracy.examples,
            }),
        );
    }
    let (right, examples) = (accuracy.right, accuracy.examples);
    writeln!(out, "accuracy {:.4}, {right} of {examples} right", accuracy.share())?;
    Ok(())
}
