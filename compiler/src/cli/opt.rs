//! `trine opt`: passes on a model, seen one by one.

use std::io::Write;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use trine::pass::{Driver, Dump, Report};
use trine::passes::PASSES;
use trine_ir::text::{Style, print_styled};

use super::Out;
use super::args::{CompileArgs, DimArgs};
use super::failure::Outcome;
use super::model::{load, optimize, warn_of_losses};
use super::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  trine opt model.onnx                                    the optimised IR, on standard output
  trine opt model.onnx -O0                                the IR as imported
  trine opt model.onnx --print-ir-after changed           also the IR after each pass that did something
  trine opt model.onnx --passes \"fold-constants,detect-ternary\" --timing
  trine opt model.onnx --ternarize exact -o model.ir      text in model.ir, weights in model.safetensors
  trine run model.ir -i in.npz                            which runs as the model does

The language is described at the head of the crate `trine-ir`.";

/// Run passes on a model and print or keep the IR
///
/// Prints the IR after the last pass, or writes it with -o. IR that was written parses back and runs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx or .ir
    model: PathBuf,

    /// Write the IR to FILE.ir and its weights to FILE.safetensors instead of printing it
    #[arg(short, long, value_name = "FILE.ir")]
    output: Option<PathBuf>,

    /// Print the IR on standard error after passes: `all`, those that `changed` something, or the one of this name
    #[arg(long, value_name = "all|changed|PASS", value_parser = print_after(), hide_possible_values = true)]
    print_ir_after: Option<String>,

    /// Say on standard error how often each pass rewrote something and how long it took
    #[arg(long)]
    timing: bool,

    /// Leave out all passes behind the first N, to find the one at fault
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,

    /// Print where each op came from: the ONNX node and its type
    #[arg(long)]
    locs: bool,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    compile: CompileArgs,
}

fn print_after() -> PossibleValuesParser {
    PossibleValuesParser::new(["all", "changed"].into_iter().chain(PASSES.iter().map(|p| p.name)))
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let (mut module, sources) = load(&args.model, &args.dims.dims)?;
    let mut driver = Driver::new();
    if let Some(when) = &args.print_ir_after {
        driver = driver.print_after(when.as_str(), |dump: Dump| eprintln!("{}", dump.text()));
    }
    if let Some(count) = args.stop_after {
        driver = driver.stop_after(count);
    }
    let progress = Progress::new(format!("optimising {}", args.model.display()));
    let pipeline = args.compile.options().pipeline(&module)?;
    let report = optimize(&mut module, &pipeline, &mut driver)?;
    drop(progress);
    warn_of_losses(&report);
    if args.timing {
        eprint!("{}", timing(&report));
    }
    match &args.output {
        Some(path) => trine::save(&module, path)?,
        None => out.write_all(print_styled(&module, Style { locs: args.locs }).as_bytes())?,
    }
    sources.check()?;
    Ok(())
}

/// A line a pass.
fn timing(report: &Report) -> String {
    let width = report.steps.iter().map(|s| s.pass.len()).max().unwrap_or(0);
    let line = |s: &trine::pass::StepReport| {
        format!("{:width$}  {:>6} rewrites  {:>9.1} ms\n", s.pass, s.rewrites, s.time.as_secs_f64() * 1e3)
    };
    let near_misses = match report.near_misses().count() {
        0 => String::new(),
        n => format!("{n} near misses of rules: `trine explain` tells them\n"),
    };
    report.steps.iter().map(line).collect::<String>() + &near_misses
}
