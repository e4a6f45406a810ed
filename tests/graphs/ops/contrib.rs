//! Ops that onnxruntime fuses, and ops of the newest opsets.

use trine_ir::Elem::*;
use trine_ir::Tensor;

use crate::graphs::build::{Builder, Size, fits};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{float, int, text};

pub fn embed_norm(b: &mut Builder) -> Option<()> {
    let (batch, seq, width) = (b.size(), b.size(), Size::fixed(8));
    if seq.most() > 9 || !fits(&[batch, seq, width]) {
        return None;
    }
    let dims = [batch, seq];
    let (ids, kinds) = (b.drawn(I32, &dims, Draw::Whole(0, 8)), b.drawn(I32, &dims, Draw::Whole(0, 1)));
    let tables = [9, 9, 2].map(|rows| b.drawn(F32, &[Size::fixed(rows), width], Draw::Reals).name);
    let (gain, bias) = (b.leaf(F32, &[width]), b.leaf(F32, &[width]));
    let inputs = [&ids.name, &kinds.name, &tables[0], &tables[1], &tables[2], &gain.name, &bias.name];
    let inputs: Vec<&str> = inputs.into_iter().map(String::as_str).collect();
    let results = [(F32, vec![batch, seq, width]), (I32, vec![batch])];
    b.emit("ms.EmbedLayerNormalization", &inputs, vec![float("epsilon", 1e-5)], &results)?;
    Some(())
}

pub fn simplified(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32], 2..4);
    if !x.last().known() || x.last().least() == 0 {
        return None;
    }
    let gain = b.leaf(F32, &[x.last()]);
    let attributes = vec![int("axis", -1), float("epsilon", b.choices.pick(&[1e-5, 1e-2]))];
    let op = b.choices.pick(&["SimplifiedLayerNormalization", "ms.SimplifiedLayerNormalization"]);
    b.emit1(op, &[&x.name, &gain.name], attributes, F32, x.dims)?;
    Some(())
}

/// MatMulIntegerToFloat and DynamicQuantizeMatMul.
pub fn scaled(b: &mut Builder) -> Option<()> {
    let (m, k, n) = (b.size(), b.choices.pick(&[4usize, 8, 16]), b.choices.pick(&[1usize, 4, 8]));
    let most = if b.tame { 63 } else { 127 };
    let w = data::tensor(I8, &[k, n], Draw::Whole(-most, most), b.choices.seed());
    let w = b.tensor(w);
    let each = b.choices.chance(50);
    let scale = match each {
        true => b.tensor(data::tensor(F32, &[n], Draw::Positive, 3)),
        false => b.scalar(F32, 0.25),
    };
    let dims = vec![m, Size::fixed(n)];
    let k = Size::fixed(k);
    if m.least() == 0 {
        return None;
    }
    if b.choices.chance(50) {
        let x = b.leaf(F32, &[m, k]);
        let mut inputs = vec![x.name, w, scale];
        if b.choices.chance(50) {
            inputs.push(if each {
                b.tensor(data::of_values(I8, &[n], &vec![0.0; n]))
            } else {
                b.scalar(I8, 0.0)
            });
            if b.choices.chance(50) {
                inputs.push(b.leaf(F32, &[Size::fixed(n)]).name);
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        b.emit1("ms.DynamicQuantizeMatMul", &inputs, vec![], F32, dims)?;
        return Some(());
    }
    let x = b.drawn(U8, &[m, k], Draw::Whole(0, if b.tame { 127 } else { 255 }));
    let (x_scale, x_zero) = (b.scalar(F32, 0.125), b.scalar(U8, 100.0));
    b.emit1("ms.MatMulIntegerToFloat", &[&x.name, &w, &x_scale, &scale, &x_zero], vec![], F32, dims)?;
    Some(())
}

/// An LSTM whose weights are eight bits.
pub fn lstm(b: &mut Builder) -> Option<()> {
    let (seq, batch, width, hidden) = (b.size(), b.size(), 4usize, 3usize);
    if seq.least() == 0 || batch.least() == 0 || b.tame {
        return None;
    }
    let x = b.leaf(F32, &[seq, batch, Size::fixed(width)]);
    let matrix = |b: &mut Builder, rows: usize| {
        let w = data::tensor(I8, &[1, rows, 4 * hidden], Draw::Whole(-127, 127), b.choices.seed());
        b.tensor(w)
    };
    let (w, r) = (matrix(b, width), matrix(b, hidden));
    let bias = b.tensor(data::tensor(F32, &[1, 8 * hidden], Draw::Reals, 5));
    let scale = b.tensor(data::of_values(F32, &[1], &[0.0078125]));
    let zero = b.tensor(data::of_values(I8, &[1], &[0.0]));
    let inputs = [&x.name, &w, &r, &bias, "", "", "", "", &scale, &zero, &scale, &zero];
    let size = Size::fixed(hidden);
    let results = [(F32, vec![seq, Size::ONE, batch, size]), (F32, vec![Size::ONE, batch, size])];
    b.emit("ms.DynamicQuantizeLSTM", &inputs, vec![int("hidden_size", hidden as i64)], &results)?;
    Some(())
}

/// GroupQueryAttention with a cache that grows, and rotary embeddings now and then.
pub fn grouped(b: &mut Builder) -> Option<()> {
    let (batch, seq) = (b.choices.pick(&[1usize, 2]), b.size());
    let (heads, kv, depth) = (b.choices.pick(&[2usize, 4]), b.choices.pick(&[1usize, 2]), 8usize);
    let past = b.choices.pick(&[0usize, 3]);
    let seq = Size::fixed(seq.constant().filter(|n| (1..9).contains(n)).unwrap_or(2));
    let total = past + seq.most();
    let n = Size::fixed(batch);
    let of = |b: &mut Builder, heads: usize| b.leaf(F32, &[n, seq, Size::fixed(heads * depth)]).name;
    let (q, k, v) = (of(b, heads), of(b, kv), of(b, kv));
    let state = vec![n, Size::fixed(kv), Size::fixed(past), Size::fixed(depth)];
    let (pk, pv) = (b.input(F32, &state, Draw::Reals).name, b.input(F32, &state, Draw::Reals).name);
    let last = b.tensor(Tensor::vector(vec![total as i32 - 1; batch]));
    let whole = b.scalar(I32, total as f64);
    let mut inputs = vec![q, k, v, pk, pv, last, whole];
    let mut attributes = vec![int("num_heads", heads as i64), int("kv_num_heads", kv as i64)];
    if b.choices.chance(50) {
        attributes.push(int("do_rotary", 1));
        for seed in [1, 2] {
            inputs.push(b.tensor(data::tensor(F32, &[24, depth / 2], Draw::Reals, seed)));
        }
    }
    if b.choices.chance(30) {
        attributes.push(int("local_window_size", b.choices.between(1, 4)));
    }
    if b.choices.chance(30) {
        attributes.push(float("softcap", 2.0));
    }
    let mut grown = state;
    grown[2] = Size::fixed(total);
    let results = [(F32, vec![n, seq, Size::fixed(heads * depth)]), (F32, grown.clone()), (F32, grown)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit("ms.GroupQueryAttention", &inputs, attributes, &results)?;
    Some(())
}

/// Attention with a state in the place of scores, of opset 27.
pub fn linear_attention(b: &mut Builder) -> Option<()> {
    if b.opset < 27 {
        return None;
    }
    let (batch, seq) = (b.size(), b.size());
    if seq.least() == 0 || !fits(&[batch, seq, Size::fixed(16)]) {
        return None;
    }
    let (heads, depth) = (2usize, 4usize);
    let rule = b.choices.pick(&["linear", "gated", "delta", "gated_delta"]);
    let width = Size::fixed(heads * depth);
    let mut inputs = vec![];
    for _ in 0..3 {
        inputs.push(b.leaf(F32, &[batch, seq, width]).name);
    }
    let state = vec![batch, Size::fixed(heads), Size::fixed(depth), Size::fixed(depth)];
    inputs.push(if b.choices.chance(50) { b.leaf(F32, &state).name } else { String::new() });
    inputs.push(if rule.starts_with("gated") {
        b.leaf(F32, &[batch, seq, width]).name
    } else {
        String::new()
    });
    if rule.ends_with("delta") {
        inputs.push(b.drawn(F32, &[batch, seq, Size::fixed(heads)], Draw::Positive).name);
    }
    let heads = heads as i64;
    let attributes = vec![int("q_num_heads", heads), int("kv_num_heads", heads), text("update_rule", rule)];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit("LinearAttention", &inputs, attributes, &[(F32, vec![batch, seq, width]), (F32, state)])?;
    Some(())
}

/// A causal convolution a channel, of opset 27.
pub fn causal_conv(b: &mut Builder) -> Option<()> {
    if b.opset < 27 {
        return None;
    }
    let (batch, length, channels, taps) = (b.size(), b.size(), Size::fixed(4), 3usize);
    if length.least() == 0 || !fits(&[batch, channels, length]) {
        return None;
    }
    let x = b.leaf(F32, &[batch, channels, length]);
    let w = b.leaf(F32, &[channels, Size::ONE, Size::fixed(taps)]);
    let attributes = vec![text("activation", b.choices.pick(&["none", "silu"]))];
    let state = vec![batch, channels, Size::fixed(taps - 1)];
    b.emit("CausalConvWithState", &[&x.name, &w.name], attributes, &[(F32, x.dims.clone()), (F32, state)])?;
    Some(())
}
