//! Int8 weights.

use super::measure::{Table, ThreadTime, Work};
use super::memory::read;
use super::{Case, for_each};
use criterion::Criterion;
use std::cell::LazyCell;
use std::hint::black_box;
use trine_ukernel::contract_i8::{ContractI8, scratch};
use trine_ukernel::dot_i8::VARIANTS;
use trine_ukernel::{Features, Geometry};

/// Outputs and inputs: the head of a small language model, and a layer in it.
const SHAPES: [(usize, usize); 2] = [(49152, 576), (576, 1536)];

pub fn int8(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    let here = Features::detect();
    let variants = VARIANTS.iter().filter(|v| v.needs != Features::NONE);
    let variants: Vec<_> = variants.filter(|v| here.contains(v.needs)).collect();
    for_each(c, "dot_i8", &SHAPES, |group, case| {
        let &Case { n, k, rows, .. } = case;
        let bytes = vec![1; n * k];
        let floor = LazyCell::new(|| case.weights.place(&bytes));
        for v in &variants {
            let g = Geometry::new(v.layout, n, k, k).expect("a valid shape");
            let weights = LazyCell::new(|| case.weights.place(&vec![1; g.bytes]));
            let x = vec![1i8; rows * g.k_padded()];
            let x_sums = vec![g.k_padded() as i32; rows];
            let mut out = vec![0; rows * g.n_padded];
            let mut scratch = vec![0; scratch(v, &g, Some(rows))];
            let work = Work { bytes: g.bytes, operations: 2 * rows * n * k };
            let kernel = || {
                let args = ContractI8 {
                    weights: weights.next().as_ptr(),
                    x: x.as_ptr(),
                    x_sums: x_sums.as_ptr(),
                    out: out.as_mut_ptr(),
                    rows,
                    groups: g.groups,
                    group_k: g.group_k,
                    n_padded: g.n_padded,
                    tile_begin: 0,
                    tile_end: g.tiles,
                    scratch: scratch.as_mut_ptr(),
                };
                // SAFETY: the buffers have the sizes of `g` and the machine has the features.
                unsafe { (v.entry)(black_box(&args)) };
            };
            table.measure(group, (&case.name, v.name()), work, kernel, || {
                black_box(read(floor.next()));
            });
        }
    });
}
