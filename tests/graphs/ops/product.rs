//! Matrix products: batched, transposed, with what follows them, and with weights that are ternary in every spelling.

use trine_ir::Elem::*;
use trine_ir::{Elem, Tensor};

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::choices::Choices;
use crate::graphs::data::{self, Draw};
use crate::graphs::proto::{float, int, ints, text};

const FLOATS: &[Elem] = &[F32, F32, F32, F32, F32, F64, F16];

/// A value whose last axis is always of one length that is not 0.
fn rows(b: &mut Builder, elems: &[Elem], ranks: std::ops::Range<usize>) -> Option<(Val, usize)> {
    let fit = |v: &Val| {
        elems.contains(&v.elem) && ranks.contains(&v.rank()) && v.last().constant().is_some_and(|n| n > 0)
    };
    let x = match b.find(fit) {
        Some(x) if b.choices.chance(75) => x,
        _ => {
            let mut dims = b.shape(ranks);
            *dims.last_mut()? = Size::fixed(b.choices.pick(&[4, 8, 16, 32, 32, 64, 5]));
            let elem = b.choices.pick(elems);
            b.leaf(elem, &dims)
        }
    };
    let k = x.last().constant()?;
    Some((x, k))
}

pub fn matmul(b: &mut Builder) -> Option<()> {
    match b.choices.below(4) {
        // Weights.
        0 | 1 => {
            let (x, k) = rows(b, FLOATS, 1..4)?;
            let n = b.choices.pick(&[1, 2, 4, 8, 8, 16, 17, 32]);
            let draw = if b.choices.chance(30) { Draw::Ternary(0.5) } else { Draw::Reals };
            let w = data::tensor(x.elem, &[k, n], draw, b.choices.seed());
            let w = b.tensor(w);
            product(b, &x, &w, n)?;
        }
        // Two values, batches broadcast.
        2 => {
            let x = b.operand(FLOATS, 2..5);
            let mut dims = b.narrowed(&x.dims[..x.rank() - 2]);
            if !x.last().known() {
                return None;
            }
            let n = b.size();
            dims.extend([x.last(), n]);
            let y = b.leaf(x.elem, &dims);
            let mut dims = x.dims.clone();
            dims[x.rank() - 1] = n;
            b.emit1("MatMul", &[&x.name, &y.name], vec![], x.elem, dims)?;
        }
        // A value and itself transposed, or a vector.
        _ => {
            let x = b.operand(FLOATS, 2..5);
            let r = x.rank();
            if b.choices.chance(60) {
                let mut perm: Vec<i64> = (0..r as i64).collect();
                perm.swap(r - 1, r - 2);
                let mut turned = x.dims.clone();
                turned.swap(r - 1, r - 2);
                let t =
                    b.emit1("Transpose", &[&x.name], vec![ints("perm", &perm)], x.elem, turned.clone())?;
                let mut dims = x.dims.clone();
                dims[r - 1] = x.dims[r - 2];
                b.emit1("MatMul", &[&x.name, &t.name], vec![], x.elem, dims)?;
            } else if x.last().known() {
                let v = b.leaf(x.elem, &[x.last()]);
                b.emit1("MatMul", &[&x.name, &v.name], vec![], x.elem, x.dims[..r - 1].to_vec())?;
            }
        }
    }
    Some(())
}

/// The product of `x` with weights `[k,n]`, and what mostly follows one: a bias, an activation, a residual.
fn product(b: &mut Builder, x: &Val, w: &str, n: usize) -> Option<Val> {
    let mut dims = x.dims.clone();
    *dims.last_mut()? = Size::fixed(n);
    let y = b.emit1("MatMul", &[&x.name, w], vec![], x.elem, dims)?;
    after(b, y)
}

fn after(b: &mut Builder, mut y: Val) -> Option<Val> {
    if b.choices.chance(40) {
        let (other, dims) = b.partner(&y);
        let op = b.choices.pick(&["Add", "Add", "Mul", "Sub"]);
        let (p, q) = if b.choices.chance(30) { (&other, &y) } else { (&y, &other) };
        y = b.emit1(op, &[&p.name, &q.name], vec![], y.elem, dims)?;
    }
    if b.choices.chance(30) {
        let op = b.choices.pick(&["Relu", "Sigmoid", "Tanh"]);
        y = b.emit1(op, &[&y.name], vec![], y.elem, y.dims)?;
    }
    Some(y)
}

pub fn gemm(b: &mut Builder) -> Option<()> {
    let elem = b.choices.pick(FLOATS);
    let (m, k, n) = (b.size(), b.size(), b.size());
    let (trans_a, trans_b) = (b.choices.chance(25), b.choices.chance(40));
    let fit = |v: &Val| v.elem == elem && v.rank() == 2 && v.dims.iter().all(|d| d.known());
    let a = match b.find(fit) {
        Some(a) if b.choices.chance(60) => a,
        _ => b.leaf(elem, &if trans_a { [k, m] } else { [m, k] }),
    };
    let (m, k) = if trans_a { (a.dims[1], a.dims[0]) } else { (a.dims[0], a.dims[1]) };
    let w = b.leaf(elem, &if trans_b { [n, k] } else { [k, n] });
    let mut inputs = vec![a.name.clone(), w.name];
    if b.opset < 11 || b.choices.chance(60) {
        let dims = b.choices.pick(&[[Size::ONE, n], [m, n], [m, Size::ONE], [Size::ONE, Size::ONE]]);
        let dims = if b.choices.chance(40) { vec![n] } else { dims.to_vec() };
        inputs.push(b.leaf(elem, &dims).name);
    }
    let mut attributes = vec![];
    for (name, on) in [("transA", trans_a), ("transB", trans_b)] {
        attributes.extend(on.then(|| int(name, 1)));
    }
    if b.choices.chance(30) {
        attributes.push(float("alpha", b.choices.pick(&[0.5, 2.0, 0.0])));
    }
    if b.choices.chance(30) {
        attributes.push(float("beta", b.choices.pick(&[0.5, 2.0, 0.0])));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let y = b.emit1("Gemm", &inputs, attributes, elem, vec![m, n])?;
    after(b, y)?;
    Some(())
}

/// Weights {-1, 0, 1} times scales: as they are, dequantized, in blocks of a few bits, or rounded by the model.
pub fn ternary(b: &mut Builder) -> Option<()> {
    let (mut x, k) = rows(b, &[F32], 1..4)?;
    if b.choices.chance(35) && b.opset >= 13 {
        x = rounded(b, &x)?;
    }
    let n = b.choices.pick(&[1, 2, 4, 8, 8, 16, 32, 33]);
    let w = weights(b, k, n)?;
    let y = product(b, &x, &w, n)?;
    // A sibling with the same input.
    if b.choices.chance(35) {
        let m = b.choices.pick(&[n, n, 8]);
        let w = weights(b, k, m)?;
        let z = product(b, &x, &w, m)?;
        if z.dims == y.dims && b.choices.chance(60) {
            let gate = b.emit1("Sigmoid", &[&z.name], vec![], F32, z.dims.clone())?;
            let silu = b.emit1("Mul", &[&z.name, &gate.name], vec![], F32, z.dims.clone())?;
            b.emit1("Mul", &[&silu.name, &y.name], vec![], F32, z.dims)?;
        }
    }
    Some(())
}

/// Ternary weights `[k,n]`.
fn weights(b: &mut Builder, k: usize, n: usize) -> Option<String> {
    let mut random = Choices::of_seed(b.choices.seed());
    let trits: Vec<f64> = (0..k * n).map(|_| random.between(-1, 1) as f64).collect();
    // A scale a column, for all, or a group of rows.
    let columns: Vec<f64> = (0..n).map(|_| random.between(1, 16) as f64 / 8.0).collect();
    match b.choices.below(if b.opset >= 21 { 6 } else { 4 }) {
        0 => {
            let each = b.choices.chance(50);
            let scale = |i: usize| if each { columns[i % n] } else { 0.75 };
            let values: Vec<f64> = trits.iter().enumerate().map(|(i, t)| t * scale(i)).collect();
            Some(b.tensor(data::of_values(F32, &[k, n], &values)))
        }
        // Other numbers than ternary in one place: a twin that must not be taken for it.
        1 => {
            let mut values: Vec<f64> = trits.iter().map(|t| t * 0.5).collect();
            if b.choices.chance(50) {
                values[random.below(k * n)] = b.choices.pick(&[0.25, 1.0, -0.5, f64::from(f32::EPSILON)]);
            }
            Some(b.tensor(data::of_values(F32, &[k, n], &values)))
        }
        2 if b.opset >= 13 => {
            let q = b.tensor(data::of_values(I8, &[k, n], &trits));
            let each = b.choices.chance(50);
            let scale = match each {
                true => b.tensor(data::of_values(F32, &[n], &columns)),
                false => b.scalar(F32, 0.375),
            };
            let mut inputs = vec![q, scale];
            if b.choices.chance(30) {
                inputs.push(if each {
                    b.tensor(data::of_values(I8, &[n], &vec![0.0; n]))
                } else {
                    b.scalar(I8, 0.0)
                });
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let dims = vec![Size::fixed(k), Size::fixed(n)];
            Some(b.emit1("DequantizeLinear", &inputs, vec![int("axis", 1)], F32, dims)?.name)
        }
        // The model rounds its own weights: round(clip(w / s)) · s.
        3 if b.opset >= 12 => {
            let w = data::tensor(F32, &[k, n], Draw::Reals, b.choices.seed());
            let (w, s) = (b.tensor(w), b.scalar(F32, 0.625));
            let dims = vec![Size::fixed(k), Size::fixed(n)];
            let (low, high) = (b.scalar(F32, -1.0), b.scalar(F32, 1.0));
            let y = b.emit1("Div", &[&w, &s], vec![], F32, dims.clone())?;
            let y = b.emit1("Round", &[&y.name], vec![], F32, dims.clone())?;
            let y = b.emit1("Clip", &[&y.name, &low, &high], vec![], F32, dims.clone())?;
            Some(b.emit1("Mul", &[&y.name, &s], vec![], F32, dims)?.name)
        }
        // Blocks of rows, in four bits or eight.
        4 | 5 if k.is_multiple_of(4) => {
            let block = b.choices.pick(&[4, k]);
            let elem = b.choices.pick(&[I4, I8, U4]);
            let zero = if elem == U4 { 8.0 } else { 0.0 };
            let values: Vec<f64> = trits.iter().map(|t| t + zero).collect();
            let q = b.tensor(data::of_values(elem, &[k, n], &values));
            let count = k / block * n;
            let scales: Vec<f64> = (0..count).map(|_| random.between(1, 16) as f64 / 8.0).collect();
            let scale = b.tensor(data::of_values(F32, &[k / block, n], &scales));
            let mut inputs = vec![q, scale];
            if elem == U4 {
                inputs.push(b.tensor(data::of_values(U4, &[k / block, n], &vec![8.0; count])));
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let attributes = vec![int("axis", 0), int("block_size", block as i64)];
            let dims = vec![Size::fixed(k), Size::fixed(n)];
            Some(b.emit1("DequantizeLinear", &inputs, attributes, F32, dims)?.name)
        }
        _ => Some(b.tensor(data::of_values(F32, &[k, n], &trits))),
    }
}

/// Rows rounded to int8 by the model itself, as BitNet does, or nearly so.
fn rounded(b: &mut Builder, x: &Val) -> Option<Val> {
    let axis = x.rank() as i64 - 1;
    let mut kept = x.dims.clone();
    *kept.last_mut()? = Size::ONE;
    let same = |b: &mut Builder, op: &str, inputs: &[&str]| {
        Some(b.emit1(op, inputs, vec![], F32, x.dims.clone())?.name)
    };
    let row = |b: &mut Builder, op: &str, inputs: &[&str]| {
        Some(b.emit1(op, inputs, vec![], F32, kept.clone())?.name)
    };
    let size = same(b, "Abs", &[&x.name])?;
    let most = if b.opset >= 18 {
        let axes = b.ints(&[axis]);
        row(b, "ReduceMax", &[&size, &axes])?
    } else {
        b.emit1("ReduceMax", &[&size], vec![ints("axes", &[axis])], F32, kept.clone())?.name
    };
    let (least, levels) =
        (b.choices.pick(&[1e-5, 1e-5, 0.0, 1e-3]), b.choices.pick(&[127.0, 127.0, 127.0, 63.0, 7.0]));
    let most = if least > 0.0 {
        let least = b.scalar(F32, least);
        match b.choices.chance(50) {
            true => row(b, "Max", &[&most, &least])?,
            false => row(b, "Clip", &[&most, &least])?,
        }
    } else {
        most
    };
    let levels = b.scalar(F32, levels);
    let (low, high) = b.choices.pick(&[(-128.0, 127.0), (-127.0, 127.0), (-128.0, 128.0), (-8.0, 7.0)]);
    let (low, high) = (b.scalar(F32, low), b.scalar(F32, high));
    let by_scale = b.choices.chance(60);
    let scale = if by_scale { row(b, "Div", &[&levels, &most])? } else { row(b, "Div", &[&most, &levels])? };
    let (there, back) = if by_scale { ("Mul", "Div") } else { ("Div", "Mul") };
    let y = same(b, there, &[&x.name, &scale])?;
    let y = same(b, "Round", &[&y])?;
    let y = same(b, "Clip", &[&y, &low, &high])?;
    b.emit1(back, &[&y, &scale], vec![], F32, x.dims.clone())
}

/// Weights of two, four or eight bits in blocks, as onnxruntime packs them.
pub fn nbits(b: &mut Builder) -> Option<()> {
    let (x, k) = rows(b, &[F32, F32, F16], 2..4)?;
    let bits = b.choices.pick(&[2usize, 4, 4, 8]);
    let block = b.choices.pick(&[16, 32]);
    let n = b.choices.pick(&[1, 4, 8, 16, 17]);
    let blocks = k.div_ceil(block);
    let mut random = Choices::of_seed(b.choices.seed());
    let ternary = b.choices.chance(60);
    let middle = 1i64 << (bits - 1);
    let per = 8 / bits;
    let mut bytes = vec![];
    for _ in 0..n * blocks * block / per {
        let byte = (0..per).fold(0u8, |byte, i| {
            let q = if ternary { middle + random.between(-1, 1) } else { random.between(0, 2 * middle - 1) };
            byte | (q as u8) << (i * bits)
        });
        bytes.push(byte);
    }
    let q = Tensor::from_vec(vec![n, blocks, block * bits / 8], bytes).ok()?;
    let scales: Vec<f64> = (0..n * blocks).map(|_| random.between(1, 16) as f64 / 16.0).collect();
    let (q, scale) = (b.tensor(q), b.tensor(data::of_values(x.elem, &[n * blocks], &scales)));
    let mut inputs = vec![x.name.clone(), q, scale];
    if b.choices.chance(25) {
        let width = (blocks * bits).div_ceil(8);
        let zero = (0..per).fold(0u8, |byte, i| byte | (middle as u8) << (i * bits));
        inputs.push(b.tensor(Tensor::from_vec(vec![n * width], vec![zero; n * width]).ok()?));
    }
    let attributes = vec![
        int("K", k as i64),
        int("N", n as i64),
        int("bits", bits as i64),
        int("block_size", block as i64),
    ];
    let mut attributes = attributes;
    if b.choices.chance(40) {
        attributes.push(int("accuracy_level", b.choices.pick(&[1, 4])));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut dims = x.dims.clone();
    *dims.last_mut()? = Size::fixed(n);
    let y = b.emit1("ms.MatMulNBits", &inputs, attributes, x.elem, dims)?;
    after(b, y)?;
    Some(())
}

pub fn fused(b: &mut Builder) -> Option<()> {
    let (x, k) = rows(b, &[F32, F64], 2..4)?;
    let n = Size::fixed(b.choices.pick(&[1, 3, 8]));
    let trans = b.choices.chance(50);
    let k = Size::fixed(k);
    let w = b.leaf(x.elem, &if trans { [n, k] } else { [k, n] });
    let attributes = vec![int("transB", trans.into()), float("alpha", b.choices.pick(&[1.0, 0.5, -2.0]))];
    let mut dims = x.dims.clone();
    *dims.last_mut()? = n;
    let y = b.emit1("ms.FusedMatMul", &[&x.name, &w.name], attributes, x.elem, dims)?;
    after(b, y)?;
    Some(())
}

pub fn einsum(b: &mut Builder) -> Option<()> {
    if b.opset < 12 {
        return None;
    }
    const FORMS: &[&str] = &[
        "bij,bjk->bik",
        "ij,jk->ik",
        "ij,kj->ik",
        "bhid,bhjd->bhij",
        "bhij,bhjd->bhid",
        "ij->ji",
        "ij->i",
        "i,j->ij",
        "ij,ij->ij",
        "ij,ij->",
        "bij,jk->bik",
        "bi,bi->b",
        "ijk->kji",
        "ij,j->i",
        "bsd,dhk->bhsk",
    ];
    let form = b.choices.pick(FORMS);
    let (inputs, output) = form.split_once("->")?;
    let elem = b.choices.pick(&[F32, F32, F64]);
    let mut letters: Vec<(char, Size)> = vec![];
    let mut size = |b: &mut Builder, c: char| match letters.iter().find(|(l, _)| *l == c) {
        Some((_, size)) => *size,
        None => {
            letters.push((c, b.size()));
            letters[letters.len() - 1].1
        }
    };
    let mut names = vec![];
    for part in inputs.split(',') {
        let dims: Vec<Size> = part.chars().map(|c| size(b, c)).collect();
        if !crate::graphs::build::fits(&dims) {
            return None;
        }
        let name = match b.find(|v| v.elem == elem && v.dims == dims) {
            Some(v) => v.name,
            None => b.leaf(elem, &dims).name,
        };
        names.push(name);
    }
    let dims = output.chars().map(|c| size(b, c)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    b.emit1("Einsum", &names, vec![text("equation", form)], elem, dims)?;
    Some(())
}
