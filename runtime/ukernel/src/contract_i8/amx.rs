//! Contractions of many rows in tile registers, whatever the weights.
//!
//! ```text
//! for up to 128 rows                      as many as leave room in the second cache
//!   pack activations in tiles, and -Σx in the tiles that sums start from
//!   for panels of 32 outputs, their groups, and chunks of a group
//!     for blocks of 32 rows
//!       for 64 inputs: four tiles of sums += two of activations · two of weights
//! ```
//!
//! The weights of a chunk are unpacked into one buffer that stays in the first cache. During the last
//! block of rows each tile that was read for the last time is overwritten with one of the next chunk: vector
//! units unpack while tiles multiply. Between the chunks of a group, sums wait in the order of tiles.
//!
//! What comes next is asked for in small portions, a few lines with each tile: tiles come from the second cache,
//! and the buffers that fetch them are those that would wait for memory.

use super::ContractI8;
use super::blocks::{BLOCK, BYTES, COLUMN, DEPTH, LINE, MOST_TILES, Plan, ROW, SIDE};
use super::tiles::Tiles;
use crate::Layout;
use core::arch::asm;
use core::arch::x86_64::*;

/// How weights are unpacked.
pub trait Weights {
    const LAYOUT: Layout;

    /// What packing added to each weight.
    const OFFSET: i32;

    /// Whether the weights of the next chunk are so few that earlier blocks of rows can ask for them.
    const SPARSE: bool;

    /// Turns 16 outputs of one packed step, 64 bytes, into as many rows of a tile as it has quadruples of
    /// inputs. Rows are 64 bytes.
    ///
    /// # Safety
    /// The places are valid, and the machine has what [`AMX`](super::AMX) asks for.
    unsafe fn unpack(&self, from: *const u8, to: *mut u8);
}

/// A call, for some of its rows.
struct Pass<'a, W> {
    weights: &'a W,
    args: &'a ContractI8,
    tiles: &'a Tiles,
    plan: Plan,
    cut: Cut,
    /// The first row, and how many.
    row: usize,
    rows: usize,
    /// Two columns of unpacked weights.
    chunk: *mut u8,
    /// Sums between chunks: blocks of four tiles.
    sums: *mut u8,
    /// Tiles that sums start from, by groups of row tiles.
    starts: *mut u8,
    /// Activations, by blocks, groups, tiles of inputs and row tiles.
    x: *mut u8,
}

/// How a group of inputs is cut.
#[derive(Clone, Copy)]
struct Cut {
    /// Packed steps.
    steps: usize,
    /// Tiles of 64 inputs.
    tiles: usize,
    chunks: usize,
    /// Tiles that chunks are multiples of, so that they start where a step starts.
    unit: usize,
}

impl Cut {
    fn new(layout: Layout, group_k: usize) -> Self {
        let tiles = group_k.div_ceil(DEPTH);
        // Steps are 4, 16 or 20 inputs.
        let unit = if DEPTH.is_multiple_of(layout.k_step()) { 1 } else { 5 };
        let chunks = tiles.div_ceil(unit).div_ceil(MOST_TILES / unit);
        Self { steps: group_k / layout.k_step(), tiles, chunks, unit }
    }

    /// The tile that chunk `i` starts with.
    fn start(&self, i: usize) -> usize {
        let units = self.tiles.div_ceil(self.unit);
        self.tiles.min(units * i / self.chunks * self.unit)
    }
}

/// A chunk of a panel.
#[derive(Clone, Copy)]
struct Piece {
    /// The first packed tile of the panel.
    tile: usize,
    group: usize,
    chunk: usize,
}

/// The whole call.
///
/// # Safety
/// The arguments are as [`ContractI8`] says, with scratch; the machine has what [`AMX`](super::AMX) asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe fn contract<W: Weights>(weights: &W, args: &ContractI8) {
    if args.tile_begin >= args.tile_end {
        return;
    }
    let plan = Plan::new(args.groups, args.group_k);
    // SAFETY: the machine has AMX.
    let tiles = unsafe { Tiles::configure() };
    let aligned = args.scratch.wrapping_add(args.scratch.align_offset(LINE));
    let [chunk, sums, starts, x, _] = plan.places().map(|place| aligned.wrapping_add(place));
    let cut = Cut::new(W::LAYOUT, args.group_k);
    let mut row = 0;
    while row < args.rows {
        let left = args.rows - row;
        // Evenly, since a straggler would unpack the weights as often as a full pass.
        let rows = left.min(left.div_ceil(left.div_ceil(plan.rows)).next_multiple_of(BLOCK));
        let pass = Pass { weights, args, tiles: &tiles, plan, cut, row, rows, chunk, sums, starts, x };
        // SAFETY: the buffers have the sizes that the plan gave.
        unsafe {
            pass.pack();
            pass.run();
        }
        row += rows;
    }
}

impl<W: Weights> Pass<'_, W> {
    /// Packed tiles of a panel.
    const PANEL: usize = BLOCK / W::LAYOUT.tile();

    /// Rows of a tile that a packed step makes.
    const STEP_ROWS: usize = W::LAYOUT.k_step() / 4;

    fn next(&self, piece: Piece) -> Option<Piece> {
        let Piece { mut tile, mut group, mut chunk } = piece;
        chunk += 1;
        if chunk == self.cut.chunks {
            (chunk, group) = (0, group + 1);
        }
        if group == self.args.groups {
            (group, tile) = (0, tile + Self::PANEL);
        }
        (tile < self.args.tile_end).then_some(Piece { tile, group, chunk })
    }

    /// # Safety
    /// Activations are packed.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn run(&self) {
        let mut piece = Piece { tile: self.args.tile_begin, group: 0, chunk: 0 };
        let mut source = Source::new(self, piece);
        // SAFETY: the buffer holds a chunk.
        unsafe { source.unpack_to(self, usize::MAX) };
        loop {
            let next = self.next(piece);
            let tiles = source.tiles;
            if let Some(next) = next {
                source = Source::new(self, next);
            }
            let mut coming = source.lines::<W>(tiles * (self.rows.div_ceil(BLOCK) - 1));
            for first in (0..self.rows).step_by(BLOCK) {
                let rows = BLOCK.min(self.rows - first);
                let ahead = (first + BLOCK >= self.rows).then_some(&mut source);
                // SAFETY: the block's rows are packed, and the chunk is unpacked.
                unsafe {
                    match rows <= SIDE {
                        true => self.block::<1>(piece, tiles, first, rows, &mut coming, ahead),
                        false => self.block::<2>(piece, tiles, first, rows, &mut coming, ahead),
                    }
                }
            }
            match next {
                Some(next) => piece = next,
                None => return,
            }
        }
    }

    /// `M` row tiles of a chunk; the buffer is left to `ahead`, whose weights are asked for until then.
    ///
    /// # Safety
    /// The rows are packed, and the chunk is unpacked.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn block<const M: usize>(
        &self,
        piece: Piece,
        tiles: usize,
        first: usize,
        rows: usize,
        coming: &mut Lines,
        ahead: Option<&mut Source>,
    ) {
        let Piece { tile, group, chunk } = piece;
        let alone = self.rows <= BLOCK;
        let before = group * self.cut.tiles + self.cut.start(chunk);
        // SAFETY: the buffers are as large as the plan says; outputs that are written exist.
        unsafe {
            let mut x = self.x.add(first * self.plan.row_bytes + before * M * BYTES);
            let sums = self.sums.add(first * 4 * BLOCK);
            if chunk == 0 {
                let row_tile = first / SIDE * self.args.groups;
                self.tiles.start::<M>(self.starts.add((row_tile + group * M) * BYTES));
            } else if !alone {
                self.tiles.fill::<M>(sums);
            }
            let last = chunk + 1 == self.cut.chunks;
            let at = self.args.at_row(&self.args.cell(W::LAYOUT, tile, group), self.row + first);
            let mut outputs = Lines {
                at: [at.out.cast(), at.out.wrapping_add(SIDE).cast()],
                apart: 4 * self.args.out_stride(),
                left: if last { rows } else { 0 },
                portion: 4,
            };
            let mut weights = self.chunk;
            match ahead {
                None => {
                    for _ in 0..tiles {
                        coming.ask(|line| _mm_prefetch::<_MM_HINT_T1>(line.cast()));
                        outputs.ask(prefetch_to_write);
                        self.tiles.multiply::<M, COLUMN>(x, weights);
                        (x, weights) = (x.add(M * BYTES), weights.add(BYTES));
                    }
                }
                Some(source) => {
                    for tile in 1..=tiles {
                        outputs.ask(prefetch_to_write);
                        self.tiles.multiply::<M, COLUMN>(x, weights);
                        (x, weights) = (x.add(M * BYTES), weights.add(BYTES));
                        source.unpack_to(self, tile * SIDE);
                    }
                    source.unpack_to(self, usize::MAX);
                }
            }
            if last {
                self.store::<M>(piece, first, rows, sums);
            } else if !alone {
                self.tiles.spill::<M>(sums);
            }
        }
    }

    /// Writes the sums of a block to the outputs that exist.
    ///
    /// # Safety
    /// The rows and the panel are within the arguments; four tiles at `aside` are free.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn store<const M: usize>(&self, piece: Piece, first: usize, rows: usize, aside: *mut u8) {
        let args = self.args;
        let cell = args.cell(W::LAYOUT, piece.tile, piece.group);
        let at = args.at_row(&cell, self.row + first);
        let outputs = W::LAYOUT.tile() * Self::PANEL.min(args.tile_end - piece.tile);
        // SAFETY: the caller's; rows and outputs that do not exist are left aside.
        unsafe {
            if rows == M * SIDE && outputs == BLOCK {
                let row = 4 * args.out_stride();
                self.tiles.store::<M>(at.out.cast(), row, ROW, row * SIDE);
                return;
            }
            self.tiles.spill::<M>(aside);
            for row in 0..rows {
                let from = aside.add(row / SIDE * 2 * BYTES + row % SIDE * ROW);
                let to = at.out.add(row * args.out_stride());
                for half in 0..outputs / SIDE {
                    let sums = _mm512_loadu_si512(from.add(half * BYTES).cast());
                    _mm512_storeu_si512(to.add(half * SIDE).cast(), sums);
                }
            }
        }
    }

    /// Packs the activations of the rows into tiles, with zeros where rows or inputs end within one.
    ///
    /// # Safety
    /// The rows are within the arguments.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn pack(&self) {
        let Self { args, cut, .. } = *self;
        let row_tiles = self.rows.div_ceil(SIDE);
        for row_tile in 0..row_tiles {
            let first = row_tile / 2 * 2;
            let in_block = (row_tiles - first).min(2);
            let present = SIDE.min(self.rows - row_tile * SIDE);
            for group in 0..args.groups {
                let from = args.at_row(&args.cell(W::LAYOUT, 0, group), self.row + row_tile * SIDE);
                let place = first * args.groups + group * in_block + row_tile - first;
                let start = self.starts.wrapping_add(place * BYTES);
                for row in 0..SIDE {
                    // SAFETY: the row exists, and so does the tile.
                    unsafe {
                        let sum = if row < present { *from.x_sums.add(row * args.groups) } else { 0 };
                        let sum = _mm512_set1_epi32(sum.wrapping_mul(-W::OFFSET));
                        _mm512_store_si512(start.add(row * ROW).cast(), sum);
                    }
                }
                for tile in 0..cut.tiles {
                    let place = (first * args.groups + group * in_block) * cut.tiles + tile * in_block;
                    let to = self.x.wrapping_add((place + row_tile - first) * BYTES);
                    let left = args.group_k - tile * DEPTH;
                    let mask = if left < DEPTH { (1 << left) - 1 } else { u64::MAX };
                    for row in 0..SIDE {
                        let mask = if row < present { mask } else { 0 };
                        let x = from.x.wrapping_add(row * args.x_stride() + tile * DEPTH);
                        // SAFETY: what the mask leaves exists, and so does the tile.
                        unsafe {
                            let x = _mm512_maskz_loadu_epi8(mask, x);
                            _mm512_store_si512(to.add(row * ROW).cast(), x);
                        }
                    }
                }
            }
        }
    }
}

/// Packed weights on their way into the buffer.
struct Source {
    /// The next step of either column.
    columns: [*const u8; 2],
    /// Rows of tiles that are unpacked, and steps that are not.
    rows: usize,
    steps: usize,
    /// Tiles of the chunk.
    tiles: usize,
}

impl Source {
    fn new<W: Weights>(pass: &Pass<'_, W>, piece: Piece) -> Self {
        let cut = &pass.cut;
        let step_of = |tile: usize| cut.steps.min(tile * SIDE / Pass::<W>::STEP_ROWS);
        let (first, end) = (cut.start(piece.chunk), cut.start(piece.chunk + 1));
        let at = |tile: usize| {
            let cell = pass.args.cell(W::LAYOUT, tile, piece.group);
            cell.weights.wrapping_add(step_of(first) * W::LAYOUT.step_bytes())
        };
        let second = match Pass::<W>::PANEL {
            1 => at(piece.tile).wrapping_add(64),
            // The panel after the last tile is computed twice, and stored once.
            _ => at((piece.tile + 1).min(pass.args.tile_end - 1)),
        };
        let steps = step_of(end) - step_of(first);
        Self { columns: [at(piece.tile), second], rows: 0, steps, tiles: end - first }
    }

    /// Its lines, in as many portions; none if the weights are dense, or there is but a portion of everything.
    fn lines<W: Weights>(&self, portions: usize) -> Lines {
        let left = if W::SPARSE && portions > 0 { self.steps } else { 0 };
        let portion = left.div_ceil(portions.max(1));
        Lines { at: self.columns, apart: W::LAYOUT.step_bytes(), left, portion }
    }

    /// Unpacks steps that end within the first `end` rows.
    ///
    /// # Safety
    /// The buffer's first `end` rows are no longer read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn unpack_to<W: Weights>(&mut self, pass: &Pass<'_, W>, end: usize) {
        let steps = self.steps.min(end.saturating_sub(self.rows) / Pass::<W>::STEP_ROWS);
        let [mut first, mut second] = self.columns;
        let mut to = pass.chunk.wrapping_add(self.rows * ROW);
        for _ in 0..steps {
            // SAFETY: a step is left, and its rows fit into the columns.
            unsafe {
                pass.weights.unpack(first, to);
                pass.weights.unpack(second, to.add(COLUMN));
            }
            [first, second] = [first, second].map(|from| from.wrapping_add(W::LAYOUT.step_bytes()));
            to = to.wrapping_add(Pass::<W>::STEP_ROWS * ROW);
        }
        self.columns = [first, second];
        self.rows += steps * Pass::<W>::STEP_ROWS;
        self.steps -= steps;
    }
}

/// Pairs of lines that are soon needed.
struct Lines {
    at: [*const u8; 2],
    /// Bytes from a pair to the next, and pairs left.
    apart: usize,
    left: usize,
    /// Pairs that are asked for at a time.
    portion: usize,
}

impl Lines {
    #[inline(always)]
    fn ask(&mut self, prefetch: impl Fn(*const u8)) {
        let portion = self.portion.min(self.left);
        self.left -= portion;
        for _ in 0..portion {
            for line in &mut self.at {
                prefetch(*line);
                *line = line.wrapping_add(self.apart);
            }
        }
    }
}

#[inline(always)]
fn prefetch_to_write(line: *const u8) {
    // SAFETY: a prefetch of any address is harmless.
    unsafe { asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly)) };
}

/// Asks for the beginning of the page after the one that is read: the processor sees a stream come within a
/// page, and has to find it again in each.
#[inline(always)]
pub fn prefetch_page(from: *const u8) {
    const PAGE: usize = 4096;
    const BEGINNING: usize = 1024;
    if from.addr() % PAGE < BEGINNING {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(PAGE).cast()) };
    }
}
