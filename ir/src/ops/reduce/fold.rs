//! Reductions of axes to one value.

use super::super::elementwise::{Int, match_int};
use super::super::real::{Real, in_real, sum_strands};
use super::*;
use crate::tensor::{count, result_count};
use crate::ty::Elem;
use crate::{bail, op};

/// Declares reductions: mnemonic, the value of a row of floats, and that of a row of integers; `[bool]` says
/// that the operand may be of truth values, false below true.
macro_rules! reductions {
    ($($(#[$meta:meta])* $name:ident = $mnemonic:literal $([$bool:ident])?, $float:expr, $int:expr;)*) => {
    crate::attr_enum! {
        /// A reduction by name.
        ReduceKind { $($name = $mnemonic),* }
    }
    impl ReduceKind {
        pub fn op(self, axes: Vec<usize>, keepdims: bool) -> Op {
            match self { $(ReduceKind::$name => $name { axes, keepdims }.into()),* }
        }
    }
    $(
        op! { $(#[$meta])* $name = $mnemonic (x) { axes: Vec<usize>, keepdims: bool } }
        impl OpDef for $name {
            fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
                let x = &args[0];
                let bools = super::super::elementwise::flag!($($bool)?);
                if !is_number(x.elem) && !(bools && x.elem == Elem::Bool) {
                    bail!("expects numbers of 8 bits or more, got {x}");
                }
                check_axes(x, &self.axes)?;
                let dims = reduced_dims(&x.dims, &self.axes, self.keepdims, Dim::constant(1));
                Ok(vec![Type { elem: x.elem, dims }])
            }
            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                fn floats<T: Real>(x: &Folding) -> OpResult<Tensor> {
                    let f: fn(&[T]) -> T = $float;
                    let values = T::read(&x.rows)?;
                    T::write(x.rows.elem(), x.result.clone(), x.over(&values).map(f).collect())
                }
                fn ints<T: Int>(x: &Folding) -> OpResult<Tensor> {
                    let f: fn(&[T]) -> T = $int;
                    let values = x.rows.values::<T>()?;
                    Ok(Tensor::from_vec(x.result.clone(), x.over(&values).map(f).collect())?)
                }
                let x = Folding::new(&args[0], &self.axes, self.keepdims)?;
                Ok(vec![match x.rows.elem() {
                    elem if elem.is_float() => in_real!(elem, floats(&x))?,
                    elem => x.finish(match_int!(elem, I => ints::<I>(&x))?)?,
                }])
            }
        }
    )* };
}

reductions! {
    /// `Σ x` over `axes`.
    ///
    /// All reductions of floats take sums of the reduced elements, in row-major order, in sixteen strands,
    /// `strand[i % 16] += x[i]`, then by halves.
    ReduceSum = "reduce_sum", sum, |row| row.iter().fold(T::ZERO, |sum, v| sum.plus(*v));
    /// `Σ x / n` over `axes`, of integers towards zero; of no elements, NaN or 0.
    ReduceMean = "reduce_mean",
        |row| sum(row) / T::of(1.0).constant(row.len() as f64),
        |row| T::narrow(int_sum(row, T::wide).checked_div(row.len() as i128).unwrap_or(0));
    /// The largest over `axes`, NaN if there is one; of no elements, the least value there is.
    ReduceMax = "reduce_max" [bool],
        |row| row.iter().fold(T::of(f32::NEG_INFINITY), |max, v| max.larger(*v)),
        |row| row.iter().copied().max().unwrap_or(T::MIN);
    /// The smallest over `axes`, NaN if there is one; of no elements, the greatest value there is.
    ReduceMin = "reduce_min" [bool],
        |row| row.iter().fold(T::of(f32::INFINITY), |min, v| min.smaller(*v)),
        |row| row.iter().copied().min().unwrap_or(T::MAX);
    /// `Π x` over `axes`, in order.
    ReduceProd = "reduce_prod",
        |row| row.iter().fold(T::of(1.0), |product, v| product * *v),
        |row| row.iter().fold(T::ONE, |product, v| product.times(*v));
    /// `Σ |x|` over `axes`.
    ReduceL1 = "reduce_l1",
        |row| sum_strands(row.iter().map(|v| v.abs())),
        |row| row.iter().fold(T::ZERO, |sum, v| sum.plus(v.magnitude()));
    /// `√Σ x²` over `axes`.
    ReduceL2 = "reduce_l2",
        |row| sum_squares(row).sqrt(),
        |row| of_f64((int_sum(row, |v| v.wide().wrapping_mul(v.wide())) as f64).sqrt());
    /// `log Σ x` over `axes`.
    ReduceLogSum = "reduce_log_sum", |row| sum(row).log(), |row| of_f64(libm::log(int_sum(row, T::wide) as f64));
    /// `log Σ e^x` over `axes`, computed from the differences to the largest `x`.
    ReduceLogSumExp = "reduce_log_sum_exp", log_sum_exp, |row| {
        let wide: Vec<f64> = row.iter().map(|v| v.wide() as f64).collect();
        of_f64(log_sum_exp(&wide))
    };
    /// `Σ x²` over `axes`.
    ReduceSumSquare = "reduce_sum_square", sum_squares, |row| {
        row.iter().fold(T::ZERO, |sum, v| sum.plus(v.times(*v)))
    };
}

/// A reduction under way: what is reduced lies in the last axis of `rows`.
struct Folding {
    rows: Tensor,
    /// The shape of the result.
    result: Vec<usize>,
    bools: bool,
}

impl Folding {
    fn new(x: &Tensor, axes: &[usize], keepdims: bool) -> OpResult<Folding> {
        let result = reduced_dims(x.dims(), axes, keepdims, 1);
        result_count(x.elem(), &result)?;
        let bools = x.elem() == Elem::Bool;
        let numbers = match bools {
            true => Tensor::from_vec(x.dims().to_vec(), x.bools()?.map(i8::from).collect())?,
            false => x.clone(),
        };
        let mut dims = reduced_dims(x.dims(), axes, false, 1);
        dims.push(count(&axes.iter().map(|a| x.dims()[*a]).collect::<Vec<_>>()).ok_or("a row is too long")?);
        Ok(Folding { rows: axes_last(&numbers, axes)?.reshape(dims)?, result, bools })
    }

    fn over<'a, T>(&self, values: &'a [T]) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, T> {
        rows(values, self.rows.dims())
    }

    /// The result of integers; of none at all, the extreme below 0 or 0 is false and the one above true.
    fn finish(&self, y: Tensor) -> OpResult<Tensor> {
        if !self.bools {
            return Ok(y);
        }
        Ok(Tensor::from_bools(y.dims().to_vec(), y.values::<i8>()?.iter().map(|v| *v > 0))?)
    }
}

fn sum<T: Real>(row: &[T]) -> T {
    sum_strands(row.iter().copied())
}

fn sum_squares<T: Real>(row: &[T]) -> T {
    sum_strands(row.iter().map(|v| *v * *v))
}

fn log_sum_exp<T: Real>(row: &[T]) -> T {
    let max = row.iter().fold(T::of(f32::NEG_INFINITY), |max, v| max.larger(*v));
    // Infinite differences would be NaN.
    let max = if max.abs() == T::of(f32::INFINITY) { T::of(0.0) } else { max };
    sum_strands(row.iter().map(|v| (*v - max).exp())).log() + max
}

fn int_sum<I: Int>(row: &[I], f: fn(I) -> i128) -> i128 {
    row.iter().fold(0, |sum: i128, v| sum.wrapping_add(f(*v)))
}

fn of_f64<I: Int>(value: f64) -> I {
    I::narrow(value as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    fn all() -> impl Iterator<Item = ReduceKind> {
        ReduceKind::ALL.iter().copied()
    }

    #[test]
    fn each_reduces_any_axes() {
        let x = tensor(&[2, 2, 2], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        // Over axes 0 and 2: of 1, 2, 5, 6 and of 3, 4, 7, 8.
        let lse = |v: [f64; 4]| v.map(f64::exp).iter().sum::<f64>().ln() as f32;
        let want = [
            [14.0, 22.0],
            [3.5, 5.5],
            [6.0, 8.0],
            [1.0, 3.0],
            [60.0, 672.0],
            [14.0, 22.0],
            [66f32.sqrt(), 138f32.sqrt()],
            [14f32.ln(), 22f32.ln()],
            [lse([1.0, 2.0, 5.0, 6.0]), lse([3.0, 4.0, 7.0, 8.0])],
            [66.0, 138.0],
        ];
        for (kind, want) in all().zip(want) {
            for (axes, keepdims, dims) in [(vec![0, 2], true, vec![1, 2, 1]), (vec![2, 0], false, vec![2])] {
                let y = one(kind.op(axes, keepdims), &[&x]);
                assert_eq!(y.dims(), dims);
                for (got, want) in y.values::<f32>().unwrap().iter().zip(want) {
                    assert!((got - want).abs() <= 1e-6 * want, "{kind:?} {got} {want}");
                }
            }
            let ints = one(kind.op(vec![0, 2], false), &[&one(Cast { to: Elem::I32 }, &[&x])]);
            assert_eq!(ints.values::<i32>().unwrap()[..], want.map(|v| v as i32), "{kind:?}");
        }
    }

    #[test]
    fn nothing_has_a_value_too() {
        let inf = f32::INFINITY;
        let want = [0.0, f32::NAN, -inf, inf, 1.0, 0.0, 0.0, -inf, -inf, 0.0];
        for (kind, want) in all().zip(want) {
            let y = one(kind.op(vec![1], false), &[&tensor::<f32>(&[2, 0], &[])]);
            let got = y.values::<f32>().unwrap();
            assert!(
                got[..] == [want; 2] || want.is_nan() && got.iter().all(|v| v.is_nan()),
                "{kind:?} {got:?}"
            );
            // A giant result of nothing is refused, not allocated.
            let giant = tensor::<f32>(&[0, 1 << 40, 1 << 20], &[]);
            assert!(run(kind.op(vec![0], false), &[Some(&giant)]).is_err());
        }
    }

    #[test]
    fn sums_have_one_order() {
        // In sequence the ones would be lost in the large number, whose unit is 8.
        let mut x = vec![1f32; 33];
        x[0] = 1e8;
        let y = one(ReduceSum { axes: vec![0], keepdims: false }, &[&Tensor::vector(x)]);
        assert_eq!(y.values::<f32>().unwrap()[0], 1e8 + 2.0 + 4.0 + 8.0 + 16.0);
    }

    #[test]
    fn extremes_of_truth_values_and_not_a_number() {
        let x = Tensor::from_bools(vec![2, 2], [true, false, true, true]).unwrap();
        let max = one(ReduceMax { axes: vec![1], keepdims: false }, &[&x]);
        let min = one(ReduceMin { axes: vec![1], keepdims: false }, &[&x]);
        assert_eq!((&max.bytes()[..], &min.bytes()[..]), ([1, 1].as_slice(), [0, 1].as_slice()));
        assert!(run(ReduceSum { axes: vec![1], keepdims: false }, &[Some(&x)]).is_err());
        for v in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            let x = Tensor::vector(v.to_vec());
            assert!(
                one(ReduceMin { axes: vec![0], keepdims: false }, &[&x]).values::<f32>().unwrap()[0].is_nan()
            );
        }
        for axes in [vec![2], vec![0, 0]] {
            assert!(run(ReduceMax { axes, keepdims: true }, &[Some(&x)]).is_err());
        }
    }
}
