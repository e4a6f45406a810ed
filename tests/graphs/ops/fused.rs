//! Ops that onnxruntime's optimizer writes, and older forms of ONNX's own.

use trine_ir::Elem::*;
use trine_ir::Tensor;

use crate::graphs::build::{Builder, Size, fits};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{float, int, ints, text};

/// Convolutions with an activation after them, of channels first or last, and one whose pads are an input.
pub fn convolution(b: &mut Builder) -> Option<()> {
    let batch = b.size();
    if !batch.known() || batch.least() == 0 {
        return None;
    }
    let op = b.choices.pick(&["FusedConv", "NhwcConv", "NhwcFusedConv", "ConvTransposeWithDynamicPads"]);
    if b.tame && op.starts_with("Nhwc") {
        return None;
    }
    let image = |size: usize, channels: usize| {
        let (size, channels) = (Size::fixed(size), Size::fixed(channels));
        if op.starts_with("Nhwc") {
            vec![batch, size, size, channels]
        } else {
            vec![batch, channels, size, size]
        }
    };
    let x = b.leaf(F32, &image(5, 4));
    if op == "ConvTransposeWithDynamicPads" {
        let w = b.leaf(F32, &[4, 3, 3, 3].map(Size::fixed));
        let pads = b.ints(&[1, 0, 1, 1]);
        let y = vec![batch, Size::fixed(3), Size::fixed(5), Size::fixed(6)];
        b.emit1("ms.ConvTransposeWithDynamicPads", &[&x.name, &w.name, &pads], vec![], F32, y)?;
        return Some(());
    }
    let (w, bias) = (b.leaf(F32, &[6, 4, 3, 3].map(Size::fixed)), b.leaf(F32, &[Size::fixed(6)]));
    let mut inputs = vec![x.name, w.name, bias.name];
    let mut attributes = vec![ints("kernel_shape", &[3, 3])];
    if op != "NhwcConv" {
        attributes.push(text("activation", b.choices.pick(&["Relu", "Sigmoid", "Tanh"])));
        if b.choices.chance(50) {
            inputs.push(b.leaf(F32, &image(3, 6)).name);
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(&format!("ms.{op}"), &inputs, attributes, F32, image(3, 6))?;
    Some(())
}

/// Products with something before them or after.
pub fn product(b: &mut Builder) -> Option<()> {
    let (m, k, n) = (b.size(), Size::fixed(8), Size::fixed(4));
    if !m.known() || m.least() == 0 {
        return None;
    }
    let (x, w) = (b.leaf(F32, &[m, k]), b.leaf(F32, &[k, n]));
    let op = b.choices.pick(&["FusedGemm", "TransposeMatMul", "FusedMatMulActivation", "CDist"]);
    let (second, attributes, columns) = match op {
        "FusedGemm" => (w, vec![text("activation", b.choices.pick(&["Relu", "Elu", "Tanh"]))], n),
        "TransposeMatMul" => (w, vec![float("alpha", 0.5)], n),
        "FusedMatMulActivation" => (w, vec![text("activation", "Relu")], n),
        _ => (b.leaf(F32, &[n, k]), vec![text("metric", b.choices.pick(&["euclidean", "sqeuclidean"]))], n),
    };
    if b.tame && op == "FusedMatMulActivation" {
        return None;
    }
    b.emit1(&format!("ms.{op}"), &[&x.name, &second.name], attributes, F32, vec![m, columns])?;
    Some(())
}

/// Pieces of transformers and of diffusion models.
pub fn piece(b: &mut Builder) -> Option<()> {
    let (batch, seq, width) = (b.size(), b.size(), Size::fixed(8));
    let dims = vec![batch, seq, width];
    if !dims.iter().all(|d| d.known() && d.least() > 0) || seq.most() > 16 || !fits(&dims) {
        return None;
    }
    let x = b.leaf(F32, &dims);
    let half = vec![batch, seq, Size::fixed(4)];
    let op = b.choices.pick(&["Attention", "SwiGLU", "BiasSplitGelu", "BiasAdd", "BiasSoftmax"]);
    match op {
        "Attention" => {
            let w = b.tensor(data::tensor(F32, &[8, 24], Draw::Reals, 3));
            let bias = b.tensor(data::tensor(F32, &[24], Draw::Reals, 4));
            let attributes = vec![int("num_heads", 2), int("unidirectional", b.choices.between(0, 1))];
            b.emit1("ms.Attention", &[&x.name, &w, &bias], attributes, F32, dims)?;
        }
        _ if b.tame => return None,
        "SwiGLU" => {
            b.emit1("ms.SwiGLU", &[&x.name], vec![float("limit", 1.0)], F32, half)?;
        }
        _ => {
            let bias = b.leaf(F32, &[width]);
            let skip = b.leaf(F32, &dims);
            match op {
                "BiasAdd" => b.emit1("ms.BiasAdd", &[&x.name, &bias.name, &skip.name], vec![], F32, dims)?,
                "BiasSplitGelu" => b.emit1("ms.BiasSplitGelu", &[&x.name, &bias.name], vec![], F32, half)?,
                _ => {
                    let attributes = vec![int("axis", 2), int("is_inner_broadcast", 0)];
                    b.emit1("ms.BiasSoftmax", &[&x.name, &skip.name], attributes, F32, dims)?
                }
            };
        }
    }
    Some(())
}

/// Norms of groups of channels.
pub fn group_norm(b: &mut Builder) -> Option<()> {
    let batch = b.size();
    if b.tame || !batch.known() || batch.least() == 0 {
        return None;
    }
    let last = b.choices.chance(60);
    let mut dims = vec![batch, Size::fixed(3), Size::fixed(2), Size::fixed(4)];
    if !last {
        dims.swap(1, 3);
    }
    let x = b.leaf(F32, &dims);
    let (gain, bias) = (b.leaf(F32, &[Size::fixed(4)]), b.leaf(F32, &[Size::fixed(4)]));
    let mut inputs = vec![x.name, gain.name, bias.name];
    let attributes = vec![
        int("groups", 2),
        int("activation", b.choices.between(0, 1)),
        int("channels_last", i64::from(last)),
        float("epsilon", 0.125),
    ];
    let mut op = "ms.GroupNorm";
    if b.choices.chance(50) {
        op = "ms.SkipGroupNorm";
        inputs.push(b.leaf(F32, &dims).name);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(op, &inputs, attributes, F32, dims)?;
    Some(())
}

/// Transforms of signals, and inverses of matrices.
pub fn transform(b: &mut Builder) -> Option<()> {
    let batch = b.size();
    if !batch.known() {
        return None;
    }
    if b.choices.chance(30) {
        // Well conditioned, so that what rounds elsewhere stays near.
        let values: Vec<f64> = (0..9).map(|i| if i % 4 == 0 { 4.0 } else { f64::from(i) / 8.0 }).collect();
        let m = b.tensor(data::of_values(F32, &[3, 3], &values));
        b.emit1("ms.Inverse", &[&m], vec![], F32, vec![Size::fixed(3); 2])?;
        return Some(());
    }
    if b.tame {
        return None;
    }
    let attributes = vec![int("signal_ndim", 1), int("normalized", 0), int("onesided", 1)];
    let (signal, turned) = (vec![batch, Size::fixed(6)], vec![batch, Size::fixed(4), Size::fixed(2)]);
    let (op, from, to) =
        if b.choices.chance(50) { ("ms.Rfft", signal, turned) } else { ("ms.Irfft", turned, signal) };
    let x = b.leaf(F32, &from);
    b.emit1(op, &[&x.name], attributes, F32, to)?;
    Some(())
}

/// What moves elements, as onnxruntime had it before ONNX did.
pub fn moved(b: &mut Builder) -> Option<()> {
    let (n, width) = (b.size(), Size::fixed(4));
    if !n.known() || n.least() == 0 {
        return None;
    }
    let dims = vec![n, width];
    let x = b.leaf(F32, &dims);
    match b.choices.pick(&["Trilu", "Pad", "ExpandDims", "GatherND", "Range", "UnfoldTensor"]) {
        "Trilu" => {
            let upper = b.choices.between(0, 1);
            b.emit1("ms.Trilu", &[&x.name], vec![int("upper", upper)], F32, dims)?;
        }
        "Pad" => {
            let pads = b.ints(&[0, 1, 0, 2]);
            b.emit1("ms.Pad", &[&x.name, &pads], vec![], F32, vec![n, Size::fixed(7)])?;
        }
        "ExpandDims" => {
            let axis = b.scalar(I32, -1.0);
            b.emit1("ms.ExpandDims", &[&x.name, &axis], vec![], F32, vec![n, width, Size::ONE])?;
        }
        "GatherND" => {
            let at = b.tensor(Tensor::from_vec(vec![2, 2], vec![0i64, 3, 0, 1]).ok()?);
            b.emit1("ms.GatherND", &[&x.name, &at], vec![], F32, vec![Size::fixed(2)])?;
        }
        "Range" => {
            let (start, limit) = (b.scalar(I64, 2.0), b.scalar(I64, 9.0));
            b.emit1("ms.Range", &[&start, &limit], vec![], I64, vec![Size::fixed(7)])?;
        }
        _ => {
            let attributes = vec![int("dim", 1), int("size", 2), int("step", 1)];
            b.emit1("ms.UnfoldTensor", &[&x.name], attributes, F32, vec![n, Size::fixed(3), Size::fixed(2)])?;
        }
    }
    Some(())
}
