//! Contractions beside the floor: the time it takes to read the weights at two bits each.
//!
//! `cargo bench -p trine-ukernel -- 'signsum_i8/.*/batch 1/'` measures what matches and prints a
//! table of medians, a line each. Names are `kernel/shape/batch/cache or cold/variant`, and end in
//! `2 threads` where two share a call. "cold" takes the weights from memory, "cache" leaves them where the
//! last call did. Times are of the thread, of the one that took longer, and of kernel and floor in turns, so
//! that both see the same machine.
#![allow(unsafe_code)]

mod ceiling;
mod int8;
mod matmul;
mod measure;
mod memory;
mod ternary;

use criterion::{BenchmarkGroup, Criterion};
use measure::{Table, ThreadTime};
use memory::Weights;
use std::time::Duration;

const BATCHES: [usize; 8] = [1, 2, 3, 4, 8, 16, 32, 128];

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(ThreadTime)
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    let mut table = Table::default();
    ceiling::run(&mut criterion, &mut table);
    int8::run(&mut criterion, &mut table);
    ternary::run(&mut criterion, &mut table);
    matmul::float(&mut criterion, &mut table);
    criterion.final_summary();
    print!("{table}");
}

/// One group of benchmarks.
struct Case {
    n: usize,
    k: usize,
    rows: usize,
    weights: Weights,
}

/// Calls `bench` for each shape, batch and place of the weights.
fn for_each(
    c: &mut Criterion<ThreadTime>,
    kernel: &str,
    shapes: &[(usize, usize)],
    mut bench: impl FnMut(&mut BenchmarkGroup<'_, ThreadTime>, &Case),
) {
    for &(n, k) in shapes {
        for rows in BATCHES {
            for weights in [Weights::Cache, Weights::Cold] {
                let name = format!("{kernel}/{n}x{k}/batch {rows}/{}", weights.name());
                let mut group = c.benchmark_group(name);
                bench(&mut group, &Case { n, k, rows, weights });
                group.finish();
            }
        }
    }
}
