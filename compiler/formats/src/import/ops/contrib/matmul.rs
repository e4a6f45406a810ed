//! Matrix products with something fused to them, or with packed weights.

use trine_ir::ops::{Add, DequantizeBlocks, Matmul};
use trine_ir::{Dim, Elem, OpResult, Value, bail};

use super::NodeCx;
use super::nn::{attr_count, cast, reshape, scaled, transpose};

/// FusedMatMul-1: `alpha · a·b`, operands transposed first, each with its first axis taken after its batch where that is asked
/// for.
pub fn fused_matmul(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    for (x, name) in [(&mut a, "transBatchA"), (&mut b, "transBatchB")] {
        let rank = cx.rank(*x);
        if cx.attr_bool(name, false)? && rank > 2 {
            let perm: Vec<_> = (1..rank - 1).chain([0, rank - 1]).collect();
            *x = transpose(cx, *x, &perm)?;
        }
    }
    let rank = cx.rank(a);
    if cx.attr_bool("transA", false)? && rank > 1 {
        let mut perm: Vec<_> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        a = transpose(cx, a, &perm)?;
    }
    let trans_b = cx.attr_bool("transB", false)? && cx.rank(b) > 1;
    let y = cx.add(Matmul { trans_b }, &[a, b])?;
    let alpha = cx.attr_float("alpha", 1.0)?;
    Ok(vec![scaled(cx, y, alpha)?])
}

/// MatMulNBits-1: a product with weights that are packed a block at a time.
pub fn matmul_nbits(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (a, q, scale) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    // As onnxruntime has it: halves are computed with in f32, and what comes out is rounded once.
    let elem = cx.ty(a).elem;
    let (a, scale) = match elem {
        Elem::F16 | Elem::Bf16 => (cast(cx, a, Elem::F32)?, cast(cx, scale, Elem::F32)?),
        _ => (a, scale),
    };
    let (n, k) = (attr_count(cx, "N")?, attr_count(cx, "K")?);
    if cx.attr_int("weight_prepacked", 0)? != 0 {
        bail!("weights in the layout of another machine are not supported");
    }
    let bits = if cx.attr_int_opt("bits")?.is_some() { attr_count(cx, "bits")? } else { 4 };
    let block = attr_count(cx, "block_size")?;
    if cx.opt(4).is_some() {
        bail!("`g_idx`, which reorders weights, is not supported");
    }
    let int8 = cx.attr_int("accuracy_level", 0)? == 4;
    let op = DequantizeBlocks { bits, block, k, int8 };
    let (blocks, bytes) = op.layout()?;
    let shape = |dims: &[usize]| dims.iter().map(|d| Dim::constant(*d)).collect::<Vec<_>>();
    let q = reshape(cx, q, shape(&[n, blocks, bytes]))?;
    let scale = reshape(cx, scale, shape(&[n, blocks]))?;
    let mut operands = vec![Some(q), Some(scale)];
    if let Some(zero) = cx.opt(3) {
        let packed = cx.ty(zero).elem == Elem::U8;
        let floats = cx.ty(scale).elem;
        let zero = if packed { zero } else { cast(cx, zero, floats)? };
        let width = if packed { op.packed_zeros(blocks) } else { blocks };
        operands.push(Some(reshape(cx, zero, shape(&[n, width]))?));
    }
    let w = cx.add_node(op, &operands)?[0];
    let y = cx.add(Matmul { trans_b: true }, &[a, w])?;
    let y = match cx.opt(5) {
        Some(bias) => {
            let computed = cx.ty(y).elem;
            let bias = cast(cx, bias, computed)?;
            cx.add(Add {}, &[y, bias])?
        }
        None => y,
    };
    Ok(vec![cast(cx, y, elem)?])
}
