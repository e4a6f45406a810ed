//! Discrete Fourier transforms of any length, in f64: of a power of two by halving (Cooley and Tukey, 1965), of another
//! length as a convolution of a power of two (Bluestein, 1970). Both take `n · log n` steps, and the same ones on every
//! machine.

use std::ops::{Add, Mul, Sub};

/// A complex number.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Complex {
    pub fn conjugate(self) -> Complex {
        Complex { re: self.re, im: -self.im }
    }

    /// `e^(-iπ · numerator / denominator)`.
    fn turned(numerator: u64, denominator: u64) -> Complex {
        let angle = std::f64::consts::PI * (numerator as f64 / denominator as f64);
        Complex { re: libm::cos(angle), im: -libm::sin(angle) }
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Complex;
    fn sub(self, other: Complex) -> Complex {
        Complex { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// The transform of one length: what it needs that does not depend on the numbers.
pub struct Fourier {
    n: usize,
    /// Roots of one for the power of two.
    roots: Vec<Complex>,
    /// Of a length that is not a power of two: `e^(-iπk²/n)`, and the transform of what it is convolved with.
    chirp: Option<(Vec<Complex>, Vec<Complex>)>,
}

impl Fourier {
    /// How many complex numbers a transform of `n` keeps and moves, at most.
    pub fn scratch(n: usize) -> Option<usize> {
        n.checked_next_power_of_two()?.checked_mul(8)
    }

    /// For `n` numbers, at least one.
    pub fn new(n: usize) -> Fourier {
        if n.is_power_of_two() {
            return Fourier { n, roots: roots(n), chirp: None };
        }
        let m = (2 * n - 1).next_power_of_two();
        // k² modulo 2n keeps the angle small, and so exact.
        let place = |k: usize| ((k as u128 * k as u128) % (2 * n as u128)) as u64;
        let chirp: Vec<_> = (0..n).map(|k| Complex::turned(place(k), n as u64)).collect();
        let roots = roots(m);
        let mut filter = vec![Complex::default(); m];
        for (k, c) in chirp.iter().enumerate() {
            filter[k] = c.conjugate();
            filter[(m - k) % m] = c.conjugate();
        }
        halve(&mut filter, &roots);
        Fourier { n, roots, chirp: Some((chirp, filter)) }
    }

    /// `y[k] = Σ x[i]·e^(-2πi·ik/n)` in place.
    pub fn forward(&self, x: &mut [Complex]) {
        let Some((chirp, filter)) = &self.chirp else { return halve(x, &self.roots) };
        let m = filter.len();
        let mut long = vec![Complex::default(); m];
        for ((long, x), c) in long.iter_mut().zip(x.iter()).zip(chirp) {
            *long = *x * *c;
        }
        halve(&mut long, &self.roots);
        for (v, f) in long.iter_mut().zip(filter) {
            *v = (*v * *f).conjugate();
        }
        halve(&mut long, &self.roots);
        let scale = Complex { re: 1.0 / m as f64, im: 0.0 };
        for ((x, long), c) in x.iter_mut().zip(long).zip(chirp) {
            *x = long.conjugate() * scale * *c;
        }
    }

    /// `x[i] = Σ y[k]·e^(2πi·ik/n) / n` in place.
    pub fn inverse(&self, y: &mut [Complex]) {
        y.iter_mut().for_each(|v| *v = v.conjugate());
        self.forward(y);
        let n = self.n as f64;
        y.iter_mut().for_each(|v| *v = Complex { re: v.re / n, im: -v.im / n });
    }
}

/// `e^(-2πik/n)` for the first half of `k`.
fn roots(n: usize) -> Vec<Complex> {
    (0..n / 2).map(|k| Complex::turned(2 * k as u64, n as u64)).collect()
}

/// The transform of a power of two, in place.
fn halve(x: &mut [Complex], roots: &[Complex]) {
    let n = x.len();
    if n < 2 {
        return;
    }
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            x.swap(i, j);
        }
    }
    let mut half = 1;
    while half < n {
        let step = n / (2 * half);
        for block in x.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let turned = *b * roots[k * step];
                (*a, *b) = (*a + turned, *a - turned);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gives_the_sums_and_comes_back() {
        for n in (1..=40).chain([63, 64, 97, 100, 128, 243]) {
            let number = |i: usize| Complex {
                re: libm::sin(i as f64 * 1.7) + 0.3,
                im: libm::cos(i as f64 * i as f64) - 0.1,
            };
            let x: Vec<_> = (0..n).map(number).collect();
            let fourier = Fourier::new(n);
            let mut y = x.clone();
            fourier.forward(&mut y);
            for (k, got) in y.iter().enumerate() {
                let terms = x
                    .iter()
                    .enumerate()
                    .map(|(i, v)| *v * Complex::turned((2 * i * k % (2 * n)) as u64, n as u64));
                let want = terms.fold(Complex::default(), |sum, term| sum + term);
                assert!(size(*got - want) < 1e-11, "{n} {k}: {got:?} {want:?}");
            }
            fourier.inverse(&mut y);
            assert!(y.iter().zip(&x).all(|(a, b)| size(*a - *b) < 1e-12), "{n}");
        }
    }

    fn size(c: Complex) -> f64 {
        (c.re * c.re + c.im * c.im).sqrt()
    }
}
