//! Which microkernel a quantized layer gets, by measuring on this machine what the cost model only knows about.
//!
//! The candidates for a shape take turns, so that all see the same machine. Where a program streams its weights
//! they read on through more memory than the second cache holds, else the weights that they have just read.

mod outcomes;

use std::time::{Duration, Instant};

use indexmap::IndexSet;
use trine_ir::{FunctionKind, Module};
use trine_runtime::arena::AlignedBytes;
use trine_ukernel::call::Call;
use trine_ukernel::contract_i8::{ContractI8, scratch};
use trine_ukernel::signsum_f32::{SignSumF32, scratch_len};
use trine_ukernel::{Features, Geometry, Layout, Variant, oracle};

use crate::choice::{self, Choices, Contraction, Layer, Product, Table};
use crate::emit;
use crate::error::CodegenError;
pub use outcomes::{Outcome, Outcomes};

/// Measures every shape of layer of a module whose kernels are formed, unless `known` has it for such a CPU, and has
/// `choices` made accordingly. What is measured is added to `known`. What was found is told to `note`, a sentence at a
/// time; the result is how many shapes were measured. Where microkernels were asked for by name, nothing is.
pub fn tune(
    module: &Module,
    choices: &mut Choices,
    known: &mut Outcomes,
    note: &mut dyn FnMut(String),
) -> Result<usize, CodegenError> {
    let features = choices.target.features;
    if !choices.target.forced.is_empty() {
        return Ok(0);
    }
    let cpu = outcomes::cpu(features);
    let mut measured = 0;
    for layer in layers(module) {
        let candidates = Candidate::all(features, &layer);
        let usual = usual(choices, &layer);
        let Some(usual) = candidates.iter().position(|c| Some(c.symbol()) == usual) else { continue };
        let shape = shape(&layer, choices.streams);
        let measured_before = known.get(&cpu, &shape);
        let measured_before =
            measured_before.filter(|outcome| candidates.iter().any(|c| c.name() == outcome.kernel));
        let outcome = match measured_before {
            Some(outcome) => outcome.clone(),
            None => {
                let times = measure(&candidates, &layer, choices)?;
                let (best, gain) = choose(&times, usual);
                let outcome = Outcome { kernel: candidates[best].name().into(), gain };
                known.insert(&cpu, shape.clone(), outcome.clone());
                measured += 1;
                outcome
            }
        };
        let usual = candidates[usual].name();
        note(match outcome.kernel == usual {
            true => format!("{shape}: `{usual}`, as the cost model says"),
            false => {
                format!("{shape}: `{}`, {:.2} times as fast as `{usual}`", outcome.kernel, outcome.gain)
            }
        });
        choices.tuned.insert(layer, outcome.kernel);
    }
    Ok(measured)
}

fn layers(module: &Module) -> IndexSet<Layer> {
    let kernels = module.functions.values().filter(|f| f.kind == FunctionKind::Kernel);
    kernels.filter_map(|f| emit::layer(&f.graph)).collect()
}

/// The symbol of what `layer` would get unmeasured; `None` where that is not a microkernel.
fn usual(choices: &Choices, layer: &Layer) -> Option<&'static str> {
    match choice::sign_sum(choices, layer)?.contraction {
        Contraction::Int8 { symbol, .. } | Contraction::F32 { symbol, .. } => Some(symbol),
        // The sums alone are measured, and scaled by what goes with the fastest.
        Contraction::Scaled { sums, .. } => Some(sums),
        Contraction::Own => None,
    }
}

/// What is measured once on a CPU, as the cache names it.
fn shape(layer: &Layer, streams: bool) -> String {
    let Layer { product, rows, n, k, group } = *layer;
    let product = match product {
        Product::TritsF32 => "trits f32",
        Product::TritsInt8 => "trits int8",
        Product::Int8Int8 => "int8 int8",
        Product::Int4Int8 => "int4 int8",
    };
    let rows = rows.map_or("any".into(), |rows| rows.min(MANY).to_string());
    let weights = if streams { "from memory" } else { "from the cache" };
    format!("{product}, {n}x{k} in groups of {group}, {rows} rows, weights {weights}")
}

/// A microkernel that may sum a layer.
#[derive(Clone, Copy)]
enum Candidate {
    Int8(&'static Variant<ContractI8, Layout>),
    F32(&'static Variant<SignSumF32, Layout>),
}

impl Candidate {
    /// All but the oracle.
    fn all(features: Features, layer: &Layer) -> Vec<Candidate> {
        fn of<A>(
            table: &'static [Variant<A, Layout>],
            features: Features,
            candidate: fn(&'static Variant<A, Layout>) -> Candidate,
        ) -> Vec<Candidate> {
            let oracle = oracle(table).map(|oracle| oracle.symbol);
            let fast = table.iter().filter(|v| features.contains(v.needs) && Some(v.symbol) != oracle);
            fast.map(candidate).collect()
        }
        match layer.product.table() {
            Table::Int8(table) => of(table, features, Candidate::Int8),
            Table::F32(table) => of(table, features, Candidate::F32),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Candidate::Int8(v) => v.name(),
            Candidate::F32(v) => v.name(),
        }
    }

    fn symbol(&self) -> &'static str {
        match self {
            Candidate::Int8(v) => v.symbol,
            Candidate::F32(v) => v.symbol,
        }
    }

    fn layout(&self) -> Layout {
        match self {
            Candidate::Int8(v) => v.layout,
            Candidate::F32(v) => v.layout,
        }
    }
}

/// Rows that stand for many.
const MANY: usize = 64;

/// How much one row counts where their number is known only at run time: generation has no other.
const ONE_ROW_COUNTS: f64 = 3.0;

/// Weights of a layer that are measured: the time of more is in proportion.
const MOST_WEIGHTS: usize = 1 << 21;

/// Rounds of a shape, and the time after which there are no more.
const ROUNDS: usize = 40;
const LEAST_ROUNDS: usize = 3;
const BUDGET: Duration = Duration::from_millis(150);

/// What took so many times as long as another in the least rounds is not tried again.
const HOPELESS: u32 = 3;

/// The seconds that each candidate takes for one number of rows, and how much they count.
struct Times {
    counts: f64,
    seconds: Vec<f64>,
}

fn measure(candidates: &[Candidate], layer: &Layer, choices: &Choices) -> Result<Vec<Times>, CodegenError> {
    let batches = match layer.rows {
        Some(rows) => vec![(rows.clamp(1, MANY), 1.0)],
        None => vec![(1, ONE_ROW_COUNTS), (MANY, 1.0)],
    };
    let mut benches = vec![];
    for (rows, _) in &batches {
        for candidate in candidates {
            benches.push(Bench::new(*candidate, layer, *rows)?);
        }
    }
    let most = benches.iter().map(|bench| bench.g.bytes).max().unwrap_or(0);
    let mut weights = Weights::new(most, choices)?;
    let start = Instant::now();
    for round in 0..ROUNDS {
        if round >= LEAST_ROUNDS && start.elapsed() > BUDGET {
            break;
        }
        for rivals in benches.chunks_mut(candidates.len()) {
            let best = rivals.iter().filter_map(Bench::best).min();
            let hopeless = |own: Duration| best.is_some_and(|best| own > HOPELESS * best);
            for bench in rivals {
                if round < LEAST_ROUNDS || !bench.best().is_some_and(hopeless) {
                    let time = bench.run(&mut weights)?;
                    bench.times.push(time);
                }
            }
        }
    }
    let seconds = |benches: &mut [Bench]| benches.iter_mut().map(Bench::median).collect();
    let batches = batches.iter().zip(benches.chunks_mut(candidates.len()));
    Ok(batches.map(|((_, counts), benches)| Times { counts: *counts, seconds: seconds(benches) }).collect())
}

/// Less than this share is as likely to be noise.
const NOISE: f64 = 0.03;

/// The candidate that takes least in relation to the usual one, and how many times as fast it is.
fn choose(times: &[Times], usual: usize) -> (usize, f64) {
    let all: f64 = times.iter().map(|t| t.counts).sum();
    let cost = |i: usize| times.iter().map(|t| t.counts * t.seconds[i] / t.seconds[usual]).sum::<f64>() / all;
    let count = times.first().map_or(0, |t| t.seconds.len());
    let best = (0..count).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(usual);
    if cost(best) < 1.0 - NOISE { (best, 1.0 / cost(best)) } else { (usual, 1.0) }
}

/// Packed weights, of any layout: no time depends on their values.
struct Weights {
    bytes: AlignedBytes,
    streams: bool,
    next: usize,
}

/// All weights 0 in each ternary layout.
const ZEROS: u8 = 0x55;

/// Bytes that weights are read through where they stream: more than a core has for itself, as programs have that do.
const STREAM: usize = 64 << 20;

impl Weights {
    /// Enough for matrices of up to `most` bytes.
    fn new(most: usize, choices: &Choices) -> Result<Weights, CodegenError> {
        let len = if choices.streams { most.max(STREAM).max(2 * choices.target.cache) } else { most };
        let mut bytes = AlignedBytes::zeroed(len).map_err(|e| CodegenError::bug("autotune", e))?;
        bytes.as_mut_slice().fill(ZEROS);
        Ok(Weights { bytes, streams: choices.streams, next: 0 })
    }

    /// The next matrix of `len` bytes.
    fn next(&mut self, len: usize) -> &[u8] {
        let start = if self.streams && self.next + len <= self.bytes.len() { self.next } else { 0 };
        self.next = (start + len).next_multiple_of(LINE);
        &self.bytes.as_slice()[start..start + len]
    }
}

/// Bytes of a cache line, at which packed weights start.
const LINE: usize = 64;

/// A candidate at work on a layer.
struct Bench {
    g: Geometry,
    rows: usize,
    work: Work,
    times: Vec<Duration>,
}

/// What it is called with but for the weights.
enum Work {
    Int8 {
        variant: &'static Variant<ContractI8, Layout>,
        x: Vec<i8>,
        x_sums: Vec<i32>,
        out: Vec<i32>,
        scratch: Vec<u8>,
    },
    F32 {
        variant: &'static Variant<SignSumF32, Layout>,
        x: Vec<f32>,
        out: Vec<f32>,
        scratch: Vec<f32>,
    },
}

impl Bench {
    fn new(candidate: Candidate, layer: &Layer, rows: usize) -> Result<Bench, CodegenError> {
        let most = (MOST_WEIGHTS / layer.k.max(1)).next_multiple_of(LEAST_OUTPUTS).max(LEAST_OUTPUTS);
        let g = Geometry::new(candidate.layout(), layer.n.min(most), layer.k, layer.group);
        let g = g.map_err(|e| CodegenError::bug("autotune", e))?;
        let outputs = rows * g.groups * g.n_padded;
        let work = match candidate {
            Candidate::Int8(variant) => Work::Int8 {
                variant,
                x: vec![1; rows * g.k_padded()],
                x_sums: vec![1; rows * g.groups],
                out: vec![0; outputs],
                scratch: vec![0; scratch(variant, &g, Some(rows))],
            },
            Candidate::F32(variant) => Work::F32 {
                variant,
                x: vec![1.0; rows * g.k],
                out: vec![0.0; outputs],
                scratch: vec![0.0; scratch_len(&g)],
            },
        };
        Ok(Bench { g, rows, work, times: vec![] })
    }

    /// The time of one call.
    fn run(&mut self, weights: &mut Weights) -> Result<Duration, CodegenError> {
        let streams = weights.streams;
        let weights = weights.next(self.g.bytes);
        match &mut self.work {
            Work::Int8 { variant, x, x_sums, out, scratch } => {
                let operands = (weights, &x[..], &x_sums[..]);
                let call = Call::contract_i8(variant, &self.g, self.rows, operands, out, scratch);
                let mut call = call.map_err(CodegenError::refused)?;
                Ok(time(streams, || call.run()))
            }
            Work::F32 { variant, x, out, scratch } => {
                let call = Call::sign_sum_f32(variant, &self.g, self.rows, (weights, x), out, scratch);
                let mut call = call.map_err(CodegenError::refused)?;
                Ok(time(streams, || call.run()))
            }
        }
    }

    fn best(&self) -> Option<Duration> {
        self.times.iter().min().copied()
    }

    /// Of all times but the first, which brings everything into place, where there are others.
    fn median(&mut self) -> f64 {
        let first = usize::from(self.times.len() > 1);
        let times = &mut self.times[first..];
        times.sort();
        times[times.len() / 2].as_secs_f64()
    }
}

/// Outputs that are measured at least.
const LEAST_OUTPUTS: usize = 64;

/// The time of a call, after one that leaves the weights in the cache where they are to be found there.
fn time(streams: bool, mut call: impl FnMut()) -> Duration {
    if !streams {
        call();
    }
    let start = Instant::now();
    call();
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use crate::choice::Why;
    use crate::testing::mlp;
    use trine_ukernel::{by_name, signsum_f32};

    #[test]
    fn a_candidate_is_chosen_and_the_second_compilation_measures_nothing() {
        let mut target = Target::host().unwrap();
        let (module, mut known) = (mlp(&target), Outcomes::default());
        let (mut choices, mut notes) = (Choices::new(&target, &module), vec![]);
        let first = tune(&module, &mut choices, &mut known, &mut |n| notes.push(n)).unwrap();
        // On a machine with the oracle alone there is nothing to choose.
        let shapes =
            layers(&module).iter().filter(|l| !Candidate::all(target.features, l).is_empty()).count();
        assert_eq!((first, notes.len(), choices.tuned.len()), (shapes, shapes, shapes));
        for (layer, name) in &choices.tuned {
            let variant = by_name(signsum_f32::VARIANTS, name).unwrap();
            assert!(target.features.contains(variant.needs), "{name}");
            let choice = choice::sign_sum(&choices, layer).unwrap();
            assert_eq!((choice.geometry.layout, choice.why), (variant.layout, Why::Measured));
            assert!(
                matches!(choice.contraction, Contraction::F32 { symbol, .. } if symbol == variant.symbol)
            );
        }
        let mut again = Choices::new(&target, &module);
        assert_eq!(tune(&module, &mut again, &mut known, &mut |_| ()).unwrap(), 0);
        assert_eq!(again.tuned, choices.tuned);
        choice::force(&mut target, "signsum_f32_scalar_trits").unwrap();
        let mut forced = Choices::new(&target, &module);
        assert_eq!(tune(&module, &mut forced, &mut known, &mut |_| ()).unwrap(), 0);
        assert!(forced.tuned.is_empty());
    }

    /// What a variant lacks here is never a candidate, and int8 layers have several where the machine does much.
    #[test]
    fn every_candidate_is_measured() {
        let target = Target::host().unwrap();
        for (product, streams) in [
            (Product::TritsInt8, true),
            (Product::Int8Int8, false),
            (Product::Int4Int8, true),
            (Product::TritsF32, true),
        ] {
            let choices = Choices { streams, ..Choices::new(&target, &Module::default()) };
            let layer = Layer { product, rows: None, n: 100, k: 70, group: 32 };
            let candidates = Candidate::all(target.features, &layer);
            if candidates.is_empty() {
                continue;
            }
            let times = measure(&candidates, &layer, &choices).unwrap();
            let counts: Vec<_> = times.iter().map(|t| (t.counts, t.seconds.len())).collect();
            assert_eq!(counts, [(ONE_ROW_COUNTS, candidates.len()), (1.0, candidates.len())]);
            assert!(times.iter().flat_map(|t| &t.seconds).all(|s| *s > 0.0));
            let known = Layer { rows: Some(5), ..layer };
            assert_eq!(measure(&candidates, &known, &choices).unwrap().len(), 1);
        }
    }

    #[test]
    fn one_row_counts_most_and_noise_changes_nothing() {
        let times = |one: [f64; 2], many: [f64; 2]| {
            [(ONE_ROW_COUNTS, one), (1.0, many)].map(|(counts, s)| Times { counts, seconds: s.to_vec() })
        };
        assert_eq!(choose(&times([1.0, 0.5], [64.0, 128.0]), 0), (1, 1.0 / 0.875));
        assert_eq!(choose(&times([1.0, 1.5], [64.0, 32.0]), 0), (0, 1.0));
        assert_eq!(choose(&times([1.0, 0.99], [64.0, 64.0]), 0), (0, 1.0));
    }
}
