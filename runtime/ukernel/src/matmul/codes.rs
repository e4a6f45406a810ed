//! A right-hand side of a few bits a weight, with a scale and a zero for each block of inputs, cut into panels as
//! [`Panels`](super::Panels) are:
//!
//! ```text
//! codes: [panel of 48 columns][k, or a pair of k][column of the panel]      a byte, or two codes of at most four bits
//! scales, zeros: [panel of 48 columns][block of k][column of the panel]     f32
//! ```
//!
//! What the last panel and the last pair lack is zero. [`blocks`](super::blocks) multiplies with it.

use core::ops::Range;

use super::WIDTH;
use crate::LayoutError;

/// The sizes of such a matrix. Its codes lie by output before: `[n, blocks, block · bits / 8]`, low bits first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Codes {
    pub k: usize,
    pub n: usize,
    /// 1, 2, 4 or 8; packed, what is less than 4 takes 4.
    pub bits: usize,
    /// Inputs that share a scale; they fill whole bytes.
    pub block: usize,
}

impl Codes {
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block.max(1))
    }

    /// The code that stands for zero where no other is said to.
    pub fn middle(&self) -> usize {
        1 << (self.bits - 1)
    }

    /// Bits of a packed code.
    pub fn packed_bits(&self) -> usize {
        self.bits.max(4)
    }

    /// Bytes of the codes of a panel.
    pub fn panel_bytes(&self) -> usize {
        self.k.div_ceil(8 / self.packed_bits()) * WIDTH
    }

    /// Bytes of all packed codes; `None` on overflow.
    pub fn codes_len(&self) -> Option<usize> {
        self.n.div_ceil(WIDTH).checked_mul(self.panel_bytes())
    }

    /// Values of all packed scales, or zeros; `None` on overflow.
    pub fn scales_len(&self) -> Option<usize> {
        self.n.checked_next_multiple_of(WIDTH)?.checked_mul(self.blocks())
    }

    /// Packs codes into `out`, which is zero.
    pub fn pack(&self, q: &[u8], out: &mut [u8]) -> Result<(), LayoutError> {
        let &Codes { k, n, .. } = self;
        let row = self.blocks() * self.block * self.bits / 8;
        self.check(q.len(), n.checked_mul(row), out.len(), self.codes_len())?;
        if out.is_empty() {
            return Ok(());
        }
        let bits = self.packed_bits();
        for (p, panel) in out.chunks_exact_mut(self.panel_bytes()).enumerate() {
            for (j, row) in q[columns(n, p, row)].chunks_exact(row).enumerate() {
                for i in 0..k {
                    let code = field(row, i, self.bits);
                    panel[i * bits / 8 * WIDTH + j] |= code << (i * bits % 8);
                }
            }
        }
        Ok(())
    }

    /// Packs scales, or zeros, `[n, blocks]`, into `out`, which is zero.
    pub fn pack_scales(&self, scales: &[f32], out: &mut [f32]) -> Result<(), LayoutError> {
        let (n, blocks) = (self.n, self.blocks());
        self.check(scales.len(), n.checked_mul(blocks), out.len(), self.scales_len())?;
        if out.is_empty() {
            return Ok(());
        }
        for (p, panel) in out.chunks_exact_mut(blocks * WIDTH).enumerate() {
            for (j, row) in scales[columns(n, p, blocks)].chunks_exact(blocks).enumerate() {
                row.iter().enumerate().for_each(|(b, scale)| panel[b * WIDTH + j] = *scale);
            }
        }
        Ok(())
    }

    /// Packs zeros that are codes themselves, each row's from a byte on, into `out`, which is zero.
    pub fn pack_zeros(&self, zeros: &[u8], out: &mut [f32]) -> Result<(), LayoutError> {
        let (n, blocks) = (self.n, self.blocks());
        let row = (blocks * self.bits).div_ceil(8);
        self.check(zeros.len(), n.checked_mul(row), out.len(), self.scales_len())?;
        if out.is_empty() {
            return Ok(());
        }
        for (p, panel) in out.chunks_exact_mut(blocks * WIDTH).enumerate() {
            for (j, row) in zeros[columns(n, p, row)].chunks_exact(row).enumerate() {
                (0..blocks).for_each(|b| panel[b * WIDTH + j] = field(row, b, self.bits).into());
            }
        }
        Ok(())
    }

    fn check(
        &self,
        len: usize,
        of: Option<usize>,
        packed: usize,
        to: Option<usize>,
    ) -> Result<(), LayoutError> {
        let &Codes { k, n, .. } = self;
        let (of, to) = of.zip(to).ok_or(LayoutError::TooLarge { n, k })?;
        if len == of && packed == to {
            return Ok(());
        }
        Err(LayoutError::WrongLength { weights: len, packed, expected: (of, to) })
    }
}

/// Where the columns of panel `p` lie, each of `row` values.
fn columns(n: usize, p: usize, row: usize) -> Range<usize> {
    p * WIDTH * row..n.min((p + 1) * WIDTH) * row
}

/// The `i`th field of `bits`, low bits first.
fn field(bytes: &[u8], i: usize, bits: usize) -> u8 {
    bytes[i * bits / 8] >> (i * bits % 8) & (u8::MAX >> (8 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn every_field_lies_where_the_layout_says() {
        for (k, n, bits, block) in [(6, 3, 4, 4), (5, 50, 4, 2), (7, 49, 8, 3), (9, 2, 2, 4), (17, 5, 1, 8)] {
            let codes = Codes { k, n, bits, block };
            let blocks = codes.blocks();
            let row = blocks * block * bits / 8;
            let q: Vec<u8> = (0..n * row).map(|i| (i * 37 + i / 5) as u8).collect();
            let mut out = vec![0; codes.codes_len().unwrap()];
            codes.pack(&q, &mut out).unwrap();
            let scales: Vec<f32> = (0..n * blocks).map(|i| i as f32).collect();
            let mut packed = vec![0.0; codes.scales_len().unwrap()];
            codes.pack_scales(&scales, &mut packed).unwrap();
            for j in 0..n {
                for i in 0..k {
                    let want = field(&q[j * row..], i, bits);
                    let panel = &out[j / WIDTH * codes.panel_bytes()..];
                    let got = match bits {
                        8 => panel[i * WIDTH + j % WIDTH],
                        _ => panel[i / 2 * WIDTH + j % WIDTH] >> (i % 2 * 4) & 15,
                    };
                    assert_eq!(got, want, "{codes:?} {i} {j}");
                    let scale = packed[j / WIDTH * WIDTH * blocks + i / block * WIDTH + j % WIDTH];
                    assert_eq!(scale, scales[j * blocks + i / block]);
                }
            }
        }
    }

    #[test]
    fn zeros_of_bits_are_those_of_values() {
        let codes = Codes { k: 12, n: 50, bits: 4, block: 4 };
        let zeros: Vec<u8> = (0..50 * 3).map(|i| (i % 16) as u8).collect();
        let bits: Vec<u8> = zeros.chunks(3).flat_map(|z| [z[0] | z[1] << 4, z[2]]).collect();
        let values: Vec<f32> = zeros.iter().map(|z| f32::from(*z)).collect();
        let mut out = [vec![0.0; codes.scales_len().unwrap()], vec![0.0; codes.scales_len().unwrap()]];
        codes.pack_zeros(&bits, &mut out[0]).unwrap();
        codes.pack_scales(&values, &mut out[1]).unwrap();
        assert_eq!(out[0], out[1]);
    }

    #[test]
    fn refuses_other_sizes() {
        let codes = Codes { k: 8, n: 1, bits: 4, block: 8 };
        assert!(codes.pack(&[0; 3], &mut [0; 192]).is_err());
        assert!(codes.pack_scales(&[0.0], &mut [0.0; 47]).is_err());
        assert_eq!(Codes { n: usize::MAX, ..codes }.scales_len(), None);
    }
}
