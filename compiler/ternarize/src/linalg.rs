//! Products and factors of row-major matrices: the one place that knows which library computes them.
//!
//! `faer` is a minute to compile but blocks for the caches and uses AVX-512, so that a factor of 2560 inputs is
//! a third of a second where an unblocked one (`nalgebra`) takes half a minute, and 6912 stay in reach. It is
//! built without its threads: callers share rows and tiles among threads themselves, so that no sum depends on
//! how many there are.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::{factor, solve};
use faer::linalg::matmul;
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

/// A block of a row-major matrix.
pub type View<'a, T = f64> = MatRef<'a, T>;
pub type ViewMut<'a, T = f64> = MatMut<'a, T>;

pub fn view<T>(values: &[T], rows: usize, columns: usize) -> View<'_, T> {
    MatRef::from_row_major_slice(values, rows, columns)
}

pub fn view_mut<T>(values: &mut [T], rows: usize, columns: usize) -> ViewMut<'_, T> {
    MatMut::from_row_major_slice_mut(values, rows, columns)
}

/// `c = a·b`.
pub fn multiply<T: ComplexField + From<u8>>(c: ViewMut<T>, a: View<T>, b: View<T>) {
    matmul::matmul(c, Accum::Replace, a, b, T::from(1), Par::Seq);
}

/// `c += factor·a·b`.
pub fn accumulate(c: ViewMut, factor: f64, a: View, b: View) {
    matmul::matmul(c, Accum::Add, a, b, factor, Par::Seq);
}

/// `L` with `L·Lᵀ = h` in the lower triangle; false if `h` is not positive definite.
fn cholesky(h: ViewMut) -> bool {
    let parameters = Default::default();
    let scratch = factor::cholesky_in_place_scratch::<f64>(h.nrows(), Par::Seq, parameters);
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    factor::cholesky_in_place(h, Default::default(), Par::Seq, stack, parameters).is_ok()
}

/// The upper triangular `U` with `Uᵀ·U = h⁻¹`, for a symmetric `h` `[k, k]`; `None` if it is not positive
/// definite.
///
/// With rows and columns reversed `h = L·Lᵀ`, and so `U` is `L⁻¹` reversed: no inverse of `h` is needed.
pub fn inverse_factor(h: &[f64], k: usize) -> Option<Vec<f64>> {
    let mut lower = h.to_vec();
    lower.reverse();
    if !cholesky(view_mut(&mut lower, k, k)) {
        return None;
    }
    let mut inverse = vec![0.0; k * k];
    invert_lower_triangular(view_mut(&mut inverse, k, k), view(&lower, k, k), Par::Seq);
    inverse.reverse();
    inverse.iter().all(|v| v.is_finite()).then_some(inverse)
}

/// `h⁻¹`, for a symmetric `h` `[k, k]`; `None` if it is not positive definite.
pub fn inverse(h: &[f64], k: usize) -> Option<Vec<f64>> {
    let upper = inverse_factor(h, k)?;
    let mut inverse = vec![0.0; k * k];
    let upper = view(&upper, k, k);
    multiply(view_mut(&mut inverse, k, k), upper.transpose(), upper);
    Some(inverse)
}

/// Solves `h·x = b` in place of `b`, and leaves a factor in `h`; false if `h` is not positive definite.
pub fn solve_in_place(h: &mut [f64], b: &mut [f64]) -> bool {
    let k = b.len();
    if !cholesky(view_mut(h, k, k)) {
        return false;
    }
    let scratch = solve::solve_in_place_scratch::<f64>(k, 1, Par::Seq);
    let mut memory = MemBuffer::new(scratch);
    solve::solve_in_place(view(h, k, k), view_mut(b, k, 1), Par::Seq, MemStack::new(&mut memory));
    b.iter().all(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gaussian, moments};

    #[test]
    fn factors_and_solutions_are_what_they_say() {
        for k in [1, 2, 7, 64, 130] {
            let h = moments(k, 3 * k, 5);
            let upper = inverse_factor(&h, k).unwrap();
            assert!((0..k).all(|i| (0..i).all(|j| upper[i * k + j] == 0.0)));
            let mut identity = vec![0.0; k * k];
            multiply(view_mut(&mut identity, k, k), view(&inverse(&h, k).unwrap(), k, k), view(&h, k, k));
            for (i, v) in identity.iter().enumerate() {
                let expected = if i / k == i % k { 1.0 } else { 0.0 };
                assert!((v - expected).abs() < 1e-8, "{k}: {v} at {i}");
            }
            let x: Vec<f64> = gaussian(k, 6).iter().map(|v| f64::from(*v)).collect();
            let mut b = vec![0.0; k];
            multiply(view_mut(&mut b, k, 1), view(&h, k, k), view(&x, k, 1));
            assert!(solve_in_place(&mut h.clone(), &mut b));
            assert!(b.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-8));
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert_eq!(inverse_factor(&[1.0, 2.0, 2.0, 1.0], 2), None);
        assert_eq!(inverse(&[0.0], 1), None);
        assert!(!solve_in_place(&mut [f64::NAN], &mut [1.0]));
    }
}
