//! `trine list`: what there is to name, from the tables that the compiler itself uses.

mod json;
mod onnx;

use std::io::Write;

use clap::ValueEnum;
use trine::codegen::choice;
use trine::pass::Exactness;
use trine::passes::{LEVELS, PASSES};
use trine::ternarize::{Axes, METHODS, OPTIONS, Tier};
use trine_ir::Kind;
use trine_ir::op::{Slot, Stage};

use trine_ukernel::Features;

use super::failure::Outcome;
use super::{Out, columns, write_json};
use onnx::{DOMAINS, Domain};

/// List passes, methods, ops, kernels or ONNX operators
///
/// Everything that other subcommands take by name, with a line about each.
#[derive(clap::Args)]
pub struct Args {
    what: What,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// What --passes and --print-ir-after can name, and the pipeline of each -O level
    Passes,
    /// What --ternarize can name
    Methods,
    /// The ops of the IR, with operands and attributes
    Ops,
    /// The microkernels, and which of them this machine can run
    Kernels,
    /// The ONNX operators that can be imported
    Onnx,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    if args.json {
        return write_json(out, &json::value(args.what));
    }
    match args.what {
        What::Passes => passes(out),
        What::Methods => methods(out),
        What::Ops => ops(out),
        What::Kernels => kernels(out),
        What::Onnx => onnx(out),
    }
}

fn passes(out: &mut Out) -> Outcome {
    let width = PASSES.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for pass in PASSES {
        let exactness = match pass.exactness {
            Exactness::Exact => "exact",
            Exactness::Reassociates => "reassociates",
            Exactness::Lossy => "lossy",
        };
        let options = match pass.options {
            [] => String::new(),
            names => format!(" {{{}}}", names.iter().map(|n| format!("{n}=…")).collect::<Vec<_>>().join(",")),
        };
        writeln!(out, "{:width$}  {exactness:12}  {}{options}", pass.name, pass.about)?;
    }
    writeln!(out)?;
    for (level, pipeline) in LEVELS.iter().enumerate() {
        writeln!(out, "-O{level}  {}", if pipeline.is_empty() { "(none)" } else { pipeline })?;
    }
    Ok(())
}

/// What `trine ternarize --list` prints.
pub fn for_ternarize(json: bool, out: &mut Out) -> Outcome {
    run(Args { what: What::Methods, json }, out)
}

/// The methods with their papers and axes, and the options of recipes.
fn methods(out: &mut Out) -> Outcome {
    let width = METHODS.iter().map(|m| m.name.len()).max().unwrap_or(0);
    for method in METHODS {
        let needs = match method.tier {
            Tier::Weights => "tier 1, weights",
            Tier::Calibrated => "tier 2, calibration",
            Tier::Trained => "tier 3, training",
        };
        let Axes { projection, optimizer, granularity, planes } = method.axes;
        writeln!(out, "{:width$}  {needs:19}  {} ({})", method.name, method.about, method.paper)?;
        writeln!(
            out,
            "{:width$}  {:19}  projection {projection}, optimizer {optimizer}, a scale a {granularity}, planes {planes}",
            "", ""
        )?;
    }
    writeln!(
        out,
        "\nRecipes join methods by `+`, with options behind: gptq+cd+compensate{{group=128,planes=2}}\n"
    )?;
    let width = OPTIONS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, about) in OPTIONS {
        writeln!(out, "{name:width$}  {about}")?;
    }
    Ok(())
}

fn ops(out: &mut Out) -> Outcome {
    for kind in Kind::ALL {
        let operands: Vec<_> = kind
            .operands()
            .iter()
            .map(|o| match o.slot {
                Slot::Required => o.name.to_string(),
                Slot::Optional => format!("[{}]", o.name),
                Slot::Variadic => format!("{}…", o.name),
            })
            .collect();
        write!(out, "{} ({})", kind.mnemonic(), operands.join(", "))?;
        if !kind.attrs().is_empty() {
            write!(out, " {{{}}}", kind.attrs().join(", "))?;
        }
        let (first, last) = kind.stages();
        if (first, last) != (Stage::Tensor, Stage::Kernel) {
            write!(out, "  from {} to {}", first.name(), last.name())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn kernels(out: &mut Out) -> Outcome {
    let host = Features::detect();
    writeln!(out, "this machine: {host}\n")?;
    let width = trine_ukernel::all().map(|k| k.name.len()).max().unwrap_or(0);
    for kernel in trine_ukernel::all() {
        let runs = if host.contains(kernel.needs) { "" } else { "  (not on this machine)" };
        writeln!(out, "{:width$}  {}{runs}", kernel.name, kernel.needs)?;
    }
    let names: Vec<&str> = choice::names(host).collect();
    writeln!(out, "\nTRINE_UKERNEL can name, for ternary layers:\n{}", columns(names.iter()))?;
    Ok(())
}

fn onnx(out: &mut Out) -> Outcome {
    for Domain { domain, ops } in DOMAINS {
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            ops.iter().partition(|op| trine::import::supports(domain, op));
        let name = if domain.is_empty() { "ai.onnx, opset 7 to 26" } else { domain };
        writeln!(out, "{name}: {} of {} operators\n{}", known.len(), ops.len(), columns(known.iter()))?;
        if !unknown.is_empty() {
            writeln!(out, "not supported:\n{}", columns(unknown.iter()))?;
        }
    }
    Ok(())
}
