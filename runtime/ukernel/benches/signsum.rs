//! Contractions at batch 1 with weights in cache, beside the time it takes to read their bytes.
#![allow(unsafe_code)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use trine_ukernel::signsum_i8::{self, SignSumI8};
use trine_ukernel::{Features, Geometry};

const SHAPES: [(usize, usize); 2] = [(2560, 2560), (576, 1536)];

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = signsum_i8
}
criterion_main!(benches);

fn signsum_i8(c: &mut Criterion) {
    for (n, k) in SHAPES {
        let mut group = c.benchmark_group(format!("signsum_i8/{n}x{k}"));
        let trits = trits(n * k);
        for v in signsum_i8::VARIANTS {
            if !Features::detect().contains(v.needs) {
                continue;
            }
            let g = Geometry::new(v.layout, n, k, k).expect("a valid shape");
            let mut weights = vec![0; g.bytes];
            g.pack(&trits, &mut weights).expect("trits");
            for rows in [1, 8] {
                let x = vec![1i8; rows * g.k_padded()];
                let x_sums = vec![g.k_padded() as i32; rows];
                let mut out = vec![0; rows * g.n_padded];
                let args = SignSumI8 {
                    weights: weights.as_ptr(),
                    x: x.as_ptr(),
                    x_sums: x_sums.as_ptr(),
                    out: out.as_mut_ptr(),
                    rows,
                    groups: 1,
                    group_k: g.group_k,
                    n_padded: g.n_padded,
                    tile_begin: 0,
                    tile_end: g.tiles,
                };
                group.bench_function(format!("{}/batch {rows}", v.name()), |b| {
                    // SAFETY: the buffers have the sizes of `g` and the machine has the features.
                    b.iter(|| unsafe { (v.entry)(black_box(&args)) });
                });
            }
            group.bench_function(format!("read {}", v.layout.name()), |b| {
                b.iter(|| read(black_box(&weights)));
            });
        }
    }
}

/// The floor: every byte loaded once.
fn read(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in bytes.chunks_exact(128) {
        for (sum, word) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *sum |= u64::from_le_bytes(*word);
        }
    }
    sums.into_iter().fold(0, |a, b| a | b)
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
    (0..count).map(|_| (next().rem_euclid(3)) - 1).collect()
}
