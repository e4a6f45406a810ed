//! onnxruntime's ops on eight bits: the QLinear family, and layers with weights of a few bits.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val, fits};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{int, ints};

/// Scale and zero of one quantized tensor.
fn parameters(b: &mut Builder, elem: Elem) -> [String; 2] {
    let scale = b.choices.pick(&[0.125, 0.05, 0.25, 0.01]);
    let zero = if elem == I8 { b.choices.between(-3, 3) } else { b.choices.between(100, 140) };
    [b.scalar(F32, scale), b.scalar(elem, zero as f64)]
}

fn every(elem: Elem) -> Draw {
    if elem == I8 { Draw::Whole(-128, 127) } else { Draw::Whole(0, 255) }
}

fn emit(b: &mut Builder, op: &str, inputs: &[String], elem: Elem, dims: Vec<Size>) -> Option<Val> {
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(op, &inputs, vec![], elem, dims)
}

/// QLinearAdd, QLinearMul and QLinearWhere.
pub fn binary(b: &mut Builder) -> Option<()> {
    let elem = b.choices.pick(&[U8, I8]);
    let dims = b.shape(1..4);
    if !dims.iter().all(|d| d.known()) {
        return None;
    }
    let other = b.narrowed(&dims);
    let (x, y) = (b.drawn(elem, &dims, every(elem)), b.drawn(elem, &other, every(elem)));
    let op = b.choices.pick(&["ms.QLinearAdd", "ms.QLinearMul", "ms.QLinearWhere"]);
    let mut inputs = vec![];
    if op == "ms.QLinearWhere" {
        inputs.push(b.leaf(Bool, &dims).name);
    }
    for operand in [x, y] {
        inputs.push(operand.name);
        inputs.extend(parameters(b, elem));
    }
    inputs.extend(parameters(b, elem));
    emit(b, op, &inputs, elem, dims)?;
    Some(())
}

/// Those of one tensor.
pub fn unary(b: &mut Builder) -> Option<()> {
    let elem = b.choices.pick(&[U8, I8]);
    let dims = b.shape(1..4);
    let op = b.choices.pick(&[
        "QLinearSigmoid",
        "QLinearLeakyRelu",
        "QLinearSoftmax",
        "QLinearReduceMean",
        "QLinearConcat",
    ]);
    if !dims.iter().all(|d| d.known() && d.least() > 0) || b.tame && op != "QLinearLeakyRelu" {
        return None;
    }
    let x = b.drawn(elem, &dims, every(elem));
    let [scale, zero] = parameters(b, elem);
    let result = parameters(b, elem);
    let mut inputs = vec![x.name, scale, zero];
    let axis = b.choices.below(dims.len());
    let mut y = dims.clone();
    let attributes = match op {
        "QLinearSoftmax" => vec![int("axis", b.axis(axis, dims.len())), int("opset", 13)],
        "QLinearReduceMean" => {
            y[axis] = Size::ONE;
            vec![ints("axes", &[axis as i64]), int("keepdims", 1)]
        }
        "QLinearConcat" => {
            y[axis] = y[axis].map(|n| Some(2 * n))?;
            inputs = [result.to_vec(), inputs.clone(), inputs].concat();
            vec![int("axis", axis as i64)]
        }
        _ => vec![],
    };
    if op != "QLinearConcat" {
        inputs.extend(result);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(&format!("ms.{op}"), &inputs, attributes, elem, y)?;
    Some(())
}

/// Pools of images, whose channels may come last.
pub fn pool(b: &mut Builder) -> Option<()> {
    let (elem, batch) = (b.choices.pick(&[U8, I8]), b.size());
    let op = b.choices.pick(&["QLinearAveragePool", "QLinearGlobalAveragePool", "NhwcMaxPool"]);
    let last = op == "NhwcMaxPool" || b.choices.chance(50);
    if !batch.known() || batch.least() == 0 || b.tame {
        return None;
    }
    let image = |size: usize| {
        let (size, channels) = (Size::fixed(size), Size::fixed(3));
        if last { vec![batch, size, size, channels] } else { vec![batch, channels, size, size] }
    };
    let x = b.drawn(elem, &image(5), every(elem));
    let mut inputs = vec![x.name];
    if op != "NhwcMaxPool" {
        inputs.extend(parameters(b, elem));
        inputs.extend(parameters(b, elem));
    }
    let mut attributes = vec![];
    if op != "NhwcMaxPool" {
        attributes.push(int("channels_last", i64::from(last)));
    }
    let mut size = 1;
    if op != "QLinearGlobalAveragePool" {
        size = 3;
        attributes.extend([
            ints("kernel_shape", &[3, 3]),
            ints("strides", &[2, 2]),
            ints("pads", &[1, 1, 1, 1]),
        ]);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(&format!("ms.{op}"), &inputs, attributes, elem, image(size))?;
    Some(())
}

/// QGemm, MatMulInteger16 and the convolution.
pub fn product(b: &mut Builder) -> Option<()> {
    let (elem, m) = (b.choices.pick(&[U8, I8]), b.size());
    let small = Draw::Whole(-30, 30);
    if !m.known() || m.least() == 0 {
        return None;
    }
    match b.choices.below(3) {
        0 => {
            let x = b.drawn(I16, &[m, Size::fixed(4)], Draw::Whole(-300, 300));
            let w = b.drawn(I16, &[Size::fixed(4), Size::fixed(3)], Draw::Whole(-300, 300));
            emit(b, "ms.MatMulInteger16", &[x.name, w.name], I32, vec![m, Size::fixed(3)])?;
        }
        1 => {
            let x = b.drawn(elem, &[m, Size::fixed(8)], every(elem));
            let w = b.tensor(data::tensor(I8, &[8, 6], small, 3));
            let ([x_scale, x_zero], [w_scale, w_zero]) = (parameters(b, elem), parameters(b, I8));
            let mut inputs = vec![x.name, x_scale, x_zero, w, w_scale, w_zero];
            inputs.push(b.tensor(data::tensor(I32, &[6], Draw::Whole(-500, 500), 4)));
            let floats = b.choices.chance(40);
            if !floats {
                inputs.extend(parameters(b, elem));
            }
            emit(b, "ms.QGemm", &inputs, if floats { F32 } else { elem }, vec![m, Size::fixed(6)])?;
        }
        _ => {
            let last = b.choices.chance(50);
            let image = |size: usize, channels: usize| {
                let (size, channels) = (Size::fixed(size), Size::fixed(channels));
                if last { vec![m, size, size, channels] } else { vec![m, channels, size, size] }
            };
            let x = b.drawn(elem, &image(5, 4), every(elem));
            let w = b.tensor(data::tensor(I8, &[6, 4, 3, 3], small, 3));
            let ([x_scale, x_zero], w_scale) = (parameters(b, elem), b.scalar(F32, 0.01));
            let mut inputs = vec![x.name, x_scale, x_zero, w, w_scale, b.scalar(I8, 0.0)];
            inputs.extend(parameters(b, elem));
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let attributes = vec![int("channels_last", i64::from(last))];
            b.emit1("ms.QLinearConv", &inputs, attributes, elem, image(3, 6))?;
        }
    }
    Some(())
}

/// QAttention, and the embedding of eight bits.
pub fn transformer(b: &mut Builder) -> Option<()> {
    let (batch, seq) = (b.size(), b.size());
    let dims = [batch, seq];
    let known = dims.iter().all(|d| d.known() && d.least() > 0);
    if !known || seq.most() > 8 || !fits(&[batch, seq, Size::fixed(24)]) {
        return None;
    }
    if b.choices.chance(50) {
        let x = b.drawn(U8, &[batch, seq, Size::fixed(6)], Draw::Whole(60, 180));
        let w = b.tensor(data::tensor(I8, &[6, 24], Draw::Whole(-30, 30), 3));
        let bias = b.tensor(data::tensor(F32, &[24], Draw::Reals, 4));
        let (x_scale, w_scale, zero) = (b.scalar(F32, 0.01), b.scalar(F32, 0.02), b.scalar(U8, 120.0));
        let inputs = [&x.name, &w, &bias, &x_scale, &w_scale, "", &zero];
        b.emit1("ms.QAttention", &inputs, vec![int("num_heads", 2)], F32, vec![batch, seq, Size::fixed(8)])?;
        return Some(());
    }
    let ids = b.drawn(I32, &dims, Draw::Whole(0, 8));
    let mut inputs = vec![ids.name, String::new()];
    for shape in [&[9, 8][..], &[9, 8], &[], &[8], &[8]] {
        inputs.push(match shape {
            [] => String::new(),
            _ => b.tensor(data::tensor(U8, shape, every(U8), 3)),
        });
    }
    inputs.push(String::new());
    inputs.extend(
        [0.02, 0.03, 0.0, 0.02, 0.05].map(|s| if s == 0.0 { String::new() } else { b.scalar(F32, s) }),
    );
    inputs.extend(
        [128, 120, 0, 3, 127].map(|z| if z == 0 { String::new() } else { b.scalar(U8, f64::from(z)) }),
    );
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let results = [(F32, vec![batch, seq, Size::fixed(8)]), (I32, vec![batch])];
    b.emit("ms.QEmbedLayerNormalization", &inputs, vec![], &results)?;
    Some(())
}

/// GatherBlockQuantized.
pub fn gathered(b: &mut Builder) -> Option<()> {
    let dims = b.shape(0..3);
    let bits = b.choices.pick(&[2usize, 4, 8]);
    let width = b.choices.pick(&[16usize, 32, 40]);
    let all = [dims.as_slice(), &[Size::fixed(width)]].concat();
    if !dims.iter().all(|d| d.known()) || !fits(&all) {
        return None;
    }
    let ids = b.drawn(I64, &dims, Draw::Whole(-7, 6));
    let seed = b.choices.seed();
    let table = b.tensor(data::tensor(U8, &[7, width * bits / 8], every(U8), seed));
    let blocks = width.div_ceil(16);
    let scales = b.tensor(data::tensor(F32, &[7, blocks], Draw::Positive, 3));
    let mut inputs = vec![table, ids.name, scales];
    if b.choices.chance(50) {
        let zeros = data::tensor(U8, &[7, (blocks * bits).div_ceil(8)], every(U8), 4);
        inputs.push(b.tensor(zeros));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = vec![int("bits", bits as i64), int("block_size", 16)];
    b.emit1("ms.GatherBlockQuantized", &inputs, attributes, F32, all)?;
    Some(())
}
