//! Whether a module still computes what it did: every function on random inputs, and on those that are special.
//!
//! Nothing about a pass is known from numbers of moderate size alone: what it takes for granted breaks on NaN, on
//! infinities, on zeros of either sign, on ties of rounding, on denormal numbers, and on masks that hide all.

use half::f16;
use libtest_mimic::Failed;
use trine::pass::Exactness;
use trine_ir::{DimEnv, Elem, Module, Tensor, Type, eval, eval::Calls};

use crate::fill::{self, Random};

/// Relative to the largest magnitude of the output.
const TOLERANCE: f64 = 2e-5;
const HALF_TOLERANCE: f64 = 4e-3;
/// Of the norm of the difference to the norm of the output. What is unrelated differs by √2.
const LOSSY_TOLERANCE: f64 = 1.0;

/// What inputs hold besides moderate numbers. NaN comes last with all else, so that failures show what is simplest.
const SPECIAL: [&[f32]; 7] = [
    &[],
    &[0.0, -0.0],
    &[0.5, -1.5, 2.5, 63.5, -0.5, 127.0],
    &[1e-40, -1e-45, 1.1754942e-38],
    &[f32::INFINITY],
    &[f32::NEG_INFINITY],
    &[f32::NAN, f32::INFINITY, 0.0, f32::NEG_INFINITY, -0.0, 0.5, 1e-40],
];

/// Runs every function of both modules and compares as strictly as `exactness` promises, or within a
/// `tolerance` of the test's own: relative to the largest magnitude, or in norm where something is lost. Where a pass
/// may lose something, or a test leaves room, inputs are moderate; else they are special, too.
pub fn same_meaning(
    before: &Module,
    after: &Module,
    exactness: Exactness,
    tolerance: Option<f64>,
) -> Result<(), Failed> {
    // What nothing calls any more may go.
    for (name, function) in before.functions.iter().filter(|(name, _)| after.functions.contains_key(*name)) {
        let graph = &function.graph;
        let env = symbols(graph.params().iter().map(|p| graph.ty(*p)));
        let all = if exactness == Exactness::Lossy || tolerance.is_some() { 1 } else { SPECIAL.len() };
        for special in &SPECIAL[..all] {
            let mut inputs = vec![];
            for param in graph.params() {
                inputs.push(input(graph.name(*param), graph.ty(*param), &env, special)?);
            }
            let run = |module| eval::run_function(module, name, inputs.clone(), &env, &Calls::default());
            let (want, got) = match (run(before), run(after)) {
                // What is not a number may be no index either.
                (Err(_), Err(_)) if !special.is_empty() => continue,
                (want, got) => (
                    want.map_err(|e| format!("`@{name}` before, on {special:?}: {e}"))?,
                    got.map_err(|e| format!("`@{name}` after, on {special:?}: {e}"))?,
                ),
            };
            if want.len() != got.len() {
                return Err(format!("`@{name}` gives {} results, not {}", got.len(), want.len()).into());
            }
            for (i, (want, got)) in want.iter().zip(&got).enumerate() {
                let same = match (exactness, want.elem()) {
                    (Exactness::Reassociates, Elem::F32) => {
                        close(&reals(want)?, &reals(got)?, tolerance.unwrap_or(TOLERANCE))
                    }
                    (Exactness::Reassociates, Elem::F16) => {
                        close(&reals(want)?, &reals(got)?, HALF_TOLERANCE)
                    }
                    (Exactness::Lossy, Elem::F32 | Elem::F16) => {
                        near(&reals(want)?, &reals(got)?, tolerance.unwrap_or(LOSSY_TOLERANCE))
                    }
                    (_, Elem::F32 | Elem::F16) if want.ty() == got.ty() => {
                        let same =
                            |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                        reals(want)?.iter().zip(&reals(got)?).all(same)
                    }
                    _ => want == got,
                };
                if !same {
                    let (want, got) = (show(want), show(got));
                    let what = format!("result {i} of `@{name}` changed, on {special:?}:");
                    let inputs: Vec<String> = inputs.iter().map(show).collect();
                    return Err(format!("{what}\n{want}\n{got}\nfrom {}", inputs.join("\nand ")).into());
                }
            }
        }
    }
    Ok(())
}

fn show(t: &Tensor) -> String {
    crate::show::tensor(t)
}

fn reals(t: &Tensor) -> Result<Vec<f32>, Failed> {
    Ok(match t.elem() {
        Elem::F16 => t.values::<f16>()?.iter().map(|v| v.to_f32()).collect(),
        _ => t.values::<f32>()?.into_owned(),
    })
}

fn close(x: &[f32], y: &[f32], tolerance: f64) -> bool {
    let largest = x.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let near = |(x, y): (&f32, &f32)| {
        // What is summed in another order loses the sign of what is infinite.
        let lost = !x.is_finite() && y.is_nan();
        x == y || lost || f64::from((x - y).abs()) <= tolerance * largest
    };
    x.len() == y.len() && x.iter().zip(y.iter()).all(near)
}

fn near(x: &[f32], y: &[f32], tolerance: f64) -> bool {
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    // What is not a number before is not measured, and nothing else may become that.
    let finite = || x.iter().zip(y).filter(|(x, _)| x.is_finite());
    let (error, size) = (norm(&mut finite().map(|(x, y)| x - y)), norm(&mut finite().map(|(x, _)| *x)));
    x.len() == y.len() && error <= tolerance * size
}

/// A size for every symbol: all different, so that no two are mixed up unnoticed.
fn symbols<'a>(types: impl Iterator<Item = &'a Type>) -> DimEnv {
    let mut env = DimEnv::default();
    for symbol in types.flat_map(|t| &t.dims).flat_map(|d| d.symbols()) {
        if env.get(&symbol).is_none() {
            env.set(symbol, 2 + env.iter().count());
        }
    }
    env
}

/// Moderate numbers, and in some rows special ones, here and there or everywhere. Of truth values, some rows are all
/// true or all false then.
fn input(name: &str, ty: &Type, env: &DimEnv, special: &[f32]) -> Result<Tensor, Failed> {
    let dims = ty.eval_dims(env).map_err(|d| format!("no size for `{d}`"))?;
    let mut random = Random::new(name);
    let count = dims.iter().product();
    let mut values: Vec<f64> = match ty.elem.is_float() {
        true => (0..count).map(|_| random.gaussian()).collect(),
        false => (0..count).map(|_| random.below(2) as f64).collect(),
    };
    let width = dims.last().copied().unwrap_or(1).max(1);
    for row in values.chunks_mut(width).filter(|_| !special.is_empty()) {
        let every = [1, 3, 5, usize::MAX][random.below(4) as usize];
        let first = random.below(special.len() as u64) as usize;
        match ty.elem {
            Elem::Bool if every == 1 => row.fill(0.0),
            Elem::Bool if every == 3 => row.fill(1.0),
            elem if elem.is_float() && every < usize::MAX => {
                let places = row.iter_mut().skip(random.below(every as u64) as usize).step_by(every);
                places.enumerate().for_each(|(i, v)| *v = special[(first + i) % special.len()].into());
            }
            _ => {}
        }
    }
    fill::tensor(ty.elem, dims, &values).ok_or_else(|| format!("cannot make an input {ty}").into())
}
