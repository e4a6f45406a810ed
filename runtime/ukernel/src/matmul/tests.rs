//! Every variant of the product against the oracle, and the oracle against f64.

use super::*;
use crate::Variant;
use crate::lanes::testing::{for_each_variant, same};
use proptest::prelude::*;
use std::{vec, vec::Vec};

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Order {
    Rows,
    Columns,
    /// Neither axis is dense.
    Spread,
}

#[derive(Debug)]
struct Problem {
    m: usize,
    k: usize,
    n: usize,
    a: Order,
    b: Order,
    /// Where the columns are cut in two calls.
    cut: usize,
}

/// The strides of a matrix, and how many values it takes.
fn strides(order: Order, rows: usize, columns: usize) -> (isize, isize, usize) {
    let (row, column) = match order {
        Order::Rows => (columns + 3, 1),
        Order::Columns => (1, rows + 1),
        Order::Spread => (2 * columns + 1, 2),
    };
    (row as isize, column as isize, 1 + rows * row + columns * column)
}

/// Values that are not multiples of one another (xorshift).
fn values(count: usize, mut state: u32) -> Vec<f32> {
    let mut next = || {
        for (left, by) in [(true, 13), (false, 17), (true, 5)] {
            state ^= if left { state << by } else { state >> by };
        }
        state as i32 as f32 / 2f32.powi(30)
    };
    (0..count).map(|_| next()).collect()
}

impl Problem {
    fn run(&self, variant: &Variant<MatmulF32>) -> Vec<f32> {
        let (a_row, a_column, a_len) = strides(self.a, self.m, self.k);
        let (b_row, b_column, b_len) = strides(self.b, self.k, self.n);
        let (a, b) = (values(a_len, 1), values(b_len, 2));
        let mut c = vec![f32::NAN; self.m * self.n];
        let mut scratch = vec![f32::NAN; SCRATCH];
        for (n_begin, n_end) in [(0, self.cut), (self.cut, self.n)] {
            let args = MatmulF32 {
                a: a.as_ptr(),
                a_row,
                a_column,
                b: b.as_ptr(),
                b_row,
                b_column,
                c: c.as_mut_ptr(),
                c_row: self.n as isize,
                m: self.m,
                k: self.k,
                n_begin,
                n_end,
                scratch: scratch.as_mut_ptr(),
                packed: 0,
            };
            // SAFETY: the buffers have the sizes that the arguments give; callers only pass variants
            // that run here.
            unsafe { (variant.entry())(&args) };
        }
        c
    }

    fn expected(&self) -> Vec<f32> {
        let (a_row, a_column, a_len) = strides(self.a, self.m, self.k);
        let (b_row, b_column, b_len) = strides(self.b, self.k, self.n);
        let (a, b) = (values(a_len, 1), values(b_len, 2));
        let at = |m: usize, n: usize| {
            let a = (0..self.k).map(|k| a[m * a_row as usize + k * a_column as usize]);
            let b = (0..self.k).map(|k| b[k * b_row as usize + n * b_column as usize]);
            match self.m == 1 && a_column == 1 && b_row == 1 {
                true => striped(a.zip(b)),
                false => a.zip(b).fold(0.0, |sum, (a, b)| a.mul_add(b, sum)),
            }
        };
        (0..self.m).flat_map(|m| (0..self.n).map(move |n| (m, n))).map(|(m, n)| at(m, n)).collect()
    }

    fn check(&self) {
        let want = self.expected();
        for_each_variant(VARIANTS, |v| {
            let got = self.run(v);
            assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{} {self:?}", v.name());
        });
    }
}

fn striped(products: impl Iterator<Item = (f32, f32)>) -> f32 {
    let mut lanes = [0f32; LANES];
    for (i, (a, b)) in products.enumerate() {
        lanes[i % LANES] = a.mul_add(b, lanes[i % LANES]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

fn problem() -> impl Strategy<Value = Problem> {
    let order = || prop_oneof![Just(Order::Rows), Just(Order::Columns), Just(Order::Spread)];
    (0usize..20, 0usize..70, 0usize..110, order(), order(), 0usize..110)
        .prop_map(|(m, k, n, a, b, cut)| Problem { m, k, n, a, b, cut: cut.min(n) })
}

proptest! {
    #[test]
    fn every_variant_gives_the_bits_of_the_equation(p in problem()) {
        p.check();
    }
}

/// Panels of more than one depth, at every number of rows left over.
#[test]
fn long_sums_go_on_where_they_stopped() {
    for (m, b) in [(1, Order::Rows), (5, Order::Columns), (7, Order::Rows), (9, Order::Columns)] {
        Problem { m, k: 2 * DEPTH + 17, n: 50, a: Order::Rows, b, cut: 49 }.check();
    }
}

impl Problem {
    /// As [`Problem::run`], with `b` packed.
    fn run_packed(&self, variant: &Variant<MatmulF32>) -> Vec<f32> {
        let (a_row, a_column, a_len) = strides(self.a, self.m, self.k);
        let (b_row, b_column, b_len) = strides(self.b, self.k, self.n);
        let (a, b) = (values(a_len, 1), values(b_len, 2));
        let dense = (0..self.k).flat_map(|k| (0..self.n).map(move |n| (k, n)));
        let dense: Vec<f32> = dense.map(|(k, n)| b[k * b_row as usize + n * b_column as usize]).collect();
        let panels = Panels { k: self.k, n: self.n, transposed: false };
        let mut packed = vec![0.0; panels.packed_len().unwrap()];
        panels.pack(&dense, &mut packed).unwrap();
        let mut c = vec![f32::NAN; self.m * self.n];
        let cut = self.cut / WIDTH * WIDTH;
        for (n_begin, n_end) in [(0, cut), (cut, self.n)] {
            let args = MatmulF32 {
                a: a.as_ptr(),
                a_row,
                a_column,
                b: packed.as_ptr(),
                b_row: 0,
                b_column: 0,
                c: c.as_mut_ptr(),
                c_row: self.n as isize,
                m: self.m,
                k: self.k,
                n_begin,
                n_end,
                scratch: core::ptr::null_mut(),
                packed: 1,
            };
            // SAFETY: as in `run`.
            unsafe { (variant.entry())(&args) };
        }
        c
    }
}

proptest! {
    /// Always in sequence of k, one row or many.
    #[test]
    fn packed_weights_give_the_bits_of_the_equation(p in problem()) {
        let sequential = Problem { b: Order::Rows, ..p };
        let want = sequential.expected();
        for_each_variant(VARIANTS, |v| {
            let got = sequential.run_packed(v);
            assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{} {sequential:?}", v.name());
        });
    }
}
