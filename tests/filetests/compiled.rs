//! Whether a module computes compiled what it computes interpreted, in memory that is guarded.

use std::sync::Arc;

use half::{bf16, f16};
use libtest_mimic::Failed;
use trine::{Options, Session, SessionOptions};
use trine_ir::{Elem, Module, Tensor};

/// Relative to the largest magnitude of an output: the default passes may sum in another order.
const TOLERANCE: f64 = 2e-5;
const HALF_TOLERANCE: f64 = 1e-2;

/// Compiles the module as is the default, and compares what it gives with `want`.
pub fn same_outputs(mut module: Module, inputs: &[Tensor], want: &[Tensor]) -> Result<(), Failed> {
    let options = Options::default();
    trine::optimize(&mut module, &options)?;
    let program = Arc::new(trine::build_program(module, &options)?);
    for threads in [1, 2] {
        let mut session =
            Session::guarded(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
        let got = session.run(inputs).map_err(|e| format!("compiled, on {threads} threads: {e}"))?;
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            if got.ty() != want.ty() || !is_near(got, want)? {
                let show = crate::show::tensor;
                return Err(format!("output {i} compiled is\n{}\nand not\n{}", show(got), show(want)).into());
            }
        }
    }
    Ok(())
}

fn is_near(got: &Tensor, want: &Tensor) -> Result<bool, Failed> {
    let tolerance = match want.elem() {
        Elem::F32 | Elem::F64 => TOLERANCE,
        Elem::F16 | Elem::Bf16 => HALF_TOLERANCE,
        _ => return Ok(got == want),
    };
    let (got, want) = (reals(got)?, reals(want)?);
    let largest = want.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let near =
        |(g, w): (&f64, &f64)| g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * largest;
    Ok(got.iter().zip(&want).all(near))
}

fn reals(t: &Tensor) -> Result<Vec<f64>, Failed> {
    Ok(match t.elem() {
        Elem::F64 => t.values::<f64>()?.to_vec(),
        Elem::F16 => t.values::<f16>()?.iter().map(|v| v.to_f64()).collect(),
        Elem::Bf16 => t.values::<bf16>()?.iter().map(|v| v.to_f64()).collect(),
        _ => t.values::<f32>()?.iter().map(|v| f64::from(*v)).collect(),
    })
}
