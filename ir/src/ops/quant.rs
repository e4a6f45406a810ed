//! Linear quantization, `x ≈ (q - zero)·scale`, by tensor, along an axis or in blocks of an axis.

use super::real::Real;
use super::require::may_equal;
use super::window::result_dims;
use super::*;
use crate::small_float::{decode, encode};
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `saturate(round(x / scale) + zero)`, rounded to even, as `to`. ONNX QuantizeLinear.
    ///
    /// Without `axis` there is one `scale`; with it one an element of that axis, `[n]`; with `block` too, one for
    /// each `block` consecutive elements of the axis, which then has as many fewer of them in the shape of `scale`
    /// as in that of `x`. `zero` is shaped like `scale` and defaults to 0. Computed in f32; NaN gives `zero`. To floats of
    /// 8 bits or under the sum is rounded, not the quotient, and NaN stays.
    QuantizeLinear = "quantize_linear" (x, scale, zero: optional) {
        axis: Option<usize>,
        block: Option<usize>,
        to: Elem,
    }
}

op! {
    /// `(x - zero)·scale` as `to`, with scales as in `quantize_linear`. ONNX DequantizeLinear. Computed in f32.
    DequantizeLinear = "dequantize_linear" (x, scale, zero: optional) {
        axis: Option<usize>,
        block: Option<usize>,
        to: Elem,
    }
}

op! {
    /// `x` as u8, its scale and its zero, such that the least and the largest element and 0 are in range: scale
    /// `(max(x, 0) - min(x, 0)) / 255`, or 1 if that is 0. ONNX DynamicQuantizeLinear.
    DynamicQuantizeLinear = "dynamic_quantize_linear" (x) {}
}

impl OpDef for QuantizeLinear {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, scale) = (&args[0], &args[1]);
        if !is_computed_in_f32(x.elem) && x.elem != Elem::I32 {
            bail!("cannot quantize {x}");
        }
        let small = self.to.is_small_float() && self.to != Elem::F8E8M0;
        if !small && (!is_quantized(self.to) || self.to == Elem::I32 || self.to == Elem::Trit) {
            bail!("cannot quantize to {}", self.to);
        }
        check_scales(x, scale, self.axis, self.block, module)?;
        check_zero(args.get(2), scale, self.to, module)?;
        Ok(vec![x.with(self.to)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        result_dims(self, &args)?;
        let x = match args[0].elem() {
            Elem::I32 => args[0].values::<i32>()?.iter().map(|v| *v as f32).collect(),
            _ => f32::read(&args[0])?,
        };
        let scale = f32::read(&args[1])?;
        let scale_of = scale_index(args[0].dims(), self.axis, self.block);
        if self.to.is_small_float() {
            let zero = args.get(2).map(decoded).transpose()?;
            let q = x.iter().enumerate().map(|(i, x)| {
                let s = scale_of(i);
                encode(self.to, x / scale[s] + zero.as_ref().map_or(0.0, |z| z[s]), true)
            });
            return Ok(vec![Tensor::pack(self.to, args[0].dims().to_vec(), &q.collect::<Vec<_>>())?]);
        }
        let zero = args.get(2).map(widened).transpose()?;
        let q = x.iter().enumerate().map(|(i, x)| {
            let s = scale_of(i);
            quantize(*x, scale[s], zero.as_ref().map_or(0, |z| z[s]), self.to)
        });
        Ok(vec![narrowed(self.to, args[0].dims().to_vec(), q)?])
    }
}

impl OpDef for DequantizeLinear {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, scale) = (&args[0], &args[1]);
        if !is_quantized(x.elem) && !x.elem.is_small_float() {
            bail!("cannot dequantize {x}");
        }
        if !is_computed_in_f32(self.to) {
            bail!("cannot dequantize to {}", self.to);
        }
        check_scales(x, scale, self.axis, self.block, module)?;
        check_zero(args.get(2), scale, x.elem, module)?;
        Ok(vec![x.with(self.to)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let dims = result_dims(self, &args)?;
        let scale = f32::read(&args[1])?;
        let scale_of = scale_index(args[0].dims(), self.axis, self.block);
        if args[0].elem().is_small_float() {
            let (x, zero) = (decoded(&args[0])?, args.get(2).map(decoded).transpose()?);
            let y = x.iter().enumerate().map(|(i, x)| {
                let s = scale_of(i);
                (x - zero.as_ref().map_or(0.0, |z| z[s])) * scale[s]
            });
            return Ok(vec![f32::write(self.to, dims, y.collect())?]);
        }
        let (x, zero) = (widened(&args[0])?, args.get(2).map(widened).transpose()?);
        let y = x.iter().enumerate().map(|(i, x)| {
            let s = scale_of(i);
            let zero = zero.as_ref().map_or(0, |z| z[s]);
            (i64::from(*x) - i64::from(zero)) as f32 * scale[s]
        });
        Ok(vec![f32::write(self.to, dims, y.collect())?])
    }
}

impl OpDef for DynamicQuantizeLinear {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if args[0].elem != Elem::F32 {
            bail!("expects f32, got {}", args[0]);
        }
        Ok(vec![args[0].with(Elem::U8), Type::scalar(Elem::F32), Type::scalar(Elem::U8)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = args[0].values::<f32>()?;
        let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), v| (low.min(*v), high.max(*v)));
        let scale = if low == high { 1.0 } else { (high - low) / 255.0 };
        // `as` saturates, and turns the NaN of infinite elements into 0.
        let zero = (0.0 - low / scale).round_ties_even() as u8;
        let q = x.iter().map(|v| quantize(*v, scale, zero.into(), Elem::U8) as u8);
        let q = Tensor::from_vec(args[0].dims().to_vec(), q.collect())?;
        Ok(vec![q, Tensor::scalar(scale), Tensor::scalar(zero)])
    }
}

fn quantize(x: f32, scale: f32, zero: i32, to: Elem) -> i32 {
    let (low, high) = range(to);
    // `as` saturates and turns NaN into 0.
    let rounded = (x / scale).round_ties_even() as i64;
    rounded.saturating_add(zero.into()).clamp(low, high) as i32
}

fn range(elem: Elem) -> (i64, i64) {
    let bits = elem.bits() as u32;
    match elem.is_signed() {
        true => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        false => (0, (1 << bits) - 1),
    }
}

fn is_computed_in_f32(elem: Elem) -> bool {
    matches!(elem, Elem::F32 | Elem::F16 | Elem::Bf16)
}

/// Whether `widened` takes the elements.
pub(super) fn is_quantized(elem: Elem) -> bool {
    elem == Elem::Trit || elem == Elem::I32 || elem.is_int() && elem.bits() <= 16
}

/// The elements of an integer tensor that fit i32.
pub(super) fn widened(t: &Tensor) -> OpResult<Vec<i32>> {
    Ok(match t.elem() {
        Elem::I32 => t.values::<i32>()?.into_owned(),
        Elem::I16 => t.values::<i16>()?.iter().map(|v| (*v).into()).collect(),
        Elem::U16 => t.values::<u16>()?.iter().map(|v| (*v).into()).collect(),
        elem if elem.is_signed() => t.unpacked()?.iter().map(|v| (*v as i8).into()).collect(),
        _ => t.unpacked()?.iter().map(|v| (*v).into()).collect(),
    })
}

/// What floats of 8 bits and under stand for.
fn decoded(t: &Tensor) -> OpResult<Vec<f32>> {
    Ok(t.unpacked()?.iter().map(|code| decode(t.elem(), *code)).collect())
}

/// A tensor of values that are in the range of `elem`, of 16 bits and under.
fn narrowed(elem: Elem, dims: Vec<usize>, values: impl Iterator<Item = i32>) -> OpResult<Tensor> {
    Ok(match elem {
        Elem::I16 => Tensor::from_vec(dims, values.map(|v| v as i16).collect())?,
        Elem::U16 => Tensor::from_vec(dims, values.map(|v| v as u16).collect())?,
        _ => Tensor::pack(elem, dims, &values.map(|v| v as u8).collect::<Vec<_>>())?,
    })
}

fn check_scales(
    x: &Type,
    scale: &Type,
    axis: Option<usize>,
    block: Option<usize>,
    module: &dyn Signatures,
) -> OpResult<()> {
    if !is_computed_in_f32(scale.elem) {
        bail!("scales {scale} are not an f32, f16 or bf16");
    }
    let Some(axis) = axis else {
        if block.is_some() || scale.dims.iter().any(|d| *d != Dim::constant(1)) {
            bail!("scales {scale} without an axis are not one");
        }
        return Ok(());
    };
    let Some(extent) = x.dims.get(axis) else { bail!("{x} has no axis {axis}") };
    let fits = match block {
        Some(0) => bail!("a block has no elements"),
        None => scale.rank() == 1 && may_equal(&scale.dims[0], extent, module),
        Some(block) => {
            let blocks = extent.as_const().zip(scale.dims.get(axis).and_then(Dim::as_const));
            scale.rank() == x.rank()
                && scale
                    .dims
                    .iter()
                    .zip(&x.dims)
                    .enumerate()
                    .all(|(i, (s, d))| i == axis || may_equal(s, d, module))
                && blocks.is_none_or(|(n, blocks)| n.div_ceil(block) == blocks)
        }
    };
    if !fits {
        bail!("scales {scale} do not fit axis {axis} of {x}");
    }
    Ok(())
}

fn check_zero(zero: Option<&Type>, scale: &Type, elem: Elem, module: &dyn Signatures) -> OpResult<()> {
    let Some(zero) = zero else { return Ok(()) };
    let one = |t: &Type| t.dims.iter().all(|d| *d == Dim::constant(1));
    let alike = zero.rank() == scale.rank()
        && zero.dims.iter().zip(&scale.dims).all(|(z, s)| may_equal(z, s, module));
    if zero.elem != elem || !(alike || one(zero) && one(scale)) {
        bail!("zeros {zero} are not {elem} shaped like scales {scale}");
    }
    Ok(())
}

/// From the offset of an element to that of its scale.
fn scale_index(dims: &[usize], axis: Option<usize>, block: Option<usize>) -> impl Fn(usize) -> usize {
    let (extent, inner) =
        axis.map_or((1, 1), |axis| (dims[axis].max(1), dims[axis + 1..].iter().product::<usize>().max(1)));
    move |i| match (axis, block) {
        (None, _) => 0,
        (_, None) => i / inner % extent,
        (_, Some(block)) => {
            let (outer, along) = (i / inner / extent, i / inner % extent);
            (outer * extent.div_ceil(block) + along / block) * inner + i % inner
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: impl Into<Op>, args: &[&Tensor]) -> OpResult<Vec<Tensor>> {
        let op = op.into();
        let types: Vec<_> = args.iter().map(|a| a.ty()).collect();
        let inferred = op.infer(&types.iter().map(Some).collect::<Vec<_>>(), &())?;
        let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
        let y = op.eval(&args, &DimEnv::default())?;
        assert_eq!(inferred, y.iter().map(Tensor::ty).collect::<Vec<_>>());
        Ok(y)
    }

    fn quantize(axis: Option<usize>, block: Option<usize>, to: Elem) -> QuantizeLinear {
        QuantizeLinear { axis, block, to }
    }

    #[test]
    fn values_round_to_even_and_saturate() {
        let x = Tensor::vector(vec![1f32, 3.0, 5.0, -1.0, 400.0, f32::INFINITY, f32::NAN, -600.0]);
        let (scale, zero) = (Tensor::scalar(2f32), Tensor::scalar(3i8));
        let q = run(quantize(None, None, Elem::I8), &[&x, &scale, &zero]).unwrap().remove(0);
        assert_eq!(&*q.values::<i8>().unwrap(), [3, 5, 5, 3, 127, 127, 3, -128]);
        let back = DequantizeLinear { axis: None, block: None, to: Elem::F32 };
        let y = run(back, &[&q, &scale, &zero]).unwrap().remove(0);
        assert_eq!(y.values::<f32>().unwrap()[..5], [0.0, 4.0, 4.0, 0.0, 248.0]);
        let q = run(quantize(None, None, Elem::U2), &[&x, &scale]).unwrap().remove(0);
        assert_eq!(&*q.unpacked().unwrap(), [0, 2, 2, 0, 3, 3, 0, 0]);
        let q = run(quantize(None, None, Elem::U16), &[&x, &scale]).unwrap().remove(0);
        assert_eq!(&*q.values::<u16>().unwrap(), [0, 2, 2, 0, 200, 65535, 0, 0]);
    }

    #[test]
    fn each_element_finds_its_scale() {
        let x = Tensor::pack(Elem::I4, vec![2, 3, 2], &[1; 12]).unwrap();
        let deq = |axis, block, scales: &Tensor| {
            let op = DequantizeLinear { axis, block, to: Elem::F32 };
            run(op, &[&x, scales]).map(|y| y[0].values::<f32>().unwrap().to_vec())
        };
        let numbers = |dims: &[usize]| {
            let n = dims.iter().product::<usize>();
            Tensor::from_vec(dims.to_vec(), (0..n).map(|i| i as f32).collect()).unwrap()
        };
        let y = deq(Some(1), None, &numbers(&[3])).unwrap();
        assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
        let y = deq(Some(1), Some(2), &numbers(&[2, 2, 2])).unwrap();
        assert_eq!(y, [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 5.0, 6.0, 7.0]);
        for (axis, block, scales) in [
            (Some(1), Some(2), vec![2, 3, 2]),
            (Some(1), Some(0), vec![2, 3, 2]),
            (Some(1), None, vec![2]),
            (Some(3), None, vec![2]),
            (None, None, vec![2]),
        ] {
            assert!(deq(axis, block, &numbers(&scales)).is_err(), "{axis:?} {block:?} {scales:?}");
        }
    }

    /// Rounded before the zero is added, divided and not multiplied by one over the scale, each element with the zero of
    /// its own axis, and saturated where each type ends.
    #[test]
    fn quotients_are_rounded_before_zeros_are_added() {
        let x = Tensor::from_vec(vec![2, 3], vec![0.5f32, 1.5, -2.5, 0.5, 1.5, -2.5]).unwrap();
        let (scale, zero) = (Tensor::vector(vec![1f32, 0.5]), Tensor::vector(vec![1i8, -10]));
        let q = run(quantize(Some(0), None, Elem::I8), &[&x, &scale, &zero]).unwrap().remove(0);
        assert_eq!(&*q.values::<i8>().unwrap(), [1, 3, -1, -9, -7, -15]);
        let y = run(DequantizeLinear { axis: Some(0), block: None, to: Elem::F32 }, &[&q, &scale, &zero]);
        assert_eq!(y.unwrap()[0].values::<f32>().unwrap()[..], [0.0, 2.0, -2.0, 0.5, 1.5, -2.5]);
        // A bit below a half, and a half by the reciprocal.
        let q =
            run(quantize(None, None, Elem::I8), &[&Tensor::vector(vec![2.25f32]), &Tensor::scalar(0.3f32)]);
        assert_eq!((&*q.unwrap()[0].values::<i8>().unwrap(), 2.25 * (1.0 / 0.3f32)), (&[7][..], 7.5));
        let (x, scale) = (Tensor::vector(vec![-1e9f32, 1e9]), Tensor::scalar(1f32));
        for (elem, ends) in
            [(Elem::I4, [-8, 7]), (Elem::U4, [0, 15]), (Elem::I2, [-2, 1]), (Elem::U8, [0, -1])]
        {
            let q = run(quantize(None, None, elem), &[&x, &scale]).unwrap().remove(0);
            assert_eq!(q.unpacked().unwrap().iter().map(|v| *v as i8).collect::<Vec<_>>(), ends, "{elem}");
        }
    }

    #[test]
    fn trits_and_wide_integers_dequantize() {
        let op = DequantizeLinear { axis: None, block: None, to: Elem::F16 };
        let scale = Tensor::scalar(half::f16::from_f32(0.5));
        let x = Tensor::pack(Elem::Trit, vec![3], &[1, 0, 255]).unwrap();
        let y = run(op.clone(), &[&x, &scale]).unwrap().remove(0);
        assert_eq!(
            y.values::<half::f16>().unwrap().iter().map(|v| v.to_f32()).collect::<Vec<_>>(),
            [0.5, 0.0, -0.5]
        );
        let (x, zero) = (Tensor::vector(vec![i32::MIN]), Tensor::scalar(i32::MAX));
        let scale = Tensor::scalar(1f32);
        let y = run(DequantizeLinear { to: Elem::F32, ..op }, &[&x, &scale, &zero]).unwrap().remove(0);
        assert_eq!(&*y.values::<f32>().unwrap(), [-4294967295.0]);
    }

    #[test]
    fn the_range_of_a_dynamic_quantization_holds_zero() {
        for (x, scale, zero, q) in [
            (vec![0f32, 2.0, -3.0, -2.5, 1.34, 0.5], 5.0 / 255.0, 153, [153, 255, 0, 26, 221, 179]),
            (vec![1.5, 2.0, 2.0, 2.0, 1.5, 2.0], 2.0 / 255.0, 0, [191, 255, 255, 255, 191, 255]),
            (vec![0.0; 6], 1.0, 0, [0; 6]),
        ] {
            let y = run(DynamicQuantizeLinear {}, &[&Tensor::vector(x)]).unwrap();
            assert_eq!(&*y[0].values::<u8>().unwrap(), q);
            assert_eq!(&*y[1].values::<f32>().unwrap(), [scale]);
            assert_eq!(&*y[2].values::<u8>().unwrap(), [zero]);
        }
        // The scale is 1: elements and the zero are rounded to even, elements before the zero is added.
        for (x, zero, q) in [
            ([0f32, 255.0, 0.5, 1.5, 2.5], 0, [0, 255, 0, 2, 2]),
            ([-0.5, 254.5, 1.5, 2.5, 0.0], 0, [0, 254, 2, 2, 0]),
            ([-1.5, 253.5, 0.5, 1.5, -0.5], 2, [0, 255, 2, 4, 2]),
        ] {
            let y = run(DynamicQuantizeLinear {}, &[&Tensor::vector(x.to_vec())]).unwrap();
            assert_eq!(&*y[1].values::<f32>().unwrap(), [1.0]);
            assert_eq!(&*y[2].values::<u8>().unwrap(), [zero], "{x:?}");
            assert_eq!(&*y[0].values::<u8>().unwrap(), q, "{x:?}");
        }
        let x = Tensor::vector(vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        assert!(run(DynamicQuantizeLinear {}, &[&x]).is_ok());
    }
}
