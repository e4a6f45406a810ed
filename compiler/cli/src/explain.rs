//! `trine explain`: what became of each layer, and which rule nearly did more.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use trine::explain::{Family, Fate, explain};
use trine::{Compiler, KernelReport};

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
        let layers: Vec<Json> = fates.iter().map(as_json).collect();
        let kernels: Vec<Json> = kernels.iter().map(kernel_as_json).collect();
        return write_json(out, &json!({ "layers": layers, "kernels": kernels }));
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
            true => of_family.iter().try_for_each(|fate| write!(out, "  {}", told(&fate.node, fate)))?,
            false => fold(of_family, |f| &f.node, |f| (outcome(f), without_numbers(&reasons(f))))
                .iter()
                .try_for_each(|f| write!(out, "  {}{}", f.times(), told(&f.name, f.first())))?,
        }
    }
    if !args.nodes.is_empty() || kernels.is_empty() {
        return Ok(());
    }
    let calls: usize = kernels.iter().map(|k| k.calls).sum();
    writeln!(out, "kernels: {}, called {calls} times", kernels.len())?;
    // Those that call nothing are code of this compiler's own.
    let shown = kernels.iter().filter(|k| args.full || k.sums.is_some() || !k.microkernels.is_empty());
    shown.into_iter().try_for_each(|kernel| out.write_all(kernel_told(kernel).as_bytes()))?;
    Ok(())
}

/// A line for a kernel: its sums with the reason for them, then the other microkernels.
fn kernel_told(kernel: &KernelReport) -> String {
    let mut text = format!("  {} times `@{}`", kernel.calls, kernel.name.escape_debug());
    if let Some((name, why)) = &kernel.sums {
        text += &format!(": `{name}`, {why}");
    }
    let others = kernel.microkernels.iter().filter(|name| kernel.sums.is_none_or(|(sums, _)| sums != **name));
    for (i, name) in others.enumerate() {
        let before = match i {
            0 if kernel.sums.is_some() => "; beside it ",
            0 => ": ",
            _ => ", ",
        };
        text += &format!("{before}`{name}`");
    }
    text + "\n"
}

fn kernel_as_json(kernel: &KernelReport) -> Json {
    let sums = kernel.sums.map(|(name, why)| json!({ "microkernel": name, "why": why.to_string() }));
    json!({ "name": kernel.name, "calls": kernel.calls, "sums": sums, "microkernels": kernel.microkernels })
}

const FAMILIES: &[(Family, &str)] = &[
    (Family::Linear, "linear layers"),
    (Family::Recurrent, "recurrent layers"),
    (Family::Norm, "norms"),
    (Family::Attention, "attention and rotary positions"),
    (Family::Activation, "activations"),
    (Family::Other, "other near misses"),
];

/// A line for what a layer became, and one for each rule that nearly matched.
fn told(name: &str, fate: &Fate) -> String {
    let (name, op_type) = (name.escape_debug(), fate.op_type.escape_debug());
    format!("`{name}` ({op_type}){}\n{}", outcome(fate), reasons(fate))
}

fn outcome(fate: &Fate) -> String {
    let mut text = match &fate.weights {
        Some((_, ty)) => format!(", weights {ty}: "),
        None => ": ".into(),
    };
    match &fate.became {
        Some(became) => {
            text += &became.op;
            text += &became.pass.map_or(", as the model says".into(), |pass| format!(", by {pass}"));
        }
        None => text += "stays as it is",
    }
    if let Some(layer) = &fate.layer {
        text += &format!(", {}, {:.2} bits a weight", layer.method, layer.bits);
    }
    text
}

/// What kept a layer from more. Of a norm that one rule recognised, what others missed tells nothing new.
fn reasons(fate: &Fate) -> String {
    let is_told = fate.became.is_none() || fate.family == Family::Linear;
    let misses = fate.misses.iter().filter(|_| is_told);
    misses.map(|m| format!("      {} does not apply: {}\n", m.rule, m.reason)).collect()
}

/// Values that a reason names are numbered, as layers are.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn as_json(fate: &Fate) -> Json {
    let weights = fate.weights.as_ref().map(|(name, ty)| json!({ "name": name, "type": ty.to_string() }));
    let layer = fate.layer.as_ref().map(|l| {
        json!({ "found": l.method, "group": l.group, "planes": l.planes, "zeros": l.zeros, "bits_per_weight": l.bits })
    });
    let misses = fate.misses.iter().map(|m| json!({ "pass": m.pass, "rule": m.rule, "reason": m.reason }));
    json!({
        "family": format!("{:?}", fate.family).to_lowercase(),
        "node": fate.node,
        "op_type": fate.op_type,
        "weights": weights,
        "became": fate.became.as_ref().map(|b| json!({ "op": b.op, "pass": b.pass })),
        "ternary": layer,
        "misses": misses.collect::<Vec<_>>(),
    })
}
