//! Matrix products.

use super::real::Real;
use super::require::may_equal;
use super::*;
use crate::tensor::{Element, result_count};
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `y[..,i,j] = Σ_k a[..,i,k]·b[..,k,j]` with numpy's broadcasting of the leading axes (ONNX MatMul).
    ///
    /// A one-dimensional `a` is a row and `b` a column; their axis of 1 is not in the result. `trans_b` swaps
    /// the last two axes of `b`, which is how weights `[n, k]` are used as they lie.
    ///
    /// Each sum starts at zero and adds `a·b` in order of `k`. Integers wrap; f16 and bf16 are summed in f32.
    Matmul = "matmul" (a, b) { trans_b: bool }
}

/// Batch dimensions, then m, k, n, and whether m and n are axes of the result.
struct Shape<D> {
    batch: (Vec<D>, Vec<D>),
    m: Option<D>,
    k: (D, D),
    n: Option<D>,
}

/// Takes operand shapes apart; both have an axis.
fn shape<D: Clone>(a: &[D], b: &[D], trans_b: bool) -> OpResult<Shape<D>> {
    let ([.., ak], [.., last]) = (a, b) else { bail!("a scalar has no rows or columns") };
    if trans_b && b.len() == 1 {
        bail!("`trans_b` needs a `b` of two axes");
    }
    let (bk, n) = match b {
        [.., n, k] if trans_b => (k, Some(n)),
        [.., k, n] => (k, Some(n)),
        _ => (last, None),
    };
    let batch = |dims: &[D]| dims[..dims.len().saturating_sub(2)].to_vec();
    let m = a.len().checked_sub(2).map(|i| a[i].clone());
    Ok(Shape { batch: (batch(a), batch(b)), m, k: (ak.clone(), bk.clone()), n: n.cloned() })
}

impl OpDef for Matmul {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (a, b) = (&args[0], &args[1]);
        if a.elem != b.elem || a.elem == Elem::Bool || a.elem.bits() < 8 {
            bail!("expects two operands of one number type, got {a} and {b}");
        }
        let shape = shape(&a.dims, &b.dims, self.trans_b)?;
        if !may_equal(&shape.k.0, &shape.k.1, module) {
            bail!("operands {a} and {b} do not multiply: `{}` against `{}`", shape.k.0, shape.k.1);
        }
        let mut dims = broadcast(&shape.batch.0, &shape.batch.1, module)?;
        dims.extend(shape.m.into_iter().chain(shape.n));
        Ok(vec![Type { elem: a.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        macro_rules! ints {
            ($($elem:ident = $t:ty),*) => { match args[0].elem() {
                Elem::F16 | Elem::Bf16 | Elem::F32 => self.real::<f32>(&args),
                Elem::F64 => self.real::<f64>(&args),
                $(Elem::$elem => {
                    let (a, b) = (args[0].values::<$t>()?, args[1].values::<$t>()?);
                    let (dims, y) = self.multiply(&args, &a, &b)?;
                    Ok(vec![Tensor::from_vec(dims, y)?])
                })*
                elem => bail!("no products of {elem}"),
            } };
        }
        ints! { I8 = i8, I16 = i16, I32 = i32, I64 = i64, U8 = u8, U16 = u16, U32 = u32, U64 = u64 }
    }
}

impl Matmul {
    fn real<T: Real + Number>(&self, args: &Args<Tensor>) -> OpResult<Vec<Tensor>> {
        let (dims, y) = self.multiply(args, &T::read(&args[0])?, &T::read(&args[1])?)?;
        Ok(vec![T::write(args[0].elem(), dims, y)?])
    }

    fn multiply<T: Number>(&self, args: &Args<Tensor>, a: &[T], b: &[T]) -> OpResult<(Vec<usize>, Vec<T>)> {
        let shape = shape(args[0].dims(), args[1].dims(), self.trans_b)?;
        let (mut m, k, n) = (shape.m.unwrap_or(1), shape.k.0, shape.n.unwrap_or(1));
        if shape.k.1 != k {
            bail!("{k} columns against {} rows", shape.k.1);
        }
        let mut batch = broadcast_dims(&shape.batch.0, &shape.batch.1)?;
        let dims: Vec<usize> = batch.iter().copied().chain(shape.m).chain(shape.n).collect();
        let total = result_count(T::ELEM, &dims)?;
        // One `b` for all of `a`: its matrices are one with more rows.
        let (mut of_a, mut of_b) = (shape.batch.0, shape.batch.1);
        if of_b.iter().all(|d| *d == 1) && of_a == batch {
            m *= batch.iter().product::<usize>();
            (batch, of_a, of_b) = (vec![], vec![], vec![]);
        }
        let mut y = vec![T::default(); total];
        if total > 0 {
            let offsets = offsets(&of_a, &batch).zip(offsets(&of_b, &batch));
            for ((i, j), y) in offsets.zip(y.chunks_mut(m * n)) {
                let (a, b) = (&a[i * m * k..][..m * k], &b[j * k * n..][..k * n]);
                product(a, b, self.trans_b, k, n, y);
            }
        }
        Ok((dims, y))
    }
}

/// What a sum of products is made of. Integers wrap.
pub(super) trait Number: Element {
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! numbers {
    ($plus:expr, $times:expr => $($t:ty),*) => { $(impl Number for $t {
        #[inline]
        fn plus(self, other: $t) -> $t {
            let f: fn($t, $t) -> $t = $plus;
            f(self, other)
        }
        #[inline]
        fn times(self, other: $t) -> $t {
            let f: fn($t, $t) -> $t = $times;
            f(self, other)
        }
    })* };
}
numbers! { |a, b| a + b, |a, b| a * b => f32, f64 }
numbers! { |a, b| a.wrapping_add(b), |a, b| a.wrapping_mul(b) => i8, i16, i32, i64, u8, u16, u32, u64 }

/// Rows and columns of `y` whose sums are kept in registers together.
const ROWS: usize = 4;
const COLUMNS: usize = 8;

/// `y += a·b`, each sum in order of `k`: `a` is `[m,k]`, `b` `[k,n]` or, transposed, `[n,k]`, `y` `[m,n]`.
pub(super) fn product<T: Number>(a: &[T], b: &[T], trans_b: bool, k: usize, n: usize, y: &mut [T]) {
    if k == 0 || n == 0 {
        return;
    }
    if a.len() < ROWS * k {
        for (a, y) in a.chunks(k).zip(y.chunks_mut(n)) {
            row_product(a, b, trans_b, y);
        }
        return;
    }
    let mut panel = vec![[T::default(); COLUMNS]; k];
    for start in (0..n).step_by(COLUMNS) {
        let width = COLUMNS.min(n - start);
        pack(b, trans_b, n, start..start + width, &mut panel);
        for (a, y) in a.chunks(ROWS * k).zip(y.chunks_mut(ROWS * n)) {
            // A short last block repeats its last row.
            let last = a.len() / k - 1;
            let rows: [&[T]; ROWS] = std::array::from_fn(|r| &a[r.min(last) * k..][..k]);
            let sums = block_product(rows, &panel);
            for (y, sums) in y.chunks_mut(n).zip(sums) {
                for (y, sum) in y[start..start + width].iter_mut().zip(sums) {
                    *y = sum;
                }
            }
        }
    }
}

/// Columns `columns` of `b`, row by row of `k`.
fn pack<T: Number>(
    b: &[T],
    trans_b: bool,
    n: usize,
    columns: std::ops::Range<usize>,
    panel: &mut [[T; COLUMNS]],
) {
    let k = panel.len();
    if trans_b {
        for (c, column) in b[columns.start * k..columns.end * k].chunks(k).enumerate() {
            for (row, v) in panel.iter_mut().zip(column) {
                row[c] = *v;
            }
        }
    } else {
        for (row, b) in panel.iter_mut().zip(b.chunks(n)) {
            row[..columns.len()].copy_from_slice(&b[columns.clone()]);
        }
    }
}

fn block_product<T: Number>(a: [&[T]; ROWS], panel: &[[T; COLUMNS]]) -> [[T; COLUMNS]; ROWS] {
    let mut sums = [[T::default(); COLUMNS]; ROWS];
    for (i, b) in panel.iter().enumerate() {
        for (sums, a) in sums.iter_mut().zip(&a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = sum.plus(a[i].times(*b));
            }
        }
    }
    sums
}

/// One row of a product, without packing `b`, which is used once.
fn row_product<T: Number>(a: &[T], b: &[T], trans_b: bool, y: &mut [T]) {
    let k = a.len();
    if !trans_b {
        for (a, b) in a.iter().zip(b.chunks(y.len())) {
            for (y, b) in y.iter_mut().zip(b) {
                *y = y.plus(a.times(*b));
            }
        }
        return;
    }
    for (y, b) in y.chunks_mut(COLUMNS).zip(b.chunks(COLUMNS * k)) {
        let last = y.len() - 1;
        let rows: [&[T]; COLUMNS] = std::array::from_fn(|c| &b[c.min(last) * k..][..k]);
        let mut sums = [T::default(); COLUMNS];
        for (i, a) in a.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(&rows) {
                *sum = sum.plus(a.times(row[i]));
            }
        }
        y.copy_from_slice(&sums[..y.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(dims: &[usize], from: f32) -> Tensor {
        let n = dims.iter().product::<usize>();
        Tensor::from_vec(dims.to_vec(), (0..n).map(|i| (from + i as f32).sin()).collect()).unwrap()
    }

    fn run(a: &Tensor, b: &Tensor, trans_b: bool) -> OpResult<Tensor> {
        let op = Op::from(Matmul { trans_b });
        let inferred = op.infer(&[Some(&a.ty()), Some(&b.ty())], &())?;
        let y = op.eval(&[Some(a), Some(b)], &DimEnv::default())?.remove(0);
        assert_eq!(inferred, [y.ty()]);
        Ok(y)
    }

    /// The defining sum for matrices, in order of k.
    fn naive(a: &Tensor, b: &Tensor) -> Vec<f32> {
        let (m, k, n) = (a.dims()[0], a.dims()[1], b.dims()[1]);
        let (a, b) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
        (0..m * n).map(|i| (0..k).fold(0.0, |sum, l| sum + a[i / n * k + l] * b[l * n + i % n])).collect()
    }

    fn transposed(b: &Tensor) -> Tensor {
        let (k, n) = (b.dims()[0], b.dims()[1]);
        let v = b.values::<f32>().unwrap();
        Tensor::from_vec(vec![n, k], (0..n * k).map(|i| v[i % k * n + i / k]).collect()).unwrap()
    }

    #[test]
    fn blocks_and_rows_give_the_same_bits_as_the_sum_in_order() {
        for (m, k, n) in [(1, 5, 3), (1, 17, 19), (3, 4, 8), (4, 7, 8), (9, 13, 21), (5, 0, 2), (0, 3, 4)] {
            let (a, b) = (counting(&[m, k], 0.3), counting(&[k, n], 7.7));
            let want = naive(&a, &b);
            assert_eq!(&*run(&a, &b, false).unwrap().values::<f32>().unwrap(), want, "{m} {k} {n}");
            let y = run(&a, &transposed(&b), true).unwrap();
            assert_eq!(&*y.values::<f32>().unwrap(), want, "transposed {m} {k} {n}");
        }
    }

    #[test]
    fn axes_broadcast_as_in_numpy() {
        for (a, b, y) in [
            (vec![3], vec![3], vec![]),
            (vec![3], vec![3, 2], vec![2]),
            (vec![4, 3], vec![3], vec![4]),
            (vec![2, 1, 4, 3], vec![5, 3, 2], vec![2, 5, 4, 2]),
            (vec![2, 4, 3], vec![1, 3, 2], vec![2, 4, 2]),
            (vec![3], vec![5, 3, 2], vec![5, 2]),
        ] {
            assert_eq!(run(&counting(&a, 0.0), &counting(&b, 1.0), false).unwrap().dims(), y);
        }
        let (a, b) = (counting(&[2, 1, 4, 3], 0.0), counting(&[5, 3, 2], 1.0));
        let y = run(&a, &b, false).unwrap();
        let slice = |t: &Tensor, at: usize, dims: [usize; 2]| {
            let n = dims[0] * dims[1];
            let v = t.values::<f32>().unwrap()[at * n..][..n].to_vec();
            Tensor::from_vec(dims.to_vec(), v).unwrap()
        };
        let want = naive(&slice(&a, 1, [4, 3]), &slice(&b, 3, [3, 2]));
        assert_eq!(y.values::<f32>().unwrap()[8 * 8..][..8], want);
    }

    #[test]
    fn integers_wrap_and_misfits_are_refused() {
        let (a, b) = (Tensor::vector(vec![100i8, 100]), Tensor::vector(vec![2i8, 1]));
        assert_eq!(&*run(&a, &b, false).unwrap().values::<i8>().unwrap(), [300i32 as i8]);
        for (a, b, trans_b) in
            [(vec![2, 3], vec![2, 3], false), (vec![2], vec![2], true), (vec![], vec![2], false)]
        {
            assert!(run(&counting(&a, 0.0), &counting(&b, 0.0), trans_b).is_err());
        }
    }
}
