//! Ops that move elements: shapes, orders, parts, joins and repeats.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val, broadcast, fits};
use crate::graphs::data::Draw;
use crate::graphs::proto::{int, ints, text};

const ALL: &[Elem] = &[F32, F32, F32, F32, F16, F64, I64, I32, I8, U8, Bool, Bf16];

/// Reshape to constants, with 0 and -1, or to a shape that ops compute.
pub fn reshape(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 0..5);
    if x.dims.iter().any(|d| d.least() == 0) {
        return None;
    }
    let dims = regrouped(b, &x.dims)?;
    if b.choices.chance(15) && x.rank() > 0 {
        // The shape of another value, that has as many elements.
        let same = b.find(|v| {
            v.rank() > 0 && Size::product(&v.dims).is_some_and(|n| Size::product(&x.dims) == Some(n))
        })?;
        let shape = b.emit1("Shape", &[&same.name], vec![], I64, vec![Size::fixed(same.rank())])?;
        b.emit1("Reshape", &[&x.name, &shape.name], vec![], x.elem, same.dims)?;
        return Some(());
    }
    let open: Vec<usize> = (0..dims.len()).filter(|i| dims[*i].constant().is_none()).collect();
    let mut shape: Vec<Option<i64>> = dims.iter().map(|d| d.constant().map(|n| n as i64)).collect();
    let mut left = open.len();
    for i in open {
        if x.dims.get(i) == Some(&dims[i]) && b.choices.chance(60) {
            shape[i] = Some(0);
            left -= 1;
        }
    }
    if left == 0 && !dims.is_empty() && b.choices.chance(40) {
        let i = b.choices.below(dims.len());
        shape[i] = Some(-1);
    } else if left == 1 {
        let i = shape.iter().position(Option::is_none)?;
        shape[i] = Some(-1);
        left = 0;
    }
    if left == 0 {
        let shape: Vec<i64> = shape.into_iter().flatten().collect();
        let shape = b.ints(&shape);
        b.emit1("Reshape", &[&x.name, &shape], vec![], x.elem, dims)?;
        return Some(());
    }
    // Computed: each open size is taken from the shape of a value that has it.
    let mut parts = vec![];
    for (i, d) in dims.iter().enumerate() {
        let part = match shape[i] {
            Some(n) => b.ints(&[n]),
            None => {
                let owner = b.find(|v| v.dims.contains(d) && d.known())?;
                let axis = owner.dims.iter().position(|o| o == d)?;
                let shape = b.emit1("Shape", &[&owner.name], vec![], I64, vec![Size::fixed(owner.rank())])?;
                let at = b.ints(&[axis as i64]);
                b.emit1("Gather", &[&shape.name, &at], vec![int("axis", 0)], I64, vec![Size::ONE])?.name
            }
        };
        parts.push(part);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let shape = b.emit1("Concat", &parts, vec![int("axis", 0)], I64, vec![Size::fixed(dims.len())])?;
    b.emit1("Reshape", &[&x.name, &shape.name], vec![], x.elem, dims)?;
    Some(())
}

/// Another shape of as many elements: axes joined, split, or 1 put in.
fn regrouped(b: &mut Builder, dims: &[Size]) -> Option<Vec<Size>> {
    let mut dims = dims.to_vec();
    for _ in 0..b.choices.between(1, 2) {
        match b.choices.below(3) {
            0 if dims.len() > 1 => {
                let i = b.choices.below(dims.len() - 1);
                let joined = Size::product(&dims[i..i + 2])?;
                dims.splice(i..i + 2, [joined]);
            }
            1 if !dims.is_empty() => {
                let i = b.choices.below(dims.len());
                let by = b.choices.pick(&[2, 2, 3, 4, 8]);
                if let Some(rest) = dims[i].map(|n| n.is_multiple_of(by).then_some(n / by)) {
                    let parts =
                        if b.choices.chance(50) { [Size::fixed(by), rest] } else { [rest, Size::fixed(by)] };
                    dims.splice(i..i + 1, parts);
                }
            }
            _ if dims.len() < 5 => {
                let i = b.choices.below(dims.len() + 1);
                dims.insert(i, Size::ONE);
            }
            _ => {}
        }
    }
    Some(dims)
}

pub fn flatten(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..5);
    let axis = b.choices.below(x.rank() + 1);
    let dims = vec![Size::product(&x.dims[..axis])?, Size::product(&x.dims[axis..])?];
    b.emit1("Flatten", &[&x.name], vec![int("axis", axis as i64)], x.elem, dims)?;
    Some(())
}

pub fn transpose(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..6);
    let mut perm: Vec<usize> = (0..x.rank()).collect();
    if b.choices.chance(15) {
        let dims = x.dims.iter().rev().copied().collect();
        b.emit1("Transpose", &[&x.name], vec![], x.elem, dims)?;
        return Some(());
    }
    for i in (1..perm.len()).rev() {
        perm.swap(i, b.choices.below(i + 1));
    }
    let dims = perm.iter().map(|p| x.dims[*p]).collect();
    let perm: Vec<i64> = perm.iter().map(|p| *p as i64).collect();
    b.emit1("Transpose", &[&x.name], vec![ints("perm", &perm)], x.elem, dims)?;
    Some(())
}

pub fn squeeze(b: &mut Builder) -> Option<()> {
    let one = |d: &Size| *d == Size::ONE;
    let x = b.find(|v| v.dims.iter().any(one))?;
    let ones: Vec<usize> = (0..x.rank()).filter(|i| one(&x.dims[*i])).collect();
    let all = b.choices.chance(20) && x.dims.iter().all(|d| one(d) || d.constant().is_some());
    let gone: Vec<usize> = if all { ones } else { vec![ones[b.choices.below(ones.len())]] };
    let dims = (0..x.rank()).filter(|i| !gone.contains(i)).map(|i| x.dims[i]).collect();
    let axes: Vec<i64> = gone.iter().map(|g| b.axis(*g, x.rank())).collect();
    axes_op(b, "Squeeze", &x, if all { None } else { Some(axes) }, dims)
}

pub fn unsqueeze(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 0..4);
    let mut dims = x.dims.clone();
    let at = b.choices.below(dims.len() + 1);
    dims.insert(at, Size::ONE);
    let mut axes = vec![at];
    if b.choices.chance(20) {
        dims.push(Size::ONE);
        axes.push(dims.len() - 1);
    }
    let axes: Vec<i64> = axes.into_iter().map(|a| b.axis(a, dims.len())).collect();
    axes_op(b, "Unsqueeze", &x, Some(axes), dims)
}

fn axes_op(b: &mut Builder, op: &str, x: &Val, axes: Option<Vec<i64>>, dims: Vec<Size>) -> Option<()> {
    match axes {
        None => b.emit1(op, &[&x.name], vec![], x.elem, dims)?,
        Some(axes) if b.opset < 13 => {
            if b.opset < 11 && axes.iter().any(|a| *a < 0) {
                return None;
            }
            b.emit1(op, &[&x.name], vec![ints("axes", &axes)], x.elem, dims)?
        }
        Some(axes) => {
            let axes = b.ints(&axes);
            b.emit1(op, &[&x.name, &axes], vec![], x.elem, dims)?
        }
    };
    Some(())
}

pub fn concat(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..5);
    let axis = b.choices.below(x.rank());
    let mut parts = vec![x.clone()];
    for _ in 0..b.choices.between(1, 2) {
        let fits = |v: &Val| {
            let same = |i: usize| i == axis || v.dims[i] == x.dims[i];
            v.elem == x.elem && v.rank() == x.rank() && (0..x.rank()).all(same)
        };
        let found = if b.choices.chance(60) { b.find(fits) } else { None };
        let part = match found {
            Some(v) => v,
            None => {
                let mut dims = x.dims.clone();
                dims[axis] = b.size();
                if !dims.iter().all(|d| d.known()) {
                    return None;
                }
                b.leaf(x.elem, &dims)
            }
        };
        parts.push(part);
    }
    let sizes: Vec<Size> = parts.iter().map(|p| p.dims[axis]).collect();
    let mut dims = x.dims.clone();
    dims[axis] = match Size::zip(&sizes, |at| Some(at.iter().sum())) {
        Some(sum) => sum,
        None => b.unknown(Size::fixed(sizes.iter().map(|s| s.most()).sum())),
    };
    if b.choices.chance(40) {
        parts.reverse();
    }
    let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    let axis = b.axis(axis, x.rank());
    b.emit1("Concat", &names, vec![int("axis", axis)], x.elem, dims)?;
    Some(())
}

pub fn split(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..5);
    let axis = b.choices.below(x.rank());
    let spelt = b.axis(axis, x.rank());
    let attributes = vec![int("axis", spelt)];
    let of = |part: Size| {
        let mut dims = x.dims.clone();
        dims[axis] = part;
        (x.elem, dims)
    };
    let parts = b.choices.between(2, 3) as usize;
    let whole = x.dims[axis];
    if let Some(part) = whole.map(|n| (n > 0 && n.is_multiple_of(parts)).then_some(n / parts))
        && b.choices.chance(60)
    {
        let results = vec![of(part); parts];
        let mut attributes = attributes;
        if b.opset >= 18 {
            attributes.push(int("num_outputs", parts as i64));
        }
        b.emit("Split", &[&x.name], attributes, &results)?;
        return Some(());
    }
    let n = whole.constant().filter(|n| *n > 1)?;
    let first = b.choices.between(1, n as i64 - 1);
    let sizes = [first, n as i64 - first];
    let results: Vec<_> = sizes.iter().map(|s| of(Size::fixed(*s as usize))).collect();
    if b.opset < 13 {
        let attributes = [attributes, vec![ints("split", &sizes)]].concat();
        b.emit("Split", &[&x.name], attributes, &results)?;
    } else {
        let sizes = b.ints(&sizes);
        b.emit("Split", &[&x.name, &sizes], attributes, &results)?;
    }
    Some(())
}

/// Slice along one or two axes, with steps of either sign, and bounds from either end or beyond it.
pub fn slice(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..5);
    let mut axes = vec![b.choices.below(x.rank())];
    if x.rank() > 1 && b.choices.chance(25) {
        axes.push((axes[0] + 1) % x.rank());
    }
    let mut dims = x.dims.clone();
    let (mut starts, mut ends, mut steps) = (vec![], vec![], vec![]);
    for axis in &axes {
        let step = if b.opset < 10 { 1 } else { b.choices.pick(&[1, 1, 1, 1, 2, 3, -1, -1, -2]) };
        let (start, end) = b.choices.pick(&[
            (0, i64::MAX),
            (1, i64::MAX),
            (-2, i64::MAX),
            (0, 2),
            (0, -1),
            (1, 3),
            (0, 1),
            (-1, i64::MAX),
        ]);
        let (start, end) = if step < 0 {
            b.choices.pick(&[(-1, i64::MIN), (i64::MAX, i64::MIN), (-2, i64::MIN), (3, 0)])
        } else {
            (start, end)
        };
        dims[*axis] = dims[*axis].map(|n| Some(sliced(n as i64, start, end, step)))?;
        starts.push(start);
        ends.push(end);
        steps.push(step);
    }
    let axes: Vec<i64> =
        axes.into_iter().map(|a| if b.opset < 10 { a as i64 } else { b.axis(a, x.rank()) }).collect();
    if b.opset < 10 {
        let attributes = vec![ints("axes", &axes), ints("starts", &starts), ints("ends", &ends)];
        b.emit1("Slice", &[&x.name], attributes, x.elem, dims)?;
        return Some(());
    }
    let plain = steps.iter().all(|s| *s == 1);
    let names = [b.ints(&starts), b.ints(&ends), b.ints(&axes)];
    let mut inputs = vec![x.name.as_str(), &names[0], &names[1], &names[2]];
    let steps = if plain { String::new() } else { b.ints(&steps) };
    if !plain {
        inputs.push(&steps);
    }
    b.emit1("Slice", &inputs, vec![], x.elem, dims)?;
    Some(())
}

/// How many elements of `n` a slice takes.
fn sliced(n: i64, start: i64, end: i64, step: i64) -> usize {
    if n == 0 {
        return 0;
    }
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let at = |i: i64, low: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(low, high);
    let (start, end) = (at(start, low.max(0)), at(end, low));
    let length = if step > 0 { (end - start + step - 1) / step } else { (start - end - step - 1) / -step };
    length.max(0) as usize
}

/// A slice up to what an input says.
pub fn slice_to(b: &mut Builder) -> Option<()> {
    if b.opset < 10 {
        return None;
    }
    let x = b.operand(&[F32, I64], 1..4);
    let axis = b.choices.below(x.rank());
    let most = x.dims[axis].least();
    if most == 0 {
        return None;
    }
    let end = b.input(I64, &[Size::ONE], Draw::Whole(1, most as i64)).name;
    let (start, axes) = (b.ints(&[0]), b.ints(&[axis as i64]));
    let mut dims = x.dims.clone();
    dims[axis] = b.unknown(Size::fixed(most));
    b.emit1("Slice", &[&x.name, &start, &end, &axes], vec![], x.elem, dims)?;
    Some(())
}

pub fn pad(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32, F32, F32, F64, F16, I64, I32, U8], 1..5);
    let modes: &[&str] = if b.opset >= 19 {
        &["constant", "constant", "reflect", "edge", "wrap"]
    } else {
        &["constant", "constant", "reflect", "edge"]
    };
    let mode = b.choices.pick(modes);
    let mut pads = vec![0i64; 2 * x.rank()];
    let mut dims = x.dims.clone();
    for axis in 0..x.rank() {
        if b.choices.chance(50) && x.dims[axis].known() {
            let least = x.dims[axis].least() as i64;
            let most = if mode == "constant" { 3 } else { (least - 1).min(3) };
            if most < 0 {
                return None;
            }
            let (p, q) = (b.choices.between(0, most), b.choices.between(0, most));
            // Taking away is padding too.
            let p = if mode == "constant" && least > 2 && b.choices.chance(10) { -1 } else { p };
            (pads[axis], pads[x.rank() + axis]) = (p, q);
            dims[axis] = x.dims[axis].map(|n| usize::try_from(n as i64 + p + q).ok())?;
        }
    }
    if b.opset < 11 {
        if !x.elem.is_float() {
            return None;
        }
        let attributes = vec![text("mode", mode), ints("pads", &pads)];
        b.emit1("Pad", &[&x.name], attributes, x.elem, dims)?;
        return Some(());
    }
    let pads = b.ints(&pads);
    let mut inputs = vec![x.name.clone(), pads];
    if mode == "constant" && b.choices.chance(50) {
        inputs.push(b.scalar(x.elem, 2.0));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1("Pad", &inputs, vec![text("mode", mode)], x.elem, dims)?;
    Some(())
}

pub fn tile(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..4);
    let repeats: Vec<i64> = (0..x.rank()).map(|_| b.choices.pick(&[1, 1, 2, 3])).collect();
    let dim = |(d, r): (&Size, &i64)| if *r == 1 { Some(*d) } else { d.map(|n| Some(n * *r as usize)) };
    let dims = x.dims.iter().zip(&repeats).map(dim).collect::<Option<_>>()?;
    let repeats = b.ints(&repeats);
    b.emit1("Tile", &[&x.name, &repeats], vec![], x.elem, dims)?;
    Some(())
}

/// Expand to constants, or to the shape of another value.
pub fn expand(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 0..4);
    if b.choices.chance(40)
        && let Some(wide) =
            b.find(|v| v.rank() > 0 && broadcast(&v.dims, &x.dims, false).is_some_and(|d| fits(&d)))
        && let Some(dims) = broadcast(&wide.dims, &x.dims, false)
    {
        let shape = b.emit1("Shape", &[&wide.name], vec![], I64, vec![Size::fixed(wide.rank())])?;
        b.emit1("Expand", &[&x.name, &shape.name], vec![], x.elem, dims)?;
        return Some(());
    }
    let mut shape: Vec<i64> = vec![];
    let mut dims = vec![];
    for d in &x.dims {
        let n = if *d == Size::ONE { b.choices.between(1, 4) } else { 1 };
        shape.push(if *d == Size::ONE {
            n
        } else {
            d.constant().filter(|_| b.choices.chance(50)).unwrap_or(1) as i64
        });
        dims.push(if *d == Size::ONE { Size::fixed(n as usize) } else { *d });
    }
    if b.choices.chance(20) {
        shape.insert(0, 2);
        dims.insert(0, Size::fixed(2));
    }
    let shape = b.ints(&shape);
    b.emit1("Expand", &[&x.name, &shape], vec![], x.elem, dims)?;
    Some(())
}

pub fn triangle(b: &mut Builder) -> Option<()> {
    if b.opset < 14 {
        return None;
    }
    let x = b.operand(&[F32, F32, I64, F64], 2..5);
    let mut inputs = vec![x.name.clone()];
    if b.choices.chance(40) {
        let k = b.choices.between(-2, 2);
        inputs.push(b.scalar(I64, k as f64));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let upper = b.choices.below(2) as i64;
    b.emit1("Trilu", &inputs, vec![int("upper", upper)], x.elem, x.dims)?;
    Some(())
}

pub fn blocks(b: &mut Builder) -> Option<()> {
    let to_depth = b.choices.chance(50);
    let s = 2usize;
    let fits = |v: &Val| v.rank() == 4 && matches!(v.elem, F32 | F64) && v.dims.iter().all(|d| d.known());
    let x = match b.find(fits) {
        Some(x) if b.choices.chance(70) => x,
        _ => {
            let n = b.size();
            let dims = if to_depth {
                [n, Size::fixed(2), Size::fixed(4), Size::fixed(6)]
            } else {
                [n, Size::fixed(8), Size::fixed(3), Size::fixed(2)]
            };
            b.leaf(F32, &dims)
        }
    };
    let [n, c, h, w] = x.dims[..] else { return None };
    let whole = |d: Size, by: usize| d.map(|n| n.is_multiple_of(by).then_some(n / by));
    let wide = |d: Size, by: usize| d.map(|n| Some(n * by));
    let mut attributes = vec![int("blocksize", s as i64)];
    let (op, dims) = if to_depth {
        ("SpaceToDepth", vec![n, wide(c, s * s)?, whole(h, s)?, whole(w, s)?])
    } else {
        if b.opset >= 11 {
            attributes.push(text("mode", b.choices.pick(&["DCR", "CRD"])));
        }
        ("DepthToSpace", vec![n, whole(c, s * s)?, wide(h, s)?, wide(w, s)?])
    };
    b.emit1(op, &[&x.name], attributes, x.elem, dims)?;
    Some(())
}

/// Range over constants or a size, and constants of a computed shape.
pub fn made(b: &mut Builder) -> Option<()> {
    if b.choices.chance(50) {
        let x = b.operand(&[F32], 1..4);
        let shape = b.emit1("Shape", &[&x.name], vec![], I64, vec![Size::fixed(x.rank())])?;
        let elem = b.choices.pick(&[F32, I64, Bool]);
        let value = crate::graphs::data::of_values(elem, &[1], &[1.0]);
        b.emit1(
            "ConstantOfShape",
            &[&shape.name],
            vec![crate::graphs::proto::constant("value", &value)],
            elem,
            x.dims,
        )?;
        return Some(());
    }
    if b.opset < 11 {
        return None;
    }
    let elem = b.choices.pick(&[I64, I64, F32, I32]);
    if elem == I64 && b.choices.chance(50) {
        let x = b.operand(&[F32, I64], 1..4);
        let axis = b.choices.below(x.rank());
        let shape = b.emit1("Shape", &[&x.name], vec![], I64, vec![Size::fixed(x.rank())])?;
        let at = b.scalar(I64, axis as f64);
        let n = b.emit1("Gather", &[&shape.name, &at], vec![int("axis", 0)], I64, vec![])?;
        let (zero, one) = (b.scalar(I64, 0.0), b.scalar(I64, 1.0));
        b.emit1("Range", &[&zero, &n.name, &one], vec![], I64, vec![x.dims[axis]])?;
        return Some(());
    }
    let (start, limit, delta) = b.choices.pick(&[(0, 5, 1), (2, 11, 3), (4, -3, -2), (0, 8, 1), (0, 1, 1)]);
    let count = usize::max(0, ((limit - start) as f64 / delta as f64).ceil() as usize);
    let names = [start, limit, delta].map(|v| b.scalar(elem, v as f64));
    b.emit1("Range", &[&names[0], &names[1], &names[2]], vec![], elem, vec![Size::fixed(count)])?;
    Some(())
}
