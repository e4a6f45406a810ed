//! Packed layouts of ternary and int8 weights.
//!
//! A matrix W[n, k] is cut three ways. Outputs n form **tiles**, as many as a kernel keeps
//! in registers. Inputs k form **groups**, one sum (and one scale) each. A group forms **steps**, as
//! many k as one load of a tile holds. Bytes lie in the order they are read:
//!
//! ```text
//! [tile][group][step][output of the tile][bytes of one output in one step]
//! ```
//!
//! Outputs are padded to whole tiles and every group, the last one included, to the same whole
//! number of steps, with zeros. Activations are padded with zeros in the same way, see
//! [`Geometry::group_k`]. Within a step, with t the weights of one output and u = t + 1:
//!
//! | layout | k a step | bytes | where weight i of the step lies |
//! |---|---|---|---|
//! | `trits` | 1 | 1 | t itself, as i8 |
//! | `2bit_32`, `2bit_8` | 16 | 4 | byte i % 4, bits 2·(i / 4) .. +2: u |
//! | `5in8_16` | 20 | 4 | byte i % 4, digit i / 4 of the escape code below |
//! | `3in5_64` | 18 | 4 | bits 5·(i / 3) .. +5 of the little-endian dword: digit i % 3, base 3 |
//! | `2bit15_32` | 15 | 4 | bits 2·i .. +2 of the little-endian dword: u |
//! | `4bit_32` | 8 | 4 | byte i % 4, bits 4·(i / 4) .. +4: t + 8, for t in -8 ..= 7 |
//! | `8bit_32` | 4 | 4 | byte i: t + 128, for any int8 t |
//!
//! `2bit_32`, `5in8_16`, `4bit_32` and `8bit_32` put four neighbouring k into the four bytes that one `vpdpbusd` lane
//! multiplies. A byte of two-bit fields is unpacked by four masks and no shift: field g stays scaled by 4^g,
//! which the accumulators carry to the end of a group.
//!
//! `5in8_16` packs five digits u0..u4 into a byte (3^5 = 243). With c = u0 + 3·u1 + 9·u2 + 27·u3 < 81
//! the byte is 64·u4 + c when c < 64, and else the escape 192 + 3·(c − 64) + u4: the low six bits
//! index a table of 64 directly, and the top two bits are u4, but for the escape quadrant.
//!
//! `3in5_64` holds six codes a dword, each three digits u0 + 3·u1 + 9·u2 < 27: the index into a table
//! of the 27 signed sums of three inputs. `2bit15_32` holds the same five triples as plain fields.

use core::fmt;
use core::ops::RangeInclusive;

/// How packed weights lie in memory. The name is `encoding_tile`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Layout {
    Trits,
    TwoBit32,
    TwoBit8,
    FiveInEight16,
    ThreeInFive64,
    TwoBitTriples32,
    FourBit32,
    EightBit32,
}

impl Layout {
    pub const ALL: [Self; 8] = [
        Self::Trits,
        Self::TwoBit32,
        Self::TwoBit8,
        Self::FiveInEight16,
        Self::ThreeInFive64,
        Self::TwoBitTriples32,
        Self::FourBit32,
        Self::EightBit32,
    ];

    /// A stable name, the last part of the name of a variant; the id that files carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trits => "trits",
            Self::TwoBit32 => "2bit_32",
            Self::TwoBit8 => "2bit_8",
            Self::FiveInEight16 => "5in8_16",
            Self::ThreeInFive64 => "3in5_64",
            Self::TwoBitTriples32 => "2bit15_32",
            Self::FourBit32 => "4bit_32",
            Self::EightBit32 => "8bit_32",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }

    /// Outputs of a tile.
    pub const fn tile(self) -> usize {
        match self {
            Self::Trits => 1,
            Self::TwoBit8 => 8,
            Self::FiveInEight16 => 16,
            Self::TwoBit32 | Self::TwoBitTriples32 | Self::FourBit32 | Self::EightBit32 => 32,
            Self::ThreeInFive64 => 64,
        }
    }

    /// Inputs of a step.
    pub const fn k_step(self) -> usize {
        match self {
            Self::Trits => 1,
            Self::TwoBit32 | Self::TwoBit8 => 16,
            Self::FiveInEight16 => 20,
            Self::ThreeInFive64 => 18,
            Self::TwoBitTriples32 => 15,
            Self::FourBit32 => 8,
            Self::EightBit32 => 4,
        }
    }

    /// Bytes of one tile in one step.
    pub const fn step_bytes(self) -> usize {
        self.tile() * self.output_bytes()
    }

    const fn output_bytes(self) -> usize {
        match self {
            Self::Trits => 1,
            _ => 4,
        }
    }

    /// The weights that it can hold.
    pub const fn weights(self) -> RangeInclusive<i8> {
        match self {
            Self::FourBit32 => -8..=7,
            Self::EightBit32 => i8::MIN..=i8::MAX,
            _ => -1..=1,
        }
    }

    /// The bytes of one output in one step, from its weights; the first [`Layout::output_bytes`] count.
    fn encode(self, weights: &[i8; MAX_K_STEP]) -> [u8; 4] {
        let u = |i: usize| (weights[i] + 1) as u8;
        let dword = |fields: usize, field: &dyn Fn(usize) -> u8, bits: usize| {
            let bits = (0..fields).map(|i| u32::from(field(i)) << (bits * i));
            bits.sum::<u32>().to_le_bytes()
        };
        match self {
            Self::Trits => [weights[0] as u8, 0, 0, 0],
            Self::TwoBit32 | Self::TwoBit8 => {
                [0, 1, 2, 3].map(|j| u(j) | u(4 + j) << 2 | u(8 + j) << 4 | u(12 + j) << 6)
            }
            Self::FiveInEight16 => [0, 1, 2, 3].map(|j| {
                let code = u(j) + 3 * u(4 + j) + 9 * u(8 + j) + 27 * u(12 + j);
                match code {
                    0..64 => 64 * u(16 + j) + code,
                    _ => 192 + 3 * (code - 64) + u(16 + j),
                }
            }),
            Self::ThreeInFive64 => dword(6, &|c| u(3 * c) + 3 * u(3 * c + 1) + 9 * u(3 * c + 2), 5),
            Self::TwoBitTriples32 => dword(15, &u, 2),
            Self::FourBit32 => {
                [0, 1, 2, 3].map(|j| (weights[j] + 8) as u8 | ((weights[4 + j] + 8) as u8) << 4)
            }
            Self::EightBit32 => [0, 1, 2, 3].map(|j| weights[j] as u8 ^ 0x80),
        }
    }
}

const MAX_K_STEP: usize = 20;

/// The sizes of one packed matrix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    pub layout: Layout,
    /// Rows of the matrix.
    pub n: usize,
    /// Columns of the matrix.
    pub k: usize,
    /// Columns that share one sum, at most `k`.
    pub group: usize,
    /// `n` rounded up to whole tiles.
    pub n_padded: usize,
    pub tiles: usize,
    pub groups: usize,
    /// `group` rounded up to whole steps. A row of activations is `groups` runs of `group_k` values:
    /// run i holds x[i·group ..] as far as the group goes, then zeros.
    pub group_k: usize,
    /// The size of the packed matrix.
    pub bytes: usize,
}

impl Geometry {
    /// The longest group whose sums cannot overflow i32, scaled as fields of two bits are.
    pub const MAX_GROUP: usize = 1 << 17;

    /// `group` ≥ `k` means one group.
    pub fn new(layout: Layout, n: usize, k: usize, group: usize) -> Result<Self, LayoutError> {
        let group = group.min(k);
        if n == 0 || group == 0 {
            return Err(LayoutError::Empty { n, k, group });
        }
        if group > Self::MAX_GROUP {
            return Err(LayoutError::GroupTooLong { group });
        }
        let tiles = n.div_ceil(layout.tile());
        let groups = k.div_ceil(group);
        let steps = group.div_ceil(layout.k_step());
        let bytes = tiles
            .checked_mul(groups)
            .and_then(|cells| cells.checked_mul(steps))
            .and_then(|steps| steps.checked_mul(layout.step_bytes()))
            .filter(|&bytes| bytes <= isize::MAX as usize / MAX_K_STEP)
            .ok_or(LayoutError::TooLarge { n, k })?;
        Ok(Self {
            layout,
            n,
            k,
            group,
            n_padded: tiles * layout.tile(),
            tiles,
            groups,
            group_k: steps * layout.k_step(),
            bytes,
        })
    }

    /// Values in a padded row of activations.
    pub const fn k_padded(&self) -> usize {
        self.groups * self.group_k
    }

    /// Packs `weights`, row-major n × k, each one that the [layout](Layout::weights) can hold, into `packed`, of [`Geometry::bytes`].
    pub fn pack(&self, weights: &[i8], packed: &mut [u8]) -> Result<(), LayoutError> {
        // No overflow: the packed matrix, whose size was checked, holds a fifth of a byte a weight.
        let expected = self.n * self.k;
        if weights.len() != expected || packed.len() != self.bytes {
            return Err(LayoutError::WrongLength {
                weights: weights.len(),
                packed: packed.len(),
                expected: (expected, self.bytes),
            });
        }
        let range = self.layout.weights();
        if let Some(index) = weights.iter().position(|w| !range.contains(w)) {
            let (least, most) = range.into_inner();
            return Err(LayoutError::OutOfRange { index, value: weights[index], least, most });
        }
        let (tile, step_bytes) = (self.layout.tile(), self.layout.step_bytes());
        let cell_bytes = self.group_k / self.layout.k_step() * step_bytes;
        for (cell, bytes) in packed.chunks_exact_mut(cell_bytes).enumerate() {
            let (t, g) = (cell / self.groups, cell % self.groups);
            for o in 0..tile {
                let row = t * tile + o;
                let inputs = if row < self.n {
                    let end = self.k.min((g + 1) * self.group);
                    &weights[row * self.k..][g * self.group..end]
                } else {
                    &[]
                };
                self.pack_row(inputs, o, bytes);
            }
        }
        Ok(())
    }

    /// One group of one output, the `o`-th of its tile.
    fn pack_row(&self, weights: &[i8], o: usize, cell: &mut [u8]) {
        let k_step = self.layout.k_step();
        let size = self.layout.output_bytes();
        for (s, step) in cell.chunks_exact_mut(self.layout.step_bytes()).enumerate() {
            let from = weights.len().min(s * k_step);
            let to = weights.len().min(from + k_step);
            let mut padded = [0; MAX_K_STEP];
            padded[..to - from].copy_from_slice(&weights[from..to]);
            step[o * size..][..size].copy_from_slice(&self.layout.encode(&padded)[..size]);
        }
    }
}

/// Why a matrix cannot be packed. The caller's fault, all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    Empty { n: usize, k: usize, group: usize },
    GroupTooLong { group: usize },
    TooLarge { n: usize, k: usize },
    WrongLength { weights: usize, packed: usize, expected: (usize, usize) },
    OutOfRange { index: usize, value: i8, least: i8, most: i8 },
}

impl core::error::Error for LayoutError {}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty { n, k, group } => {
                write!(f, "nothing to pack: {n} x {k} trits in groups of {group}")
            }
            Self::GroupTooLong { group } => {
                let max = Geometry::MAX_GROUP;
                write!(f, "a group of {group} inputs is longer than {max}")
            }
            Self::TooLarge { n, k } => {
                write!(f, "{n} x {k} trits exceed the address space")
            }
            Self::WrongLength { weights, packed, expected: (all, bytes) } => {
                write!(f, "expected {all} weights and {bytes} packed bytes, got {weights} and {packed}")
            }
            Self::OutOfRange { index, value, least, most } => {
                write!(f, "element {index} is {value}, not in {least} ..= {most}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::ToString, vec, vec::Vec};

    #[test]
    fn names_round_trip() {
        for layout in Layout::ALL {
            assert_eq!(Layout::from_name(layout.name()), Some(layout));
        }
        assert_eq!(Layout::from_name("3bit"), None);
    }

    #[test]
    fn geometry_pads_tiles_and_groups() {
        let g = Geometry::new(Layout::FiveInEight16, 17, 100, 32).unwrap();
        assert_eq!((g.tiles, g.n_padded), (2, 32));
        assert_eq!((g.groups, g.group_k, g.k_padded()), (4, 40, 160));
        assert_eq!(g.bytes, 2 * 4 * 2 * 64);
        let one = Geometry::new(Layout::TwoBit32, 1, 5, usize::MAX).unwrap();
        assert_eq!((one.groups, one.group, one.group_k), (1, 5, 16));
    }

    #[test]
    fn refuses_what_it_cannot_pack() {
        let new = |n, k, group| Geometry::new(Layout::TwoBit32, n, k, group);
        let error = new(0, 3, 3).unwrap_err();
        assert_eq!(error, LayoutError::Empty { n: 0, k: 3, group: 3 });
        let error = new(1, 1 << 18, usize::MAX).unwrap_err();
        assert_eq!(error, LayoutError::GroupTooLong { group: 1 << 18 });
        assert!(new(1, 1 << 18, 128).is_ok());
        assert!(matches!(new(usize::MAX, 4096, 128), Err(LayoutError::TooLarge { .. })));
        let g = new(1, 3, 3).unwrap();
        let mut packed = vec![0; g.bytes];
        let error = g.pack(&[0, 2, 1], &mut packed).unwrap_err();
        assert_eq!(error.to_string(), "element 1 is 2, not in -1 ..= 1");
        let error = g.pack(&[0, 1], &mut packed).unwrap_err();
        assert!(matches!(error, LayoutError::WrongLength { .. }));
    }

    #[test]
    fn nibbles_are_packed_by_fours() {
        let mut weights = [0; MAX_K_STEP];
        weights[..8].copy_from_slice(&[-8, -7, 0, 7, 1, 2, 3, -1]);
        assert_eq!(Layout::FourBit32.encode(&weights), [0x90, 0xa1, 0xb8, 0x7f]);
        let g = Geometry::new(Layout::FourBit32, 1, 1, 1).unwrap();
        let error = g.pack(&[8], &mut vec![0; g.bytes]).unwrap_err();
        assert_eq!(error.to_string(), "element 0 is 8, not in -8 ..= 7");
    }

    /// Each code of five (or three) trits is distinct, so packing loses nothing.
    #[test]
    fn codes_are_distinct() {
        for (layout, digits, stride) in [
            (Layout::TwoBit32, 4, 4),
            (Layout::FiveInEight16, 5, 4),
            (Layout::ThreeInFive64, 3, 1),
            (Layout::TwoBitTriples32, 15, 1),
        ] {
            let digits = digits.min(8);
            let mut seen: Vec<[u8; 4]> = (0..3usize.pow(digits))
                .map(|code| {
                    let mut trits = [0; MAX_K_STEP];
                    for d in 0..digits {
                        trits[stride * d as usize] = (code / 3usize.pow(d) % 3) as i8 - 1;
                    }
                    layout.encode(&trits)
                })
                .collect();
            let all = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), all, "{layout:?}");
        }
    }
}
