//! Ops along axes: reductions, softmax and what else orders or sums a row.

use trine_ir::Elem;
use trine_ir::Elem::*;

use super::elementwise::FLOATS;
use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::proto::{int, ints};

/// Reductions with axes as attributes or inputs, as the opset has them, kept or not, all or none.
pub fn reduce(b: &mut Builder) -> Option<()> {
    const OPS: &[&str] = &[
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
    ];
    let op = b.choices.pick(OPS);
    let whole = matches!(op, "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSumSquare");
    let elems: &[Elem] = if whole { &[F32, F32, F32, F32, F16, F64, I32, I64] } else { FLOATS };
    let x = b.operand(elems, 1..5);
    let axes = some_axes(b, &x);
    // The extreme of nothing is not a number.
    if axes.iter().any(|a| x.dims[*a].least() == 0) {
        return None;
    }
    let as_input = b.opset >= 18 || op == "ReduceSum" && b.opset >= 13;
    let (mut attributes, mut inputs) = (vec![], vec![x.name.clone()]);
    let keep = b.choices.chance(60);
    if !keep || b.choices.chance(30) {
        attributes.push(int("keepdims", keep.into()));
    }
    let spelt: Vec<i64> = axes.iter().map(|a| b.axis(*a, x.rank())).collect();
    let mut noop = false;
    let none = axes.len() == x.rank() && b.choices.chance(40);
    if as_input {
        noop = b.choices.chance(10);
        if noop {
            attributes.push(int("noop_with_empty_axes", 1));
        }
        if !none {
            inputs.push(b.ints(&spelt));
        } else if b.choices.chance(30) {
            inputs.push(b.ints(&[]));
        }
    } else if !none {
        attributes.push(ints("axes", &spelt));
    }
    let axes = if noop && none { vec![] } else { axes };
    let dims = reduced(&x, &axes, keep);
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(op, &inputs, attributes, x.elem, dims)?;
    Some(())
}

/// Which axes: mostly the last, sometimes others, or all.
fn some_axes(b: &mut Builder, x: &Val) -> Vec<usize> {
    match b.choices.below(10) {
        0..6 => vec![x.rank() - 1],
        6 => (0..x.rank()).collect(),
        _ => {
            let mut axes: Vec<usize> = (0..x.rank()).filter(|_| b.choices.chance(50)).collect();
            if axes.is_empty() {
                axes.push(b.choices.below(x.rank()));
            }
            if b.choices.chance(20) {
                axes.reverse();
            }
            axes
        }
    }
}

fn reduced(x: &Val, axes: &[usize], keep: bool) -> Vec<Size> {
    let dims = x.dims.iter().enumerate();
    let dim = |(i, d): (usize, &Size)| match axes.contains(&i) {
        false => Some(*d),
        true => keep.then_some(Size::ONE),
    };
    dims.filter_map(dim).collect()
}

pub fn softmax(b: &mut Builder) -> Option<()> {
    let op = b.choices.pick(&["Softmax", "Softmax", "Softmax", "LogSoftmax", "Hardmax"]);
    let x = b.operand(FLOATS, 1..5);
    let axis = if b.choices.chance(70) { x.rank() - 1 } else { b.choices.below(x.rank()) };
    let spelt = b.axis(axis, x.rank());
    b.emit1(op, &[&x.name], vec![int("axis", spelt)], x.elem, x.dims)?;
    Some(())
}

pub fn extreme(b: &mut Builder) -> Option<()> {
    let op = b.choices.pick(&["ArgMax", "ArgMin"]);
    let x = b.operand(&[F32, F32, F64, I32, I64, U8], 1..5);
    let (axis, keep) = (b.choices.below(x.rank()), b.choices.chance(50));
    if x.dims[axis].least() == 0 {
        return None;
    }
    let mut attributes = vec![int("axis", b.axis(axis, x.rank())), int("keepdims", keep.into())];
    if b.opset >= 12 && b.choices.chance(30) {
        attributes.push(int("select_last_index", 1));
    }
    b.emit1(op, &[&x.name], attributes, I64, reduced(&x, &[axis], keep))?;
    Some(())
}

pub fn cumulative(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let x = b.operand(&[F32, F32, F64, I32, I64], 1..4);
    let axis = b.choices.below(x.rank());
    let spelt = b.axis(axis, x.rank());
    let axis = b.scalar(I64, spelt as f64);
    let mut attributes = vec![];
    for name in ["exclusive", "reverse"] {
        if b.choices.chance(30) {
            attributes.push(int(name, 1));
        }
    }
    b.emit1("CumSum", &[&x.name, &axis], attributes, x.elem, x.dims)?;
    Some(())
}

/// The largest or smallest, so many as a constant says or an input.
pub fn top(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, F32, F64, I64], 1..4);
    let axis = b.choices.below(x.rank());
    let least = x.dims[axis].least();
    if least == 0 {
        return None;
    }
    let mut attributes = vec![int("axis", b.axis(axis, x.rank()))];
    if b.opset >= 11 && b.choices.chance(40) {
        attributes.push(int("largest", 0));
    }
    let k = b.choices.between(1, least.min(5) as i64);
    let mut dims = x.dims.clone();
    let name = if b.opset < 10 {
        attributes.push(int("k", k));
        dims[axis] = Size::fixed(k as usize);
        String::new()
    } else if b.choices.chance(70) {
        dims[axis] = Size::fixed(k as usize);
        b.ints(&[k])
    } else {
        dims[axis] = b.unknown(Size::fixed(k as usize));
        b.input(I64, &[Size::ONE], crate::graphs::data::Draw::Whole(1, k)).name
    };
    let inputs = if name.is_empty() { vec![x.name.as_str()] } else { vec![x.name.as_str(), &name] };
    b.emit("TopK", &inputs, attributes, &[(x.elem, dims.clone()), (I64, dims)])?;
    Some(())
}

/// A softmax in primitives, or the sum of a wide product.
pub fn spelled(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, F32, F16, F64], 1..4);
    let axis = x.rank() - 1;
    if x.dims[axis].least() == 0 {
        return None;
    }
    let kept = reduced(&x, &[axis], true);
    let mut centred = x.clone();
    let over = |b: &mut Builder, op: &str, v: &Val| {
        if b.opset >= 18 || op == "ReduceSum" && b.opset >= 13 {
            let axes = b.ints(&[axis as i64]);
            return b.emit1(op, &[&v.name, &axes], vec![], v.elem, kept.clone());
        }
        b.emit1(op, &[&v.name], vec![ints("axes", &[axis as i64])], v.elem, kept.clone())
    };
    if b.choices.chance(70) {
        let largest = over(b, "ReduceMax", &x)?;
        centred = b.emit1("Sub", &[&x.name, &largest.name], vec![], x.elem, x.dims.clone())?;
    }
    let power = b.emit1("Exp", &[&centred.name], vec![], x.elem, x.dims.clone())?;
    let sum = over(b, "ReduceSum", &power)?;
    b.emit1("Div", &[&power.name, &sum.name], vec![], x.elem, x.dims)?;
    Some(())
}
