//! Weights that are floats.

use super::measure::{Share, Table, ThreadTime, Work};
use super::memory::{Written, read};
use super::{Case, for_each};
use criterion::Criterion;
use std::hint::black_box;
use std::sync::LazyLock;
use trine_ukernel::Features;
use trine_ukernel::matmul::{MatmulF32, SCRATCH, VARIANTS, WIDTH};

/// Outputs and inputs: the projections of a small language model by input, and its head by output.
const SHAPES: [(usize, usize); 4] = [(576, 576), (1536, 576), (576, 1536), (49152, 576)];
const BY_OUTPUT: usize = 49152;

pub fn float(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    let here = Features::detect();
    let variants = VARIANTS.iter().filter(|v| v.needs != Features::NONE);
    let variants: Vec<_> = variants.filter(|v| here.contains(v.needs)).collect();
    for_each(c, "matmul_f32", &SHAPES, |group, case| {
        let &Case { n, k, rows, .. } = case;
        let place = |columns: usize| {
            LazyLock::new(move || case.weights.place(&1f32.to_le_bytes().repeat(columns * k)))
        };
        let (weights, panels) = (place(n), place(n.next_multiple_of(WIDTH)));
        let (b_row, b_column) = if n == BY_OUTPUT { (1, k) } else { (n, 1) };
        let x = vec![1f32; rows * k];
        let out = Written::new(rows * n);
        let scratch = [(); 2].map(|()| Written::new(SCRATCH));
        let work = Work { bytes: 4 * n * k, operations: 2 * rows * n * k };
        for (v, packed) in variants.iter().flat_map(|v| [(v, false), (v, true)]) {
            let weights = if packed { &panels } else { &weights };
            let name = format!("{}{}", v.name(), if packed { " packed" } else { "" });
            let kernel = |share: Share| {
                let panels = share.of(n.div_ceil(WIDTH));
                let args = MatmulF32 {
                    a: x.as_ptr(),
                    a_row: k as isize,
                    a_column: 1,
                    b: weights.of(share.call).as_ptr().cast(),
                    b_row: b_row as isize,
                    b_column: b_column as isize,
                    c: out.pointer(),
                    c_row: n as isize,
                    m: rows,
                    k,
                    n_begin: panels.start * WIDTH,
                    n_end: n.min(panels.end * WIDTH),
                    scratch: scratch[share.part].pointer(),
                    packed: packed.into(),
                };
                // SAFETY: the buffers have the sizes that the arguments give, the copies of the weights are
                // aligned to lines, and the machine has the features.
                unsafe { (v.entry())(black_box(&args)) };
            };
            table.measure(group, (Some(case), &name), work, kernel, |share| {
                let bytes = weights.of(share.call);
                black_box(read(&bytes[share.of(bytes.len())]));
            });
        }
    });
}
