//! Local response normalisation.

use super::real::{Real, in_real};
use super::*;
use crate::{bail, op};

op! {
    /// `x / (bias + alpha/size · Σ x²)^beta`, the sum over `size` channels around each (ONNX LRN-13): from
    /// `c - ⌊(size-1)/2⌋` to `c + ⌈(size-1)/2⌉` along axis 1, those inside.
    Lrn = "lrn" (x) { size: usize, alpha: f32, beta: f32, bias: f32 }
}

impl OpDef for Lrn {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if !x.elem.is_float() || x.rank() < 2 || self.size == 0 {
            bail!("expects channels of floats and a size, got {x} and {}", self.size);
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        in_real!(args[0].elem(), lrn(self, &args[0]))
    }
}

fn lrn<T: Real>(op: &Lrn, x: &Tensor) -> OpResult<Vec<Tensor>> {
    let [_, channels, inner @ ..] = x.dims() else { bail!("expects channels") };
    let (channels, inner) = (*channels, inner.iter().product::<usize>());
    let (before, after) = ((op.size - 1) / 2, op.size / 2);
    let values = T::read(x)?;
    let mut y = Vec::with_capacity(values.len());
    for image in values.chunks((channels * inner).max(1)) {
        for (i, v) in image.iter().enumerate() {
            let (channel, at) = (i / inner, i % inner);
            let last = channel.saturating_add(after).min(channels - 1);
            let mut sum = T::default();
            for c in channel.saturating_sub(before)..=last {
                let v = image[c * inner + at];
                sum += v * v;
            }
            let scaled = T::of(op.alpha) / T::of(op.size as f32) * sum;
            y.push(*v / (T::of(op.bias) + scaled).powf(T::of(op.beta)));
        }
    }
    Ok(vec![T::write(x.elem(), x.dims().to_vec(), y)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_share_their_neighbours() {
        let x = Tensor::from_vec(vec![1, 4, 1], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let op = Op::from(Lrn { size: 2, alpha: 2.0, beta: 1.0, bias: 1.0 });
        let y = op.eval(&[Some(&x)], &DimEnv::default()).unwrap().remove(0);
        // Of an even size, the half above is the larger.
        assert_eq!(&*y.values::<f32>().unwrap(), [1.0 / 6.0, 2.0 / 14.0, 3.0 / 26.0, 4.0 / 17.0]);
        let wide = Op::from(Lrn { size: usize::MAX, alpha: 0.0, beta: 1.0, bias: 2.0 });
        let y = wide.eval(&[Some(&x)], &DimEnv::default()).unwrap().remove(0);
        assert_eq!(&*y.values::<f32>().unwrap(), [0.5, 1.0, 1.5, 2.0]);
    }
}
