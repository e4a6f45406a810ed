//! Normalisations over the last axis.
//!
//! Sums are taken in sixteen strands, `strand[i % 16] += x[i]`, then by halves, so that vector kernels give
//! these bits. f16 and bf16 are computed in f32 and rounded once.

use super::real::{Real, in_real, sum_strands};
use super::require::may_equal;
use super::*;
use crate::{bail, op};

op! {
    /// `x / sqrt(mean(x²) + eps) · gain` over the last axis (RMSNorm, arXiv 1910.07467).
    RmsNorm = "rms_norm" (x, gain) { eps: f32 }
}

op! {
    /// `(x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) [· gain] [+ bias]` over the last axis (LayerNorm,
    /// arXiv 1607.06450).
    LayerNorm = "layer_norm" (x, gain: optional, bias: optional) { eps: f32 }
}

impl OpDef for RmsNorm {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        check_rows(&args[0], [("gain", Some(&args[1]))], module)?;
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        in_real!(args[0].elem(), rms_norm(&args[0], &args[1], self.eps))
    }
}

impl OpDef for LayerNorm {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        check_rows(&args[0], [("gain", args.get(1)), ("bias", args.get(2))], module)?;
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        in_real!(args[0].elem(), layer_norm(&args[0], args.get(1), args.get(2), self.eps))
    }
}

/// Floats with a last axis, which the parameters match.
fn check_rows<const N: usize>(
    x: &Type,
    params: [(&str, Option<&Type>); N],
    module: &dyn Signatures,
) -> OpResult<()> {
    if !x.elem.is_float() || x.rank() == 0 {
        bail!("expects rows of floats, got {x}");
    }
    for (name, param) in params {
        if let Some(param) = param
            && (param.elem != x.elem
                || param.rank() != 1
                || !may_equal(&param.dims[0], &x.dims[x.rank() - 1], module))
        {
            bail!("{name} {param} must match the last axis of {x}");
        }
    }
    Ok(())
}

fn row_len(x: &Tensor) -> usize {
    x.dims().last().copied().unwrap_or(1).max(1)
}

fn rms_norm<T: Real>(x: &Tensor, gain: &Tensor, eps: f32) -> OpResult<Vec<Tensor>> {
    let (values, gain) = (T::read(x)?, T::read(gain)?);
    let mut y = Vec::with_capacity(values.len());
    for row in values.chunks(row_len(x)) {
        let mean = sum_strands(row.iter().map(|v| *v * *v)) / T::of(row.len() as f32);
        let inverse = T::of(1.0) / (mean + T::of(eps)).sqrt();
        y.extend(row.iter().zip(gain.iter()).map(|(v, g)| *v * inverse * *g));
    }
    Ok(vec![T::write(x.elem(), x.dims().to_vec(), y)?])
}

fn layer_norm<T: Real>(
    x: &Tensor,
    gain: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> OpResult<Vec<Tensor>> {
    let values = T::read(x)?;
    let (gain, bias) = (gain.map(T::read).transpose()?, bias.map(T::read).transpose()?);
    let mut y = Vec::with_capacity(values.len());
    for row in values.chunks(row_len(x)) {
        let n = T::of(row.len() as f32);
        let mean = sum_strands(row.iter().copied()) / n;
        let variance = sum_strands(row.iter().map(|v| (*v - mean) * (*v - mean))) / n;
        let inverse = T::of(1.0) / (variance + T::of(eps)).sqrt();
        y.extend(row.iter().enumerate().map(|(i, v)| {
            let mut y = (*v - mean) * inverse;
            if let Some(gain) = &gain {
                y = y * gain[i];
            }
            if let Some(bias) = &bias {
                y += bias[i];
            }
            y
        }));
    }
    Ok(vec![T::write(x.elem(), x.dims().to_vec(), y)?])
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::ty::Elem;

    fn run(op: impl Into<Op>, args: &[Option<&Tensor>]) -> Tensor {
        let op = op.into();
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let y = op.eval(args, &DimEnv::default()).unwrap().remove(0);
        assert_eq!(op.infer(&types, &()).unwrap(), [y.ty()]);
        y
    }

    #[test]
    fn rows_have_mean_zero_and_variance_one() {
        let x = Tensor::from_vec(vec![2, 4], vec![1f32, 2.0, 3.0, 4.0, -1.0, -1.0, 1.0, 1.0]).unwrap();
        let (gain, bias) =
            (Tensor::vector(vec![1f32, 2.0, 1.0, 1.0]), Tensor::vector(vec![0f32, 0.0, 5.0, 0.0]));
        let y = run(LayerNorm { eps: 0.0 }, &[Some(&x), Some(&gain), Some(&bias)]);
        let s = 1.25f32.sqrt();
        let want = [-1.5 / s, -1.0 / s, 0.5 / s + 5.0, 1.5 / s, -1.0, -2.0, 6.0, 1.0];
        for (got, want) in y.values::<f32>().unwrap().iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
        let plain = run(LayerNorm { eps: 0.0 }, &[Some(&x), None, None]);
        assert_eq!(plain.values::<f32>().unwrap()[4..], [-1.0, -1.0, 1.0, 1.0]);
    }

    #[test]
    fn halves_are_computed_in_f32_and_doubles_in_f64() {
        let x: Vec<f16> = [300.0, 400.0].map(f16::from_f32).to_vec();
        let gain = Tensor::vector(vec![f16::ONE; 2]);
        let y = run(RmsNorm { eps: 0.0 }, &[Some(&Tensor::vector(x)), Some(&gain)]);
        let want = [0.6f32, 0.8].map(|v| f16::from_f32(v * 2f32.sqrt()));
        assert_eq!(&*y.values::<f16>().unwrap(), want);
        let x = Tensor::vector(vec![1e200f64, 0.0]);
        let y = run(LayerNorm { eps: 0.0 }, &[Some(&x), None, None]);
        assert_eq!(y.elem(), Elem::F64);
    }

    #[test]
    fn parameters_must_match_the_last_axis() {
        let types = [Type::new(Elem::F32, [2usize, 4]), Type::new(Elem::F32, [2usize])];
        let message =
            Op::from(RmsNorm { eps: 0.0 }).infer(&[Some(&types[0]), Some(&types[1])], &()).unwrap_err();
        assert_eq!(message.to_string(), "gain f32[2] must match the last axis of f32[2,4]");
    }
}
