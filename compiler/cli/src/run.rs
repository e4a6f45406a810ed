//! `trine run`: a model on arrays.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use trine::generate::Lengths;
use trine::npz::{write_npy, write_npz};
use trine::{Program, RunError, Session, SessionOptions, Tensor};
use trine_ir::Type;

use super::args::{CompileArgs, DimArgs, MemoryArgs, RunArgs};
use super::failure::{Failure, Outcome};
use super::inputs::{self, Source};
use super::model::compile_within;
use super::progress::Spinner;
use super::sample::{self, Dims};
use super::stats::Stats;
use super::{Out, write_json};

const EXAMPLES: &str = "\
Examples:
  trine run model.onnx -i in.npz -o out.npz       arrays by the names of inputs and outputs
  trine run model.onnx -i x=x.npy                 one array; the outputs are summarised
  trine run model.onnx -i test_data_set_0/input_0.pb
  trine run model.onnx --random --dim batch=2     made-up arrays, only to see that it runs
  trine run model.ir -i in.npz --backend interpret -o expected.npz";

/// Run a model on arrays from files
///
/// MODEL is an ONNX model, or IR with its weights beside it as `trine opt -o` writes them. Inputs are numpy's .npz
/// (by name) and .npy, or ONNX TensorProto files (.pb). An input that the model has an initializer for may be left out.
/// Without -o the outputs are summarised.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx, .ir or .trine
    model: PathBuf,

    /// Arrays to run on: FILE.npz, NAME=FILE.npy, NAME=FILE.pb or NAME=FILE.npz:ARRAY (repeatable)
    #[arg(short, long = "input", value_name = "[NAME=]FILE")]
    inputs: Vec<Source>,

    /// Make up what -i does not give: as `trine bench` does, of sizes that --dim and the given arrays say, and else 1
    #[arg(long)]
    random: bool,

    /// Where the outputs go: .npz for all, .npy for the only one
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

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
    if let Some(path) = &args.output {
        check_output(path)?;
    }
    let mut options = args.compile.options_for(&args.dims);
    options.fed = inputs::fed(&args.model, &args.inputs)?;
    let (weights, max_bytes) = (args.run.weights(), args.memory.max_bytes());
    let mut program = Arc::new(compile_within(&args.model, &options, weights, max_bytes)?);
    let ports: Vec<(&str, &Type)> = program.inputs.iter().map(|p| (p.name.as_str(), &p.ty)).collect();
    let tensors = match args.random {
        true => made_up(&program, inputs::read_given(&args.inputs, &ports)?)?,
        false => inputs::read(&args.inputs, &ports)?,
    };
    let how = SessionOptions { threads: args.run.threads(), max_bytes, ..SessionOptions::default() };
    let mut session = Session::new(program.clone(), &how);
    let progress = Spinner::new(format!("running {}", args.model.display()));
    let mut start = Instant::now();
    let mut ran = session.run(&tensors);
    let sizes = sizes(&program, tensors.iter().map(Some));
    if matches!(ran, Err(RunError::Sizes(_))) && !sizes.is_empty() {
        // What was assumed of open sizes does not hold of these, for which the model may mean something else.
        options.dims.extend(sizes);
        if let Ok(fixed) = compile_within(&args.model, &options, weights, max_bytes) {
            program = Arc::new(fixed);
            session = Session::new(program.clone(), &how);
            start = Instant::now();
            ran = session.run(&tensors);
        }
    }
    let outputs = ran?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    tracing::info!(seconds, threads = session.threads(), outputs = outputs.len(), "ran the model");
    let names: Vec<&str> = program.outputs.iter().map(|p| p.name.as_str()).collect();
    if let Some(path) = &args.output {
        write_outputs(path, &names, &outputs)?;
        if !args.json {
            return Ok(());
        }
    }
    let stats: Vec<Stats> = names
        .iter()
        .zip(&outputs)
        .map(|(name, tensor)| Stats::new(name, tensor))
        .collect::<Result<_, _>>()
        .map_err(|e| Failure::input(e.to_string(), ""))?;
    if args.json {
        let (compiled, interpreted) = program.step_counts();
        let report = json!({
            "model": args.model,
            "seconds": seconds,
            "threads": session.threads(),
            "steps": { "compiled": compiled, "interpreted": interpreted },
            "outputs": stats.iter().map(Stats::json).collect::<Vec<_>>(),
        });
        return write_json(out, &report);
    }
    for stats in stats {
        writeln!(out, "{stats}")?;
    }
    Ok(())
}

/// Inputs for a run: those that are given, and others that go with them.
fn made_up(program: &Program, given: Vec<Option<Tensor>>) -> Result<Vec<Tensor>, Failure> {
    let lengths = Lengths::new(program).ok();
    let sizes = sizes(program, given.iter().map(Option::as_ref));
    let dims = Dims::new(program, &sizes, lengths.as_ref(), 1)?;
    let others = sample::inputs(program, &dims)?;
    Ok(given.into_iter().zip(others).map(|(given, other)| given.unwrap_or(other)).collect())
}

/// The sizes that symbols of a program's inputs have in those `tensors` that there are.
fn sizes<'a>(program: &Program, tensors: impl Iterator<Item = Option<&'a Tensor>>) -> Vec<(String, usize)> {
    let mut sizes: Vec<(String, usize)> = vec![];
    for (port, tensor) in program.inputs.iter().zip(tensors) {
        let Some(tensor) = tensor else { continue };
        for (dim, size) in port.ty.dims.iter().zip(tensor.dims()) {
            if let Some(symbol) = dim.as_symbol()
                && !sizes.iter().any(|(name, _)| **name == **symbol)
            {
                sizes.push((symbol.to_string(), *size));
            }
        }
    }
    sizes
}

/// Tells before the work, not after it, that the result cannot be written.
fn check_output(path: &std::path::Path) -> Outcome {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npz" | "npy") => {}
        _ => {
            return Err(Failure::usage(
                format!("`{}` ends neither in `.npz` nor in `.npy`", path.display()),
                "",
            ));
        }
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    match folder.filter(|f| !f.is_dir()) {
        Some(folder) => {
            Err(Failure::input(format!("there is no folder `{}` to write to", folder.display()), ""))
        }
        None => Ok(()),
    }
}

fn write_outputs(path: &std::path::Path, names: &[&str], outputs: &[Tensor]) -> Outcome {
    if path.extension().is_some_and(|e| e == "npz") {
        write_npz(path, names.iter().copied().zip(outputs))?;
        return Ok(());
    }
    match outputs {
        [only] => Ok(write_npy(path, only)?),
        _ => Err(Failure::usage(
            format!("the model has {} outputs, and an .npy file holds one", outputs.len()),
            "write them all with -o FILE.npz",
        )),
    }
}
