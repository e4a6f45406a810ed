//! `trine features`: which threshold makes the best ternary features.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use trine::discrimination::{Features, Form, Point};
use trine::evaluate;
use trine::npz::Npz;
use trine::pass::Driver;
use trine_ir::Type;

use super::args::{DimArgs, ThreadArgs};
use super::failure::{Failure, Outcome};
use super::inputs;
use super::model::{load, optimize};
use super::progress::Spinner;
use super::{Out, write_json};

const EXAMPLES: &str = "\
Examples:
  trine features model.onnx --data train.npz                          at what the last linear layer reads
  trine features model.onnx --data train.npz --value hidden --json
  trine accuracy model.onnx --data test.npz --features \"ternary{threshold=0.57}\"   what the model loses by it";

/// The passes that leave names and linear layers as they can be named.
const PASSES: &str = "fold-constants,simplify";

/// Multiples of the mean magnitude that are tried.
const MULTIPLES: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0];

/// Find the threshold that makes ternary features tell classes apart the best
///
/// Takes a value of the model for labelled examples and rounds it to {-1, 0, 1} (or to {0, 1}) by thresholds that are
/// multiples of its mean magnitude. For each it prints D, the mean squared distance of examples of two classes by that of
/// one class; and how often the nearest neighbours of an example, itself left out, are of its class before and after.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx or .ir
    model: PathBuf,

    /// Inputs and labels, as `trine accuracy` takes them
    #[arg(long, value_name = "FILE.npz")]
    data: PathBuf,

    /// The array of the labels
    #[arg(long, value_name = "NAME", default_value = "y")]
    labels: String,

    /// The value to round [default: what the last linear layer reads]
    #[arg(long, value_name = "NAME")]
    value: Option<String>,

    /// Neighbours that are asked
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    neighbours: u16,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    threads: ThreadArgs,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let mut data = Npz::open(&args.data)?;
    let classes = inputs::labels(&args.data, &mut data, &args.labels)?;
    let (mut module, sources) = load(&args.model, &args.dims.dims)?;
    optimize(&mut module, &PASSES.parse()?, &mut Driver::new())?;
    let graph = &module.main().ok_or_else(|| Failure::input("the model has no `@main`", ""))?.graph;
    let params: Vec<(String, Type)> =
        graph.params().iter().map(|p| (graph.name(*p).to_string(), graph.ty(*p).clone())).collect();
    let ports: Vec<(&str, &Type)> = params.iter().map(|(name, ty)| (name.as_str(), ty)).collect();
    let tensors = inputs::read_named(&args.data, &mut data, &ports)?;
    let progress = Spinner::new(format!("running {}", args.model.display()));
    let found = evaluate::features(&module, args.value.as_deref(), &tensors, args.threads.threads())?;
    sources.check()?;
    let (rows, width) = (&found.rows[..], found.width);
    if width == 0 || rows.len() / width != classes.len() {
        let message =
            format!("{} labels do not go with {} examples", classes.len(), rows.len() / width.max(1));
        return Err(Failure::input(message, "there is one label an example"));
    }
    let features = Features { rows, width, classes: &classes };
    let points = features.sweep(&MULTIPLES);
    let best = |form| {
        let of_form = points.iter().filter(|p: &&Point| p.form == form && p.discrimination.is_some());
        of_form.max_by(|a, b| {
            a.discrimination.partial_cmp(&b.discrimination).unwrap_or(std::cmp::Ordering::Equal)
        })
    };
    let k = usize::from(args.neighbours);
    let agree = |p: &Point| features.neighbours_agree(k, |x| p.form.round(x, p.threshold));
    let before = features.neighbours_agree(k, |x| x);
    let bests: Vec<(&Point, f64)> =
        [Form::Ternary, Form::Binary].into_iter().filter_map(best).map(|p| (p, agree(p))).collect();
    drop(progress);
    let plain = features.discrimination();
    if args.json {
        let best = |(point, knn): &(&Point, f64)| json!({ "point": point, "neighbours": knn });
        let report = json!({
            "model": args.model, "data": args.data, "value": found.name, "width": width,
            "examples": classes.len(), "mean": features.mean_magnitude(), "D": plain,
            "k": k, "neighbours": before,
            "points": points,
            "best": bests.iter().map(best).collect::<Vec<_>>(),
        });
        return write_json(out, &report);
    }
    let number = |d: Option<f64>| d.map_or("-".into(), |d| format!("{d:.4}"));
    writeln!(
        out,
        "`%{}`: {} examples of {width} features, mean magnitude {:.4}",
        found.name,
        classes.len(),
        features.mean_magnitude()
    )?;
    writeln!(out, "as they are: D {}, {k}-nearest neighbours {before:.4}\n", number(plain))?;
    writeln!(out, "form      times mean   threshold       D   zeros")?;
    for Point { form, multiple, threshold, discrimination, zeros } in &points {
        let (form, d) = (form.name(), number(*discrimination));
        writeln!(out, "{form:8}  {multiple:10.2}  {threshold:10.4}  {d:>6}  {:5.1}%", 100.0 * zeros)?;
    }
    writeln!(out)?;
    for (p, knn) in &bests {
        let (form, d, t) = (p.form.name(), number(p.discrimination), p.threshold);
        writeln!(out, "best {form}: D {d} at {t:.4}, {k}-nearest neighbours {knn:.4}")?;
    }
    Ok(())
}
