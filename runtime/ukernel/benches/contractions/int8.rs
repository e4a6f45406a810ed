//! Int8 activations: ternary and int8 weights.

use super::measure::{Share, Table, ThreadTime, Work};
use super::memory::{Written, read};
use super::ternary::{SHAPES, pack};
use super::{Case, for_each};
use criterion::Criterion;
use std::hint::black_box;
use std::sync::LazyLock;
use trine_ukernel::contract_i8::{ContractI8, scratch};
use trine_ukernel::{Features, Geometry, Layout, Variant, dot_i8, signsum_i8};

/// The head of a small language model, and layers in it and in larger ones.
const DENSE_SHAPES: [(usize, usize); 4] = [(2560, 2560), (576, 576), (576, 1536), (49152, 576)];

pub fn run(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    contractions(c, table, "signsum_i8", signsum_i8::VARIANTS, &SHAPES);
    contractions(c, table, "dot_i8", dot_i8::VARIANTS, &DENSE_SHAPES);
    contractions(c, table, "dot_i8 nibbles", dot_i8::NIBBLES, &DENSE_SHAPES);
}

fn contractions(
    c: &mut Criterion<ThreadTime>,
    table: &mut Table,
    kernel: &str,
    variants: &[Variant<ContractI8, Layout>],
    shapes: &[(usize, usize)],
) {
    let here = Features::detect();
    let fast = variants.iter().filter(|v| v.needs != Features::NONE && here.contains(v.needs));
    let fast: Vec<_> = fast.collect();
    for_each(c, kernel, shapes, |group, case| {
        let &Case { n, k, rows, .. } = case;
        for v in &fast {
            let g = Geometry::new(v.layout, n, k, k).expect("a valid shape");
            let floor_bytes = match v.layout {
                Layout::EightBit32 => n * k,
                Layout::FourBit32 => n * k / 2,
                _ => n * k / 4,
            };
            let floor = LazyLock::new(|| case.weights.place(&vec![1; floor_bytes]));
            let weights = LazyLock::new(|| case.weights.place(&pack(&g)));
            let x = vec![1i8; rows * g.k_padded()];
            let x_sums = vec![g.k_padded() as i32; rows];
            let out = Written::new(rows * g.n_padded);
            let scratch = [(); 2].map(|()| Written::new(scratch(v, &g, Some(rows))));
            let work = Work { bytes: g.bytes, operations: 2 * rows * n * k };
            let kernel = |share: Share| {
                let tiles = share.of(g.tiles);
                let args = ContractI8 {
                    weights: weights.of(share.call).as_ptr(),
                    x: x.as_ptr(),
                    x_sums: x_sums.as_ptr(),
                    out: out.pointer(),
                    rows,
                    groups: g.groups,
                    group_k: g.group_k,
                    n_padded: g.n_padded,
                    tile_begin: tiles.start,
                    tile_end: tiles.end,
                    scratch: scratch[share.part].pointer(),
                };
                // SAFETY: the buffers have the sizes of `g`, no other part has these tiles or this scratch, and
                // the machine has the features.
                unsafe { (v.entry())(black_box(&args)) };
            };
            table.measure(group, (Some(case), v.name()), work, kernel, |share| {
                let bytes = floor.of(share.call);
                black_box(read(&bytes[share.of(bytes.len())]));
            });
        }
    });
}
