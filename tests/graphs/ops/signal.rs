//! Spectra, windows, and numbers drawn at random.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size};
use crate::graphs::proto::{data_type, float, int, ints};

/// A transform, or its inverse, of lines along any axis that are cut or padded now and then.
pub fn transform(b: &mut Builder) -> Option<()> {
    if b.opset < 17 {
        return None;
    }
    let mut dims = b.shape(1..4);
    let axis = b.choices.below(dims.len());
    let (inverse, half) = (b.choices.chance(30), b.choices.chance(40));
    // onnxruntime knows no inverse of a half.
    let whole = inverse && half;
    if whole && b.tame || dims.iter().any(|d| d.least() == 0) {
        return None;
    }
    let parts = match (half, inverse) {
        (true, false) => 1,
        (true, true) => 2,
        _ => b.choices.pick(&[1, 2]),
    };
    let length = b.choices.chance(40).then(|| b.choices.between(1, 9) as usize);
    if whole && length.is_none() && dims[axis].least() < 2 {
        return None;
    }
    dims.push(Size::fixed(parts));
    let elem = b.choices.pick(&[F32, F32, F64]);
    let x = b.leaf(elem, &dims);
    let result = dims[axis].map(|n| {
        let length = length.unwrap_or(if whole { 2 * (n - 1) } else { n });
        Some(if half && !inverse { length / 2 + 1 } else { length })
    })?;
    let rank = dims.len();
    dims[axis] = result;
    dims[rank - 1] = Size::fixed(if whole { 1 } else { 2 });
    let mut attributes = vec![int("inverse", inverse.into()), int("onesided", half.into())];
    let length = length.map_or(String::new(), |n| b.scalar(I64, n as f64));
    let spelt = b.axis(axis, rank);
    if b.opset < 20 {
        attributes.push(int("axis", spelt));
        b.emit1("DFT", &[&x.name, &length], attributes, elem, dims)?;
    } else {
        let axis = b.scalar(I64, spelt as f64);
        b.emit1("DFT", &[&x.name, &length, &axis], attributes, elem, dims)?;
    }
    Some(())
}

/// Transforms of frames, under a window or not.
pub fn frames(b: &mut Builder) -> Option<()> {
    if b.opset < 17 {
        return None;
    }
    let (length, step) = (b.choices.between(2, 8) as usize, b.choices.between(1, 4) as usize);
    let samples = b.size().map(|n| Some(n + length))?;
    let batch = b.size();
    if batch.least() == 0 || batch.most() > 16 {
        return None;
    }
    let elem = b.choices.pick(&[F32, F64]);
    let signal = b.leaf(elem, &[batch, samples, Size::ONE]);
    let count = samples.map(|n| Some((n - length) / step + 1))?;
    let half = b.choices.chance(70);
    let bins = Size::fixed(if half { length / 2 + 1 } else { length });
    let (step, size) = (b.scalar(I64, step as f64), b.scalar(I64, length as f64));
    let window = match b.choices.chance(60) {
        true => b.leaf(elem, &[Size::fixed(length)]).name,
        false => String::new(),
    };
    let attributes = if half && b.choices.chance(50) { vec![] } else { vec![int("onesided", half.into())] };
    let dims = vec![batch, count, bins, Size::fixed(2)];
    b.emit1("STFT", &[&signal.name, &step, &window, &size], attributes, elem, dims)?;
    Some(())
}

/// Windows, and weights of bands.
pub fn made(b: &mut Builder) -> Option<()> {
    if b.opset < 17 {
        return None;
    }
    let op = b.choices.pick(&["HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"]);
    let elem = b.choices.pick(&[F32, F32, F64]);
    let mut attributes = vec![];
    if elem != F32 || b.choices.chance(30) {
        attributes.push(int("output_datatype", data_type(elem).into()));
    }
    if op == "MelWeightMatrix" {
        let (bins, length) = (b.choices.between(2, 9) as usize, b.choices.pick(&[16usize, 32, 33]));
        let mut inputs: Vec<String> = [bins, length, 8192].map(|n| b.scalar(I64, n as f64)).to_vec();
        inputs.extend([0.0, 3800.0].map(|edge| b.scalar(F32, edge)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        b.emit1(op, &inputs, attributes, elem, vec![Size::fixed(length / 2 + 1), Size::fixed(bins)])?;
        return Some(());
    }
    if b.choices.chance(40) {
        attributes.push(int("periodic", 0));
    }
    let size = b.choices.between(2, 12) as usize;
    let count = b.scalar(I64, size as f64);
    b.emit1(op, &[&count], attributes, elem, vec![Size::fixed(size)])?;
    Some(())
}

/// What a seed says; each runtime draws its own numbers.
pub fn random(b: &mut Builder) -> Option<()> {
    if b.tame {
        return None;
    }
    const OPS: &[&str] = &[
        "RandomUniform",
        "RandomNormal",
        "RandomUniformLike",
        "RandomNormalLike",
        "Bernoulli",
        "Multinomial",
    ];
    let op = b.choices.pick(OPS);
    let mut attributes = vec![];
    if b.choices.chance(70) {
        attributes.push(float("seed", b.choices.pick(&[0.0, 1.0, 2.5])));
    }
    if op == "Multinomial" {
        let (batch, classes, samples) = (b.size(), Size::fixed(4), b.choices.between(1, 6) as usize);
        let x = b.leaf(F32, &[batch, classes]);
        attributes.push(int("sample_size", samples as i64));
        b.emit1(op, &[&x.name], attributes, I32, vec![batch, Size::fixed(samples)])?;
        return Some(());
    }
    if op == "Bernoulli" && b.opset < 15 {
        return None;
    }
    match op {
        "RandomUniform" | "RandomUniformLike" if b.choices.chance(50) => {
            attributes.extend([float("low", -1.0), float("high", 3.0)]);
        }
        "RandomNormal" | "RandomNormalLike" if b.choices.chance(50) => {
            attributes.extend([float("mean", 2.0), float("scale", 0.5)]);
        }
        _ => {}
    }
    let elems: &[Elem] = if op == "Bernoulli" { &[F32, I32, I64, Bool] } else { &[F32, F32, F64, F16] };
    let to = b.choices.pick(elems);
    attributes.push(int("dtype", data_type(to).into()));
    if op.ends_with("Like") || op == "Bernoulli" {
        let x = b.operand(&[F32, F32, F64], 0..4);
        b.emit1(op, &[&x.name], attributes, to, x.dims)?;
    } else {
        let dims = [b.choices.between(1, 4), b.choices.between(1, 5)];
        attributes.push(ints("shape", &dims));
        b.emit1(op, &[], attributes, to, dims.map(|n| Size::fixed(n as usize)).to_vec())?;
    }
    Some(())
}
