//! Blocks of memory, which tests can have guarded.
//!
//! A guarded block has bytes on both sides, and from the end of what is in use on, that nobody may write to: a kernel
//! that writes where it should not leaves its mark there. What a kernel is about to write starts as a pattern that makes
//! NaN of floats, so that a result that it forgets, or reads before it is written, is another number. A block that is
//! not guarded is plain memory.

use crate::arena::{ALIGN, AlignedBytes};
use crate::error::RunError;

/// Bytes on either side of a guarded block; starts stay aligned.
const GUARD: usize = 4 * ALIGN;
/// What nobody may overwrite.
const CANARY: u8 = 0xa5;
/// What is not written yet.
const POISON: u8 = 0xff;

/// Memory that only ever grows.
pub struct Block {
    bytes: AlignedBytes,
    /// Bytes on either side: none, or `GUARD`.
    guard: usize,
    /// Bytes between the sides.
    len: usize,
    /// Of those, how many hold something. Kept where the block is guarded.
    used: usize,
}

impl Block {
    pub fn empty(is_guarded: bool) -> Block {
        let bytes = AlignedBytes::empty();
        Block { bytes, guard: if is_guarded { GUARD } else { 0 }, len: 0, used: 0 }
    }

    pub fn is_guarded(&self) -> bool {
        self.guard > 0
    }

    /// Makes it at least so long; what it held is lost if it was not. A plain block gets a quarter more, so that what grows
    /// with a sequence seldom moves: pages that nothing touches cost nothing.
    pub fn grow(&mut self, bytes: usize) -> Result<(), RunError> {
        if bytes <= self.len && !(self.is_guarded() && self.bytes.is_empty()) {
            return Ok(());
        }
        let more = if self.is_guarded() { 2 * self.guard } else { bytes / 4 + (4 << 10) };
        let total = bytes.checked_add(more).ok_or_else(|| RunError::memory(bytes))?;
        // Never both in memory.
        (self.bytes, self.len) = (AlignedBytes::empty(), 0);
        self.bytes = AlignedBytes::zeroed(total)?;
        self.len = total - 2 * self.guard;
        self.poison(bytes);
        Ok(())
    }

    /// The start, for kernels; what they do with it is checked where they are called.
    pub fn start(&self) -> *mut u8 {
        self.bytes.as_ptr().wrapping_add(if self.bytes.is_empty() { 0 } else { self.guard })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Where guarded: the first `used` bytes are to be written, and no others.
    pub fn poison(&mut self, used: usize) {
        self.reserve(used);
        if self.is_guarded() && !self.bytes.is_empty() {
            let used = self.guard..self.guard + self.used;
            self.bytes.as_mut_slice()[used].fill(POISON);
        }
    }

    /// Fills `len` bytes from `offset` on with zeros; it is that long.
    pub fn clear(&mut self, offset: usize, len: usize) {
        if len > 0 {
            self.bytes.as_mut_slice()[self.guard + offset..][..len].fill(0);
        }
    }

    /// Where guarded: the first `used` bytes hold something, and what lies after them is not to be written.
    pub fn reserve(&mut self, used: usize) {
        if self.is_guarded() && !self.bytes.is_empty() {
            self.used = used.min(self.len);
            let (before, rest) = self.bytes.as_mut_slice().split_at_mut(self.guard);
            before.fill(CANARY);
            rest[self.used..].fill(CANARY);
        }
    }

    /// Whether nothing was written outside of what is in use.
    pub fn is_intact(&self) -> bool {
        if !self.is_guarded() || self.bytes.is_empty() {
            return true;
        }
        let (before, rest) = self.bytes.as_slice().split_at(self.guard);
        before.iter().chain(&rest[self.used..]).all(|b| *b == CANARY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guarded block of 100 bytes of which 60 are in use, and a byte of it from `at` on overwritten.
    fn overwritten(at: isize) -> Block {
        let mut block = Block::empty(true);
        block.grow(100).unwrap();
        block.reserve(60);
        assert!(block.is_intact());
        let at = block.guard.strict_add_signed(at);
        block.bytes.as_mut_slice()[at] = 7;
        block
    }

    #[test]
    fn a_byte_outside_of_what_is_in_use_is_seen() {
        for at in [-(GUARD as isize), -1, 60, 99, 100, 100 + GUARD as isize - 1] {
            assert!(!overwritten(at).is_intact(), "{at}");
        }
        for at in [0, 59] {
            assert!(overwritten(at).is_intact(), "{at}");
        }
    }

    #[test]
    fn what_is_to_be_written_is_no_number() {
        let mut block = overwritten(3);
        block.poison(64);
        let bytes = &block.bytes.as_slice()[GUARD..][..64];
        assert!(bytes.chunks_exact(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).is_nan()));
        assert!(block.is_intact());
    }

    #[test]
    fn plain_blocks_keep_what_they_are_long_enough_for() {
        let mut block = Block::empty(false);
        block.grow(1000).unwrap();
        let (start, len) = (block.start(), block.len());
        assert!(len > 1000);
        block.grow(len).unwrap();
        block.poison(len);
        assert_eq!((block.start(), block.bytes.as_slice()[0]), (start, 0));
        assert!(block.grow(usize::MAX).is_err());
    }
}
