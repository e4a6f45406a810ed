//! Norms over the last axes, as ops and as exporters spell them.

use trine_ir::Elem::*;

use super::elementwise::FLOATS;
use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::proto::{float, int, ints};

/// A value whose last axis is known and not empty.
fn rows(b: &mut Builder, elems: &[trine_ir::Elem]) -> Option<Val> {
    let x = b.operand(elems, 1..5);
    (x.last().known() && x.last().least() > 0).then_some(x)
}

pub fn layer(b: &mut Builder) -> Option<()> {
    if b.opset < 17 {
        return None;
    }
    let x = rows(b, &[F32, F32, F32, F16, F64])?;
    let axis = if b.choices.chance(80) { x.rank() - 1 } else { b.choices.below(x.rank()) };
    let shape = x.dims[axis..].to_vec();
    if !shape.iter().all(|d| d.known() && d.least() > 0) {
        return None;
    }
    let rms = b.opset >= 23 && b.choices.chance(50);
    let mut inputs = vec![x.name.clone(), b.leaf(x.elem, &shape).name];
    if !rms && b.choices.chance(60) {
        inputs.push(b.leaf(x.elem, &shape).name);
    }
    let mut attributes = vec![int("axis", b.axis(axis, x.rank()))];
    if b.choices.chance(50) {
        attributes.push(float("epsilon", b.choices.pick(&[1e-3, 1e-6, 0.1, 0.0])));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    if rms {
        b.emit1("RMSNormalization", &inputs, attributes, x.elem, x.dims)?;
        return Some(());
    }
    let mut kept = x.dims.clone();
    kept[axis..].fill(Size::ONE);
    let results = [(x.elem, x.dims.clone()), (F32, kept.clone()), (F32, kept)];
    let count = if x.elem == F32 && b.choices.chance(20) { 3 } else { 1 };
    b.emit("LayerNormalization", &inputs, attributes, &results[..count])?;
    Some(())
}

/// Norms with the sum before them, of onnxruntime.
pub fn skip(b: &mut Builder) -> Option<()> {
    let fit = |v: &Val| {
        v.elem == F32
            && v.rank() == 3
            && v.last().constant().is_some_and(|n| n > 1)
            && v.dims[..2].iter().all(|d| d.known())
    };
    let x = match b.find(fit) {
        Some(x) => x,
        None => {
            let (n, m) = (b.size(), b.size());
            b.leaf(F32, &[n, m, Size::fixed(8)])
        }
    };
    let other = match b.find(|v| v.elem == F32 && v.dims == x.dims) {
        Some(v) => v,
        None => b.leaf(F32, &x.dims),
    };
    let width = [x.last()];
    let gain = b.leaf(F32, &width);
    let mut inputs = vec![x.name.clone(), other.name, gain.name];
    let rms = b.choices.chance(50);
    if !rms {
        inputs.push(b.leaf(F32, &width).name);
    }
    let op = if rms { "ms.SkipSimplifiedLayerNormalization" } else { "ms.SkipLayerNormalization" };
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = vec![float("epsilon", b.choices.pick(&[1e-5, 1e-3]))];
    b.emit1(op, &inputs, attributes, F32, x.dims)?;
    Some(())
}

pub fn lp(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, F32, F64], 1..4);
    let axis = b.choices.below(x.rank());
    let attributes = vec![int("axis", b.axis(axis, x.rank())), int("p", b.choices.between(1, 2))];
    b.emit1("LpNormalization", &[&x.name], attributes, x.elem, x.dims)?;
    Some(())
}

/// RMSNorm and LayerNorm in primitives, and twins that are neither.
pub fn spelled(b: &mut Builder) -> Option<()> {
    let x = rows(b, FLOATS)?;
    let mut kept = x.dims.clone();
    *kept.last_mut()? = Size::ONE;
    let axis = x.rank() as i64 - 1;
    let mean = |b: &mut Builder, v: &str| {
        let y = if b.opset >= 18 {
            let spelt = if b.choices.chance(50) { -1 } else { axis };
            let axes = b.ints(&[spelt]);
            b.emit1("ReduceMean", &[v, &axes], vec![], x.elem, kept.clone())
        } else {
            b.emit1("ReduceMean", &[v], vec![ints("axes", &[axis])], x.elem, kept.clone())
        };
        Some(y?.name)
    };
    let wide = |b: &mut Builder, op: &str, inputs: &[&str]| {
        Some(b.emit1(op, inputs, vec![], x.elem, x.dims.clone())?.name)
    };
    let row = |b: &mut Builder, op: &str, inputs: &[&str]| {
        Some(b.emit1(op, inputs, vec![], x.elem, kept.clone())?.name)
    };
    let mut centred = x.name.clone();
    if b.choices.chance(50) {
        let m = mean(b, &centred)?;
        centred = wide(b, "Sub", &[&centred, &m])?;
    }
    let square = if b.choices.chance(50) {
        let two = b.scalar(x.elem, 2.0);
        wide(b, "Pow", &[&centred, &two])?
    } else {
        wide(b, "Mul", &[&centred, &centred])?
    };
    let square = mean(b, &square)?;
    let eps = b.choices.pick(&[1e-5, 1e-3, 0.1, 1.0]);
    let eps = b.scalar(x.elem, eps);
    let sum = row(b, "Add", &[&square, &eps])?;
    let root = row(b, "Sqrt", &[&sum])?;
    let mut y = if b.choices.chance(50) {
        wide(b, "Div", &[&centred, &root])?
    } else {
        let inverse = row(b, "Reciprocal", &[&root])?;
        wide(b, "Mul", &[&centred, &inverse])?
    };
    for op in ["Mul", "Add"] {
        if b.choices.chance(60) {
            let mut dims = b.narrowed(&x.dims);
            if b.choices.chance(60) {
                dims = vec![x.last()];
            }
            let gain = b.leaf(x.elem, &dims).name;
            let (p, q) = if b.choices.chance(50) { (&gain, &y) } else { (&y, &gain) };
            y = wide(b, op, &[p, q])?;
        }
    }
    Some(())
}
