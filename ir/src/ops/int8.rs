//! Linear layers over integer weights of 8 bits, or 4, whole and lowered: the products, whose sums and rescaling are those of
//! [ternary](super::ternary) layers.

use super::ternary::{infer_linear, sum_wrapping, weight_dims};
use super::*;
use crate::attr::Flag;
use crate::ty::Elem;
use crate::{bail, op};

/// What weights may be.
const WEIGHTS: [Elem; 2] = [Elem::I8, Elem::I4];

op! {
    /// `y[b,j] = s[b] · scale[j] · Σ_i w[j,i]·q[b,i]  [+ bias[j]]` with `q, s = quantize_rows(x)`, summed in groups as
    /// `ternary_matmul` is. Weights are `i8[n,k]` or `i4[n,k]`, a row an output, and scales `f32[n,groups]`.
    Int8Matmul = "int8_matmul" (x, w, scale, bias: optional) {
        /// Inputs a scale serves.
        group: usize,
    }
}

op! {
    /// `w[j,i]·x[b,i]` for every output, exactly: `i8[.., k]` by `i8[n, k]` or `i4[n, k]` gives `i16[.., n, k]`.
    WeightProducts = "weight_products" (x, w) {}
}

impl OpDef for Int8Matmul {
    const STAGES: (Stage, Stage) = (Stage::Ternary, Stage::Ternary);

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        infer_linear(args, &WEIGHTS, self.group)
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let mut quantized =
            QuantizeRows { floor: None, reciprocal: Flag(false) }.eval(Args::new(&[Some(&args[0])]), cx)?;
        let row_scale = quantized.pop();
        let sums = product_sums(&quantized[0], &args[1], self.group)?;
        let operands = [Some(&sums), Some(&args[2]), row_scale.as_ref(), args.get(3)];
        Rescale {}.eval(Args::new(&operands), cx)
    }
}

impl OpDef for WeightProducts {
    const STAGES: (Stage, Stage) = (Stage::Lowered, Stage::Kernel);

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, w) = (&args[0], &args[1]);
        let (n, k) = weight_dims(w, &WEIGHTS)?;
        if x.elem != Elem::I8 || x.back(0) != Some(&Dim::constant(k)) {
            bail!("operands {x} and {w} do not fit: the last axis must be {k} of i8");
        }
        let mut y = x.with(Elem::I16);
        y.dims.insert(y.rank() - 1, Dim::constant(n));
        Ok(vec![y])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, w) = (args[0].values::<i8>()?, args[1].unpacked()?);
        let w: &[i8] = bytemuck::cast_slice(&w);
        let mut dims = args[0].dims().to_vec();
        let k = dims.pop().ok_or("expects rows")?;
        dims.extend(args[1].dims());
        let total = crate::tensor::result_count(Elem::I16, &dims)?;
        let mut y = Vec::with_capacity(total);
        for x in x.chunks(k.max(1)) {
            for w in w.chunks(k.max(1)) {
                y.extend(x.iter().zip(w).map(|(x, w)| i16::from(*x) * i16::from(*w)));
            }
        }
        Ok(vec![Tensor::from_vec(dims, y)?])
    }
}

/// `group_sum(weight_products(x, w))` without the intermediate.
pub(super) fn product_sums(x: &Tensor, w: &Tensor, group: usize) -> OpResult<Tensor> {
    let (n, k) = (w.dims()[0], w.dims()[1]);
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.extend([n, groups(k, group)]);
    let w = w.unpacked()?;
    let w: &[i8] = bytemuck::cast_slice(&w);
    let count = crate::tensor::result_count(Elem::I32, &dims)?;
    if k == 0 {
        return Ok(Tensor::new(Elem::I32, dims, vec![0; count * 4].into())?);
    }
    let mut sums: Vec<i32> = Vec::with_capacity(count);
    for x in x.values::<i8>()?.chunks(k) {
        for (x, w) in w.chunks(k).flat_map(|w| x.chunks(group).zip(w.chunks(group))) {
            let products = x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w));
            sums.push(sum_wrapping(products));
        }
    }
    Ok(Tensor::from_vec(dims, sums)?)
}
