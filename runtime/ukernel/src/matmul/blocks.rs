//! Products of f32 with weights of a few bits, in [`Codes`](super::Codes):
//!
//! ```text
//! c[m, n] = Σ_k a[m, k] · b[k, n]      b[k, n] = (code[k, n] - zero[k / block, n]) · scale[k / block, n]
//! ```
//!
//! Difference and product are rounded, and sums are those of [`matmul`](super): the bits are what weights of f32 would
//! give. A few rows make each weight f32 in a register; for more, a panel goes through scratch, once for all of them.
#![allow(unsafe_code)]

use super::{FEW_ROWS, MatmulF32, Tiles, WIDTH, weights};
use crate::lanes::{LANES, Lanes, prefetch, variants};

/// The arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BlocksF32 {
    /// The product, whose `b` is not read, and whose scratch is f32[k, 48]. Columns begin at a panel.
    pub product: MatmulF32,
    /// Packed, as are scales and zeros.
    pub codes: *const u8,
    pub scales: *const f32,
    /// Null where all are `zero`.
    pub zeros: *const f32,
    pub zero: usize,
    /// An even number where codes have 4 bits.
    pub block: usize,
    /// 4 or 8.
    pub bits: usize,
}

variants! {
    BlocksF32, blocks =>
    trine_blocks_f32_scalar, trine_blocks_f32_neon, trine_blocks_f32_avx2, trine_blocks_f32_avx512
}

/// Vectors of a panel's row.
const VECTORS: usize = WIDTH / LANES;

/// Bytes of codes, and blocks of scales, ahead of those of a stream that are read.
const STREAM: usize = 2048;
const STREAM_BLOCKS: usize = 4;

/// # Safety
/// The arguments describe live buffers.
#[inline(always)]
unsafe fn blocks<L: Tiles>(args: &BlocksF32) {
    let MatmulF32 { m, k, n_end, scratch, .. } = args.product;
    for n in (args.product.n_begin..n_end).step_by(WIDTH) {
        let product = MatmulF32 { n_begin: n, n_end: n_end.min(n + WIDTH), ..args.product };
        let panel = Panel::of(args, n / WIDTH);
        // SAFETY: the caller's: the panel exists, and `weights` reads the one that is in scratch.
        unsafe {
            match m {
                0 => {}
                1 => rows::<L, 1>(&panel, &product),
                2 => rows::<L, 2>(&panel, &product),
                3 => rows::<L, 3>(&panel, &product),
                FEW_ROWS => rows::<L, FEW_ROWS>(&panel, &product),
                _ => {
                    panel.each::<L>(&mut Store(scratch));
                    weights::<L>(&MatmulF32 { b: scratch.wrapping_sub(n * k), packed: 1, ..product });
                }
            }
        }
    }
}

/// The columns of one panel for a few rows of `a`.
///
/// # Safety
/// The panel and the product describe live buffers, and there are `M` rows.
#[inline(always)]
unsafe fn rows<L: Lanes, const M: usize>(panel: &Panel, product: &MatmulF32) {
    let MatmulF32 { c, c_row, n_begin, n_end, .. } = *product;
    let mut rows = Multiply { product, sums: [[L::splat(0.0); VECTORS]; M] };
    // SAFETY: the caller's.
    unsafe {
        panel.each(&mut rows);
        for (r, sums) in rows.sums.into_iter().enumerate() {
            let c = c.offset(r as isize * c_row).add(n_begin);
            for (v, sum) in sums.into_iter().enumerate().take((n_end - n_begin).div_ceil(LANES)) {
                sum.store_at(c, LANES * v, n_end - n_begin);
            }
        }
    }
}

/// What becomes of the weights of each k.
trait Take<L> {
    /// # Safety
    /// The buffers of the arguments live, and `i` is below k.
    unsafe fn take(&mut self, i: usize, row: [L; VECTORS]);
}

/// They go into a panel of f32.
struct Store(*mut f32);

impl<L: Lanes> Take<L> for Store {
    #[inline(always)]
    unsafe fn take(&mut self, i: usize, row: [L; VECTORS]) {
        for (v, value) in row.into_iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { value.store(self.0.add(i * WIDTH + LANES * v)) };
        }
    }
}

/// They are multiplied with a few rows.
struct Multiply<'a, L, const M: usize> {
    product: &'a MatmulF32,
    sums: [[L; VECTORS]; M],
}

impl<L: Lanes, const M: usize> Take<L> for Multiply<'_, L, M> {
    #[inline(always)]
    unsafe fn take(&mut self, i: usize, row: [L; VECTORS]) {
        let MatmulF32 { a, a_row, a_column, .. } = *self.product;
        for (r, sums) in self.sums.iter_mut().enumerate() {
            // SAFETY: the caller's.
            let x = L::splat(unsafe { *a.offset(r as isize * a_row + i as isize * a_column) });
            for (sum, w) in sums.iter_mut().zip(row) {
                *sum = sum.fused_add_product(x, w);
            }
        }
    }
}

struct Panel {
    codes: *const u8,
    scales: *const f32,
    zeros: *const f32,
    zero: f32,
    k: usize,
    block: usize,
    nibbles: bool,
}

impl Panel {
    #[inline(always)]
    fn of(args: &BlocksF32, i: usize) -> Panel {
        let (k, block, nibbles) = (args.product.k, args.block.max(1), args.bits == 4);
        let codes = i * WIDTH * if nibbles { k.div_ceil(2) } else { k };
        let scales = i * WIDTH * k.div_ceil(block);
        Panel {
            codes: args.codes.wrapping_add(codes),
            scales: args.scales.wrapping_add(scales),
            zeros: if args.zeros.is_null() { args.zeros } else { args.zeros.wrapping_add(scales) },
            zero: args.zero as f32,
            k,
            block,
            nibbles,
        }
    }

    /// The weights of every k, in order.
    ///
    /// # Safety
    /// The panel exists.
    #[inline(always)]
    unsafe fn each<L: Lanes>(&self, to: &mut impl Take<L>) {
        let &Panel { codes, k, block, .. } = self;
        for (b, begin) in (0..k).step_by(block).enumerate() {
            let end = k.min(begin + block);
            // SAFETY: the caller's; rows up to `k` and columns up to the width exist.
            unsafe {
                let scale = of_block::<L>(self.scales, b);
                let zero = match self.zeros.is_null() {
                    true => [L::splat(self.zero); VECTORS],
                    false => of_block(self.zeros, b),
                };
                if self.nibbles {
                    for i in (begin..end).step_by(2) {
                        let row = codes.add(i / 2 * WIDTH);
                        prefetch(row.wrapping_add(STREAM));
                        let (mut low, mut high) = (zero, zero);
                        for v in 0..VECTORS {
                            let pair = L::load_nibbles(row.add(LANES * v));
                            low[v] = pair[0].sub(zero[v]).mul(scale[v]);
                            high[v] = pair[1].sub(zero[v]).mul(scale[v]);
                        }
                        to.take(i, low);
                        if i + 1 < end {
                            to.take(i + 1, high);
                        }
                    }
                } else {
                    for i in begin..end {
                        let row = codes.add(i * WIDTH);
                        prefetch(row.wrapping_add(STREAM));
                        let mut weights = zero;
                        for v in 0..VECTORS {
                            weights[v] = L::load_u8(row.add(LANES * v)).sub(zero[v]).mul(scale[v]);
                        }
                        to.take(i, weights);
                    }
                }
            }
        }
    }
}

/// The scales or zeros of a block.
///
/// # Safety
/// The block exists.
#[inline(always)]
unsafe fn of_block<L: Lanes>(from: *const f32, block: usize) -> [L; VECTORS] {
    let row = from.wrapping_add(block * WIDTH);
    let mut values = [L::splat(0.0); VECTORS];
    for (v, value) in values.iter_mut().enumerate() {
        prefetch(row.wrapping_add(STREAM_BLOCKS * WIDTH + LANES * v));
        // SAFETY: the caller's.
        *value = unsafe { L::load(row.add(LANES * v)) };
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;
    use crate::lanes::testing::for_each_variant;
    use crate::matmul::{self, Codes};
    use crate::oracle;
    use std::{vec, vec::Vec};

    #[test]
    fn products_are_those_of_weights_as_floats() {
        let sizes =
            [(50, 8, 4, 4), (48, 7, 4, 4), (100, 33, 8, 16), (5, 5, 8, 3), (1, 1, 4, 2), (49, 64, 2, 32)];
        for (n, k, bits, block) in sizes {
            let codes = Codes { k, n, bits, block };
            let (blocks, mask) = (codes.blocks(), u8::MAX >> (8 - bits));
            let row = blocks * block * bits / 8;
            let q: Vec<u8> = (0..n * row).map(|i| (i * 73 + i / 7) as u8).collect();
            let values =
                |from: f32| -> Vec<f32> { (0..n * blocks).map(|i| from + 0.37 * (i % 11) as f32).collect() };
            let (scales, zeros) = (values(-1.5), values(3.0));
            let packed = |values: &[f32]| {
                let mut out = vec![0.0; codes.scales_len().unwrap()];
                codes.pack_scales(values, &mut out).unwrap();
                out
            };
            let (packed_scales, packed_zeros) = (packed(&scales), packed(&zeros));
            let mut packed = vec![0; codes.codes_len().unwrap()];
            codes.pack(&q, &mut packed).unwrap();
            for zero in [None, Some(&packed_zeros[..])] {
                let mut b = vec![0.0; n * k];
                for j in 0..n {
                    for i in 0..k {
                        let code = q[j * row + i * bits / 8] >> (i * bits % 8) & mask;
                        let of = j * blocks + i / block;
                        let zero = if zero.is_some() { zeros[of] } else { (1 << (bits - 1)) as f32 };
                        b[j * k + i] = (f32::from(code) - zero) * scales[of];
                    }
                }
                for m in [1, 2, 3, 4, 5, 19] {
                    let a: Vec<f32> = (0..m * k).map(|i| 0.1 * (i % 23) as f32 - 1.0).collect();
                    let mut want = vec![0.0; m * n];
                    // A chain of k, as with panels; a dot product would be striped.
                    for (row, a) in want.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
                        for (sum, b) in row.iter_mut().zip(b.chunks_exact(k)) {
                            *sum = a.iter().zip(b).fold(0.0, |sum, (a, b)| a.mul_add(*b, sum));
                        }
                    }
                    for_each_variant(VARIANTS, |variant| {
                        let (mut c, mut scratch) = (vec![f32::NAN; m * n], vec![0.0; k * WIDTH]);
                        let b = (&packed[..], &packed_scales[..], zero);
                        Call::blocks_f32(variant, m, &codes, (&a, b), &mut c, &mut scratch).unwrap().run();
                        assert_eq!(c, want, "{} {codes:?} {m} rows", variant.name());
                    });
                }
            }
        }
        assert_eq!(oracle(VARIANTS).unwrap().needs, oracle(matmul::VARIANTS).unwrap().needs);
    }
}
