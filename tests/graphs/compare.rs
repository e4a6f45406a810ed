//! Whether two results are the same: to the bit, or as far as rounding elsewhere explains.

use trine_ir::{Elem, Tensor};

use super::data::numbers;
use super::order::Jump;

/// What a last few roundings may change, of the size of the largest number: a product of eight sums has the errors of
/// all of them.
fn ulps(elem: Elem) -> f64 {
    match elem {
        Elem::F16 => 4.0 / f64::from(1 << 10),
        Elem::Bf16 => 4.0 / f64::from(1 << 7),
        _ => 64.0 * f64::from(f32::EPSILON),
    }
}

/// Where and how `got` differs from `want`, to the bit; one NaN is as good as another.
pub fn difference(want: &[Tensor], got: &[Tensor]) -> Option<String> {
    if want.len() != got.len() {
        return Some(format!("{} outputs for {}", got.len(), want.len()));
    }
    want.iter().zip(got).enumerate().find_map(|(i, (w, g))| {
        if w.ty() != g.ty() {
            return Some(format!("output {i} is {}, expected {}", g.ty(), w.ty()));
        }
        if w.bytes() == g.bytes() {
            return None;
        }
        let (w, g) = (numbers(w), numbers(g));
        let bad: Vec<usize> = (0..w.len()).filter(|at| !same(w[*at], g[*at])).collect();
        describe(i, &bad, &w, &g)
    })
}

/// One element in so many may be anything where last bits decide.
const JUMPS: usize = 32;

/// Where sums of f32 are as large, some on the way to them are too large.
const HUGE: f64 = 1e36;

/// As `difference`, where what is not the same may be as far off as the results of `shaken` runs are, or somewhat farther,
/// or as that element which they move the most; `jumps` says of which outputs a few elements, or all, may be anything.
pub fn unexplained(
    want: &[Tensor],
    got: &[Tensor],
    shaken: &[Vec<Tensor>],
    jumps: &[Jump],
) -> Option<String> {
    want.iter().zip(got).enumerate().find_map(|(i, (w, g))| {
        if jumps[i] == Jump::Places && w.elem() == g.elem() && w.rank() == g.rank() {
            return None;
        }
        if w.ty() != g.ty() {
            return Some(format!("output {i} is {}, expected {}", g.ty(), w.ty()));
        }
        let (is_float, ulps, w, g) = (w.elem().is_float(), ulps(w.elem()), numbers(w), numbers(g));
        let runs: Vec<Vec<f64>> =
            shaken.iter().filter(|s| s[i].len() == w.len()).map(|s| numbers(&s[i])).collect();
        let moved: Vec<f64> =
            (0..w.len()).map(|at| runs.iter().map(|r| distance(w[at], r[at])).fold(0.0, f64::max)).collect();
        let mut sorted: Vec<f64> = moved.iter().copied().filter(|m| m.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let usual = if is_float { sorted.get(sorted.len() / 2).copied().unwrap_or(0.0) } else { 0.0 };
        // In a few runs one element of a thousand is moved less than it can be.
        let most = if is_float { sorted.last().copied().unwrap_or(0.0) } else { 0.0 };
        // A small element of a tensor is a difference of larger ones.
        let largest = w.iter().copied().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
        let explained = |at: &usize| {
            let off = distance(w[*at], g[*at]);
            // Which of them it is, and whether it is, depends on the order where a sum overflows on the way.
            let infinite = |v: f64| !v.is_finite();
            let overflows = infinite(w[*at]) && (infinite(g[*at]) || g[*at].abs() > HUGE)
                || infinite(g[*at]) && w[*at].abs() > HUGE;
            overflows
                // What is moved by as much as it is may as well be what is divided by 0.
                || moved[*at] > 0.5 * w[*at].abs() && w[*at] != 0.0
                || off == 0.0
                || off <= most
                || off <= 64.0 * moved[*at].max(usual)
                || is_float && off <= ulps * largest
        };
        let bad: Vec<usize> = (0..w.len()).filter(|at| !explained(at)).collect();
        if jumps[i] == Jump::Element && bad.len() <= w.len().div_ceil(JUMPS) {
            return None;
        }
        describe(i, &bad, &w, &g)
    })
}

/// Infinite where only one is a number, or an infinity.
fn distance(a: f64, b: f64) -> f64 {
    match (a - b).abs() {
        _ if a == b || a.is_nan() && b.is_nan() => 0.0,
        d if d.is_nan() => f64::INFINITY,
        d => d,
    }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

fn describe(output: usize, bad: &[usize], want: &[f64], got: &[f64]) -> Option<String> {
    if bad.is_empty() {
        return None;
    }
    let shown: Vec<String> =
        bad.iter().take(4).map(|at| format!("[{at}] {:e} for {:e}", got[*at], want[*at])).collect();
    Some(format!("output {output}: {} of {} differ: {}", bad.len(), want.len(), shown.join(", ")))
}
