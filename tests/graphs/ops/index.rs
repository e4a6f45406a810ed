//! Ops that read and write at indices, and what finds them.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::data::{Draw, of_values};
use crate::graphs::proto::{constant, int, text};

const ALL: &[Elem] = &[F32, F32, F32, F64, F16, I64, I32, U8, Bool];

/// Indices for an axis of at least `least` elements, some of them counted from its end.
fn indices(b: &mut Builder, dims: &[Size], least: usize) -> Option<Val> {
    let n = i64::try_from(least).ok().filter(|n| *n > 0)?;
    let low = if b.opset >= 11 && b.choices.chance(30) { -n } else { 0 };
    let elem = b.choices.pick(&[I64, I64, I32]);
    Some(b.drawn(elem, dims, Draw::Whole(low, n - 1)))
}

pub fn gather(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..4);
    let axis = b.choices.below(x.rank());
    let shape = b.shape(0..3);
    let at = indices(b, &shape, x.dims[axis].least())?;
    let dims = [&x.dims[..axis], &at.dims, &x.dims[axis + 1..]].concat();
    let spelt = b.axis(axis, x.rank());
    b.emit1("Gather", &[&x.name, &at.name], vec![int("axis", spelt)], x.elem, dims)?;
    Some(())
}

/// Rows of a table, as an embedding takes them, and a product with it.
pub fn embedding(b: &mut Builder) -> Option<()> {
    let (rows, width) = (Size::fixed(11), Size::fixed(b.choices.pick(&[4, 8, 16])));
    let (n, m) = (b.size(), b.size());
    let table = b.drawn(F32, &[rows, width], Draw::Reals);
    let at = b.drawn(I64, &[n, m], Draw::Whole(0, 10));
    b.emit1("Gather", &[&table.name, &at.name], vec![], F32, vec![n, m, width])?;
    Some(())
}

pub fn gather_elements(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let x = b.operand(ALL, 1..4);
    let axis = b.choices.below(x.rank());
    let mut shape = x.dims.clone();
    shape[axis] = b.size();
    if b.choices.chance(25) {
        let other = b.choices.below(x.rank());
        shape[other] = if x.dims[other].least() > 0 { Size::ONE } else { x.dims[other] };
    }
    if !shape.iter().all(|d| d.known()) {
        return None;
    }
    let at = indices(b, &shape, x.dims[axis].least())?;
    let spelt = b.axis(axis, x.rank());
    b.emit1("GatherElements", &[&x.name, &at.name], vec![int("axis", spelt)], x.elem, shape)?;
    Some(())
}

pub fn gather_nd(b: &mut Builder) -> Option<()> {
    if b.opset < 12 {
        return None;
    }
    let x = b.operand(ALL, 1..4);
    let batch = if x.rank() > 1 && x.dims[0].known() && b.choices.chance(30) { 1 } else { 0 };
    let depth = b.choices.between(1, (x.rank() - batch) as i64) as usize;
    let least = x.dims[batch..batch + depth].iter().map(|d| d.least()).min()?;
    let n = b.size();
    let mut shape = x.dims[..batch].to_vec();
    shape.extend([n, Size::fixed(depth)]);
    let low = if b.choices.chance(30) { -(least as i64) } else { 0 };
    if least == 0 {
        return None;
    }
    let at = b.drawn(I64, &shape, Draw::Whole(low, least as i64 - 1));
    let dims = [&shape[..shape.len() - 1], &x.dims[batch + depth..]].concat();
    b.emit1("GatherND", &[&x.name, &at.name], vec![int("batch_dims", batch as i64)], x.elem, dims)?;
    Some(())
}

/// Writes along an axis; where two meet they are added, or the order does not show.
pub fn scatter(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let x = b.operand(&[F32, F32, F64, I64, I32], 1..4);
    let axis = b.choices.below(x.rank());
    let least = x.dims[axis].least();
    let mut shape = x.dims.clone();
    shape[axis] = Size::fixed(b.choices.pick(&[1, 1, 2]));
    if least == 0 || !shape.iter().all(|d| d.known()) {
        return None;
    }
    let single = shape[axis] == Size::ONE;
    let mut attributes = vec![int("axis", b.axis(axis, x.rank()))];
    if b.opset >= 18 {
        let modes: &[&str] =
            if single { &["none", "add", "mul", "max", "min"] } else { &["add", "max", "min"] };
        attributes.push(text("reduction", b.choices.pick(modes)));
    } else if b.opset >= 16 {
        attributes.push(text("reduction", if single { "none" } else { "add" }));
    } else if !single {
        return None;
    }
    let at = indices(b, &shape, least)?;
    let updates = b.leaf(x.elem, &shape);
    b.emit1("ScatterElements", &[&x.name, &at.name, &updates.name], attributes, x.elem, x.dims.clone())?;
    Some(())
}

pub fn scatter_nd(b: &mut Builder) -> Option<()> {
    if b.opset < 11 {
        return None;
    }
    let x = b.operand(&[F32, F32, F64, I64], 1..4);
    let depth = b.choices.between(1, x.rank() as i64) as usize;
    let least = x.dims[..depth].iter().map(|d| d.least()).min()?;
    if least == 0 || !x.dims.iter().all(|d| d.known()) {
        return None;
    }
    let add = b.opset >= 16 && b.choices.chance(50);
    let n = if add { Size::fixed(3) } else { Size::ONE };
    let at = b.drawn(I64, &[n, Size::fixed(depth)], Draw::Whole(0, least as i64 - 1));
    let updates = b.leaf(x.elem, &[&[n], &x.dims[depth..]].concat());
    let attributes = if add { vec![text("reduction", "add")] } else { vec![] };
    b.emit1("ScatterND", &[&x.name, &at.name, &updates.name], attributes, x.elem, x.dims.clone())?;
    Some(())
}

pub fn one_hot(b: &mut Builder) -> Option<()> {
    let depth = b.choices.between(2, 6);
    let shape = b.shape(0..3);
    let at = b.drawn(I64, &shape, Draw::Whole(0, depth - 1));
    let axis = b.choices.below(shape.len() + 1);
    let mut dims = shape;
    dims.insert(axis, Size::fixed(depth as usize));
    let axis = b.axis(axis, dims.len());
    let elem = b.choices.pick(&[F32, I64]);
    let values = b.tensor(crate::graphs::data::of_values(elem, &[2], &[0.0, 1.0]));
    let depth = b.scalar(I64, depth as f64);
    b.emit1("OneHot", &[&at.name, &depth, &values], vec![int("axis", axis)], elem, dims)?;
    Some(())
}

/// The places of what is not zero, and what stands there.
pub fn non_zero(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, Bool, I64], 1..4);
    let n = b.unknown(Size::fixed(x.dims.iter().map(|d| d.most()).product()));
    let at = b.emit1("NonZero", &[&x.name], vec![], I64, vec![Size::fixed(x.rank()), n])?;
    if b.choices.chance(70) && b.opset >= 12 {
        let rows = b.emit1("Transpose", &[&at.name], vec![], I64, vec![n, Size::fixed(x.rank())])?;
        let found = b.emit1("GatherND", &[&x.name, &rows.name], vec![], x.elem, vec![n])?;
        if x.elem == F32 && b.choices.chance(70) {
            let op = b.choices.pick(&["Tanh", "Neg", "Exp"]);
            let y = b.emit1(op, &[&found.name], vec![], F32, vec![n])?;
            b.emit1("Mul", &[&y.name, &found.name], vec![], F32, vec![n])?;
        }
    }
    Some(())
}

/// A value whose size is how much was found, and which is made of nothing else that was.
pub fn sized_by_found(b: &mut Builder) -> Option<()> {
    let x = match b.find(|v| v.rank() == 1 && !v.last().known()) {
        Some(x) if b.choices.chance(50) => x,
        _ => {
            let of = b.operand(&[F32, Bool, I64], 1..4);
            let n = b.unknown(Size::fixed(of.dims.iter().map(|d| d.most()).product()));
            b.emit1("NonZero", &[&of.name], vec![], I64, vec![Size::fixed(of.rank()), n])?
        }
    };
    let n = *x.dims.last()?;
    let shape = b.emit1("Shape", &[&x.name], vec![], I64, vec![Size::fixed(x.rank())])?;
    let (at, axis) = (b.ints(&[x.rank() as i64 - 1]), vec![int("axis", 0)]);
    let size = b.emit1("Gather", &[&shape.name, &at], axis, I64, vec![Size::ONE])?;
    let op = b.choices.pick(&["ConstantOfShape", "Expand", "Tile", "Slice", "Range"]);
    let dims = vec![n];
    let y = match op {
        "ConstantOfShape" => {
            let value = constant("value", &of_values(F32, &[1], &[1.5]));
            b.emit1(op, &[&size.name], vec![value], F32, dims)?
        }
        "Slice" if b.opset >= 10 => {
            let table = b.leaf(F32, &[Size::fixed(n.most())]);
            let from = b.ints(&[0]);
            b.emit1(op, &[&table.name, &from, &size.name], vec![], F32, dims)?
        }
        "Range" if b.opset >= 11 => {
            let none = b.ints(&[]);
            let limit = b.emit1("Reshape", &[&size.name, &none], vec![], I64, vec![])?;
            let (zero, one) = (b.scalar(I64, 0.0), b.scalar(I64, 1.0));
            b.emit1(op, &[&zero, &limit.name, &one], vec![], I64, dims)?
        }
        "Tile" => {
            let one = b.leaf(F32, &[Size::ONE]);
            b.emit1(op, &[&one.name, &size.name], vec![], F32, dims)?
        }
        _ => {
            let one = b.leaf(F32, &[]);
            b.emit1("Expand", &[&one.name, &size.name], vec![], F32, dims)?
        }
    };
    if b.choices.chance(50) {
        b.emit1("ReduceSum", &[&y.name], vec![int("keepdims", 0)], y.elem, vec![])?;
    }
    Some(())
}

pub fn tensor_scatter(b: &mut Builder) -> Option<()> {
    if b.opset < 24 {
        return None;
    }
    let (n, t, d) = (b.size(), Size::fixed(6), Size::fixed(4));
    let past = b.leaf(F32, &[n, t, d]);
    let update = b.leaf(F32, &[n, Size::fixed(2), d]);
    let circular = b.choices.chance(40);
    let at = b.drawn(I64, &[n], Draw::Whole(0, if circular { 5 } else { 4 }));
    let mode = text("mode", if circular { "circular" } else { "linear" });
    b.emit1("TensorScatter", &[&past.name, &update.name, &at.name], vec![mode], F32, vec![n, t, d])?;
    Some(())
}
