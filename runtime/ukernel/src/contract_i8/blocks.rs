//! How calls in tile registers are cut into blocks, and what memory these need: known on every machine, for code that is
//! made for another.

use crate::Geometry;

/// Rows of a tile, and its outputs.
pub const SIDE: usize = 16;
/// Inputs of a tile.
pub const DEPTH: usize = 64;
/// Bytes of a tile.
pub const BYTES: usize = 1024;
/// Bytes of a row of a tile in memory that holds nothing else.
pub const ROW: usize = BYTES / SIDE;

/// From so many rows on tiles are faster than vectors.
pub const ROWS: usize = 6;

/// Rows of a block, and outputs of a panel.
pub const BLOCK: usize = 2 * SIDE;

/// Rows that share the unpacked weights, at most.
const MOST_ROWS: usize = 128;

/// Bytes of packed activations that leave room in the second cache.
const MOST_BYTES: usize = 960 << 10;

/// Tiles of a chunk of inputs, at most: two such columns fit into the first cache with room for the rest.
pub const MOST_TILES: usize = 15;

/// Bytes of one column of an unpacked chunk.
pub const COLUMN: usize = MOST_TILES * BYTES;

/// How many rows a call takes at once, and where it keeps what it works on.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Rows that are packed together, a multiple of [`BLOCK`].
    pub rows: usize,
    pub groups: usize,
    /// Bytes of packed activations of a row.
    pub row_bytes: usize,
}

impl Plan {
    pub fn new(groups: usize, group_k: usize) -> Self {
        let row_bytes = groups * group_k.div_ceil(DEPTH) * DEPTH;
        let blocks = (MOST_BYTES / (BLOCK * row_bytes)).clamp(1, MOST_ROWS / BLOCK);
        Self { rows: blocks * BLOCK, groups, row_bytes }
    }

    /// Where the chunk, sums, starts and activations of a [`Pass`] begin, and where they end.
    pub fn places(&self) -> [usize; 5] {
        let sums = 2 * COLUMN;
        let starts = sums + self.rows * 4 * BLOCK;
        let x = starts + self.rows * self.groups * ROW;
        [0, sums, starts, x, x + self.rows * self.row_bytes]
    }
}

/// The alignment of scratch that is worth its bytes: that of a line.
pub const LINE: usize = 64;

/// Bytes of scratch that a call of so many rows needs.
pub fn scratch(g: &Geometry, rows: Option<usize>) -> usize {
    if rows.is_some_and(|rows| rows < ROWS) {
        return 0;
    }
    let [.., end] = Plan::new(g.groups, g.group_k).places();
    LINE + end
}
