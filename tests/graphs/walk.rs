//! Evaluation step by step, to see every value, or to shake each a little.
//!
//! How far a result moves when every number on the way is rounded otherwise is how far another order of summation
//! may move it: a difference that no shaking explains is a fault.

use half::{bf16, f16};
use std::collections::HashMap;
use trine_ir::eval::{Calls, bind, run_function};
use trine_ir::op::Context;
use trine_ir::{Def, DimEnv, Elem, Module, OpResult, Tensor, Value};

use super::choices::Choices;

/// The values of `@main` on `inputs`; with `noise` each float that is not a literal is off by some units of its last
/// place.
pub fn values(
    module: &Module,
    inputs: &[Tensor],
    mut noise: Option<(&mut Choices, f64)>,
) -> Result<HashMap<Value, Tensor>, String> {
    let graph = &module.main().ok_or("no `@main`")?.graph;
    let dims = bind(graph, inputs, &DimEnv::default()).map_err(|e| e.to_string())?;
    let mut frame = Frame { module, dims };
    let mut values = HashMap::default();
    let mut shake = |t: Tensor| match &mut noise {
        Some((random, units)) => shaken(&t, random, *units),
        None => t,
    };
    for (param, tensor) in graph.params().iter().zip(inputs) {
        values.insert(*param, shake(tensor.clone()));
    }
    for node in graph.order() {
        let results = match graph.def(node) {
            Def::Param { .. } => continue,
            Def::Const(key) => vec![shake(module.consts.get(key).ok_or("a constant without data")?.clone())],
            Def::Literal(l) => vec![l.tensor().map_err(|e| e.to_string())?],
            Def::Op(op) => {
                let operands = graph.operands(node);
                let args: Vec<Option<&Tensor>> = operands.iter().map(|o| o.map(|v| &values[&v])).collect();
                let results = op.eval(&args, &frame).map_err(|e| e.0)?;
                results.into_iter().map(&mut shake).collect()
            }
        };
        for (value, tensor) in graph.results(node).zip(results) {
            for (dim, n) in graph.ty(value).dims.iter().zip(tensor.dims()) {
                frame.dims.unify(dim, *n).map_err(|_| format!("`{dim}` is not {n}"))?;
            }
            values.insert(value, tensor);
        }
    }
    Ok(values)
}

/// The outputs alone.
pub fn outputs(
    module: &Module,
    inputs: &[Tensor],
    noise: (&mut Choices, f64),
) -> Result<Vec<Tensor>, String> {
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

/// Floats moved by up to `units` of their last place.
fn shaken(t: &Tensor, random: &mut Choices, units: f64) -> Tensor {
    let mut factor =
        |digits: f64| 1.0 + (random.number() as f64 / u64::MAX as f64 * 2.0 - 1.0) * units * digits;
    macro_rules! moved {
        ($ty:ty, $digits:expr, $to:expr, $from:expr) => {{
            let values = t.values::<$ty>().expect("of this type");
            let values = values.iter().map(|v| $from($to(*v) * factor($digits))).collect();
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
