//! Ternary weights and f32 activations.

use super::measure::{Share, Table, ThreadTime, Work};
use super::memory::{Written, read};
use super::{Case, for_each};
use criterion::Criterion;
use std::hint::black_box;
use std::sync::LazyLock;
use trine_ukernel::signsum_f32::{self, SignSumF32, scratch_len};
use trine_ukernel::{Features, Geometry};

/// Outputs and inputs of layers in language models, large and small.
pub const SHAPES: [(usize, usize); 8] = [
    (2560, 2560),
    (6912, 2560),
    (14336, 4096),
    (4096, 14336),
    (2560, 6912),
    (576, 576),
    (1536, 576),
    (576, 1536),
];

pub fn run(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    let here = Features::detect();
    let variants = signsum_f32::VARIANTS.iter().filter(|v| v.needs != Features::NONE);
    let variants: Vec<_> = variants.filter(|v| here.contains(v.needs)).collect();
    for_each(c, "signsum_f32", &SHAPES, |group, case| {
        let &Case { n, k, rows, .. } = case;
        let floor = LazyLock::new(|| case.weights.place(&vec![1; n * k / 4]));
        for v in &variants {
            let g = Geometry::new(v.layout, n, k, k).expect("a valid shape");
            let weights = LazyLock::new(|| case.weights.place(&pack(&g)));
            let x = vec![1.5; rows * k];
            let scratch = [(); 2].map(|()| Written::new(scratch_len(&g)));
            let out = Written::new(rows * g.n_padded);
            let work = Work { bytes: g.bytes, operations: 2 * rows * n * k };
            let kernel = |share: Share| {
                let tiles = share.of(g.tiles);
                let args = SignSumF32 {
                    weights: weights.of(share.call).as_ptr(),
                    x: x.as_ptr(),
                    x_stride: k,
                    out: out.pointer(),
                    scratch: scratch[share.part].pointer(),
                    rows,
                    k,
                    group: g.group,
                    groups: g.groups,
                    group_k: g.group_k,
                    n_padded: g.n_padded,
                    tile_begin: tiles.start,
                    tile_end: tiles.end,
                };
                // SAFETY: the buffers have the sizes of `g`, no other part has these tiles, and the machine has the
                // features.
                unsafe { (v.entry())(black_box(&args)) };
            };
            table.measure(group, (Some(case), v.name()), work, kernel, |share| {
                let bytes = floor.of(share.call);
                black_box(read(&bytes[share.of(bytes.len())]));
            });
        }
    });
}

/// Weights of a fixed pseudorandom stream.
pub fn pack(g: &Geometry) -> Vec<u8> {
    let mut packed = vec![0; g.bytes];
    g.pack(&trits(g.n * g.k), &mut packed).expect("valid trits");
    packed
}

/// By xorshift.
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
