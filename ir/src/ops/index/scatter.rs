//! Ops that write elements at indices which are data. Negative indices count from the end of the axis.

use half::{bf16, f16};

use super::offsets::{element_offsets, tuple_offsets};
use super::*;
use crate::ops::index::{expect_indices, tuple_dims};
use crate::ops::layout::args::*;
use crate::ops::layout::copy::{from_raw, raw};
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};

attr_enum! {
    /// What becomes of the element that an update meets.
    Reduction {
        /// The update replaces it; of several, the last stays.
        None = "none",
        /// Their sum; integers wrap.
        Add = "add",
        /// Their product; integers wrap.
        Mul = "mul",
        Min = "min",
        Max = "max",
    }
}
op! {
    /// `x` with each element of `updates` at the same place but for `axis`, where the index says. ONNX
    /// ScatterElements.
    ScatterElements = "scatter_elements" (x, indices, updates) { axis: usize, reduction: Reduction }
}
op! {
    /// `x` with the slices of `updates` where the tuples along the last axis of `indices` say. ONNX ScatterND.
    ScatterNd = "scatter_nd" (x, indices, updates) { reduction: Reduction }
}
op! {
    /// A cache with `update` written along `axis`, in each element of axis 0 from its `starts` on (0 if
    /// absent), and around the end if `circular`. ONNX TensorScatter.
    TensorScatter = "tensor_scatter" (past, update, starts: optional) { axis: usize, circular: bool }
}

impl OpDef for ScatterElements {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, indices, updates) = (&args[0], &args[1], &args[2]);
        expect_axis(x, self.axis)?;
        expect_indices(indices)?;
        expect_numbers(x, self.reduction)?;
        if updates.elem != x.elem || indices.rank() != x.rank() || updates.rank() != x.rank() {
            bail!("cannot scatter {updates} into {x} by {indices}");
        }
        for (a, b) in indices.dims.iter().zip(&updates.dims) {
            agree(a, b, module)?;
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, indices, updates) = (&args[0], &args[1], &args[2]);
        if indices.dims() != updates.dims() {
            bail!("{:?} indices for {:?} updates", indices.dims(), updates.dims());
        }
        let offsets = element_offsets(x.dims(), indices, self.axis)?;
        Ok(vec![scatter(x, &offsets, 1, updates, self.reduction)?])
    }
}

impl OpDef for ScatterNd {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, indices, updates) = (&args[0], &args[1], &args[2]);
        let (lead, rest) = tuple_dims(x, indices, 0)?;
        expect_numbers(x, self.reduction)?;
        if updates.elem != x.elem || updates.rank() != lead.len() + rest.len() {
            bail!("cannot scatter {updates} into {x} by {indices}");
        }
        for (a, b) in lead.iter().chain(rest).zip(&updates.dims) {
            agree(a, b, module)?;
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, indices, updates) = (&args[0], &args[1], &args[2]);
        let (k, lead) = indices.dims().split_last().ok_or("the indices have no axis")?;
        let rest = &x.dims()[*k..];
        if updates.dims() != [lead, rest].concat() {
            bail!("{:?} updates for {:?} indices into {:?}", updates.dims(), indices.dims(), x.dims());
        }
        let offsets = tuple_offsets(x.dims(), indices, 0)?;
        Ok(vec![scatter(x, &offsets, rest.iter().product(), updates, self.reduction)?])
    }
}

impl OpDef for TensorScatter {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (past, update) = (&args[0], &args[1]);
        expect_axis(past, self.axis)?;
        if self.axis == 0 || update.elem != past.elem || update.rank() != past.rank() {
            bail!("cannot write {update} along axis {} of {past}", self.axis);
        }
        for (axis, (a, b)) in past.dims.iter().zip(&update.dims).enumerate() {
            if axis != self.axis {
                agree(a, b, module)?;
            }
        }
        if let Some(starts) = args.get(2) {
            expect_indices(starts)?;
            expect_vector(starts, "starts", past.dims[0].as_const())?;
        }
        Ok(vec![past.clone()])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (past, update, axis) = (&args[0], &args[1], self.axis);
        let (to, from) = (past.dims(), update.dims());
        if to[..axis] != from[..axis] || to[axis + 1..] != from[axis + 1..] {
            bail!("cannot write {from:?} along axis {axis} of {to:?}");
        }
        let starts = args.get(2).map_or_else(|| Ok(vec![0; to[0]]), sizes)?;
        if starts.len() != to[0] {
            bail!("{} starts for {} elements of axis 0", starts.len(), to[0]);
        }
        let (len, count) = (to[axis], from[axis]);
        let middle: usize = to[1..axis].iter().product();
        let run: usize = to[axis + 1..].iter().product();
        let mut offsets = vec![];
        for (batch, start) in starts.iter().enumerate() {
            for row in batch * middle..(batch + 1) * middle {
                for i in 0..count {
                    let at = match start.checked_add(i) {
                        Some(at) if at < len => at,
                        Some(at) if self.circular && len > 0 => at % len,
                        _ => bail!("{count} elements from {start} on exceed axis {axis} of {len} elements"),
                    };
                    offsets.push((row * len + at) * run);
                }
            }
        }
        Ok(vec![scatter(past, &offsets, run, update, Reduction::None)?])
    }
}

fn expect_numbers(x: &Type, reduction: Reduction) -> OpResult<()> {
    if reduction != Reduction::None && (x.elem.bits() < 8 || x.elem == Elem::Bool) {
        bail!("no `{}` on {x}", reduction.word());
    }
    Ok(())
}

/// `x` with runs of `run` elements of `updates` at `offsets`, in order.
fn scatter(
    x: &Tensor,
    offsets: &[usize],
    run: usize,
    updates: &Tensor,
    reduction: Reduction,
) -> OpResult<Tensor> {
    if run == 0 || offsets.is_empty() {
        return Ok(x.clone());
    }
    if reduction == Reduction::None {
        let (old, width) = raw(x)?;
        let (new, mut out) = (raw(updates)?.0, old.into_owned());
        for (at, new) in offsets.iter().zip(new.chunks_exact(run * width)) {
            out[at * width..][..new.len()].copy_from_slice(new);
        }
        return from_raw(x.elem(), x.dims().to_vec(), out);
    }
    macro_rules! by_type {
        ($($elem:ident = $t:ty, $add:expr, $mul:expr;)*) => { match x.elem() {
            $(Elem::$elem => combine::<$t>(x, offsets, run, updates, reduction, $add, $mul),)*
            elem => bail!("no arithmetic on {elem}"),
        } };
    }
    by_type! {
        F32 = f32, |a, b| a + b, |a, b| a * b;
        F64 = f64, |a, b| a + b, |a, b| a * b;
        F16 = f16, |a, b| a + b, |a, b| a * b;
        Bf16 = bf16, |a, b| a + b, |a, b| a * b;
        I8 = i8, i8::wrapping_add, i8::wrapping_mul;
        I16 = i16, i16::wrapping_add, i16::wrapping_mul;
        I32 = i32, i32::wrapping_add, i32::wrapping_mul;
        I64 = i64, i64::wrapping_add, i64::wrapping_mul;
        U8 = u8, u8::wrapping_add, u8::wrapping_mul;
        U16 = u16, u16::wrapping_add, u16::wrapping_mul;
        U32 = u32, u32::wrapping_add, u32::wrapping_mul;
        U64 = u64, u64::wrapping_add, u64::wrapping_mul;
    }
}

fn combine<T: Element>(
    x: &Tensor,
    offsets: &[usize],
    run: usize,
    updates: &Tensor,
    reduction: Reduction,
    add: fn(T, T) -> T,
    mul: fn(T, T) -> T,
) -> OpResult<Tensor> {
    // A NaN among the two is the result.
    let min = |a: T, b: T| if b < a || b.partial_cmp(&b).is_none() { b } else { a };
    let max = |a: T, b: T| if b > a || b.partial_cmp(&b).is_none() { b } else { a };
    let apply = |a: T, b: T| match reduction {
        Reduction::None => b,
        Reduction::Add => add(a, b),
        Reduction::Mul => mul(a, b),
        Reduction::Min => min(a, b),
        Reduction::Max => max(a, b),
    };
    let mut out = x.values::<T>()?.into_owned();
    for (at, new) in offsets.iter().zip(updates.values::<T>()?.chunks_exact(run)) {
        out[*at..][..run].iter_mut().zip(new).for_each(|(o, n)| *o = apply(*o, *n));
    }
    Ok(Tensor::from_vec(x.dims().to_vec(), out)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DimEnv;

    fn eval(op: impl Into<Op>, args: &[&Tensor]) -> OpResult<Tensor> {
        let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
        Ok(op.into().eval(&args, &DimEnv::default())?.remove(0))
    }

    #[test]
    fn updates_meet_in_order() {
        let x = Tensor::vector(vec![1.0f32, 2.0, 3.0]);
        let indices = Tensor::vector(vec![1i64, -2, 0]);
        let updates = Tensor::vector(vec![5.0f32, 7.0, f32::NAN]);
        for (reduction, middle) in
            [(Reduction::None, 7.0), (Reduction::Add, 14.0), (Reduction::Mul, 70.0), (Reduction::Min, 2.0)]
        {
            let y = eval(ScatterElements { axis: 0, reduction }, &[&x, &indices, &updates]).unwrap();
            let y = y.values::<f32>().unwrap();
            assert!(y[0].is_nan() && y[1] == middle && y[2] == 3.0, "{reduction:?} {y:?}");
        }
    }

    #[test]
    fn caches_fill_in_a_line_or_a_ring() {
        let past = Tensor::from_vec(vec![2, 3, 1], vec![0i32; 6]).unwrap();
        let update = Tensor::from_vec(vec![2, 2, 1], vec![1i32, 2, 3, 4]).unwrap();
        let starts = Tensor::vector(vec![1i64, 2]);
        let ring = TensorScatter { axis: 1, circular: true };
        let y = eval(ring, &[&past, &update, &starts]).unwrap();
        assert_eq!(&*y.values::<i32>().unwrap(), &[0, 1, 2, 4, 0, 3]);
        let line = TensorScatter { axis: 1, circular: false };
        assert!(eval(line, &[&past, &update, &starts]).is_err());
    }
}
