//! Weights that are stored as a few bits each, with a scale a block.

use std::borrow::Cow;

use super::real::{Real, in_real};
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `(q - zero) · scale` as `[n, k]`, of packed weights as they lie in a file (com.microsoft MatMulNBits-1).
    ///
    /// `q` is `u8[n, blocks, block·bits/8]`, low bits first; each row's `k` weights fall into blocks of `block`, the last
    /// filled up. `scale` is `[n, blocks]` of the result's floats. `zero` is `u8[n, ⌈blocks·bits/8⌉]`, packed alike, or
    /// `[n, blocks]` of the element type of `scale`; absent, it is `2^(bits-1)`.
    DequantizeBlocks = "dequantize_blocks" (q, scale, zero: optional) {
        /// 1, 2, 4 or 8.
        bits: usize,
        /// Weights a scale serves.
        block: usize,
        /// Weights a row.
        k: usize,
        /// Whether activations that meet these weights may be quantized to int8 (accuracy_level 4).
        int8: bool,
    }
}

impl DequantizeBlocks {
    /// Blocks a row and bytes a block.
    pub fn layout(&self) -> OpResult<(usize, usize)> {
        if !matches!(self.bits, 1 | 2 | 4 | 8) {
            bail!("weights are of 1, 2, 4 or 8 bits, not {}", self.bits);
        }
        match self.block.checked_mul(self.bits) {
            Some(bits) if bits > 0 && bits % 8 == 0 => Ok((self.k.div_ceil(self.block), bits / 8)),
            _ => bail!("blocks of {} weights do not fill bytes", self.block),
        }
    }

    /// `q - zero` as `[n, k]`, or `None` where zeros are not integers or a difference does not fit into int8.
    pub fn integers(&self, q: &Tensor, zero: Option<&Tensor>) -> OpResult<Option<Vec<i8>>> {
        let n = q.dims().first().copied().unwrap_or(0);
        let blocks = self.layout()?.0;
        let ones = Tensor::from_vec(vec![n, blocks], vec![1f32; n * blocks])?;
        let y = dequantize::<f32>(self, q, &ones, zero)?.remove(0);
        let integer = |v: &f32| Some(*v as i8).filter(|q| f32::from(*q) == *v);
        Ok(y.values::<f32>()?.iter().map(integer).collect())
    }

    /// Bytes a row of packed zero points.
    pub fn packed_zeros(&self, blocks: usize) -> usize {
        blocks.saturating_mul(self.bits).div_ceil(8)
    }
}

impl OpDef for DequantizeBlocks {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (q, scale) = (&args[0], &args[1]);
        let (blocks, bytes) = self.layout()?;
        let n = match q.static_dims().as_deref() {
            Some(&[n, b, w]) if q.elem == Elem::U8 && (b, w) == (blocks, bytes) => n,
            _ => bail!("weights of k = {} are u8[n,{blocks},{bytes}], got {q}", self.k),
        };
        if !scale.elem.is_float() || *scale != Type::new(scale.elem, [n, blocks]) {
            bail!("scales are floats [{n},{blocks}], got {scale}");
        }
        if let Some(zero) = args.get(2) {
            let packed = Type::new(Elem::U8, [n, self.packed_zeros(blocks)]);
            if zero != scale && *zero != packed {
                bail!("zero points are {packed} or {scale}, got {zero}");
            }
        }
        Ok(vec![Type::new(scale.elem, [n, self.k])])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        in_real!(args[1].elem(), dequantize(self, &args[0], &args[1], args.get(2)))
    }
}

fn dequantize<T: Real>(
    op: &DequantizeBlocks,
    q: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
) -> OpResult<Vec<Tensor>> {
    let (blocks, bytes) = op.layout()?;
    let n = scale.dims().first().copied().unwrap_or(0);
    let scales = T::read(scale)?;
    let zeros: Cow<[T]> = match zero {
        None => vec![T::of((1 << (op.bits - 1)) as f32); scales.len()].into(),
        Some(z) if z.elem() == Elem::U8 => z
            .bytes()
            .chunks(op.packed_zeros(blocks).max(1))
            .flat_map(|row| unpack(row, op.bits).take(blocks))
            .map(|z| T::of(z.into()))
            .collect(),
        Some(z) => T::read(z)?,
    };
    let mut y = Vec::with_capacity(result_count(T::ELEM, &[n, op.k])?);
    let mut levels = vec![T::of(0.0); 1 << op.bits];
    for (i, packed) in q.bytes().chunks(bytes).enumerate() {
        let end = y.len() + op.block.min(op.k - i % blocks * op.block);
        // A block holds few numbers, each many times.
        for (v, level) in levels.iter_mut().enumerate() {
            *level = (T::of(v as f32) - zeros[i]) * scales[i];
        }
        let mask = u8::MAX >> (8 - op.bits);
        for byte in packed {
            y.extend((0..8 / op.bits).map(|field| levels[usize::from(byte >> (field * op.bits) & mask)]));
        }
        y.truncate(end);
    }
    Ok(vec![T::write(scale.elem(), vec![n, op.k], y)?])
}

/// Unsigned fields of `bits`, low bits first.
fn unpack(bytes: &[u8], bits: usize) -> impl Iterator<Item = u8> {
    let mask = u8::MAX >> (8 - bits);
    bytes.iter().flat_map(move |byte| (0..8 / bits).map(move |i| byte >> (i * bits) & mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: DequantizeBlocks, args: &[Option<&Tensor>]) -> OpResult<Vec<f32>> {
        let op = Op::from(op);
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let inferred = op.infer(&types, &())?;
        let y = op.eval(args, &DimEnv::default())?.remove(0);
        assert_eq!(inferred, [y.ty()]);
        Ok(y.values::<f32>()?.to_vec())
    }

    fn bytes(dims: &[usize], values: &[u8]) -> Tensor {
        Tensor::from_vec(dims.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn fields_are_low_bits_first_and_rows_may_be_short() {
        let q = bytes(&[1, 2, 1], &[0b11_10_01_00, 0b00_00_00_11]);
        let scale = Tensor::from_vec(vec![1, 2], vec![2f32, 10.0]).unwrap();
        let op = DequantizeBlocks { bits: 2, block: 4, k: 5, int8: false };
        assert_eq!(run(op.clone(), &[Some(&q), Some(&scale)]).unwrap(), [-4.0, -2.0, 0.0, 2.0, 10.0]);
        // Packed zero points: 1 for the first block, 3 for the second.
        let zero = bytes(&[1, 1], &[0b11_01]);
        let y = run(op.clone(), &[Some(&q), Some(&scale), Some(&zero)]).unwrap();
        assert_eq!(y, [-2.0, 0.0, 2.0, 4.0, 0.0]);
        let zero = Tensor::from_vec(vec![1, 2], vec![0.5f32, 2.0]).unwrap();
        let y = run(op, &[Some(&q), Some(&scale), Some(&zero)]).unwrap();
        assert_eq!(y, [-1.0, 1.0, 3.0, 5.0, 10.0]);
    }

    /// Two rows of three blocks, the last of which is short: rows begin at a byte of their own, of zero points too, and each
    /// block has the scale and the zero of its row and place.
    #[test]
    fn rows_of_several_blocks_find_their_scales_and_zeros() {
        let q = bytes(&[2, 3, 1], &[0x21, 0x43, 0xf5, 0x87, 0xa9, 0x0b]);
        let scale = Tensor::from_vec(vec![2, 3], vec![1f32, 10.0, 100.0, 0.5, 5.0, 50.0]).unwrap();
        let op = DequantizeBlocks { bits: 4, block: 2, k: 5, int8: false };
        let y = run(op.clone(), &[Some(&q), Some(&scale)]).unwrap();
        assert_eq!(y, [-7.0, -6.0, -50.0, -40.0, -300.0, -0.5, 0.0, 5.0, 10.0, 150.0]);
        // Zeros 1, 2, 3 of the first row and 4, 5, 6 of the second; what fills the bytes up is not read.
        let zero = bytes(&[2, 2], &[0x21, 0xf3, 0x54, 0xf6]);
        let y = run(op, &[Some(&q), Some(&scale), Some(&zero)]).unwrap();
        assert_eq!(y, [0.0, 1.0, 10.0, 20.0, 200.0, 1.5, 2.0, 20.0, 25.0, 250.0]);
    }

    #[test]
    fn one_bit_is_from_minus_one_to_zero() {
        let scale = Tensor::from_vec(vec![1, 1], vec![3f32]).unwrap();
        let one = DequantizeBlocks { bits: 1, block: 8, k: 8, int8: false };
        let y = run(one, &[Some(&bytes(&[1, 1, 1], &[0b1000_0110])), Some(&scale)]).unwrap();
        assert_eq!(y, [-3.0, 0.0, 0.0, -3.0, -3.0, -3.0, -3.0, 0.0]);
    }

    #[test]
    fn four_and_eight_bits_have_their_middle_as_zero() {
        let scale = Tensor::from_vec(vec![1, 1], vec![1f32]).unwrap();
        let four = DequantizeBlocks { bits: 4, block: 2, k: 2, int8: false };
        assert_eq!(run(four, &[Some(&bytes(&[1, 1, 1], &[0xf0])), Some(&scale)]).unwrap(), [-8.0, 7.0]);
        let eight = DequantizeBlocks { bits: 8, block: 2, k: 2, int8: false };
        assert_eq!(
            run(eight, &[Some(&bytes(&[1, 1, 2], &[0, 255])), Some(&scale)]).unwrap(),
            [-128.0, 127.0]
        );
    }

    #[test]
    fn bad_layouts_are_refused() {
        let scale = Tensor::from_vec(vec![1, 1], vec![1f32]).unwrap();
        let q = bytes(&[1, 1, 1], &[0]);
        for (bits, block, k) in
            [(3, 8, 8), (4, 1, 1), (4, 0, 2), (4, 4, 4), (2, usize::MAX, 4), (4, 2, usize::MAX)]
        {
            assert!(
                run(DequantizeBlocks { bits, block, k, int8: false }, &[Some(&q), Some(&scale)]).is_err()
            );
        }
    }
}
