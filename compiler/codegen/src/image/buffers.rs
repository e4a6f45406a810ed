//! Buffers share memory when they are never alive together.
//!
//! Sizes are known only at run time, so what is planned is which buffers share a slot; a session gives each
//! slot the size of its largest. Buffers of one size share first; else the slot that was estimated closest.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;
use trine_ir::dim::Symbol;
use trine_runtime::{Buffer, Place, Port, Step};

/// What a symbol is worth when sizes are compared at compile time.
const TYPICAL: i64 = 64;

/// Gives every buffer a slot whose size follows from `known` symbols, those of the inputs. Returns how many
/// slots there are.
pub fn assign(buffers: &mut [Buffer], steps: &[Step], outputs: &[Port], known: &FxHashSet<Symbol>) -> usize {
    let last_use = last_uses(buffers.len(), steps, outputs);
    let symbols = buffers.iter().flat_map(|b| b.bytes.symbols()).max().map_or(0, |s| s as usize + 1);
    let typical = vec![TYPICAL; symbols];
    let estimate = |b: &Buffer| b.bytes.eval(&typical).unwrap_or(usize::MAX);
    let sizes: Vec<usize> = buffers.iter().map(estimate).collect();
    let mut slots = Slots::default();
    for (step, s) in steps.iter().enumerate() {
        slots.release(step);
        for b in s.results.iter().filter_map(buffer) {
            let determined = buffers[b].ty.dims.iter().all(|d| d.symbols().iter().all(|s| known.contains(s)));
            if determined {
                buffers[b].slot = Some(slots.take(sizes[b], last_use[b].max(step)));
            }
        }
    }
    slots.sizes.len()
}

#[derive(Default)]
struct Slots {
    /// What was estimated of the largest buffer in each.
    sizes: Vec<usize>,
    /// Those whose buffers are dead, by size.
    free: BTreeMap<usize, BTreeSet<usize>>,
    /// The others, by the last step that reads their buffers.
    taken: BTreeMap<usize, Vec<usize>>,
}

impl Slots {
    /// Frees the slots of buffers that no step from `step` on reads.
    fn release(&mut self, step: usize) {
        while let Some(entry) = self.taken.first_entry().filter(|entry| *entry.key() < step) {
            for slot in entry.remove() {
                self.free.entry(self.sizes[slot]).or_default().insert(slot);
            }
        }
    }

    /// A slot for a buffer of `size` that is read until the step `last`.
    fn take(&mut self, size: usize, last: usize) -> usize {
        let slot = self.closest(size).unwrap_or_else(|| {
            self.sizes.push(0);
            self.sizes.len() - 1
        });
        let largest = self.sizes[slot].max(size);
        self.sizes[slot] = largest;
        self.taken.entry(last).or_default().push(slot);
        slot
    }

    /// Takes out the free slot that is closest to `size`, the first of those that are equally close.
    fn closest(&mut self, size: usize) -> Option<usize> {
        let first = |(size, slots): (&usize, &BTreeSet<usize>)| Some((*size, *slots.first()?));
        let above = self.free.range(size..).next().and_then(first);
        let below = self.free.range(..size).next_back().and_then(first);
        let candidates = above.into_iter().chain(below);
        let (found, slot) = candidates.min_by_key(|(other, slot)| (other.abs_diff(size), *slot))?;
        if let Entry::Occupied(mut entry) = self.free.entry(found) {
            entry.get_mut().remove(&slot);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        Some(slot)
    }
}

/// The last step that reads each buffer; outputs are read after all.
fn last_uses(count: usize, steps: &[Step], outputs: &[Port]) -> Vec<usize> {
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
