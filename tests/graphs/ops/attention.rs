//! Attention as an op, of onnxruntime's, and as exporters spell it; rotary embeddings.

use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{float, int, ints};

/// Queries, keys and values `[b,h,s,d]`.
struct Heads {
    q: Val,
    k: Val,
    v: Val,
    batch: Size,
    heads: usize,
    queries: Size,
    keys: Size,
    depth: usize,
}

fn heads(b: &mut Builder, shared: bool) -> Option<Heads> {
    let (batch, queries) = (b.size(), b.size());
    let keys = if b.choices.chance(50) { queries } else { b.size() };
    let (heads, depth) = (b.choices.pick(&[1, 2, 4]), b.choices.pick(&[4, 8, 8, 16]));
    let kv = if shared && heads > 1 && b.choices.chance(50) { heads / 2 } else { heads };
    if keys.least() == 0 || queries.least() == 0 {
        return None;
    }
    let of = |b: &mut Builder, h: usize, s: Size| {
        let dims = [batch, Size::fixed(h), s, Size::fixed(depth)];
        if !crate::graphs::build::fits(&dims) {
            return None;
        }
        let found = b.find(|v| v.elem == F32 && v.dims == dims);
        Some(found.unwrap_or_else(|| b.leaf(F32, &dims)))
    };
    let (q, k, v) = (of(b, heads, queries)?, of(b, kv, keys)?, of(b, kv, keys)?);
    Some(Heads { q, k, v, batch, heads, queries, keys, depth })
}

/// A mask that leaves every query something to see, or hides at will.
fn mask(b: &mut Builder, h: &Heads, keys: Size) -> Val {
    let dims = match b.choices.below(3) {
        0 => vec![h.queries, keys],
        1 => vec![h.batch, Size::ONE, h.queries, keys],
        _ => vec![h.batch, Size::ONE, Size::ONE, keys],
    };
    if b.choices.chance(50) {
        b.drawn(Bool, &dims, Draw::Whole(0, 1))
    } else {
        b.drawn(F32, &dims, Draw::Reals)
    }
}

pub fn op(b: &mut Builder) -> Option<()> {
    if b.opset < 23 {
        return None;
    }
    let h = heads(b, true)?;
    let mut attributes = vec![];
    let causal = b.choices.chance(40);
    if causal {
        attributes.push(int("is_causal", 1));
    }
    if b.choices.chance(25) {
        attributes.push(float("softcap", b.choices.pick(&[0.5, 2.0])));
    }
    if b.choices.chance(30) {
        attributes.push(float("scale", b.choices.pick(&[0.5, 1.0])));
    }
    let mut inputs = vec![h.q.name.clone(), h.k.name.clone(), h.v.name.clone()];
    let past = b.choices.chance(25).then(|| b.size()).filter(|p| p.least() > 0);
    let total = match past {
        Some(past) => Size::zip(&[past, h.keys], |at| Some(at[0] + at[1]))?,
        None => h.keys,
    };
    if b.choices.chance(50) {
        inputs.push(mask(b, &h, total).name);
    }
    let mut results = vec![(F32, h.q.dims.clone())];
    if let Some(past) = past {
        inputs.resize(4, String::new());
        let mut dims = h.k.dims.clone();
        dims[2] = past;
        inputs.extend([b.leaf(F32, &dims).name, b.leaf(F32, &dims).name]);
        dims[2] = total;
        results.extend([(F32, dims.clone()), (F32, dims)]);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit("Attention", &inputs, attributes, &results)?;
    Some(())
}

/// Scores, a mask, softmax and the weighted sum, in some of the ways that exporters write them.
pub fn spelled(b: &mut Builder) -> Option<()> {
    let h = heads(b, false)?;
    let (batch, count) = (h.batch, Size::fixed(h.heads));
    let turned = vec![batch, count, Size::fixed(h.depth), h.keys];
    let scores = vec![batch, count, h.queries, h.keys];
    let factor = 1.0 / (h.depth as f64).sqrt();
    let mut q = h.q.name.clone();
    let early = b.choices.chance(40);
    if early {
        let f = b.scalar(F32, factor);
        q = b.emit1("Mul", &[&q, &f], vec![], F32, h.q.dims.clone())?.name;
    }
    let t = b.emit1("Transpose", &[&h.k.name], vec![ints("perm", &[0, 1, 3, 2])], F32, turned)?;
    let mut s = b.emit1("MatMul", &[&q, &t.name], vec![], F32, scores.clone())?.name;
    if !early {
        let divides = b.choices.chance(50);
        let f = b.scalar(F32, if divides { 1.0 / factor } else { factor });
        s = b.emit1(if divides { "Div" } else { "Mul" }, &[&s, &f], vec![], F32, scores.clone())?.name;
    }
    if b.choices.chance(60) {
        let m = mask(b, &h, h.keys);
        s = if m.elem == Bool {
            let hidden = b.choices.pick(&[f64::NEG_INFINITY, -1e9, -3.4e38, -2.0, 0.0]);
            let hidden = b.scalar(F32, hidden);
            b.emit1("Where", &[&m.name, &s, &hidden], vec![], F32, scores.clone())?.name
        } else {
            b.emit1("Add", &[&s, &m.name], vec![], F32, scores.clone())?.name
        };
    }
    let axis = if b.choices.chance(85) { 3 } else { 2 };
    let w = b.emit1("Softmax", &[&s], vec![int("axis", axis)], F32, scores)?;
    let y = b.emit1("MatMul", &[&w.name, &h.v.name], vec![], F32, h.q.dims.clone())?;
    if b.choices.chance(60) {
        let dims = vec![batch, h.queries, count, Size::fixed(h.depth)];
        let y = b.emit1("Transpose", &[&y.name], vec![ints("perm", &[0, 2, 1, 3])], F32, dims)?;
        let shape = b.ints(&[0, 0, (h.heads * h.depth) as i64]);
        b.emit1(
            "Reshape",
            &[&y.name, &shape],
            vec![],
            F32,
            vec![batch, h.queries, Size::fixed(h.heads * h.depth)],
        )?;
    }
    Some(())
}

/// MultiHeadAttention of onnxruntime.
pub fn grouped(b: &mut Builder) -> Option<()> {
    let (batch, queries, keys) = (b.size(), b.size(), b.size());
    let (heads, depth) = (b.choices.pick(&[1, 2]), b.choices.pick(&[4, 8]));
    if keys.least() == 0 || queries.least() == 0 {
        return None;
    }
    let width = Size::fixed(heads * depth);
    if !crate::graphs::build::fits(&[batch, queries, keys, Size::fixed(heads)]) {
        return None;
    }
    let q = b.leaf(F32, &[batch, queries, width]);
    let (k, v) = (b.leaf(F32, &[batch, keys, width]), b.leaf(F32, &[batch, keys, width]));
    let mut inputs = vec![q.name.clone(), k.name, v.name];
    if b.choices.chance(50) {
        let bias = b.leaf(F32, &[Size::fixed(3 * heads * depth)]);
        inputs.push(bias.name);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1("ms.MultiHeadAttention", &inputs, vec![int("num_heads", heads as i64)], F32, q.dims)?;
    Some(())
}

/// RotaryEmbedding of ONNX and of onnxruntime.
pub fn rotary(b: &mut Builder) -> Option<()> {
    let (batch, seq) = (b.size(), b.size());
    let (heads, half) = (b.choices.pick(&[1, 2]), b.choices.pick(&[2, 4]));
    let rows = 24;
    let table = |b: &mut Builder, seed| b.tensor(data::tensor(F32, &[rows, half], Draw::Reals, seed));
    let (cos, sin) = (table(b, 1), table(b, 2));
    let ids = b.drawn(I64, &[batch, seq], Draw::Whole(0, rows as i64 - 1));
    let packed = b.choices.chance(50);
    let dims = match packed {
        true => vec![batch, seq, Size::fixed(heads * half * 2)],
        false => vec![batch, Size::fixed(heads), seq, Size::fixed(half * 2)],
    };
    if !crate::graphs::build::fits(&dims) {
        return None;
    }
    let x = match b.find(|v| v.elem == F32 && v.dims == dims) {
        Some(x) => x,
        None => b.leaf(F32, &dims),
    };
    let mut attributes = vec![int("interleaved", b.choices.below(2) as i64)];
    if packed {
        attributes.push(int("num_heads", heads as i64));
    }
    if b.opset >= 23 {
        b.emit1("RotaryEmbedding", &[&x.name, &cos, &sin, &ids.name], attributes, F32, dims)?;
    } else {
        b.emit1("ms.RotaryEmbedding", &[&x.name, &ids.name, &cos, &sin], attributes, F32, dims)?;
    }
    Some(())
}

/// `x·cos + rotate_half(x)·sin`, or nearly that.
pub fn turned(b: &mut Builder) -> Option<()> {
    let (batch, seq, d) = (b.size(), b.size(), b.choices.pick(&[4usize, 8]));
    let dims = vec![batch, Size::fixed(2), seq, Size::fixed(d)];
    if b.opset < 10 || !crate::graphs::build::fits(&dims) {
        return None;
    }
    let x = match b.find(|v| v.elem == F32 && v.dims == dims) {
        Some(x) => x,
        None => b.leaf(F32, &dims),
    };
    let half = d as i64 / 2;
    let cut = b.choices.pick(&[half, half, half, 1]);
    let (zero, middle, end, axis) = (b.ints(&[0]), b.ints(&[cut]), b.ints(&[i64::MAX]), b.ints(&[3]));
    let part = |n: i64| {
        let mut dims = dims.clone();
        dims[3] = Size::fixed(n as usize);
        dims
    };
    let low = b.emit1("Slice", &[&x.name, &zero, &middle, &axis], vec![], F32, part(cut))?;
    let high = b.emit1("Slice", &[&x.name, &middle, &end, &axis], vec![], F32, part(d as i64 - cut))?;
    let minus = b.emit1("Neg", &[&high.name], vec![], F32, high.dims)?;
    let turned = b.emit1("Concat", &[&minus.name, &low.name], vec![int("axis", -1)], F32, dims.clone())?;
    let table = match b.choices.below(3) {
        0 => vec![seq, Size::fixed(d)],
        1 => vec![batch, Size::ONE, seq, Size::fixed(d)],
        _ => vec![Size::ONE, Size::ONE, seq, Size::fixed(d)],
    };
    let (cos, sin) = (b.leaf(F32, &table), b.leaf(F32, &table));
    let p = b.emit1("Mul", &[&x.name, &cos.name], vec![], F32, dims.clone())?;
    let q = b.emit1("Mul", &[&turned.name, &sin.name], vec![], F32, dims.clone())?;
    b.emit1("Add", &[&p.name, &q.name], vec![], F32, dims)?;
    Some(())
}
