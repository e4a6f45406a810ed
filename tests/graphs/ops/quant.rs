//! Quantized arithmetic: rounding to integers and back, and products and convolutions of what was rounded.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::int;

/// Scale and zero of `elem`: one for all, or one for each of `n`.
fn scale_and_zero(b: &mut Builder, elem: Elem, n: Option<usize>) -> (String, String) {
    let dims: Vec<usize> = n.into_iter().collect();
    let count = dims.iter().product();
    let scales: Vec<f64> = (0..count).map(|_| b.choices.pick(&[0.125, 0.05, 0.25, 0.01, 1.0])).collect();
    let (low, high) = if elem.is_signed() { (-3, 3) } else { (100, 140) };
    let (low, high) = if b.choices.chance(40) && elem.is_signed() { (0, 0) } else { (low, high) };
    let (low, high) = if elem == U4 { (7, 9) } else { (low, high) };
    let zeros: Vec<f64> = (0..count).map(|_| b.choices.between(low, high) as f64).collect();
    (b.tensor(data::of_values(F32, &dims, &scales)), b.tensor(data::of_values(elem, &dims, &zeros)))
}

/// All numbers of a type; half of them where two are summed in 16 bits elsewhere.
fn range(b: &Builder, elem: Elem) -> Draw {
    match (elem, b.tame) {
        (I8, false) => Draw::Whole(-128, 127),
        (I8, true) => Draw::Whole(-64, 63),
        (_, false) => Draw::Whole(0, 255),
        (_, true) => Draw::Whole(0, 127),
    }
}

pub fn quantize(b: &mut Builder) -> Option<()> {
    if b.opset < 13 {
        return None;
    }
    let x = b.operand(&[F32], 1..5);
    let to = b.choices.pick(&[I8, U8, I8, U8, I8, U8]);
    quantized(b, &x, to)?;
    Some(())
}

/// `x` as integers, with the names of its scale and zero.
fn quantized(b: &mut Builder, x: &Val, to: Elem) -> Option<(Val, String, String, Option<usize>)> {
    let axis = b.choices.below(x.rank());
    let n = x.dims[axis].constant().filter(|_| b.choices.chance(30) && b.opset >= 13);
    let (scale, zero) = scale_and_zero(b, to, n);
    let attributes = if n.is_some() { vec![int("axis", b.axis(axis, x.rank()))] } else { vec![] };
    let op = if b.choices.chance(15) { "ms.QuantizeLinear" } else { "QuantizeLinear" };
    let y = b.emit1(op, &[&x.name, &scale, &zero], attributes, to, x.dims.clone())?;
    Some((y, scale, zero, n.map(|_| axis)))
}

/// There and back, as models that were quantized say it.
pub fn round_trip(b: &mut Builder) -> Option<()> {
    if b.opset < 13 {
        return None;
    }
    let x = b.operand(&[F32], 1..5);
    let to = b.choices.pick(&[I8, U8]);
    let (q, scale, zero, axis) = quantized(b, &x, to)?;
    let attributes = axis.map(|a| int("axis", a as i64)).into_iter().collect();
    let op = if b.choices.chance(15) { "ms.DequantizeLinear" } else { "DequantizeLinear" };
    b.emit1(op, &[&q.name, &scale, &zero], attributes, F32, x.dims)?;
    Some(())
}

/// What int8 exports do: quantize as the values are, multiply, and scale.
pub fn dynamic(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let fit = |v: &Val| {
        v.elem == F32
            && (2..5).contains(&v.rank())
            && v.last().constant().is_some_and(|n| n > 0)
            && v.dims.iter().all(|d| d.least() > 0)
    };
    let x = match b.find(fit) {
        Some(x) => x,
        None => {
            let n = b.size();
            let n = if n.least() == 0 { Size::ONE } else { n };
            b.leaf(F32, &[n, Size::fixed(16)])
        }
    };
    let k = x.last().constant()?;
    let results = [(U8, x.dims.clone()), (F32, vec![]), (U8, vec![])];
    let q = b.emit("DynamicQuantizeLinear", &[&x.name], vec![], &results)?;
    if b.choices.chance(25) {
        return Some(());
    }
    let n = b.choices.pick(&[1, 4, 8, 16]);
    let ternary = b.choices.chance(30);
    let elem = if ternary { I8 } else { b.choices.pick(&[I8, U8]) };
    let draw = match elem {
        _ if ternary => Draw::Whole(-1, 1),
        _ => range(b, elem),
    };
    let w = data::tensor(elem, &[k, n], draw, b.choices.seed());
    let w = b.tensor(w);
    let per_column = b.choices.chance(40);
    let zero = match (ternary, per_column) {
        (true, _) => b.scalar(elem, 0.0),
        (_, true) => b.tensor(data::of_values(elem, &[n], &vec![3.0; n])),
        _ => b.scalar(elem, 5.0),
    };
    let mut dims = x.dims.clone();
    *dims.last_mut()? = Size::fixed(n);
    let inputs = [q[0].name.as_str(), &w, &q[2].name, &zero];
    let sums = b.emit1("MatMulInteger", &inputs, vec![], I32, dims.clone())?;
    let to_float = vec![int("to", crate::graphs::proto::data_type(F32).into())];
    let sums = b.emit1("Cast", &[&sums.name], to_float, F32, dims.clone())?;
    let columns = b.choices.chance(40);
    let scale = match columns {
        true => b.tensor(data::tensor(F32, &[n], Draw::Positive, 7)),
        false => b.scalar(F32, 0.125),
    };
    let scale = b.emit1(
        "Mul",
        &[&q[1].name, &scale],
        vec![],
        F32,
        if columns { vec![Size::fixed(n)] } else { vec![] },
    )?;
    b.emit1("Mul", &[&sums.name, &scale.name], vec![], F32, dims)?;
    Some(())
}

pub fn integers(b: &mut Builder) -> Option<()> {
    if b.opset < 10 {
        return None;
    }
    let (m, k, n) = (b.size(), Size::fixed(b.choices.pick(&[1, 3, 8, 16, 32])), b.size());
    let (p, q) = (b.choices.pick(&[I8, U8]), b.choices.pick(&[I8, U8]));
    let dims = if b.choices.chance(40) { vec![Size::fixed(2), m, k] } else { vec![m, k] };
    let x = match b.find(|v| v.elem == p && v.dims == dims) {
        Some(x) => x,
        None => {
            let draw = range(b, p);
            b.drawn(p, &dims, draw)
        }
    };
    let draw = range(b, q);
    let w = b.drawn(q, &[k, n], draw);
    let mut inputs = vec![x.name.clone(), w.name];
    if b.choices.chance(60) {
        inputs.push(b.scalar(p, 3.0));
        if b.choices.chance(60) {
            inputs.push(match n.constant() {
                Some(n) if b.choices.chance(50) => b.tensor(data::of_values(q, &[n], &vec![2.0; n])),
                _ => b.scalar(q, 1.0),
            });
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut dims = dims;
    *dims.last_mut()? = n;
    b.emit1("MatMulInteger", &inputs, vec![], I32, dims)?;
    Some(())
}

/// QLinearMatMul.
pub fn linear(b: &mut Builder) -> Option<()> {
    if b.opset < 10 {
        return None;
    }
    let (m, k, n) = (b.size(), Size::fixed(b.choices.pick(&[1, 4, 16])), b.size());
    let elem = b.choices.pick(&[I8, U8]);
    let draw = range(b, elem);
    let (x, w) = (b.drawn(elem, &[m, k], draw), b.drawn(elem, &[k, n], draw));
    let (xs, xz) = scale_and_zero(b, elem, None);
    let (ws, wz) = scale_and_zero(b, elem, None);
    let (ys, yz) = scale_and_zero(b, elem, None);
    let inputs = [x.name.as_str(), &xs, &xz, &w.name, &ws, &wz, &ys, &yz];
    b.emit1("QLinearMatMul", &inputs, vec![], elem, vec![m, n])?;
    Some(())
}

/// ConvInteger and QLinearConv.
pub fn convolved(b: &mut Builder) -> Option<()> {
    if b.opset < 10 {
        return None;
    }
    let n = b.size();
    let dims = [n, Size::fixed(2), Size::fixed(5), Size::fixed(6)];
    let x = b.drawn(U8, &dims, Draw::Whole(0, 255));
    let elem = b.choices.pick(&[I8, U8]);
    let draw = range(b, elem);
    let w = data::tensor(elem, &[3, 2, 3, 3], draw, b.choices.seed());
    let w = b.tensor(w);
    let out = vec![n, Size::fixed(3), Size::fixed(3), Size::fixed(4)];
    if b.choices.chance(50) {
        let (xz, wz) = (b.scalar(U8, 128.0), b.scalar(elem, 2.0));
        b.emit1("ConvInteger", &[&x.name, &w, &xz, &wz], vec![], I32, out)?;
        return Some(());
    }
    let (xs, xz) = scale_and_zero(b, U8, None);
    let (ws, wz) = scale_and_zero(b, elem, None);
    let (ys, yz) = scale_and_zero(b, U8, None);
    let inputs = [x.name.as_str(), &xs, &xz, &w, &ws, &wz, &ys, &yz];
    b.emit1("QLinearConv", &inputs, vec![], U8, out)?;
    Some(())
}
