//! Contractions at batch 1 and 8 with weights in cache, beside the time it takes to read the weights.
#![allow(unsafe_code)]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use trine_ukernel::signsum_f32::{self, PrepareF32, SignSumF32, prepare, prepared_len};
use trine_ukernel::signsum_i8::{self, SignSumI8};
use trine_ukernel::{Features, Geometry, Layout};

const SHAPES: [(usize, usize); 2] = [(2560, 2560), (576, 1536)];
const BATCHES: [usize; 2] = [1, 8];

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = read_weights, signsum_i8, signsum_f32
}
criterion_main!(benches);

fn read_weights(c: &mut Criterion) {
    for_each_shape(c, "read_weights", |group, n, k| {
        for layout in Layout::ALL {
            let (_, weights) = pack(layout, n, k);
            group.bench_function(layout.name(), |b| b.iter(|| read(black_box(&weights))));
        }
    });
}

fn signsum_i8(c: &mut Criterion) {
    let here = Features::detect();
    for_each_shape(c, "signsum_i8", |group, n, k| {
        for v in signsum_i8::VARIANTS.iter().filter(|v| here.contains(v.needs)) {
            let (g, weights) = pack(v.layout, n, k);
            for rows in BATCHES {
                let x = vec![1i8; rows * g.k_padded()];
                let x_sums = vec![g.k_padded() as i32; rows];
                let mut out = vec![0; rows * g.n_padded];
                let args = SignSumI8 {
                    weights: weights.as_ptr(),
                    x: x.as_ptr(),
                    x_sums: x_sums.as_ptr(),
                    out: out.as_mut_ptr(),
                    rows,
                    groups: g.groups,
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
        }
    });
}

fn signsum_f32(c: &mut Criterion) {
    let here = Features::detect();
    for_each_shape(c, "signsum_f32", |group, n, k| {
        for v in signsum_f32::VARIANTS.iter().filter(|v| here.contains(v.needs)) {
            let (g, weights) = pack(v.layout, n, k);
            for rows in BATCHES {
                let x = vec![1.5; rows * k];
                let mut prepared = vec![0.0; rows * prepared_len(&g)];
                let mut out = vec![0.0; rows * g.n_padded];
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
                    weights: weights.as_ptr(),
                    prepared: prepared.as_ptr(),
                    out: out.as_mut_ptr(),
                    rows,
                    groups: g.groups,
                    group_k: g.group_k,
                    n_padded: g.n_padded,
                    tile_begin: 0,
                    tile_end: g.tiles,
                };
                let prepare = prepare(v.layout).expect("every variant has one");
                group.bench_function(format!("{}/batch {rows}", v.name()), |b| {
                    // SAFETY: the buffers have the sizes of `g` and the machine has the features.
                    b.iter(|| unsafe {
                        (prepare.entry)(black_box(&first));
                        (v.entry)(black_box(&args));
                    });
                });
            }
        }
    });
}

fn for_each_shape(
    c: &mut Criterion,
    name: &str,
    bench: impl Fn(&mut BenchmarkGroup<'_, WallTime>, usize, usize),
) {
    for (n, k) in SHAPES {
        bench(&mut c.benchmark_group(format!("{name}/{n}x{k}")), n, k);
    }
}

fn pack(layout: Layout, n: usize, k: usize) -> (Geometry, Vec<u8>) {
    let g = Geometry::new(layout, n, k, k).expect("a valid shape");
    let mut packed = vec![0; g.bytes];
    g.pack(&trits(n * k), &mut packed).expect("valid trits");
    (g, packed)
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
    (0..count).map(|_| next().rem_euclid(3) - 1).collect()
}
