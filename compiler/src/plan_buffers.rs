//! Buffers share memory when they are never alive together.
//!
//! Sizes are known only at run time, so what is planned is which buffers share a slot; a session gives each
//! slot the size of its largest. Buffers of one size share first; else the slot that was estimated closest.

use rustc_hash::FxHashSet;
use trine_ir::dim::Symbol;
use trine_runtime::{Buffer, Place, Port, Step};

/// What a symbol is worth when sizes are compared at compile time.
const TYPICAL: i64 = 64;

/// Gives every buffer a slot whose size follows from `known` symbols, those of the inputs. Returns how many
/// slots there are.
pub fn assign<K>(
    buffers: &mut [Buffer],
    steps: &[Step<K>],
    outputs: &[Port],
    known: &FxHashSet<Symbol>,
) -> usize {
    let last_use = last_uses(buffers.len(), steps, outputs);
    let sizes: Vec<usize> = buffers.iter().map(estimate).collect();
    let mut slots: Vec<Slot> = vec![];
    for (step, s) in steps.iter().enumerate() {
        for b in s.results.iter().filter_map(buffer) {
            let determined = buffers[b].ty.dims.iter().all(|d| d.symbols().iter().all(|s| known.contains(s)));
            if !determined {
                continue;
            }
            let free = || slots.iter().enumerate().filter(|(_, slot)| slot.free_from <= step);
            let same = free().find(|(_, slot)| slot.size == sizes[b]).map(|(i, _)| i);
            let close = || free().min_by_key(|(_, slot)| slot.size.abs_diff(sizes[b])).map(|(i, _)| i);
            let slot = same.or_else(close).unwrap_or_else(|| {
                slots.push(Slot { size: 0, free_from: 0 });
                slots.len() - 1
            });
            slots[slot].size = slots[slot].size.max(sizes[b]);
            slots[slot].free_from = last_use[b].saturating_add(1).max(step + 1);
            buffers[b].slot = Some(slot);
        }
    }
    slots.len()
}

struct Slot {
    size: usize,
    /// The first step whose results may lie here.
    free_from: usize,
}

/// The last step that reads each buffer; outputs are read after all.
fn last_uses<K>(count: usize, steps: &[Step<K>], outputs: &[Port]) -> Vec<usize> {
    let mut last = vec![0; count];
    for (step, s) in steps.iter().enumerate() {
        for b in s.args.iter().flatten().filter_map(buffer) {
            last[b] = step;
        }
    }
    for b in outputs.iter().filter_map(|p| buffer(&p.place)) {
        last[b] = usize::MAX;
    }
    last
}

fn buffer(place: &Place) -> Option<usize> {
    match place {
        Place::Buffer(b) => Some(*b),
        _ => None,
    }
}

fn estimate(buffer: &Buffer) -> usize {
    let highest = buffer.bytes.symbols().max().map_or(0, |s| s as usize + 1);
    buffer.bytes.eval(&vec![TYPICAL; highest]).unwrap_or(usize::MAX)
}
