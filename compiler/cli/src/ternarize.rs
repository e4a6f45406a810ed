//! `trine ternarize`: a model whose weights become {-1, 0, +1} times scales, fitted to data, and what that costs.

mod data;
mod format;
mod html;
mod judge;
mod plot;
mod provenance;
mod report;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use trine::Module;
use trine::calibrate::{self, CalibrateOptions, Calibrated, Data};
use trine::pass::{Driver, Pipeline};
use trine::ternarize::{Recipe, Refusal};

use super::args::{DimArgs, ThreadArgs};
use super::failure::{Failure, Outcome, warn};
use super::model::load;
use super::progress::{Bar, Spinner, announce};
use super::{Out, list, write_json};
use data::Given;
use format::Format;
use judge::Judge;
use report::{Report, Rotated};

const EXAMPLES: &str = "\
Examples:
  trine ternarize model.onnx --calib text.txt -o out                 two planes, about 3.3 bits a weight
  trine ternarize model.onnx --calib text.txt --bits 2.5 -o out      the depth of each layer by what it costs
  trine ternarize model.onnx --calib text.txt --planes 1 --group 128 --keep \"*down_proj*\" -o out
  trine ternarize model.onnx --calib images.npz --method gptq+cd --format ir -o out
  trine ternarize model.onnx --calib text.txt --rotate -o out        outliers spread over all columns before, as IR
  trine ternarize model.onnx --method exact -o out                   by the weights alone
  trine ternarize --list                                             the methods

An interrupted run goes on where it was when it is started again with the same arguments.";

/// The calibrated recipe for models that were not trained ternary.
const DEFAULT_METHOD: &str = "gptq+cd+compensate";

/// Make the weights of a model ternary, fitted to data (lossy)
///
/// Every linear layer but the last is rounded to one or more planes of {-1, 0, +1} times scales, in order, each on
/// what the already rounded ones give it; of a recurrent layer, the products with the sequence and with the states.
/// Writes the model to DIR, as ONNX that onnxruntime runs too or as IR, with report.json and report.html, and copies the
/// tokenizer and configurations that lie beside it. Where nobody watches, standard error says which phase is at work and
/// how long it will take.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx or .ir
    #[arg(required_unless_present = "list")]
    model: Option<PathBuf>,

    /// List the methods, with their papers
    #[arg(long, conflicts_with = "model")]
    list: bool,

    /// What to fit to: text for a language model, or an .npz of arrays by the names of inputs (labels `y` are used to
    /// measure accuracy)
    #[arg(long, value_name = "FILE")]
    calib: Option<PathBuf>,

    /// The tokenizer, as Hugging Face writes it [default: tokenizer.json beside the model]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Tokens to fit to; an eighth more is held out to measure with
    #[arg(long, value_name = "N", default_value_t = 16384)]
    tokens: usize,

    /// Tokens the model reads at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    context: u32,

    /// The method: steps joined by `+`, options in braces after [default: gptq+cd+compensate]
    #[arg(long, value_name = "RECIPE")]
    method: Option<String>,

    /// Weights of a row that a scale serves, 0 for the whole row [default: 128 with the default method]
    #[arg(long, value_name = "G")]
    group: Option<usize>,

    /// Planes of trits a weight [default: 2 with the default method]
    #[arg(long, value_name = "P", conflicts_with = "bits")]
    planes: Option<usize>,

    /// Choose the depth of each layer, from one bit to as it is, so that all take so many bits a weight
    #[arg(long, value_name = "B")]
    bits: Option<f64>,

    /// Refuse if a layer's outputs have a larger relative error on held-out data
    #[arg(long, value_name = "E")]
    max_error: Option<f64>,

    /// Refuse if the held-out loss rises by more nats a token
    #[arg(long, value_name = "NATS")]
    max_loss: Option<f64>,

    /// Leave weights of this name as they are, `*` standing for anything (repeatable); `none` rounds the last layer too
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,

    /// Round rows at unit length and give their lengths to the scales, which changes no output by more than 1e-6
    #[arg(long)]
    normalize_rows: bool,

    /// First turn the residual stream by a random Hadamard matrix, which the weights around it absorb; writes IR
    #[arg(long)]
    rotate: bool,

    /// Which of the text's windows are taken, what methods that draw numbers draw, and how --rotate turns
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Megabytes that held activations and statistics may take
    #[arg(long, value_name = "MB", default_value_t = 3072)]
    max_memory: usize,

    /// What ternary layers sum where the loss is measured and in IR: f32, or int8 (lossy)
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = ["f32", "i8"])]
    activations: String,

    /// What to write: ONNX with ternary f32 weights, ONNX with 2-bit MatMulNBits, which is a fraction of the size, or IR with
    /// packed trits [default: nbits, or ir where ONNX cannot say it]
    #[arg(long)]
    format: Option<Format>,

    /// The folder to write to
    #[arg(short, long, value_name = "DIR", required_unless_present = "list")]
    output: Option<PathBuf>,

    /// Print the report, or the list of methods, as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    threads: ThreadArgs,
}

/// `arguments` are those of the command, for the report.
pub fn run(args: Args, arguments: &[OsString], out: &mut Out) -> Outcome {
    if args.list {
        return list::for_ternarize(args.json, out);
    }
    let (Some(path), Some(folder)) = (&args.model, &args.output) else {
        return Err(Failure::usage("a model and a folder to write to are needed", ""));
    };
    let start = Instant::now();
    let recipe = recipe(&args)?;
    let wanted = Format::wanted(&args, &recipe, path)?;
    announce(&format!("reading {}", path.display()));
    let (mut module, sources) = load(path, &args.dims.dims)?;
    let mut rotated = prepare(&mut module)?;
    let grown = args.rotate.then(|| calibrate::rotate(&mut rotated, args.seed)).transpose()?;
    let given = Given::read(&args, path, &module)?;
    let layers = calibrate::layers(&module, &args.keep)?;
    let format = wanted.settled(&args, path, &layers)?;
    std::fs::create_dir_all(folder).map_err(|e| trine::FileError::write(folder, e))?;
    let judge = Judge { given: &given, threads: args.threads.threads(), context: args.context as usize };
    let before = judge.quality("measuring the model as it was", std::mem::replace(&mut module, rotated))?;
    let options = CalibrateOptions {
        recipe,
        bits: args.bits,
        keep: args.keep.clone(),
        max_memory: args.max_memory.saturating_mul(1 << 20),
        threads: args.threads.threads(),
        seed: args.seed,
        partial: Some(folder.join("partial")),
        max_error: args.max_error,
    };
    let calibrated = calibrate::calibrate(&module, &given.data, &options, &mut Bar::new("calibrating"))?;
    let int8 = args.activations == "i8";
    let rounded = apply(&module, &calibrated, int8)?;
    let after = judge.quality("measuring the model as it is now", rounded.clone())?;
    let plain = weights_only(&module, &options, &judge, int8)?;
    let mut report = Report {
        run: provenance::of_run(&args, arguments, &options, format, &given, &sources)?,
        model: path,
        recipe: &options.recipe,
        format,
        rotated: grown.map(|bytes| Rotated { seed: args.seed, bytes }),
        calibrated: &calibrated,
        before,
        after,
        plain,
        bytes: [sources.bytes(), 0],
        seconds: start.elapsed().as_secs_f64(),
        peak_memory: peak_memory(),
    };
    if let (Some(limit), Some(rise)) = (args.max_loss, report.rise())
        && rise > limit
    {
        let message =
            format!("the held-out loss rises by {rise:.3} nats a token, more than the {limit} allowed");
        return Err(Failure::input(message, "more planes or bits, other methods or kept layers cost less"));
    }
    sources.check()?;
    let progress = Spinner::of_phase(format!("writing {}", folder.display()));
    format.write(&args, path, folder, &rounded, &calibrated)?;
    drop(progress);
    copy_beside(path, folder)?;
    report.bytes[1] = model_bytes(folder)?;
    write_report(&report, folder)?;
    remove(&folder.join("partial"))?;
    warn(report.warning());
    if args.json { write_json(out, &report.json()) } else { Ok(write!(out, "{}", table::text(&report))?) }
}

/// Runs the passes that leave a module's linear layers as products, on it and on a copy.
fn prepare(module: &mut Module) -> Result<Module, Failure> {
    let _progress = Spinner::of_phase("finding linear layers");
    let passes: Pipeline = calibrate::PASSES.parse()?;
    let done = Driver::new().run(&passes, module)?;
    let opened = done.steps.iter().filter(|s| s.pass == "open-recurrent");
    for miss in opened.flat_map(|s| &s.near_misses) {
        warn(format!("the recurrent layer {} stays as it is: {}", miss.place, miss.reason));
    }
    Ok(module.clone())
}

/// Writes `report.json` and `report.html`.
fn write_report(report: &Report, folder: &Path) -> Outcome {
    let json = serde_json::to_string_pretty(&report.json())
        .map_err(|e| Failure::input(format!("cannot write the report: {e}"), ""))?;
    trine::write_text(folder.join("report.json"), &(json + "\n"))?;
    trine::write_text(folder.join("report.html"), &html::page(report))?;
    Ok(())
}

fn recipe(args: &Args) -> Result<Recipe, Failure> {
    let usage = |refusal: Refusal| {
        Failure::usage(refusal.to_string(), "`trine ternarize --list` shows the methods and their options")
    };
    let mut recipe: Recipe = args.method.as_deref().unwrap_or(DEFAULT_METHOD).parse().map_err(usage)?;
    let (mut group, mut planes) = (args.group, args.planes);
    if args.method.is_none() {
        group = group.or(Some(128));
        planes = planes.or(args.bits.is_none().then_some(2));
        recipe = recipe.with("scales", "16").map_err(usage)?;
    }
    if let Some(group) = group {
        recipe = recipe.with("group", &group.to_string()).map_err(usage)?;
    }
    if let Some(planes) = planes {
        recipe = recipe.with("planes", &planes.to_string()).map_err(usage)?;
    }
    if args.normalize_rows {
        recipe = recipe.with("normalize_rows", "true").map_err(usage)?;
    }
    if recipe.needs_calibration() && args.calib.is_none() {
        let message = format!("`{recipe}` needs data to fit to");
        let help = "give it with --calib FILE, or round by the weights alone with --method exact";
        return Err(Failure::usage(message, help));
    }
    if args.bits.is_some() && args.calib.is_none() {
        return Err(Failure::usage("choosing depths by --bits needs data", "give it with --calib FILE"));
    }
    Ok(recipe)
}

fn apply(module: &Module, calibrated: &Calibrated, int8: bool) -> Result<Module, Failure> {
    let mut rounded = module.clone();
    calibrate::apply(&mut rounded, &calibrated.layers, int8)?;
    Ok(rounded)
}

/// What rounding by the weights alone to as many planes would give, to show what the data is worth.
fn weights_only(
    module: &Module,
    options: &CalibrateOptions,
    judge: &Judge,
    int8: bool,
) -> Result<Option<report::Point>, Failure> {
    if !options.recipe.needs_calibration() || options.bits.is_some() || judge.given.is_blind() {
        return Ok(None);
    }
    let settings = &options.recipe.settings;
    let mut recipe = Recipe::new("exact").map_err(|r| Failure::usage(r.to_string(), ""))?;
    (recipe.settings.group, recipe.settings.planes) = (settings.group, settings.planes);
    recipe.settings.scales = settings.scales;
    let options = CalibrateOptions { recipe, partial: None, max_error: None, ..options.clone() };
    let mut bar = Bar::new("rounding by the weights alone, to compare");
    let plain = calibrate::calibrate(module, &Data::default(), &options, &mut bar)?;
    drop(bar);
    let quality = judge.quality("measuring that", apply(module, &plain, int8)?)?;
    Ok(Some(report::Point { bits: report::bits(&plain), quality }))
}

/// What language models have beside them, which says how to use them and stays as it is.
const BESIDE: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "genai_config.json",
];

/// Copies what lies beside a model to the folder, unless it is the model's own.
fn copy_beside(model: &Path, folder: &Path) -> Outcome {
    for name in BESIDE {
        let (from, to) = (model.with_file_name(name), folder.join(name));
        if from.is_file() && from.canonicalize().ok() != to.canonicalize().ok() {
            let bytes = std::fs::read(&from).map_err(|e| trine::FileError::read(&from, e))?;
            trine::write_atomically(&to, |file| file.write_all(&bytes))?;
        }
    }
    Ok(())
}

/// Bytes of the files of the model that was written to a folder.
fn model_bytes(folder: &Path) -> Result<usize, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("model.") {
            bytes += entry.metadata()?.len() as usize;
        }
    }
    Ok(bytes)
}

fn remove(folder: &Path) -> Outcome {
    std::fs::remove_dir_all(folder).map_err(|e| trine::FileError::write(folder, e).into())
}

/// The most memory that the process has had, in bytes, where the system tells.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}
