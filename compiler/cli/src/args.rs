//! Options that several subcommands take.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use trine::artefact::Weights;
use trine::pass::{PassError, Pipeline};
use trine::passes::PASSES;
use trine::rounding::{Features, States, Ternarize};
use trine::ternarize::{METHODS, Recipe, Refusal};
use trine::{Activations, Backend, Head, Level, Options};

/// For which sizes.
#[derive(Args)]
#[command(next_help_heading = "Sizes")]
pub struct DimArgs {
    /// Fix a symbolic dimension of the inputs everywhere, as in seq=128 (repeatable)
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    pub dims: Vec<(String, usize)>,
}

/// Reads `seq=128`.
pub fn parse_dim(text: &str) -> Result<(String, usize), String> {
    let (name, size) = text.split_once('=').ok_or("expected NAME=N, as in seq=128")?;
    let size = size.trim().parse().map_err(|_| format!("`{}` is not a size", size.escape_debug()))?;
    Ok((name.trim().into(), size))
}

/// How to compile.
#[derive(Args)]
#[command(next_help_heading = "Compiling")]
pub struct CompileArgs {
    /// Optimisation level: 0 as imported, 1 keeps every bit, 2 may round elsewhere
    #[arg(short = 'O', value_name = "LEVEL", default_value = "2", value_parser = ["0", "1", "2"], hide_possible_values = true)]
    level: String,

    /// Run these passes instead of the level's, such as "fold-constants,simplify" (see `trine list passes`)
    #[arg(long, value_name = "PASSES", value_parser = parse_passes)]
    passes: Option<Pipeline>,

    /// Make weights ternary that are not (lossy): a method of `trine list methods`, with options as in "twn{group=128}"
    #[arg(long, value_name = "METHOD", value_parser = parse_ternarize)]
    ternarize: Option<Ternarize>,

    /// Make the states of recurrent layers ternary (lossy): threshold, mean, bernoulli or keep, with a seed and the slope of
    /// their gates as in "bernoulli{seed=7,slope=2}" (HitNet)
    #[arg(long, value_name = "KIND")]
    states: Option<States>,

    /// Make what the last linear layer reads, or another value, ternary or binary by a threshold (lossy), as in
    /// "ternary{threshold=0.5}"; `trine features` says which is the best
    #[arg(long, value_name = "FORM")]
    features: Option<Features>,

    /// What ternary layers sum: as the model says (auto), f32, or int8 with a scale for each group of the weights (i8), for
    /// each row (i8:row), or for each block of so many inputs (i8:32) (lossy where the model does not say so)
    #[arg(long, value_name = "TYPE", default_value = "auto", value_parser = activations)]
    activations: Activations,

    /// Compute a model of f16 or bf16 in f32, all of it but inputs, outputs and caches: faster, and not rounded where the
    /// model says so
    #[arg(long)]
    widen: bool,

    /// What becomes of the last linear layer: kept, or rounded to int8 (lossy; the default with --ternarize)
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    head: HeadArg,

    /// What runs the ops: machine code where there is a kernel, only the interpreter, or only machine code
    #[arg(long, default_value = "auto")]
    backend: BackendArg,

    /// Check the microkernels that layers get on this machine, against scalar ones and to the bit
    #[arg(long)]
    verify_kernels: bool,

    /// Measure which microkernels are the fastest for each shape of layer here, and remember it in the folder
    /// TRINE_CACHE [default: trine in the user's caches]
    #[arg(long)]
    autotune: bool,
}

#[derive(Clone, Copy)]
struct HeadArg(Head);

#[derive(Clone, Copy)]
struct BackendArg(Backend);

fn activations(text: &str) -> Result<Activations, String> {
    match text.split_once(':') {
        None if text == "auto" => Ok(Activations::Auto),
        None if text == "f32" => Ok(Activations::F32),
        None if text == "i8" => Ok(Activations::I8),
        Some(("i8", "row")) => Ok(Activations::I8Rows),
        Some(("i8", block)) => match block.parse() {
            Ok(block) if block > 0 => Ok(Activations::I8Blocks(block)),
            _ => Err(format!("a block has at least 1 input, not `{}`", block.escape_debug())),
        },
        _ => Err("it is `auto`, `f32`, `i8`, `i8:row` or, with a scale a block, such as `i8:32`".into()),
    }
}

impl ValueEnum for HeadArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[HeadArg(Head::Auto), HeadArg(Head::Keep), HeadArg(Head::I8)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            Head::Auto => PossibleValue::new("auto"),
            Head::Keep => PossibleValue::new("keep"),
            Head::I8 => PossibleValue::new("i8").alias("int8"),
        })
    }
}

impl ValueEnum for BackendArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[BackendArg(Backend::Auto), BackendArg(Backend::Interpret), BackendArg(Backend::Cranelift)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self.0 {
            Backend::Auto => "auto",
            Backend::Interpret => "interpret",
            Backend::Cranelift => "cranelift",
        }))
    }
}

impl CompileArgs {
    /// The options, with sizes that are fixed.
    pub fn options_for(&self, dims: &DimArgs) -> Options {
        Options { dims: dims.dims.clone(), ..self.options() }
    }

    pub fn options(&self) -> Options {
        Options {
            dims: vec![],
            fed: vec![],
            level: match self.level.as_str() {
                "0" => Level::O0,
                "1" => Level::O1,
                _ => Level::O2,
            },
            passes: self.passes.clone(),
            ternarize: self.ternarize.clone(),
            states: self.states,
            features: self.features.clone(),
            activations: self.activations,
            widen: self.widen,
            head: self.head.0,
            backend: self.backend.0,
            verify_kernels: self.verify_kernels,
            autotune: self.autotune,
            microkernels: microkernels(),
            cache: cache(),
        }
    }
}

/// The microkernels that `TRINE_UKERNEL` names, separated by commas.
fn microkernels() -> Vec<String> {
    let names = std::env::var_os("TRINE_UKERNEL").unwrap_or_default();
    let names = names.to_string_lossy();
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect()
}

/// The folder that a user keeps in what can be made again.
fn cache() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let ours = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    named("TRINE_CACHE").or_else(|| Some(ours?.join("trine")))
}

/// How to run.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub struct ThreadArgs {
    /// Threads that share each kernel [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

/// How to run a model, which may be compiled already.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    #[command(flatten)]
    threads: ThreadArgs,

    /// Where the weights of a .trine file are: mapped, or copied to memory
    #[arg(long, value_name = "HOW", default_value = "map")]
    weights: WeightsArg,
}

/// How much memory a run may have.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub struct MemoryArgs {
    /// Refuse before weights, values, scratch and caches together take more, as in 512M or 4G
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_memory: Option<usize>,
}

impl MemoryArgs {
    pub fn max_bytes(&self) -> Option<usize> {
        self.max_memory
    }
}

/// Reads `512M`, `4G` or `1.5GiB`: units are powers of 1024.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{}` is not a size with its unit, as in 512M or 4G", text.escape_debug());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    if number.is_finite() && number >= 0.0 {
        Ok((number * 1024f64.powi(power)) as usize)
    } else {
        Err(wrong())
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightsArg {
    Map,
    Copy,
}

impl ThreadArgs {
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(n) => n.get(),
            None => std::thread::available_parallelism().map_or(1, |n| n.get()),
        }
    }
}

impl RunArgs {
    pub fn threads(&self) -> usize {
        self.threads.threads()
    }

    pub fn weights(&self) -> Weights {
        match self.weights {
            WeightsArg::Map => Weights::Map,
            WeightsArg::Copy => Weights::Copy,
        }
    }
}

/// Checks a pipeline while the command line is read, so that a wrong name is an error of the command line.
pub fn parse_passes(text: &str) -> Result<Pipeline, String> {
    text.parse().map_err(|error: PassError| {
        let names: Vec<_> = PASSES.iter().map(|p| p.name).collect();
        let wrong = text
            .split([',', '{', '}'])
            .map(str::trim)
            .find(|t| !t.is_empty() && !t.contains('=') && !names.contains(t));
        let tip = wrong
            .and_then(|w| suggest(w, &names))
            .map_or(String::new(), |s| format!(" (did you mean `{s}`?)"));
        format!("{error}{tip}")
    })
}

fn parse_ternarize(text: &str) -> Result<Ternarize, String> {
    text.parse().map_err(|error: PassError| {
        let names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        let unknown = match Recipe::new(text.split('{').next().unwrap_or(text)) {
            Err(Refusal::UnknownMethod { name, .. }) => Some(name),
            _ => None,
        };
        let tip = unknown.and_then(|name| suggest(&name, &names));
        format!("{error}{}", tip.map_or(String::new(), |s| format!(" (did you mean `{s}`?)")))
    })
}

/// The one of `names` that `wrong` most looks like, if any does.
pub fn suggest<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(wrong, name);
    let best = names.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_names_are_answered_with_the_nearest() {
        let message = parse_passes("detect-ternry").unwrap_err();
        assert!(message.ends_with("(did you mean `detect-ternary`?)"), "{message}");
        assert!(parse_passes("ternarize{method=twn},lower-ternary").is_ok());
        assert!(parse_ternarize("absmaen").unwrap_err().ends_with("(did you mean `absmean`?)"));
        assert!(!parse_ternarize("zzz").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn sizes_have_units() {
        let sizes = ["7B", "512M", "4G", "1.5 GiB", "2kb"].map(|text| parse_bytes(text).unwrap());
        assert_eq!(sizes, [7, 512 << 20, 4 << 30, 3 << 29, 2 << 10]);
        for wrong in ["4096", "G", "-1G", "infG", "4X", ""] {
            assert!(parse_bytes(wrong).unwrap_err().contains("is not a size with its unit"), "{wrong}");
        }
    }

    #[test]
    fn dims_are_read() {
        assert_eq!(parse_dim("seq = 128").unwrap(), ("seq".into(), 128));
        assert_eq!(parse_dim("seq").unwrap_err(), "expected NAME=N, as in seq=128");
        assert_eq!(parse_dim("seq=-1").unwrap_err(), "`-1` is not a size");
    }
}
