//! Normalisations over the last axis.

use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `x / sqrt(mean(x²) + eps) · gain` over the last axis (RMSNorm, arXiv 1910.07467).
    ///
    /// The sum of squares is taken in sixteen strands, `strand[i % 16] += x[i]·x[i]`, then by halves, so that
    /// vector kernels give these bits.
    RmsNorm = "rms_norm" (x, gain) { eps: f32 }
}

impl OpDef for RmsNorm {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, gain) = (&args[0], &args[1]);
        if x.elem != Elem::F32 || x.rank() == 0 {
            bail!("expects rows of f32, got {x}");
        }
        if gain.elem != Elem::F32 || gain.dims != x.dims[x.rank() - 1..] {
            bail!("gain {gain} must match the last axis of {x}");
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, gain) = (args[0].values::<f32>()?, args[1].values::<f32>()?);
        let mut y = Vec::with_capacity(x.len());
        for row in x.chunks(gain.len().max(1)) {
            let inverse = 1.0 / (sum_squares(row) / row.len() as f32 + self.eps).sqrt();
            y.extend(row.iter().zip(gain.iter()).map(|(v, g)| v * inverse * g));
        }
        Ok(vec![Tensor::from_vec(args[0].dims().to_vec(), y)?])
    }
}

/// The sum of squares in sixteen strands, added by halves.
fn sum_squares(row: &[f32]) -> f32 {
    let mut strands = [0f32; 16];
    for chunk in row.chunks(16) {
        for (s, v) in strands.iter_mut().zip(chunk) {
            *s += v * v;
        }
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            strands[i] += strands[i + half];
        }
    }
    strands[0]
}
