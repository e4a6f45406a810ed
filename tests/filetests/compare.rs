//! Whether a module still computes what it did: every function on random inputs.

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

/// Runs every function of both modules and compares as strictly as `exactness` promises, or within a
/// `tolerance` of the test's own: relative to the largest magnitude, or in norm where something is lost.
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
        let mut inputs = vec![];
        for param in graph.params() {
            inputs.push(input(graph.name(*param), graph.ty(*param), &env)?);
        }
        let run = |module| eval::run_function(module, name, inputs.clone(), &env, &Calls::default());
        let want = run(before).map_err(|e| format!("`@{name}` before: {e}"))?;
        let got = run(after).map_err(|e| format!("`@{name}` after: {e}"))?;
        if want.len() != got.len() {
            return Err(format!("`@{name}` gives {} results, not {}", got.len(), want.len()).into());
        }
        for (i, (want, got)) in want.iter().zip(&got).enumerate() {
            let same = match (exactness, want.elem()) {
                (Exactness::Reassociates, Elem::F32) => {
                    close(&reals(want)?, &reals(got)?, tolerance.unwrap_or(TOLERANCE))
                }
                (Exactness::Reassociates, Elem::F16) => close(&reals(want)?, &reals(got)?, HALF_TOLERANCE),
                (Exactness::Lossy, Elem::F32) => {
                    near(&reals(want)?, &reals(got)?, tolerance.unwrap_or(LOSSY_TOLERANCE))
                }
                _ => want == got,
            };
            if !same {
                return Err(format!("result {i} of `@{name}` changed:\n{}\n{}", show(want), show(got)).into());
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
        x == y || (x.is_nan() && y.is_nan()) || f64::from((x - y).abs()) <= tolerance * largest
    };
    x.len() == y.len() && x.iter().zip(y.iter()).all(near)
}

fn near(x: &[f32], y: &[f32], tolerance: f64) -> bool {
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let (error, size) = (norm(&mut x.iter().zip(y).map(|(x, y)| x - y)), norm(&mut x.iter().copied()));
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

fn input(name: &str, ty: &Type, env: &DimEnv) -> Result<Tensor, Failed> {
    let dims = ty.eval_dims(env).map_err(|d| format!("no size for `{d}`"))?;
    let mut random = Random::new(name);
    let count = dims.iter().product();
    let values: Vec<f64> = match ty.elem.is_float() {
        true => (0..count).map(|_| random.gaussian()).collect(),
        false => (0..count).map(|_| random.below(2) as f64).collect(),
    };
    fill::tensor(ty.elem, dims, &values).ok_or_else(|| format!("cannot make an input {ty}").into())
}
