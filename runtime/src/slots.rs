//! Slots: places side by side in one block, each as large as the largest value that ever lies there.
//!
//! Where memory is guarded each slot is a block of its own, so that a kernel that writes beyond its slot never reaches a
//! neighbour, and tools that know where allocations end see it as well.

use crate::arena::ALIGN;
use crate::error::RunError;
use crate::guard::Block;

/// How slots lie; each thread may have memory of its own that is laid out so.
pub struct Slots {
    needs: Vec<usize>,
    capacities: Vec<usize>,
    offsets: Vec<usize>,
    total: usize,
}

/// Memory of slots: one block or, guarded, one for each.
pub struct Arena {
    blocks: Vec<Block>,
}

impl Slots {
    pub fn new(count: usize) -> Slots {
        Slots { needs: vec![0; count], capacities: vec![0; count], offsets: vec![0; count], total: 0 }
    }

    /// Forgets what was needed.
    pub fn clear(&mut self) {
        self.needs.fill(0);
    }

    pub fn need(&mut self, slot: usize, bytes: usize) {
        self.needs[slot] = self.needs[slot].max(bytes);
    }

    /// Bytes of all, as they were laid out last.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Whether each has room for what is needed.
    pub fn fit(&self) -> bool {
        self.needs.iter().zip(&self.capacities).all(|(need, capacity)| need <= capacity)
    }

    /// Makes each slot as large as it must be, if `all`, or those larger that are too small: those a quarter more, so that
    /// what grows with a sequence does not move at every step of it.
    pub fn lay_out(&mut self, all: bool) -> Result<(), RunError> {
        self.try_lay_out(all).ok_or_else(|| RunError::memory(usize::MAX))
    }

    fn try_lay_out(&mut self, all: bool) -> Option<()> {
        let mut total = 0usize;
        for ((need, capacity), offset) in self.needs.iter().zip(&mut self.capacities).zip(&mut self.offsets) {
            if all || need > capacity {
                let more = if all { 0 } else { need / 4 };
                *capacity = need.checked_add(more)?.checked_next_multiple_of(ALIGN)?;
            }
            *offset = total;
            total = total.checked_add(*capacity)?;
        }
        self.total = total;
        Some(())
    }
}

impl Arena {
    pub fn new(slots: &Slots, is_guarded: bool) -> Arena {
        let count = if is_guarded { slots.offsets.len() } else { 1 };
        Arena { blocks: (0..count).map(|_| Block::empty(is_guarded)).collect() }
    }

    /// Makes room for slots as they are laid out.
    pub fn grow(&mut self, slots: &Slots) -> Result<(), RunError> {
        match &mut self.blocks[..] {
            [block] if !block.is_guarded() => block.grow(slots.total),
            blocks => blocks.iter_mut().zip(&slots.capacities).try_for_each(|(b, bytes)| b.grow(*bytes)),
        }
    }

    /// Start and length of a slot; null where there was no memory for it.
    pub fn at(&self, slots: &Slots, slot: usize) -> (*mut u8, usize) {
        let (block, offset) = match &self.blocks[..] {
            [block] if !block.is_guarded() => (block, slots.offsets[slot]),
            blocks => (&blocks[slot], 0),
        };
        let len = slots.capacities[slot];
        let fits = offset.checked_add(len).is_some_and(|end| end <= block.len());
        if fits { (block.start().wrapping_add(offset), len) } else { (std::ptr::null_mut(), 0) }
    }

    /// The block of a slot, where memory is guarded.
    pub fn guarded(&mut self, slot: usize) -> Option<&mut Block> {
        self.blocks.get_mut(slot).filter(|block| block.is_guarded())
    }

    /// Fills a slot with zeros.
    pub fn clear(&mut self, slots: &Slots, slot: usize) {
        let len = slots.capacities[slot];
        match &mut self.blocks[..] {
            [block] if !block.is_guarded() => block.clear(slots.offsets[slot], len),
            blocks => blocks[slot].clear(0, len),
        }
    }

    /// The first slot that something was written outside of.
    pub fn overrun(&self) -> Option<usize> {
        self.blocks.iter().position(|block| !block.is_intact())
    }
}
