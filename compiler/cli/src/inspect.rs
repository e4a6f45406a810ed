//! `trine inspect`: what a model is made of, before anything is done to it.

mod artefact;
mod summary;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use trine::Error;
use trine::import::{ImportError, Unsupported};

use super::Out;
use super::args::DimArgs;
use super::failure::{Failure, Outcome};
use super::model::is_artefact;
use super::progress::Spinner;
use super::write_json;
use summary::{Summary, counted, tally};

const EXAMPLES: &str = "\
Examples:
  trine inspect model.onnx
  trine inspect model.onnx --json | jq '.ternary[].weights'
  trine inspect model.trine                       which machines it is for, and what lies where in it
  trine inspect model.trine --ir                  the compiled module

Exit code 1 if the model holds operators that are not supported; all of them are listed.";

/// Show what a model is made of
///
/// Inputs, outputs, parameters and ops; which layers are ternary and how that was found; what is not supported. Of a .trine
/// file, its targets, sections and layouts.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx, .ir or .trine
    model: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print the module of a .trine file as IR, and nothing else
    #[arg(long, conflicts_with = "json")]
    ir: bool,

    /// Name each input, output and layer, also those that differ in their numbers alone
    #[arg(long)]
    full: bool,

    #[command(flatten)]
    dims: DimArgs,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    if is_artefact(&args.model) {
        return compiled(&args, out);
    }
    if args.ir {
        return Err(Failure::usage("only a .trine file holds IR", "`trine opt` prints a model as IR"));
    }
    let header = header(&args.model);
    let module = match trine::load_fixed(&args.model, &args.dims.dims).map(|(module, _)| module) {
        Err(Error::Import { path, source }) => {
            return match *source {
                ImportError::Unsupported(nodes) => unsupported(&args, header.as_ref(), &nodes, out),
                source => Err(Error::Import { path, source: Box::new(source) }.into()),
            };
        }
        Err(error) => return Err(error.into()),
        Ok(module) => module,
    };
    let progress = Spinner::new(format!("looking for ternary layers in {}", args.model.display()));
    let summary = Summary::new(module)?;
    drop(progress);
    if args.json {
        let mut report = summary.json();
        report["model"] = json!(args.model);
        report["onnx"] = json!(header.as_ref().map(Header::json));
        report["unsupported"] = json!([]);
        return write_json(out, &report);
    }
    writeln!(out, "{}{}", args.model.display(), header.map_or(String::new(), |h| format!(": {h}")))?;
    let mut text = String::new();
    // A string takes all that is written to it.
    let _ = summary.write(&mut text, args.full);
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// What a compiled file holds.
fn compiled(args: &Args, out: &mut Out) -> Outcome {
    if !args.dims.dims.is_empty() {
        return Err(Failure::usage("sizes are fixed when a model is compiled", "leave out --dim"));
    }
    let summary = artefact::Summary::open(&args.model)?;
    if args.ir {
        let fail = |source| Error::Artefact { path: args.model.clone(), source };
        return Ok(out.write_all(summary.module().map_err(fail)?.as_bytes())?);
    }
    if args.json {
        let mut report = summary.json();
        report["model"] = json!(args.model);
        return write_json(out, &report);
    }
    let mut text = format!("{}: ", args.model.display());
    // A string takes all that is written to it.
    let _ = summary.write(&mut text, args.full);
    Ok(out.write_all(text.as_bytes())?)
}

/// What the file says about itself.
struct Header {
    opsets: Vec<(String, i64)>,
    producer: String,
    op_types: Vec<(String, usize)>,
}

impl Header {
    fn json(&self) -> serde_json::Value {
        let opsets: serde_json::Map<_, _> = self.opsets.iter().map(|(d, v)| (d.clone(), json!(v))).collect();
        json!({ "opsets": opsets, "producer": self.producer, "operators": counted(&self.op_types) })
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let opsets: Vec<_> = self.opsets.iter().map(|(domain, v)| format!("{domain} {v}")).collect();
        write!(f, "ONNX, opset {}", opsets.join(", "))?;
        if !self.producer.is_empty() {
            write!(f, ", written by {}", self.producer.escape_debug())?;
        }
        Ok(())
    }
}

/// The envelope of an ONNX file, if it is one that can be read: the importer tells why one cannot.
fn header(path: &Path) -> Option<Header> {
    if path.extension()? != "onnx" {
        return None;
    }
    let proto = trine::import::read(path).ok()?;
    let domain = |d: &str| if d.is_empty() { "ai.onnx".to_string() } else { d.escape_debug().to_string() };
    let graph = proto.graph.as_ref()?;
    Some(Header {
        opsets: proto.opset_import.iter().map(|o| (domain(o.domain()), o.version())).collect(),
        producer: format!("{} {}", proto.producer_name(), proto.producer_version()).trim().into(),
        op_types: tally(graph.node.iter().map(|n| n.op_type().to_string())),
    })
}

fn unsupported(args: &Args, header: Option<&Header>, nodes: &[Unsupported], out: &mut Out) -> Outcome {
    if args.json {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|n| {
                json!({ "node": n.node, "domain": n.domain, "op_type": n.op_type, "opset": n.opset, "inputs": n.inputs })
            })
            .collect();
        let report = json!({ "model": args.model, "onnx": header.map(Header::json), "unsupported": nodes });
        write_json(out, &report)?;
    } else if let Some(header) = header {
        writeln!(out, "{}: {header}", args.model.display())?;
        write!(out, "operators\n{}", summary::words(&header.op_types))?;
    }
    out.flush()?;
    let error = Error::Import {
        path: args.model.clone(),
        source: Box::new(ImportError::Unsupported(nodes.to_vec())),
    };
    Err(Failure::input(error.to_string(), "`trine list onnx` shows the operators that are supported"))
}
