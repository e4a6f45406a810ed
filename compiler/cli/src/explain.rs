//! `trine explain`: what became of each layer, and which rule nearly did more.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use trine::Compiler;
use trine::explain::{Family, Fate, explain};

use super::args::{CompileArgs, DimArgs};
use super::failure::{Failure, Outcome};
use super::folded::fold;
use super::model::load;
use super::progress::Spinner;
use super::{Out, write_json};

const EXAMPLES: &str = "\
Examples:
  trine explain model.onnx                          each linear layer, norm, attention and activation
  trine explain model.onnx layers.0                 those whose ONNX names contain `layers.0`, one by one
  trine explain model.onnx --json | jq '.layers[] | select(.misses != [])'";

/// Say what each layer became, or why not
///
/// For each linear layer, norm, attention and activation: the op that it was recognised as, or the rules that nearly
/// matched and what kept them from it. Layers that differ in their numbers alone are told together. Then the kernels that
/// this machine gets, with their microkernels and why it is these.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx or .ir
    model: PathBuf,

    /// Only layers whose names contain one of these
    nodes: Vec<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Tell each layer by itself, and what is none of these but nearly matched a rule
    #[arg(long)]
    full: bool,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    compile: CompileArgs,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let (mut module, sources) = load(&args.model, &args.dims.dims)?;
    let progress = Spinner::new(format!("looking at {}", args.model.display()));
    let options = args.compile.options();
    let pipeline = options.pipeline(&module)?;
    let mut fates = explain(&mut module, &pipeline)?;
    let kernels = Compiler::new(options)?.explain(module)?;
    drop(progress);
    sources.check()?;
    if !args.nodes.is_empty() {
        if let Some(node) = args.nodes.iter().find(|n| !fates.iter().any(|f| f.node.contains(*n))) {
            return Err(Failure::input(
                format!("no layer has `{}` in its name", node.escape_debug()),
                "`trine explain MODEL --full` names all",
            ));
        }
        fates.retain(|fate| args.nodes.iter().any(|node| fate.node.contains(node)));
    }
    if args.json {
        return write_json(out, &json!({ "layers": fates, "kernels": kernels }));
    }
    let full = args.full || !args.nodes.is_empty();
    for (family, title) in FAMILIES {
        let of_family: Vec<&Fate> = fates.iter().filter(|f| f.family == *family).collect();
        // Shapes and the like are near misses as well, which few ask for.
        if of_family.is_empty() || *family == Family::Other && !full {
            continue;
        }
        let recognised = of_family.iter().filter(|f| f.became.is_some()).count();
        let what = if *family == Family::Linear { "ternary" } else { "recognised" };
        writeln!(out, "{title}: {recognised} of {} {what}", of_family.len())?;
        match full {
            true => of_family.iter().try_for_each(|fate| write!(out, "  {fate}"))?,
            false => fold(of_family, |f| &f.node, |f| (f.outcome(), without_numbers(&f.reasons())))
                .iter()
                .try_for_each(|f| write!(out, "  {}{}", f.times(), f.first().told_as(&f.name)))?,
        }
    }
    if !args.nodes.is_empty() || kernels.is_empty() {
        return Ok(());
    }
    let calls: usize = kernels.iter().map(|k| k.calls).sum();
    writeln!(out, "kernels: {}, called {calls} times", kernels.len())?;
    // Those that call nothing are code of this compiler's own.
    let shown = kernels.iter().filter(|k| args.full || k.sums.is_some() || !k.microkernels.is_empty());
    shown.into_iter().try_for_each(|kernel| writeln!(out, "  {kernel}"))?;
    Ok(())
}

const FAMILIES: &[(Family, &str)] = &[
    (Family::Linear, "linear layers"),
    (Family::Recurrent, "recurrent layers"),
    (Family::Norm, "norms"),
    (Family::Attention, "attention and rotary positions"),
    (Family::Activation, "activations"),
    (Family::Other, "other near misses"),
];

/// Values that a reason names are numbered, as layers are.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
