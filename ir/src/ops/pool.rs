//! Maxima and means over windows of any number of spatial axes.

use half::{bf16, f16};

use super::real::{Real, in_real};
use super::window::{WindowAxis, each_tap, result_dims, spatial_dims, step};
use super::*;
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};

attr_enum! {
    /// How the offset of an element in a channel is counted.
    IndexOrder {
        /// The last spatial axis is the fastest.
        RowMajor = "row_major",
        /// The first spatial axis is the fastest.
        ColumnMajor = "column_major",
    }
}

op! {
    /// The largest element under each window of `x: [n, channels, spatial…]`; pads are never it, NaN always is. ONNX
    /// MaxPool.
    ///
    /// With `indices` there is a second result: where in `x` each maximum is first found, as an i64 offset, or
    /// -1 under a window that is all pads and gives the type's least value. With `ceil` a last window may stick out
    /// after the pads.
    MaxPool = "max_pool" (x) {
        kernel: Vec<usize>,
        strides: Vec<usize>,
        pads: Vec<usize>,
        dilations: Vec<usize>,
        ceil: bool,
        indices: Option<IndexOrder>,
    }
}

op! {
    /// The mean of the elements under each window of `x: [n, channels, spatial…]`, as in `max_pool`. ONNX AveragePool.
    ///
    /// Pads are zeros in it with `count_pads` and are left out without; a window that is all pads then gives
    /// NaN. The sum is in row-major order of taps. f16 and bf16 are summed in f32.
    AveragePool = "average_pool" (x) {
        kernel: Vec<usize>,
        strides: Vec<usize>,
        pads: Vec<usize>,
        dilations: Vec<usize>,
        ceil: bool,
        count_pads: bool,
    }
}

impl OpDef for MaxPool {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if x.elem == Elem::Bool || x.elem.bits() < 8 {
            bail!("expects numbers, got {x}");
        }
        let y = pooled(x, &self.axes()?, self.ceil)?;
        let indices = self.indices.map(|_| y.with(Elem::I64));
        Ok([y].into_iter().chain(indices).collect())
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let plan = Plan { axes: self.axes()?, x: args[0].dims(), y: result_dims(self, &args)? };
        macro_rules! by_elem {
            ($($elem:ident = $t:ty, $least:expr;)*) => { match args[0].elem() {
                $(Elem::$elem => self.maxima::<$t>(&plan, &args[0], $least),)*
                elem => bail!("no maxima of {elem}"),
            } };
        }
        by_elem! {
            F32 = f32, f32::NEG_INFINITY; F64 = f64, f64::NEG_INFINITY;
            F16 = f16, f16::NEG_INFINITY; Bf16 = bf16, bf16::NEG_INFINITY;
            I8 = i8, i8::MIN; I16 = i16, i16::MIN; I32 = i32, i32::MIN; I64 = i64, i64::MIN;
            U8 = u8, 0; U16 = u16, 0; U32 = u32, 0; U64 = u64, 0;
        }
    }
}

impl OpDef for AveragePool {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if !args[0].elem.is_float() {
            bail!("expects floats, got {}", args[0]);
        }
        Ok(vec![pooled(&args[0], &self.axes()?, self.ceil)?])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let plan = Plan { axes: self.axes()?, x: args[0].dims(), y: result_dims(self, &args)? };
        in_real!(args[0].elem(), means(&plan, &args[0], self.count_pads))
    }
}

impl MaxPool {
    fn axes(&self) -> OpResult<Vec<WindowAxis>> {
        WindowAxis::all(&self.kernel, &self.strides, &self.pads, &self.dilations)
    }

    fn maxima<T: Element>(&self, plan: &Plan, x: &Tensor, least: T) -> OpResult<Vec<Tensor>> {
        let (x, mut y, mut indices) = (x.values::<T>()?, vec![], vec![]);
        plan.each_window(|channel, at| {
            let (mut best, mut found) = (least, None);
            each_tap(&plan.axes, &plan.x[2..], at, channel, &mut |i| {
                let v = x[i];
                let is_nan = v.partial_cmp(&v).is_none();
                if found.is_none() || v > best || is_nan {
                    (best, found) = (v, Some(i));
                }
            });
            y.push(best);
            if let Some(order) = self.indices {
                indices.push(found.map_or(-1, |i| plan.offset(i, order) as i64));
            }
        });
        let mut results = vec![Tensor::from_vec(plan.y.clone(), y)?];
        if self.indices.is_some() {
            results.push(Tensor::from_vec(plan.y.clone(), indices)?);
        }
        Ok(results)
    }
}

impl AveragePool {
    fn axes(&self) -> OpResult<Vec<WindowAxis>> {
        WindowAxis::all(&self.kernel, &self.strides, &self.pads, &self.dilations)
    }
}

fn means<T: Real>(plan: &Plan, x: &Tensor, count_pads: bool) -> OpResult<Vec<Tensor>> {
    let (values, mut y) = (T::read(x)?, vec![]);
    plan.each_window(|channel, at| {
        let (mut sum, mut count) = (T::default(), 0);
        each_tap(&plan.axes, &plan.x[2..], at, channel, &mut |i| {
            sum += values[i];
            count += 1;
        });
        if count_pads {
            let axes = plan.axes.iter().zip(at.iter().zip(&plan.x[2..]));
            count = axes.map(|(axis, (at, extent))| axis.padded_taps(*at, *extent)).product();
        }
        y.push(sum / T::of(count as f32));
    });
    Ok(vec![T::write(x.elem(), plan.y.clone(), y)?])
}

/// The type of a result on `x`.
fn pooled(x: &Type, axes: &[WindowAxis], ceil: bool) -> OpResult<Type> {
    if x.rank() < 3 || x.rank() - 2 != axes.len() {
        bail!("a kernel of {} axes does not fit {x}", axes.len());
    }
    let mut dims = x.dims[..2].to_vec();
    dims.extend(spatial_dims(axes, &x.dims[2..], ceil)?);
    Ok(Type { elem: x.elem, dims })
}

/// Everything but the elements.
struct Plan<'a> {
    axes: Vec<WindowAxis>,
    x: &'a [usize],
    y: Vec<usize>,
}

impl Plan<'_> {
    /// Calls `f` with the number of the channel and the index of the window, for each element of the result.
    fn each_window(&self, mut f: impl FnMut(usize, &[usize])) {
        let counts = &self.y[2..];
        let windows = counts.iter().product::<usize>();
        for channel in 0..self.y[0] * self.y[1] {
            let mut at = vec![0; counts.len()];
            for _ in 0..windows {
                f(channel, &at);
                step(&mut at, counts);
            }
        }
    }

    /// The row-major offset `i` in `x`, counted in `order` within the channel.
    fn offset(&self, i: usize, order: IndexOrder) -> usize {
        let extents = &self.x[2..];
        let of_channel = extents.iter().product::<usize>();
        let (mut rest, mut offset, mut scale) = (i % of_channel, 0, of_channel);
        if order == IndexOrder::RowMajor {
            return i;
        }
        for extent in extents.iter().rev() {
            scale /= extent;
            offset += rest % extent * scale;
            rest /= extent;
        }
        i - i % of_channel + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: impl Into<Op>, x: &Tensor) -> OpResult<Vec<Tensor>> {
        let op = op.into();
        let inferred = op.infer(&[Some(&x.ty())], &())?;
        let y = op.eval(&[Some(x)], &DimEnv::default())?;
        assert_eq!(inferred, y.iter().map(Tensor::ty).collect::<Vec<_>>());
        Ok(y)
    }

    fn max(kernel: &[usize], strides: &[usize], pads: &[usize]) -> MaxPool {
        MaxPool {
            kernel: kernel.into(),
            strides: strides.into(),
            pads: pads.into(),
            dilations: vec![1; kernel.len()],
            ceil: false,
            indices: None,
        }
    }

    fn average(pads: [usize; 2], ceil: bool, count_pads: bool) -> AveragePool {
        let (kernel, strides, dilations) = (vec![2], vec![2], vec![1]);
        AveragePool { kernel, strides, pads: pads.into(), dilations, ceil, count_pads }
    }

    fn line(values: &[f32]) -> Tensor {
        Tensor::from_vec(vec![1, 1, values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn maxima_know_where_they_are() {
        let values = [3f32, 1.0, 2.0, 9.0, 8.0, 7.0, 0.0, -1.0, -2.0, -5.0, -6.0, -4.0];
        let x = Tensor::from_vec(vec![1, 2, 2, 3], values.to_vec()).unwrap();
        for (order, want) in [(IndexOrder::RowMajor, [3, 4, 6, 7]), (IndexOrder::ColumnMajor, [1, 3, 6, 8])] {
            let y = run(MaxPool { indices: Some(order), ..max(&[2, 2], &[1, 1], &[0; 4]) }, &x).unwrap();
            assert_eq!(&*y[0].values::<f32>().unwrap(), [9.0, 8.0, 0.0, -1.0]);
            assert_eq!(&*y[1].values::<i64>().unwrap(), want);
        }
    }

    #[test]
    fn pads_are_never_the_maximum_and_nan_is() {
        let y = run(max(&[2], &[1], &[1, 1]), &line(&[-3.0, -5.0, f32::NAN, -7.0, -8.0])).unwrap();
        let y = y[0].values::<f32>().unwrap();
        assert_eq!(y[..2], [-3.0, -3.0]);
        assert!(y[2].is_nan() && y[3].is_nan());
        assert_eq!(y[4..], [-7.0, -8.0]);
        let all_pads = MaxPool { indices: Some(IndexOrder::RowMajor), ..max(&[1], &[1], &[1, 0]) };
        let y = run(all_pads, &Tensor::from_vec(vec![1, 1, 1], vec![-7i8]).unwrap()).unwrap();
        assert_eq!(&*y[0].values::<i8>().unwrap(), [-128, -7]);
        assert_eq!(&*y[1].values::<i64>().unwrap(), [-1, 0]);
    }

    #[test]
    fn means_count_pads_or_leave_them_out() {
        let x = line(&[2.0, 4.0, 6.0, 8.0]);
        for (op, want) in [
            (average([0, 0], false, false), vec![3.0, 7.0]),
            (average([1, 1], false, false), vec![2.0, 5.0, 8.0]),
            (average([1, 1], false, true), vec![1.0, 5.0, 4.0]),
            (average([1, 0], true, true), vec![1.0, 5.0, 8.0]),
            (average([1, 0], false, true), vec![1.0, 5.0]),
        ] {
            assert_eq!(&*run(op, &x).unwrap()[0].values::<f32>().unwrap(), want);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(run(max(&[2], &[0], &[0, 0]), &line(&[1.0, 2.0])).is_err());
        assert!(run(max(&[3], &[1], &[0, 0]), &line(&[1.0, 2.0])).is_err());
        assert!(run(max(&[1, 1], &[1, 1], &[0; 4]), &line(&[1.0])).is_err());
        assert!(
            run(average([0, 0], false, false), &Tensor::from_vec(vec![1, 1, 2], vec![1i8, 2]).unwrap())
                .is_err()
        );
    }
}
