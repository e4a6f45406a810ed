//! Ops of onnxruntime against the same thing written in ONNX's own.

use trine_ir::Tensor;

use crate::damage;
use crate::model;
use crate::model::{Named, noise, run};
use crate::numbers::distance;

/// Runs both and compares each result. The fused one must survive being damaged, too.
fn same(inputs: &[Named], constants: &[Named], fused: &str, plain: &str) {
    let (fused_results, plain_results) = (run(inputs, constants, fused), run(inputs, constants, plain));
    assert_eq!(fused_results.len(), plain_results.len());
    for (i, (a, b)) in fused_results.iter().zip(&plain_results).enumerate() {
        close(a, b, &format!("result {i} of {fused}"));
    }
    let given: Vec<_> = inputs.iter().map(|(_, t)| t.clone()).collect();
    damage::survived(&model::proto(inputs, constants, fused), &given)
        .unwrap_or_else(|e| panic!("{fused}:\n{e}"));
}

fn close(a: &Tensor, b: &Tensor, what: &str) {
    assert_eq!(a.ty(), b.ty(), "{what}");
    let (a, b) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
    let off = distance(&a, &b);
    assert!(off <= 1e-5, "{what}: {off} off");
}

fn vector(values: &[i64]) -> Tensor {
    Tensor::vector(values.to_vec())
}

fn lengths(values: &[i32]) -> Tensor {
    Tensor::vector(values.to_vec())
}

#[test]
fn gelus() {
    let inputs = [("x", noise(&[2, 3, 8], 1)), ("b", noise(&[8], 2))];
    same(&inputs, &[], "y = ms.FastGelu(x, b)\n-> y", "s = Add(x, b)\ny = Gelu(s) {approximate: tanh}\n-> y");
    same(&inputs, &[], "y = ms.BiasGelu(x, b)\n-> y", "s = Add(x, b)\ny = Gelu(s)\n-> y");
    let alpha = [("alpha", Tensor::scalar(1.5f32))];
    let quick = "s = Mul(alpha, x)\ng = Sigmoid(s)\ny = Mul(x, g)\n-> y";
    same(&inputs, &alpha, "y = ms.QuickGelu(x) {alpha: 1.5}\n-> y", quick);
}

#[test]
fn fused_matmul() {
    let inputs = [("a", noise(&[2, 4, 3], 1)), ("b", noise(&[2, 5, 4], 2))];
    let plain = "t = Transpose(a) {perm: [0 2 1]}
        u = Transpose(b) {perm: [0 2 1]}
        p = MatMul(t, u)
        y = Mul(p, half)
        -> y";
    let fused = "y = ms.FusedMatMul(a, b) {transA: 1, transB: 1, alpha: 0.5}\n-> y";
    same(&inputs, &[("half", Tensor::scalar(0.5f32))], fused, plain);
}

/// Packed weights of `[n, k]`, and what they stand for.
struct Packed {
    q: Tensor,
    scale: Tensor,
    zero: Option<Tensor>,
    dense: Tensor,
}

/// Weights whose integers and zero points run through all that `bits` can hold. `zero`: none, packed, or floats.
fn packed(bits: usize, block: usize, n: usize, k: usize, zero: usize) -> Packed {
    let blocks = k.div_ceil(block);
    let field = |i: usize| (i * 7 + i / 3) % (1 << bits);
    let pack = |fields: &[usize]| -> Vec<u8> {
        fields.chunks(8 / bits).map(|c| c.iter().rev().fold(0, |byte, f| byte << bits | *f) as u8).collect()
    };
    let q: Vec<usize> = (0..n * blocks * block).map(field).collect();
    let scale = noise(&[n, blocks], 9);
    let zeros: Vec<f32> = (0..n * blocks)
        .map(|i| match zero {
            0 => (1 << (bits - 1)) as f32,
            1 => field(i + 5) as f32,
            _ => field(i + 5) as f32 + 0.25,
        })
        .collect();
    let scales = scale.values::<f32>().unwrap();
    let dense = (0..n * k).map(|i| {
        let (row, column) = (i / k, i % k);
        let at = row * blocks + column / block;
        (q[row * blocks * block + column] as f32 - zeros[at]) * scales[at]
    });
    let dense = Tensor::from_vec(vec![n, k], dense.collect()).unwrap();
    let bytes = pack(&q);
    let zero = match zero {
        0 => None,
        1 => {
            let rows: Vec<usize> = (0..n * blocks).map(|i| field(i + 5)).collect();
            let packed: Vec<u8> = rows.chunks(blocks).flat_map(pack).collect();
            Some(Tensor::from_vec(vec![packed.len()], packed).unwrap())
        }
        _ => Some(Tensor::from_vec(vec![n, blocks], zeros).unwrap()),
    };
    let q = Tensor::from_vec(vec![n, blocks, block * bits / 8], bytes).unwrap();
    Packed { q, scale: scale.reshape(vec![n * blocks]).unwrap(), zero, dense }
}

#[test]
fn matmul_nbits() {
    for bits in [2, 4, 8] {
        for (block, n, k, zero) in [(16, 3, 32, 0), (16, 5, 40, 1), (32, 4, 70, 2), (32, 7, 96, 1)] {
            let w = packed(bits, block, n, k, zero);
            let inputs = [("x", noise(&[2, k], 4))];
            let mut constants = vec![("q", w.q), ("s", w.scale), ("bias", noise(&[n], 5)), ("w", w.dense)];
            let zero = if w.zero.is_some() { "z" } else { "_" };
            constants.extend(w.zero.map(|z| ("z", z)));
            let fused = format!(
                "y = ms.MatMulNBits(x, q, s, {zero}, _, bias) {{N: {n}, K: {k}, bits: {bits}, block_size: {block}}}\n-> y"
            );
            same(&inputs, &constants, &fused, "y = Gemm(x, w, bias) {transB: 1}\n-> y");
        }
    }
}

#[test]
fn skip_norms() {
    let inputs = [("x", noise(&[2, 3, 8], 1)), ("skip", noise(&[1, 3, 8], 2))];
    let constants = [("g", noise(&[8], 3)), ("b", noise(&[8], 4)), ("c", noise(&[8], 5))];
    let sum = "t = Add(x, skip)\ns = Add(t, c)";
    let fused = "y, _, _, s = ms.SkipLayerNormalization(x, skip, g, b, c) {epsilon: 0.001}\n-> y, s";
    let plain = format!("{sum}\ny = LayerNormalization(s, g, b) {{epsilon: 0.001}}\n-> y, s");
    same(&inputs, &constants, fused, &plain);
    let fused = "y, _, _, s = ms.SkipSimplifiedLayerNormalization(x, skip, g, c) {epsilon: 0.001}\n-> y, s";
    let plain = format!("{sum}\ny = RMSNormalization(s, g) {{epsilon: 0.001}}\n-> y, s");
    same(&inputs, &constants, fused, &plain);
    let fused = "y = SimplifiedLayerNormalization(x, g) {epsilon: 0.001}\n-> y";
    same(&inputs, &constants, fused, "y = RMSNormalization(x, g) {epsilon: 0.001}\n-> y");
}

#[test]
fn embed_norm() {
    let ids = |values: &[i32]| Tensor::from_vec(vec![2, 3], values.to_vec()).unwrap();
    let inputs = [("ids", ids(&[4, 0, 2, 1, 1, 3])), ("segments", ids(&[0, 1, 1, 0, 0, 1]))];
    let constants = [
        ("words", noise(&[5, 8], 1)),
        ("places", noise(&[7, 8], 2)),
        ("kinds", noise(&[2, 8], 3)),
        ("g", noise(&[8], 4)),
        ("b", noise(&[8], 5)),
        ("at", vector(&[0, 1, 2])),
    ];
    let fused = "y, _, s = ms.EmbedLayerNormalization(ids, segments, words, places, kinds, g, b) {epsilon: 0.001}\n-> y, s";
    let plain = "w = Gather(words, ids)
        p = Gather(places, at)
        k = Gather(kinds, segments)
        t = Add(w, p)
        s = Add(t, k)
        y = LayerNormalization(s, g, b) {epsilon: 0.001}
        -> y, s";
    same(&inputs, &constants, fused, plain);
}

#[test]
fn rotary() {
    let ids = Tensor::from_vec(vec![2, 3], vec![2i64, 3, 4, 2, 3, 4]).unwrap();
    for (interleaved, pairs, extra) in [(0, 4, ""), (1, 4, ""), (1, 2, ", rotary_embedding_dim: 4")] {
        let inputs = [("x", noise(&[2, 3, 16], 1))];
        let constants = [
            ("cos", noise(&[12, pairs], 2)),
            ("sin", noise(&[12, pairs], 3)),
            ("ids", ids.clone()),
            ("start", vector(&[2])),
        ];
        let attributes = format!("{{num_heads: 2, interleaved: {interleaved}{extra}}}");
        let plain = format!("y = RotaryEmbedding(x, cos, sin, ids) {attributes}\n-> y");
        same(
            &inputs,
            &constants,
            &format!("y = ms.RotaryEmbedding(x, ids, cos, sin) {attributes}\n-> y"),
            &plain,
        );
        same(
            &inputs,
            &constants,
            &format!("y = ms.RotaryEmbedding(x, start, cos, sin) {attributes}\n-> y"),
            &plain,
        );
    }
}

#[test]
fn multi_head_attention() {
    let inputs = [
        ("q", noise(&[2, 3, 16], 1)),
        ("k", noise(&[2, 3, 16], 2)),
        ("v", noise(&[2, 3, 12], 3)),
        ("pk", noise(&[2, 2, 4, 8], 4)),
        ("pv", noise(&[2, 2, 4, 6], 5)),
        ("bias", noise(&[1, 2, 3, 7], 6)),
    ];
    let keep = Tensor::from_vec(vec![2, 7], vec![0i32, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]).unwrap();
    let shown = (0..14).map(|i| if i == 0 || i == 13 { -10000f32 } else { 0.0 }).collect();
    let constants = [
        ("keep", keep),
        ("shown", Tensor::from_vec(vec![2, 1, 1, 7], shown).unwrap()),
        ("b", noise(&[44], 7)),
        ("bq", noise(&[44], 7)),
        ("cuts", vector(&[16, 16, 12])),
    ];
    let fused = "y, nk, nv = ms.MultiHeadAttention(q, k, v, b, keep, bias, pk, pv) {num_heads: 2, unidirectional: 1}\n-> y, nk, nv";
    let plain = "bq1, bk1, bv1 = Split(bq, cuts) {axis: 0}
        q1 = Add(q, bq1)
        k1 = Add(k, bk1)
        v1 = Add(v, bv1)
        mask = Add(shown, bias)
        y, nk, nv = Attention(q1, k1, v1, mask, pk, pv) {q_num_heads: 2, kv_num_heads: 2, is_causal: 1}
        -> y, nk, nv";
    same(&inputs, &constants, fused, plain);
}

#[test]
fn grouped_queries_with_a_cache() {
    let inputs = [
        ("q", noise(&[2, 3, 32], 1)),
        ("k", noise(&[2, 3, 16], 2)),
        ("v", noise(&[2, 3, 16], 3)),
        ("pk", noise(&[2, 2, 4, 8], 4)),
        ("pv", noise(&[2, 2, 4, 8], 5)),
    ];
    let ids = Tensor::from_vec(vec![2, 3], vec![4i64, 5, 6, 4, 5, 6]).unwrap();
    let constants = [
        ("last", lengths(&[6, 6])),
        ("total", Tensor::scalar(7i32)),
        ("cos", noise(&[12, 4], 6)),
        ("sin", noise(&[12, 4], 7)),
        ("ids", ids),
    ];
    let fused = "y, nk, nv = ms.GroupQueryAttention(q, k, v, pk, pv, last, total, cos, sin) {num_heads: 4, kv_num_heads: 2, do_rotary: 1, softcap: 0.5}\n-> y, nk, nv";
    let plain = "q1 = RotaryEmbedding(q, cos, sin, ids) {num_heads: 4}
        k1 = RotaryEmbedding(k, cos, sin, ids) {num_heads: 2}
        y, nk, nv = Attention(q1, k1, v, _, pk, pv) {q_num_heads: 4, kv_num_heads: 2, is_causal: 1, softcap: 0.5}
        -> y, nk, nv";
    same(&inputs, &constants, fused, plain);
    let packed = "qkv = Concat(q, k, v) {axis: 2}
        y, nk, nv = ms.GroupQueryAttention(qkv, _, _, pk, pv, last, total, cos, sin) {num_heads: 4, kv_num_heads: 2, do_rotary: 1, softcap: 0.5}
        -> y, nk, nv";
    same(&inputs, &constants, packed, plain);
}

#[test]
fn grouped_queries_in_a_window() {
    let inputs = [("q", noise(&[1, 5, 16], 1)), ("k", noise(&[1, 5, 8], 2)), ("v", noise(&[1, 5, 8], 3))];
    // Query i sees keys i-1 and i.
    let seen = (0..25).map(|i| (i / 5 - 1..=i / 5).contains(&(i % 5)));
    let constants = [
        ("last", lengths(&[4])),
        ("total", Tensor::scalar(5i32)),
        ("seen", Tensor::from_bools(vec![5, 5], seen).unwrap()),
    ];
    let fused = "y = ms.GroupQueryAttention(q, k, v, _, _, last, total) {num_heads: 2, kv_num_heads: 1, local_window_size: 2}\n-> y";
    let plain = "y = Attention(q, k, v, seen) {q_num_heads: 2, kv_num_heads: 1}\n-> y";
    same(&inputs, &constants, fused, plain);
}

#[test]
fn grouped_queries_of_sequences_of_different_lengths() {
    let token = |seed| noise(&[2, 1, 16], seed);
    let (pk, pv) = (noise(&[2, 2, 4, 8], 4), noise(&[2, 2, 4, 8], 5));
    let inputs = [("q", token(1)), ("k", token(2)), ("v", token(3)), ("pk", pk.clone()), ("pv", pv.clone())];
    // The second sequence has two keys before the new one.
    let constants = [("last", lengths(&[4, 2])), ("total", Tensor::scalar(5i32))];
    let fused = "y, nk, nv = ms.GroupQueryAttention(q, k, v, pk, pv, last, total) {num_heads: 2, kv_num_heads: 2}\n-> y, nk, nv";
    let together = run(&inputs, &constants, fused);
    let alone = [("q", token(1)), ("k", token(2)), ("v", token(3)), ("pk", pk), ("pv", pv)];
    let cut = [("from", vector(&[1, 0])), ("to", vector(&[2, 2])), ("axes", vector(&[0, 2]))];
    let plain = "q1 = Slice(q, from1, to1)
        k1 = Slice(k, from1, to1)
        v1 = Slice(v, from1, to1)
        pk1 = Slice(pk, from, to, axes)
        pv1 = Slice(pv, from, to, axes)
        y, nk, nv = Attention(q1, k1, v1, _, pk1, pv1) {q_num_heads: 2, kv_num_heads: 2, is_causal: 1}
        -> y, nk, nv";
    let constants = [&cut[..], &[("from1", vector(&[1])), ("to1", vector(&[2]))]].concat();
    let second = run(&alone, &constants, plain);
    let row = together[0].values::<f32>().unwrap()[16..].to_vec();
    close(&Tensor::from_vec(vec![1, 1, 16], row).unwrap(), &second[0], "the second sequence");
    // Its cache holds the same three keys a head, whatever comes after them.
    let cache = together[1].values::<f32>().unwrap();
    let kept: Vec<f32> = (0..2).flat_map(|h| cache[(2 + h) * 40..][..24].to_vec()).collect();
    close(&Tensor::from_vec(vec![1, 2, 3, 8], kept).unwrap(), &second[1], "its keys");
}
