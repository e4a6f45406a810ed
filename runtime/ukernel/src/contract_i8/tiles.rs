//! Tile registers: 32 rows by 32 outputs of i32 sums in four, two of activations and two of weights.
//!
//! Compilers do not know these registers yet, so nothing keeps them from one `asm!` to the next but that
//! nothing else uses them. Each function says what it expects in them.

use core::arch::asm;

use super::blocks::{BYTES, ROW, SIDE};

/// Tile registers while it lives: all whole, their contents undefined.
pub struct Tiles(());

impl Tiles {
    /// # Safety
    /// The machine has AMX, and the system permits it.
    pub unsafe fn configure() -> Self {
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        const WHOLE: Configuration = {
            let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
            let mut i = 0;
            while i < 8 {
                row_bytes[i] = ROW as u16;
                rows[i] = SIDE as u8;
                i += 1;
            }
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
        };
        // SAFETY: the caller's; reads the 64 bytes of a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &WHOLE, options(nostack, readonly)) };
        Self(())
    }

    /// The sums of `M` row tiles start from the tiles at `from`, one a row tile.
    ///
    /// # Safety
    /// `M` tiles at `from` are readable.
    #[inline(always)]
    pub unsafe fn start<const M: usize>(&self, from: *const u8) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tileloadd tmm0, [{at} + {row}]", "tileloadd tmm1, [{at} + {row}]",
                at = in(reg) from, row = in(reg) ROW, options(nostack, readonly));
            if M == 2 {
                asm!("tileloadd tmm2, [{at} + {row}]", "tileloadd tmm3, [{at} + {row}]",
                    at = in(reg) from.add(BYTES), row = in(reg) ROW, options(nostack, readonly));
            }
        }
    }

    /// Adds the products of `M` tiles of activations with the two tiles of weights, `APART` bytes apart.
    ///
    /// # Safety
    /// The tiles are readable.
    #[inline(always)]
    pub unsafe fn multiply<const M: usize, const APART: usize>(&self, x: *const u8, weights: *const u8) {
        // SAFETY: the caller's.
        unsafe {
            if M == 2 {
                asm!("tileloaddt1 tmm4, [{x} + {row}]", "tileloadd tmm6, [{w} + {row}]",
                    "tdpbsud tmm0, tmm4, tmm6", "tileloadd tmm7, [{w} + {row} + {apart}]",
                    "tdpbsud tmm1, tmm4, tmm7", "tileloaddt1 tmm5, [{x} + {row} + {bytes}]",
                    "tdpbsud tmm2, tmm5, tmm6", "tdpbsud tmm3, tmm5, tmm7",
                    x = in(reg) x, w = in(reg) weights, row = in(reg) ROW,
                    apart = const APART, bytes = const BYTES, options(nostack, readonly));
            } else {
                asm!("tileloaddt1 tmm4, [{x} + {row}]", "tileloadd tmm6, [{w} + {row}]",
                    "tdpbsud tmm0, tmm4, tmm6", "tileloadd tmm7, [{w} + {row} + {apart}]",
                    "tdpbsud tmm1, tmm4, tmm7",
                    x = in(reg) x, w = in(reg) weights, row = in(reg) ROW,
                    apart = const APART, options(nostack, readonly));
            }
        }
    }

    /// Puts sums aside, tile after tile.
    ///
    /// # Safety
    /// `2 · M` tiles at `to` are writable.
    #[inline(always)]
    pub unsafe fn spill<const M: usize>(&self, to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { self.store::<M>(to, ROW, BYTES, 2 * BYTES) }
    }

    /// Takes back what [`Tiles::spill`] put aside.
    ///
    /// # Safety
    /// `2 · M` tiles at `from` are readable.
    #[inline(always)]
    pub unsafe fn fill<const M: usize>(&self, from: *const u8) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tileloadd tmm0, [{at} + {row}]", "tileloadd tmm1, [{at} + {row} + {bytes}]",
                at = in(reg) from, row = in(reg) ROW, bytes = const BYTES, options(nostack, readonly));
            if M == 2 {
                asm!("tileloadd tmm2, [{at} + {row}]", "tileloadd tmm3, [{at} + {row} + {bytes}]",
                    at = in(reg) from.add(2 * BYTES), row = in(reg) ROW, bytes = const BYTES,
                    options(nostack, readonly));
            }
        }
    }

    /// Writes sums: rows `row` bytes apart, the second half of the outputs `half` bytes after the first, and
    /// the second row tile `tile` bytes after the first.
    ///
    /// # Safety
    /// All of these places are writable.
    #[inline(always)]
    pub unsafe fn store<const M: usize>(&self, to: *mut u8, row: usize, half: usize, tile: usize) {
        // SAFETY: the caller's.
        unsafe {
            asm!("tilestored [{first} + {row}], tmm0", "tilestored [{second} + {row}], tmm1",
                first = in(reg) to, second = in(reg) to.add(half), row = in(reg) row, options(nostack));
            if M == 2 {
                asm!("tilestored [{first} + {row}], tmm2", "tilestored [{second} + {row}], tmm3",
                    first = in(reg) to.add(tile), second = in(reg) to.add(tile + half), row = in(reg) row,
                    options(nostack));
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: tiles were configured; without contents they cost nothing to save.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}
