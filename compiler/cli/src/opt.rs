//! `trine opt`: passes on a model, seen one by one.

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use similar::TextDiff;
use trine::pass::{Driver, Dump, PrintAfter, StopAfter};
use trine::passes::PASSES;
use trine::passes::ternarize::glob;
use trine::{Compiler, FileError, Module, Sources};
use trine_ir::text::{Style, print_some, print_styled};

use super::Out;
use super::args::{CompileArgs, DimArgs};
use super::failure::{Failure, Outcome};
use super::model::{load, optimize, warn_of_losses};
use super::progress::Spinner;

const EXAMPLES: &str = "\
Examples:
  trine opt model.onnx                                    the optimised IR, on standard output
  trine opt model.onnx -O0                                the IR as imported
  trine opt model.onnx --print-ir-after changed           also the IR after each pass that did something
  trine opt model.onnx --print-ir-diff --filter '*layers.0*'   what each pass changed in one layer
  trine opt model.onnx --print-ir-dir dumps --stop-after detect-ternary
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
    /// The model: .onnx or .ir; `-` reads IR from standard input
    model: PathBuf,

    /// Write the IR to FILE.ir and its weights to FILE.safetensors instead of printing it
    #[arg(short, long, value_name = "FILE.ir")]
    output: Option<PathBuf>,

    /// Print the IR on standard error after passes: `all`, those that `changed` something, or the one of this name
    #[arg(long, value_name = "all|changed|PASS", value_parser = print_after(), hide_possible_values = true)]
    print_ir_after: Option<String>,

    /// Write the IR after each pass to a file of this folder: 01-PASS.ir and so on
    #[arg(long, value_name = "FOLDER")]
    print_ir_dir: Option<PathBuf>,

    /// Print on standard error which lines of the IR each pass took away and put in their place
    #[arg(long)]
    print_ir_diff: bool,

    /// Print only ops whose ONNX node, or else value, has such a name, `*` standing for anything
    #[arg(long, value_name = "NAMES")]
    filter: Option<String>,

    /// Say on standard error how often each pass rewrote something and how long it took
    #[arg(long)]
    timing: bool,

    /// Leave out all passes after the first N, or after the first of a name, to find the one at fault
    #[arg(long, value_name = "N|PASS", value_parser = parse_stop)]
    stop_after: Option<StopAfter>,

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

fn parse_stop(text: &str) -> Result<StopAfter, String> {
    match text.parse() {
        Ok(count) => Ok(StopAfter::Count(count)),
        Err(_) if PASSES.iter().any(|p| p.name == text) => Ok(StopAfter::Pass(text.into())),
        Err(_) => Err(format!("it is a number of passes or the name of one, not `{}`", text.escape_debug())),
    }
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let (mut module, sources, header) = read(&args)?;
    let printer = Printer { locs: args.locs, filter: args.filter.as_deref() };
    let (mut failed, mut count) = (Ok(()), 0);
    let print_after = args.print_ir_after.as_deref().map(PrintAfter::from).unwrap_or_default();
    let mut driver = Driver::new().print_after("all", |dump: Dump| {
        count += 1;
        if print_after.wants(dump.report) {
            eprintln!(
                "// after {}: {} rewrites\n{}",
                dump.step,
                dump.report.rewrites,
                printer.text(dump.module)
            );
        }
        if args.print_ir_diff && dump.report.rewrites > 0 {
            eprint!("// {}\n{}", dump.step, printer.diff(dump.before, dump.module));
        }
        if let Some(folder) = &args.print_ir_dir {
            let path = folder.join(format!("{count:02}-{}.ir", dump.report.pass));
            let written = std::fs::create_dir_all(folder).map_err(|e| FileError::write(folder, e));
            let written = written.and_then(|()| trine::write_text(&path, &printer.text(dump.module)));
            failed = std::mem::replace(&mut failed, Ok(())).and(written);
        }
    });
    if let Some(last) = args.stop_after.clone() {
        driver = driver.stop_after(last);
    }
    let progress = Spinner::new(format!("optimising {}", args.model.display()));
    let mut options = args.compile.options();
    if let (None, Some(passes)) = (&options.passes, header) {
        options.passes = Some(passes.parse()?);
    }
    let pipeline = options.pipeline(&module)?;
    let report = optimize(&mut module, &pipeline, &mut driver)?;
    drop(driver);
    failed?;
    if args.stop_after.is_none() {
        Compiler::new(options)?.form(&mut module);
    }
    drop(progress);
    warn_of_losses(&report);
    if args.timing {
        eprint!("{report}");
    }
    match &args.output {
        Some(path) => trine::save(&module, path)?,
        None => out.write_all(printer.text(&module).as_bytes())?,
    }
    if let Some(sources) = sources {
        sources.check()?;
    }
    Ok(())
}

/// The model, the files that its weights stay in, and the pipeline that a reproducer names at its head.
fn read(args: &Args) -> Result<(Module, Option<Sources>, Option<String>), Failure> {
    if args.model.as_os_str() == "-" {
        let mut source = String::new();
        let read = std::io::stdin().read_to_string(&mut source);
        read.map_err(|e| Failure::input(format!("cannot read standard input: {e}"), ""))?;
        let module = trine::parse(&source, &args.dims.dims)?;
        return Ok((module, None, passes_at_head(&source)));
    }
    let (module, sources) = load(&args.model, &args.dims.dims)?;
    let is_ir = args.model.extension().is_some_and(|e| e == "ir");
    let header = std::fs::read_to_string(&args.model).ok().filter(|_| is_ir);
    Ok((module, Some(sources), header.and_then(|text| passes_at_head(&text))))
}

/// The pipeline of a comment `// passes: …` at the head of IR.
fn passes_at_head(source: &str) -> Option<String> {
    let comments = source.lines().map_while(|line| line.strip_prefix("//"));
    comments.filter_map(|line| line.trim().strip_prefix("passes:")).next().map(|passes| passes.trim().into())
}

/// How IR is printed.
struct Printer<'a> {
    locs: bool,
    filter: Option<&'a str>,
}

impl Printer<'_> {
    fn text(&self, module: &Module) -> String {
        let style = Style { locs: self.locs };
        let Some(filter) = self.filter else { return print_styled(module, style) };
        print_some(module, style, |graph, node| match graph.loc(node) {
            Some(loc) => glob(filter, &loc.node),
            None => graph.results(node).any(|v| glob(filter, graph.name(v))),
        })
    }

    /// Lines that went and lines that came, with those around them.
    fn diff(&self, before: &Module, after: &Module) -> String {
        let (before, after) = (self.text(before), self.text(after));
        TextDiff::from_lines(&before, &after).unified_diff().context_radius(2).to_string()
    }
}
