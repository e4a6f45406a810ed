//! `trine bench`: how long a run takes.

mod load;
mod profile;
mod roofline;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use trine::generate::{Decoder, DecoderError, Lengths};
use trine::{Options, Program, Session, SessionOptions, View};
use trine_ir::Type;

use super::args::{CompileArgs, RunArgs, parse_dim};
use super::failure::{Failure, Outcome};
use super::inputs::{self, Source};
use super::model::{compile, is_artefact};
use super::progress::Spinner;
use super::sample::{self, Dims};
use super::{Out, write_json};
use load::Load;
use profile::{Clock, Profile};
use roofline::Roofline;

/// Runs before the clock counts, so that caches and the arena are warm.
const WARM_UP: usize = 3;

/// Fewest runs that a percentile is taken of.
const MIN_RUNS: usize = 20;

/// Prompt length of decoders unless `--dim` says otherwise, and how many tokens are decoded after it where there is room.
const PROMPT: usize = 128;
const DECODED: usize = 64;

const EXAMPLES: &str = "\
Examples:
  trine bench model.onnx --threads 1
  trine bench decoder.onnx --dim seq=128 --json
  trine bench decoder.onnx --profile                    which steps the time goes to
  trine bench model.onnx -i in.npz                      arrays that the time depends on
  trine bench model.onnx --load 1                       beside another program that computes
  trine bench model.onnx -O0 --backend interpret        what compiling gains

Inputs are made up: token ids are drawn at random, masks are ones, positions count up, other integers are
zero, and real numbers are drawn from [-1, 1). Dimensions that --dim does not give are 1, but decoders read 128
tokens with empty caches. With -i nothing is made up: runs on those arrays are all that is measured.

--profile compares each step with the roofline: the time that reading its bytes from memory or computing its sums takes at
best, whichever is longer. More than 100% means that bytes came from a cache.";

/// Measure how fast a model runs
///
/// Reports the median, the fastest and the 95th percentile of runs, on made-up inputs unless -i gives some. For
/// decoders also how fast a prompt is read and how fast tokens are generated after it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx, .ir or .trine
    model: PathBuf,

    /// The size of a symbolic dimension, as in seq=128 (repeatable)
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    dims: Vec<(String, usize)>,

    /// Arrays to run on instead: FILE.npz, NAME=FILE.npy, NAME=FILE.pb or NAME=FILE.npz:ARRAY (repeatable)
    #[arg(short, long = "input", value_name = "[NAME=]FILE", conflicts_with = "dims")]
    inputs: Vec<Source>,

    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,

    /// Print the time of each step, what it moves and computes, and its share of the roofline
    #[arg(long)]
    profile: bool,

    /// Keep N more threads busy meanwhile, as on a machine that does other work too
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    load: u16,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    compile: CompileArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let start = Instant::now();
    let options = Options { fed: inputs::fed(&args.model, &args.inputs)?, ..args.compile.options() };
    let program = Arc::new(compile(&args.model, &options, args.run.weights())?);
    let compiling = start.elapsed();
    let threads = args.run.threads();
    let lengths = match Lengths::new(&program) {
        Ok(lengths) => Some(lengths).filter(|_| args.inputs.is_empty()),
        Err(DecoderError::NotADecoder(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let dims = match args.inputs.is_empty() {
        true => Some(Dims::new(&program, &args.dims, lengths.as_ref(), PROMPT)?),
        false => None,
    };
    let tensors = match &dims {
        Some(dims) => sample::inputs(&program, dims)?,
        None => {
            let ports: Vec<(&str, &Type)> = program.inputs.iter().map(|p| (p.name.as_str(), &p.ty)).collect();
            inputs::read(&args.inputs, &ports)?
        }
    };
    let views: Vec<View> = tensors.iter().map(View::from).collect();
    let seq = lengths.as_ref().zip(dims.as_ref()).map_or(1, |(lengths, dims)| dims.get(&lengths.new));
    let limited = |error: DecoderError| match &lengths {
        Some(lengths) if matches!(error, DecoderError::Run(_)) => {
            let help =
                format!("where caches or tables end, --dim {}=N reads fewer than {seq} tokens", lengths.new);
            Failure::new(error.fault(), error.to_string(), help)
        }
        _ => error.into(),
    };
    let mut decoder = match lengths.as_ref().map(|_| Decoder::new(program.clone(), threads, seq + DECODED)) {
        Some(Ok(decoder)) => Some(decoder),
        None | Some(Err(DecoderError::NotADecoder(_))) => None,
        Some(Err(error)) => return Err(error.into()),
    };
    let progress = Spinner::new(format!("running {}", args.model.display()));
    let budget = Duration::from_secs_f64(args.seconds);
    let load = Load::new(args.load.into());
    let times = times(&program, &views, threads, budget).map_err(limited)?;
    let tokens = sample::tokens(&program, seq + DECODED);
    let (prompt, mut next) = tokens.split_at(seq);
    if let Some(decoder) = &mut decoder {
        next = &next[..room(decoder, prompt, next).map_err(limited)?];
    }
    let rates = decoder.as_mut().map(|d| rates(d, prompt, next, budget)).transpose()?;
    let profiles = match args.profile {
        true => profiles(&program, decoder, &views, (prompt, next), threads)?,
        false => vec![],
    };
    drop((load, progress));
    let (compiled, interpreted) = program.step_counts();
    if args.json {
        let mut report = json!({
            "model": args.model,
            "threads": threads,
            "load": args.load,
            "dims": dims.as_ref().map(Dims::json),
            "steps": { "compiled": compiled, "interpreted": interpreted },
            "held_states": program.states.len(),
            "compile_s": compiling.as_secs_f64(),
            "runs": times.len(),
            "median_s": quantile(&times, 0.5),
            "min_s": quantile(&times, 0.0),
            "p95_s": quantile(&times, 0.95),
        });
        if let Some(rates) = rates {
            report["prompt_tokens_per_s"] = json!(rates.prompt);
            report["decode_tokens_per_s"] = json!(rates.decode);
            report["decoded_tokens"] = json!(next.len());
        }
        if args.profile {
            report["profiles"] = profiles.iter().map(Profile::json).collect();
        }
        return write_json(out, &report);
    }
    let sizes = dims.map_or(String::new(), |dims| dims.to_string());
    writeln!(out, "{}{sizes}", args.model.display())?;
    writeln!(
        out,
        "  {} in {}, {compiled} kernel steps, {interpreted} interpreted",
        if is_artefact(&args.model) { "loaded" } else { "compiled" },
        time(compiling.as_secs_f64())
    )?;
    let [median, min, p95] = [0.5, 0.0, 0.95].map(|q| time(quantile(&times, q)));
    writeln!(out, "  run: median {median}, min {min}, p95 {p95} ({} runs, {threads} threads)", times.len())?;
    if let Some(Rates { prompt, decode }) = rates {
        writeln!(out, "  prompt: {prompt:.1} tokens/s\n  decode: {decode:.1} tokens/s")?;
        if next.len() < DECODED {
            writeln!(out, "  the model has room for {} tokens after the prompt", next.len())?;
        }
    }
    profiles.iter().try_for_each(|profile| write!(out, "{profile}"))?;
    Ok(())
}

/// Where the time of runs goes; of decoders, that of a prompt and of a token after it.
fn profiles(
    program: &Arc<Program>,
    decoder: Option<Decoder>,
    views: &[View],
    (prompt, next): (&[u32], &[u32]),
    threads: usize,
) -> Result<Vec<Profile>, Failure> {
    let roofline = Roofline::measure(threads)?;
    let Some(mut decoder) = decoder else {
        let mut session =
            Session::new(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
        session.execute(views)?;
        let mut clock = Clock::new(program);
        for _ in 0..MIN_RUNS {
            clock.start();
            session.execute_observed(views, |step| clock.step(step))?;
        }
        return Ok(vec![Profile::new("run", clock, &session, &roofline)]);
    };
    let mut prompts = Clock::new(program);
    for _ in 0..WARM_UP + 1 {
        decoder.reset();
        prompts.start();
        decoder.feed_observed(prompt, |step| prompts.step(step))?;
    }
    let prompt = Profile::new("prompt", prompts, decoder.session(), &roofline);
    let mut decodes = Clock::new(program);
    for token in next {
        decodes.start();
        decoder.feed_observed(&[*token], |step| decodes.step(step))?;
    }
    Ok(vec![prompt, Profile::new("decode", decodes, decoder.session(), &roofline)])
}

/// Seconds of runs, sorted.
fn times(
    program: &Arc<Program>,
    views: &[View],
    threads: usize,
    budget: Duration,
) -> Result<Vec<f64>, DecoderError> {
    let mut session = Session::new(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
    for _ in 0..WARM_UP {
        session.execute(views)?;
    }
    let (mut times, begin) = (vec![], Instant::now());
    while begin.elapsed() < budget || times.len() < MIN_RUNS {
        let start = Instant::now();
        session.execute(views)?;
        times.push(start.elapsed().as_secs_f64());
        // A slow model gets fewer runs rather than minutes.
        if begin.elapsed() > 4 * budget {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Tokens a second.
struct Rates {
    prompt: f64,
    decode: f64,
}

/// How many of the `next` tokens, at least one, the decoder can read one by one after the prompt: the caches of a model or
/// its tables may end before.
fn room(decoder: &mut Decoder, prompt: &[u32], next: &[u32]) -> Result<usize, DecoderError> {
    decoder.feed(prompt)?;
    for (read, token) in next.iter().enumerate() {
        match decoder.feed(&[*token]) {
            Err(error) if read == 0 => return Err(error),
            Err(_) => return Ok(read),
            Ok(_) => {}
        }
    }
    Ok(next.len())
}

/// The median speed of reading a prompt and of decoding after it, which are measured in turns.
fn rates(
    decoder: &mut Decoder,
    prompt: &[u32],
    next: &[u32],
    budget: Duration,
) -> Result<Rates, DecoderError> {
    let (mut prompts, mut decodes) = (vec![], vec![]);
    let begin = Instant::now();
    // The first turn is the warm-up.
    while prompts.len() < 3 || begin.elapsed() < budget {
        decoder.reset();
        let start = Instant::now();
        decoder.feed(prompt)?;
        prompts.push(start.elapsed().as_secs_f64() / prompt.len() as f64);
        let start = Instant::now();
        for token in next {
            decoder.feed(&[*token])?;
        }
        decodes.push(start.elapsed().as_secs_f64() / next.len() as f64);
        if begin.elapsed() > 4 * budget && prompts.len() > 1 {
            break;
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.remove(0);
        times.sort_by(f64::total_cmp);
        1.0 / quantile(times, 0.5)
    };
    Ok(Rates { prompt: median(&mut prompts), decode: median(&mut decodes) })
}

/// The value that a share `q` of the sorted times does not exceed, by nearest rank.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("expected seconds, more than 0 and at most 3600".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let times: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|q| quantile(&times, q)), [1.0, 10.0, 19.0, 20.0]);
        assert_eq!(quantile(&[7.0], 0.95), 7.0);
    }

    #[test]
    fn times_have_units() {
        assert_eq!([2.5e-6, 0.0125, 3.0].map(time), ["2.5 µs", "12.50 ms", "3.00 s"]);
    }
}
