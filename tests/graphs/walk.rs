//! Evaluation step by step, to see every value, or to shake each a little.
//!
//! How far a result moves when every number on the way is rounded otherwise is how far another order of summation
//! may move it: a difference that no shaking explains is a fault.

use half::{bf16, f16};
use std::collections::HashMap;
use trine_ir::eval::{Calls, bind, run_function};
use trine_ir::op::Context;
use trine_ir::{Def, DimEnv, Elem, Kind, Module, OpResult, Tensor, Value};

use super::choices::Choices;

/// A number of so many units of the last place of the largest in its tensor is what rounding left.
const CANCELLED: f64 = 8.0;

/// What is done to floats on the way.
pub struct Noise<'n, 'b> {
    pub random: &'n mut Choices<'b>,
    /// By how many units of their last place they are off.
    pub units: f64,
    /// Whether those that are a difference of larger ones, as far as can be told, are 0.
    pub flush: bool,
}

/// The values of `@main` on `inputs`; `noise` is for each float that is not a literal.
pub fn values(
    module: &Module,
    inputs: &[Tensor],
    mut noise: Option<Noise>,
) -> Result<HashMap<Value, Tensor>, String> {
    let graph = &module.main().ok_or("no `@main`")?.graph;
    let dims = bind(graph, inputs, &DimEnv::default()).map_err(|e| e.to_string())?;
    let mut frame = Frame { module, dims };
    let mut values = HashMap::default();
    // Sizes follow from some numbers, which stay what they are.
    let sizes = |v: Value| {
        let reads = |(node, slot)| match graph.kind(node) {
            Some(Kind::Resize) => slot > 0,
            Some(Kind::Range | Kind::MelWeights) => true,
            _ => false,
        };
        graph.users(v).into_iter().any(reads)
    };
    let mut shake = |v: Value, t: Tensor| match &mut noise {
        Some(noise) if !sizes(v) => shaken(&t, noise),
        _ => t,
    };
    for (param, tensor) in graph.params().iter().zip(inputs) {
        values.insert(*param, shake(*param, tensor.clone()));
    }
    for node in graph.order() {
        let results = match graph.def(node) {
            Def::Param { .. } => continue,
            Def::Const(key) => vec![module.consts.get(key).ok_or("a constant without data")?.clone()],
            Def::Literal(l) => vec![l.tensor().map_err(|e| e.to_string())?],
            Def::Op(op) => {
                let operands = graph.operands(node);
                let args: Vec<Option<&Tensor>> = operands.iter().map(|o| o.map(|v| &values[&v])).collect();
                op.eval(&args, &frame).map_err(|e| e.0)?
            }
        };
        for (value, tensor) in graph.results(node).zip(results) {
            for (dim, n) in graph.ty(value).dims.iter().zip(tensor.dims()) {
                frame.dims.unify(dim, *n).map_err(|_| format!("`{dim}` is not {n}"))?;
            }
            let is_literal = matches!(graph.def(node), Def::Literal(_));
            values.insert(value, if is_literal { tensor } else { shake(value, tensor) });
        }
    }
    Ok(values)
}

/// The outputs alone.
pub fn outputs(module: &Module, inputs: &[Tensor], noise: Noise) -> Result<Vec<Tensor>, String> {
    let values = values(module, inputs, Some(noise))?;
    let graph = &module.main().ok_or("no `@main`")?.graph;
    Ok(graph.outputs().iter().map(|v| values[v].clone()).collect())
}

struct Frame<'a> {
    module: &'a Module,
    dims: DimEnv,
}

impl Context for Frame<'_> {
    fn dims(&self) -> &DimEnv {
        &self.dims
    }
    fn call(&self, function: &str, args: Vec<Tensor>) -> OpResult<Vec<Tensor>> {
        run_function(self.module, function, args, &self.dims, &Calls::default())
            .map_err(|e| e.to_string().into())
    }
}

fn shaken(t: &Tensor, noise: &mut Noise) -> Tensor {
    macro_rules! moved {
        ($ty:ty, $digits:expr, $to:expr, $from:expr) => {{
            let values = t.values::<$ty>().expect("of this type");
            let numbers = moved(values.iter().map(|v| $to(*v)).collect(), noise, $digits);
            let values = numbers.into_iter().map($from).collect();
            Tensor::from_vec::<$ty>(t.dims().to_vec(), values).expect("as many")
        }};
    }
    match t.elem() {
        Elem::F32 => moved!(f32, f64::from(f32::EPSILON), f64::from, |v: f64| v as f32),
        Elem::F64 => moved!(f64, f64::EPSILON, |v: f64| v, |v: f64| v),
        Elem::F16 => moved!(f16, 1.0 / 1024.0, f64::from, f16::from_f64),
        Elem::Bf16 => moved!(bf16, 1.0 / 128.0, f64::from, bf16::from_f64),
        _ => t.clone(),
    }
}

/// Numbers whose last place is `digits` of them, with noise.
fn moved(mut numbers: Vec<f64>, noise: &mut Noise, digits: f64) -> Vec<f64> {
    let largest = numbers.iter().copied().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
    for v in &mut numbers {
        *v *= 1.0 + (noise.random.number() as f64 / u64::MAX as f64 * 2.0 - 1.0) * noise.units * digits;
        if noise.flush && v.abs() < CANCELLED * digits * largest {
            *v = 0.0;
        }
    }
    numbers
}
