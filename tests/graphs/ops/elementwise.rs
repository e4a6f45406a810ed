//! Ops that go element by element: arithmetic, comparisons, logic, choices, casts and activations.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, broadcast, fits};
use crate::graphs::data::Draw;
use crate::graphs::proto::{data_type, float, int, text};

pub const FLOATS: &[Elem] = &[F32, F32, F32, F32, F32, F32, F16, Bf16, F64];
const NUMBERS: &[Elem] =
    &[F32, F32, F32, F32, F32, F16, Bf16, F64, I64, I64, I32, I8, U8, I16, U16, U32, U64];
const INTEGERS: &[Elem] = &[I64, I64, I32, I32, I8, U8, I16, U16, U32, U64];
const ALL: &[Elem] = &[F32, F32, F32, F16, Bf16, F64, I64, I32, I8, U8, I16, U16, U32, U64, Bool];

pub fn unary(b: &mut Builder) -> Option<()> {
    const OPS: &[&str] = &[
        "Neg",
        "Abs",
        "Sign",
        "Sqrt",
        "Reciprocal",
        "Floor",
        "Ceil",
        "Round",
        "Exp",
        "Log",
        "Erf",
        "Sin",
        "Cos",
        "Tan",
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Asinh",
        "Acosh",
        "Atanh",
        "Relu",
        "Tanh",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tanh",
        "Sigmoid",
        "Neg",
        "Abs",
        "Relu",
    ];
    let op = b.choices.pick(OPS);
    let elems = if matches!(op, "Neg" | "Abs" | "Sign") { NUMBERS } else { FLOATS };
    let x = b.operand(elems, 0..5);
    if op == "Neg" && !x.elem.is_signed() {
        return None;
    }
    b.emit1(op, &[&x.name], vec![], x.elem, x.dims)?;
    Some(())
}

pub fn activation(b: &mut Builder) -> Option<()> {
    const OPS: &[(&str, i64)] = &[
        ("LeakyRelu", 6),
        ("ThresholdedRelu", 10),
        ("Elu", 6),
        ("Selu", 6),
        ("Celu", 12),
        ("HardSigmoid", 6),
        ("HardSwish", 14),
        ("Mish", 18),
        ("Gelu", 20),
        ("Swish", 24),
        ("SwiGLU", 28),
        ("PRelu", 9),
        ("ms.Gelu", 9),
        ("ms.FastGelu", 9),
        ("ms.QuickGelu", 9),
        ("ms.BiasGelu", 9),
        ("IsNaN", 13),
        ("IsInf", 10),
        ("Not", 1),
        ("Identity", 13),
    ];
    // What only the newest opsets have is seldom drawn otherwise.
    let newest = OPS.iter().filter(|(_, since)| *since <= b.opset).max_by_key(|(_, since)| *since);
    let (op, since) = match newest {
        Some(newest) if b.choices.chance(15) => *newest,
        _ => b.choices.pick(OPS),
    };
    if b.opset < since {
        return None;
    }
    let elems: &[Elem] = match op {
        "Not" => &[Bool],
        "Identity" => ALL,
        "IsInf" => &[F32, F64],
        _ if op.starts_with("ms.") => &[F32, F16],
        _ => FLOATS,
    };
    let x = b.operand(elems, if op == "ms.BiasGelu" { 1..5 } else { 0..5 });
    let mut inputs = vec![x.name.clone()];
    let mut attributes = vec![];
    let mut result = x.elem;
    match op {
        // What only a run tells cannot be the size of anything new.
        "SwiGLU" if !x.dims.iter().all(|d| d.known()) => return None,
        "SwiGLU" => inputs.push(b.leaf(x.elem, &x.dims).name),
        "LeakyRelu" | "Elu" | "Celu" | "ThresholdedRelu" | "Swish" | "ms.QuickGelu"
            if b.choices.chance(60) =>
        {
            attributes.push(float("alpha", b.choices.pick(&[0.1, 0.5, 1.0, 1.5, 1.702, 2.0])));
        }
        "Selu" if b.choices.chance(50) => attributes.extend([float("alpha", 1.5), float("gamma", 0.75)]),
        "HardSigmoid" if b.choices.chance(50) => {
            attributes.extend([float("alpha", 0.5), float("beta", 0.25)])
        }
        "Gelu" => attributes.push(text("approximate", b.choices.pick(&["none", "tanh"]))),
        "PRelu" => {
            let dims = b.narrowed(&x.dims);
            inputs.push(b.leaf(x.elem, &dims).name);
        }
        "ms.BiasGelu" => inputs.push(b.leaf(x.elem, &[Some(x.last()).filter(|s| s.known())?]).name),
        "ms.FastGelu" if x.rank() > 0 && x.last().known() && b.choices.chance(50) => {
            inputs.push(b.leaf(x.elem, &[x.last()]).name);
        }
        "IsNaN" => result = Bool,
        "IsInf" => {
            result = Bool;
            if b.choices.chance(40) {
                attributes.push(int(b.choices.pick(&["detect_positive", "detect_negative"]), 0));
            }
        }
        _ => {}
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.emit1(op, &inputs, attributes, result, x.dims)?;
    Some(())
}

pub fn binary(b: &mut Builder) -> Option<()> {
    let op = b.choices.pick(&["Add", "Sub", "Mul", "Div", "Add", "Mul", "Sub", "Pow", "Mod", "Mod"]);
    let elems = match op {
        "Pow" => &[F32, F32, F64, F16, I64, I32][..],
        "Div" | "Mod" if b.choices.chance(60) => FLOATS,
        _ => NUMBERS,
    };
    let x = b.operand(elems, 0..5);
    let mut attributes = vec![];
    if op == "Mod" && (x.elem.is_float() || b.choices.chance(40)) {
        attributes.push(int("fmod", 1));
    }
    let (y, dims) = match op {
        "Pow" => {
            let dims = if b.choices.chance(50) { vec![] } else { b.narrowed(&x.dims) };
            let elem = if b.choices.chance(80) { x.elem } else { b.choices.pick(&[F32, I64, I32]) };
            let draw = match elem.is_float() {
                true => Draw::All(b.choices.pick(&[2.0, 0.5, 3.0, -1.0, 1.0, -0.5, 0.0])),
                false => Draw::Whole(0, 3),
            };
            (b.drawn(elem, &dims, draw), x.dims.clone())
        }
        // What is whole is divided by what is not zero.
        "Div" | "Mod" if !x.elem.is_float() => {
            let dims = b.narrowed(&x.dims);
            let draw = if x.elem.is_signed() && b.choices.chance(30) {
                Draw::Whole(-4, -1)
            } else {
                Draw::Whole(1, 5)
            };
            (b.drawn(x.elem, &dims, draw), x.dims.clone())
        }
        _ => b.partner(&x),
    };
    let (p, q) =
        if matches!(op, "Add" | "Sub" | "Mul") && b.choices.chance(50) { (&y, &x) } else { (&x, &y) };
    b.emit1(op, &[&p.name, &q.name], attributes, x.elem, dims)?;
    Some(())
}

pub fn variadic(b: &mut Builder) -> Option<()> {
    let op = b.choices.pick(&["Min", "Max", "Sum", "Mean", "Min", "Max"]);
    let elems = if matches!(op, "Min" | "Max") && b.opset > 11 {
        &[F32, F32, F64, I64, I32][..]
    } else {
        &[F32, F64]
    };
    let x = b.operand(elems, 0..5);
    let mut names = vec![x.name.clone()];
    let mut all = x.clone();
    for _ in 0..b.choices.below(3) {
        let (y, dims) = b.partner(&all);
        names.push(y.name);
        all.dims = dims;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    b.emit1(op, &names, vec![], x.elem, all.dims)?;
    Some(())
}

pub fn comparison(b: &mut Builder) -> Option<()> {
    let op = b.choices.pick(&["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"]);
    if op.ends_with("OrEqual") && b.opset < 12 {
        return None;
    }
    let x = b.operand(if op == "Equal" { &[F32, I64, I32, F64, Bool] } else { NUMBERS }, 0..5);
    let (y, dims) = b.partner(&x);
    b.emit1(op, &[&x.name, &y.name], vec![], Bool, dims)?;
    Some(())
}

pub fn logic(b: &mut Builder) -> Option<()> {
    let op = b.choices.pick(&["And", "Or", "Xor"]);
    let x = b.operand(&[Bool], 0..5);
    let (y, dims) = b.partner(&x);
    b.emit1(op, &[&x.name, &y.name], vec![], Bool, dims)?;
    Some(())
}

/// Integers bit by bit, and elements read as another type.
pub fn bits(b: &mut Builder) -> Option<()> {
    const OPS: &[(&str, i64)] = &[
        ("BitwiseAnd", 18),
        ("BitwiseOr", 18),
        ("BitwiseXor", 18),
        ("BitwiseNot", 18),
        ("BitShift", 11),
        ("BitCast", 26),
    ];
    let (op, since) = b.choices.pick(OPS);
    if b.opset < since {
        return None;
    }
    if op == "BitCast" {
        let (from, to) =
            b.choices.pick(&[(F32, I32), (I32, F32), (F64, I64), (F16, U16), (U8, I8), (Bool, U8)]);
        // Any bits of a float may be a NaN, whose payload is nobody's promise.
        let x = b.operand(&[from], 0..5);
        let to = if to == F32 { U32 } else { to };
        b.emit1(op, &[&x.name], vec![int("to", data_type(to).into())], to, x.dims)?;
        return Some(());
    }
    let x = b.operand(if op == "BitShift" { &[U8, U16, U32, U64] } else { INTEGERS }, 0..5);
    if op == "BitwiseNot" {
        b.emit1(op, &[&x.name], vec![], x.elem, x.dims)?;
        return Some(());
    }
    let mut attributes = vec![];
    let (y, dims) = if op == "BitShift" {
        attributes.push(text("direction", b.choices.pick(&["LEFT", "RIGHT"])));
        let dims = b.narrowed(&x.dims);
        (b.drawn(x.elem, &dims, Draw::Whole(0, 7)), x.dims.clone())
    } else {
        b.partner(&x)
    };
    b.emit1(op, &[&x.name, &y.name], attributes, x.elem, dims)?;
    Some(())
}

/// By way of floats of 8 bits and under, and back.
pub fn stored(b: &mut Builder) -> Option<()> {
    let (to, since) = b.choices.pick(&[
        (F8E4M3, 19),
        (F8E5M2, 19),
        (F8E4M3Uz, 19),
        (F8E5M2Uz, 19),
        (F4E2M1, 23),
        (F8E8M0, 24),
    ]);
    // What becomes of numbers below 0 is open where there are only powers of two.
    if b.opset < since || b.tame && to == F8E8M0 {
        return None;
    }
    let x = b.operand(&[F32, F32, F16, F64], 0..5);
    let mut attributes = vec![int("to", data_type(to).into())];
    if b.choices.chance(30) {
        attributes.push(int("saturate", 0));
    }
    let code = b.emit1("Cast", &[&x.name], attributes, to, x.dims.clone())?;
    b.emit1("Cast", &[&code.name], vec![int("to", data_type(F32).into())], F32, x.dims)?;
    Some(())
}

pub fn choice(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 0..5);
    let (y, dims) = b.partner(&x);
    let both = x.with(Bool, dims);
    let (cond, dims) = b.partner(&both);
    let (p, q) = if b.choices.chance(50) { (&x, &y) } else { (&y, &x) };
    b.emit1("Where", &[&cond.name, &p.name, &q.name], vec![], x.elem, dims)?;
    Some(())
}

/// Clip, whose bounds are attributes before opset 11.
pub fn clip(b: &mut Builder) -> Option<()> {
    let x = b.operand(if b.opset > 11 { NUMBERS } else { FLOATS }, 0..5);
    let (low, high) = b.choices.pick(&[(-1.0, 1.0), (0.0, 6.0), (-0.5, 2.0), (1.0, 1.0), (2.0, 3.0)]);
    let low = if x.elem.is_signed() { low } else { f64::max(low, 0.0) };
    let has = b.choices.pick(&[(true, true), (true, true), (true, false), (false, true)]);
    if b.opset < 11 {
        let mut attributes = vec![];
        attributes.extend(has.0.then(|| float("min", low as f32)));
        attributes.extend(has.1.then(|| float("max", high as f32)));
        b.emit1("Clip", &[&x.name], attributes, x.elem, x.dims)?;
        return Some(());
    }
    let low = if has.0 { b.scalar(x.elem, low) } else { String::new() };
    let high = if has.1 { b.scalar(x.elem, high) } else { String::new() };
    let inputs = if has.1 { vec![x.name.as_str(), &low, &high] } else { vec![x.name.as_str(), &low] };
    b.emit1("Clip", &inputs, vec![], x.elem, x.dims.clone())?;
    Some(())
}

/// Casts between all types; what is not a whole number of the type's range is brought into it first.
pub fn cast(b: &mut Builder) -> Option<()> {
    let mut x = b.operand(ALL, 0..5);
    let to = b.choices.pick(ALL);
    if x.elem.is_float() && to.is_int() || x.elem.is_int() && x.range.is_none() && to != x.elem {
        if b.opset < 12 {
            return None;
        }
        let (low, high) = (if to.is_signed() && x.elem.is_signed() { -100.0 } else { 0.0 }, 100.0);
        if x.elem.is_float() {
            // There is no whole number to make of what is not a number.
            let nan = b.emit1("IsNaN", &[&x.name], vec![], Bool, x.dims.clone())?;
            let zero = b.scalar(x.elem, 0.25);
            x = b.emit1("Where", &[&nan.name, &zero, &x.name], vec![], x.elem, x.dims)?;
        }
        let (low, high) = (b.scalar(x.elem, low), b.scalar(x.elem, high));
        x = b.emit1("Clip", &[&x.name, &low, &high], vec![], x.elem, x.dims)?;
    }
    if !to.is_signed() && x.range.is_some_and(|(low, _)| low < 0) {
        return None;
    }
    if b.opset >= 15 && b.choices.chance(20) {
        let like = b.operand(&[to], 0..5);
        b.emit1("CastLike", &[&x.name, &like.name], vec![], to, x.dims)?;
    } else {
        b.emit1("Cast", &[&x.name], vec![int("to", data_type(to).into())], to, x.dims)?;
    }
    Some(())
}

/// SiLU, GELU in both forms and swish, as exporters spell them, and twins with another number in one place.
pub fn spelled(b: &mut Builder) -> Option<()> {
    let x = b.operand(FLOATS, 0..5);
    let scalar = |b: &mut Builder, v: f64| b.scalar(x.elem, v);
    let unary =
        |b: &mut Builder, op: &str, a: &str| Some(b.emit1(op, &[a], vec![], x.elem, x.dims.clone())?.name);
    let binary = |b: &mut Builder, op: &str, p: &str, q: &str| {
        let (p, q) = if op != "Div" && op != "Pow" && b.choices.chance(40) { (q, p) } else { (p, q) };
        Some(b.emit1(op, &[p, q], vec![], x.elem, x.dims.clone())?.name)
    };
    match b.choices.below(4) {
        0 => {
            let gate = unary(b, "Sigmoid", &x.name)?;
            binary(b, "Mul", &x.name, &gate)?;
        }
        1 => {
            let alpha = b.choices.pick(&[1.702, 1.0, 2.0, -1.0]);
            let alpha = scalar(b, alpha);
            let bent = binary(b, "Mul", &x.name, &alpha)?;
            let gate = unary(b, "Sigmoid", &bent)?;
            binary(b, "Mul", &x.name, &gate)?;
        }
        2 => {
            let root = b.choices.pick(&[std::f64::consts::SQRT_2, 1.41, 1.4143, 1.5]);
            let root = scalar(b, root);
            let bent = binary(b, "Div", &x.name, &root)?;
            let erf = unary(b, "Erf", &bent)?;
            let one = scalar(b, 1.0);
            let gate = binary(b, "Add", &erf, &one)?;
            let half = scalar(b, 0.5);
            if b.choices.chance(50) {
                let y = binary(b, "Mul", &x.name, &gate)?;
                binary(b, "Mul", &y, &half)?;
            } else {
                let y = binary(b, "Mul", &x.name, &half)?;
                binary(b, "Mul", &y, &gate)?;
            }
        }
        _ => {
            let three = scalar(b, 3.0);
            let cube = binary(b, "Pow", &x.name, &three)?;
            let factor = b.choices.pick(&[0.044715, 0.0447, 0.05]);
            let factor = scalar(b, factor);
            let cube = binary(b, "Mul", &cube, &factor)?;
            let sum = binary(b, "Add", &x.name, &cube)?;
            let root = b.choices.pick(&[0.797_884_560_8, 0.7978, 0.8]);
            let root = scalar(b, root);
            let bent = binary(b, "Mul", &sum, &root)?;
            let bent = unary(b, "Tanh", &bent)?;
            let one = scalar(b, 1.0);
            let gate = binary(b, "Add", &bent, &one)?;
            let half = scalar(b, 0.5);
            let half = binary(b, "Mul", &x.name, &half)?;
            binary(b, "Mul", &half, &gate)?;
        }
    }
    Some(())
}

/// A wide value and a narrow one, through a chain of ops each.
pub fn chain(b: &mut Builder) -> Option<()> {
    let mut x = b.operand(&[F32], 1..4);
    for _ in 0..b.choices.between(2, 5) {
        match b.choices.below(3) {
            0 => {
                let op = b.choices.pick(&["Tanh", "Sigmoid", "Neg", "Abs", "Relu", "Sqrt"]);
                x = b.emit1(op, &[&x.name], vec![], F32, x.dims)?;
            }
            1 => {
                let value = b.choices.pick(&[0.5, 2.0, -1.0, 0.0, 1.0]);
                let number = b.scalar(F32, value);
                let op = b.choices.pick(&["Mul", "Add", "Sub", "Div", "Max"]);
                x = b.emit1(op, &[&x.name, &number], vec![], F32, x.dims)?;
            }
            _ => {
                let (y, dims) = b.partner(&x);
                let op = b.choices.pick(&["Mul", "Add", "Sub"]);
                x = b.emit1(op, &[&x.name, &y.name], vec![], F32, dims)?;
            }
        }
    }
    Some(())
}

/// The identity, with a mask that drops nothing.
pub fn dropout(b: &mut Builder) -> Option<()> {
    let x = b.operand(&[F32], 0..4);
    if b.opset < 12 {
        b.emit1("Dropout", &[&x.name], vec![], F32, x.dims)?;
        return Some(());
    }
    let ratio = b.scalar(F32, 0.25);
    let mask = b.choices.chance(40);
    let results = [(F32, x.dims.clone()), (Bool, x.dims.clone())];
    b.emit("Dropout", &[&x.name, &ratio], vec![], &results[..1 + usize::from(mask)])?;
    Some(())
}

/// Whole numbers that stand for shapes: sizes of inputs, and what is made of them.
pub fn shapes(b: &mut Builder) -> Option<()> {
    let x = b.operand(ALL, 1..5);
    let rank = x.rank();
    let v = if b.opset >= 15 && b.choices.chance(50) {
        let start = b.choices.below(rank) as i64;
        let attributes = vec![int("start", start)];
        b.emit1("Shape", &[&x.name], attributes, I64, vec![Size::fixed(rank - start as usize)])?
    } else if b.choices.chance(25) {
        b.emit1("Size", &[&x.name], vec![], I64, vec![])?
    } else {
        b.emit1("Shape", &[&x.name], vec![], I64, vec![Size::fixed(rank)])?
    };
    if b.choices.chance(60) {
        let two = b.scalar(I64, 2.0);
        let op = b.choices.pick(&["Add", "Mul", "Sub", "Div"]);
        b.emit1(op, &[&v.name, &two], vec![], I64, v.dims)?;
    }
    Some(())
}

/// An op between what is narrow and what is wide in a way of its own for each operand.
pub fn outer(b: &mut Builder) -> Option<()> {
    let n = b.size();
    let m = b.size();
    let elem = b.choices.pick(&[F32, F32, F32, I64, F16]);
    let (x, y) = (b.leaf(elem, &[n, Size::fixed(1)]), b.leaf(elem, &[Size::fixed(1), m]));
    let dims = broadcast(&x.dims, &y.dims, false).filter(|d| fits(d))?;
    let op = b.choices.pick(&["Add", "Mul", "Sub"]);
    let z = b.emit1(op, &[&x.name, &y.name], vec![], elem, dims)?;
    if b.choices.chance(60) {
        b.emit1("Mul", &[&z.name, &x.name], vec![], elem, z.dims)?;
    }
    Some(())
}
