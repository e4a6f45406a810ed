//! Ternary weights: int8 and f32 activations.

use super::measure::{Table, ThreadTime, Work};
use super::memory::read;
use super::{Case, SHAPES, for_each};
use criterion::Criterion;
use std::cell::LazyCell;
use std::hint::black_box;
use trine_ukernel::contract_i8::{ContractI8, scratch};
use trine_ukernel::signsum_f32::{self, PrepareF32, SignSumF32, prepare, prepared_len};
use trine_ukernel::signsum_i8;
use trine_ukernel::{Features, Geometry};

pub fn int8(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    let here = Features::detect();
    let variants = signsum_i8::VARIANTS.iter().filter(|v| v.needs != Features::NONE);
    let variants: Vec<_> = variants.filter(|v| here.contains(v.needs)).collect();
    for_each(c, "signsum_i8", &SHAPES, |group, case| {
        let &Case { n, k, rows, .. } = case;
        let floor = LazyCell::new(|| case.weights.place(&vec![1; n * k / 4]));
        for v in &variants {
            let g = Geometry::new(v.layout, n, k, k).expect("a valid shape");
            let weights = LazyCell::new(|| case.weights.place(&pack(&g)));
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

pub fn float(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    let here = Features::detect();
    let variants = signsum_f32::VARIANTS.iter().filter(|v| v.needs != Features::NONE);
    let variants: Vec<_> = variants.filter(|v| here.contains(v.needs)).collect();
    for_each(c, "signsum_f32", &SHAPES, |group, case| {
        let &Case { n, k, rows, .. } = case;
        let floor = LazyCell::new(|| case.weights.place(&vec![1; n * k / 4]));
        for v in &variants {
            let g = Geometry::new(v.layout, n, k, k).expect("a valid shape");
            let weights = LazyCell::new(|| case.weights.place(&pack(&g)));
            let x = vec![1.5; rows * k];
            let mut prepared = vec![0.0; rows * prepared_len(&g)];
            let mut out = vec![0.0; rows * g.n_padded];
            let prepare = prepare(v.layout).expect("every variant has one");
            let work = Work { bytes: g.bytes, operations: 2 * rows * n * k };
            let kernel = || {
                let first = PrepareF32 {
                    x: x.as_ptr(),
                    x_stride: k,
                    prepared: prepared.as_mut_ptr(),
                    rows,
                    k,
                    group: g.group,
                    group_k: g.group_k,
                };
                let args = SignSumF32 {
                    weights: weights.next().as_ptr(),
                    prepared: prepared.as_ptr(),
                    out: out.as_mut_ptr(),
                    rows,
                    groups: g.groups,
                    group_k: g.group_k,
                    n_padded: g.n_padded,
                    tile_begin: 0,
                    tile_end: g.tiles,
                };
                // SAFETY: the buffers have the sizes of `g` and the machine has the features.
                unsafe {
                    (prepare.entry)(black_box(&first));
                    (v.entry)(black_box(&args));
                }
            };
            table.measure(group, (&case.name, v.name()), work, kernel, || {
                black_box(read(floor.next()));
            });
        }
    });
}

fn pack(g: &Geometry) -> Vec<u8> {
    let mut packed = vec![0; g.bytes];
    g.pack(&trits(g.n * g.k), &mut packed).expect("valid trits");
    packed
}

/// A fixed pseudorandom stream (xorshift).
fn trits(count: usize) -> Vec<i8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as i8
    };
    (0..count).map(|_| next().rem_euclid(3) - 1).collect()
}
