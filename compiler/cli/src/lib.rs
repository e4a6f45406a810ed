//! The command line: what each subcommand is called, and what every one of them shares.
//!
//! A subcommand writes its result to the `Out` it is given and returns a `Failure`, which says whose fault it is
//! and so what the exit code is. Nothing here computes: that is the library's.

mod accuracy;
mod args;
mod bench;
mod bug;
mod compile;
mod explain;
mod failure;
mod features;
mod folded;
mod generate;
mod inputs;
mod inspect;
mod list;
mod model;
mod opt;
mod perplexity;
mod progress;
mod run;
mod sample;
mod shell;
mod stats;
mod ternarize;
mod tokenizer;
mod trace;
mod version;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use failure::Outcome;

/// Where results go.
type Out<'a> = BufWriter<io::StdoutLock<'a>>;

const LONG_ABOUT: &str = "\
Compiles ONNX models for the CPU they will run on. Linear layers whose weights are ternary, {-1, 0, +1} times a
scale, become additions and subtractions.";

const EXAMPLES: &str = "\
Examples:
  trine inspect model.onnx                        what is in it, and which layers are ternary
  trine run model.onnx -i in.npz -o out.npz       run it on the arrays of in.npz
  trine opt model.onnx --print-ir-after changed   watch each pass rewrite it
  trine opt model.onnx -o model.ir                keep the optimised model as text and weights
  trine explain model.onnx                        what each layer became, or why it did not
  trine generate model.onnx --prompt Once          go on from a text
  trine compile model.onnx -o build               an object file and a C header, for a linker
  trine bench model.onnx --dim seq=128            how fast it is
  trine ternarize model.onnx --calib text.txt -o out   make its weights ternary
  trine perplexity model.onnx --text held-out.txt how well it predicts a text
  trine features model.onnx --data train.npz      the best threshold for ternary features
  trine list passes                               what --passes can name

RUST_LOG=trine=debug says on standard error what is done, as -v does, of the parts that it names.
Exit codes: 0 done, 1 the model or its input is at fault, 2 the command line is, 3 Trine is.";

#[derive(Parser)]
#[command(name = "trine", about = "Compiles ONNX models for CPUs, ternary ones best", long_about = LONG_ABOUT,
    after_help = EXAMPLES, override_usage = "trine <COMMAND>\n       trine --version [--verbose]",
    arg_required_else_help = true, subcommand_negates_reqs = true)]
struct Cli {
    /// Print the version
    #[arg(short = 'V', long, required = true)]
    version: bool,

    /// Say on standard error what is done; twice, say more. With --version, also print the commit, the target, CPU features,
    /// and versions of Cranelift and Rust
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Opt(opt::Args),
    Compile(compile::Args),
    Inspect(inspect::Args),
    Explain(explain::Args),
    Generate(generate::Args),
    Bench(bench::Args),
    Perplexity(perplexity::Args),
    Accuracy(accuracy::Args),
    Features(features::Args),
    Ternarize(ternarize::Args),
    List(list::Args),
    Completions(shell::Completions),
    Man(shell::Man),
}

/// Runs the command with arguments, the first of which is the name of the program. What the arguments themselves are
/// answered with, as `--help` is or a wrong one, ends the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    bug::catch(|| {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let cli = Cli::parse_from(&arguments);
        if cli.version && cli.command.is_some() {
            let message = "the argument '--version' cannot be used with a command";
            Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let Some(command) = cli.command else {
            let outcome = version::run(cli.verbose > 0, &mut out);
            return failure::exit_code(outcome.and_then(|()| Ok(out.flush()?)));
        };
        trace::start(cli.verbose);
        let outcome = match command {
            Command::Run(args) => run::run(args, &mut out),
            Command::Opt(args) => opt::run(args, &mut out),
            Command::Compile(args) => compile::run(args, &mut out),
            Command::Inspect(args) => inspect::run(args, &mut out),
            Command::Explain(args) => explain::run(args, &mut out),
            Command::Generate(args) => generate::run(args, &mut out),
            Command::Bench(args) => bench::run(args, &mut out),
            Command::Perplexity(args) => perplexity::run(args, &mut out),
            Command::Accuracy(args) => accuracy::run(args, &mut out),
            Command::Features(args) => features::run(args, &mut out),
            Command::Ternarize(args) => ternarize::run(args, &arguments, &mut out),
            Command::List(args) => list::run(args, &mut out),
            Command::Completions(args) => shell::completions(args, Cli::command(), &mut out),
            Command::Man(args) => shell::man(args, Cli::command()),
        };
        failure::exit_code(outcome.and_then(|()| Ok(out.flush()?)))
    })
}

/// One JSON document, indented, as the whole result.
fn write_json(out: &mut Out, value: &serde_json::Value) -> Outcome {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Words in lines, indented.
fn columns(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    const WIDTH: usize = 100;
    let mut lines = vec![String::from(" ")];
    for word in words {
        let word = word.as_ref();
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.join("\n") + "\n"
}
