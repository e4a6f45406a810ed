//! `ternary_matmul(dequantize(quantize(x)))  →  ternary_matmul(x) {int8}` where a model rounds its activations to int8 by the
//! largest magnitude of a row, as BitNet does
//!
//! and `ternary_matmul(quantize(x)) / s  →  the same`, where it undoes the scale after the product. Factors of the layer
//! that are undone with it stay what they are.
//!
//! Exact but for the order of factors, for each row that there is, where
//! - the row is multiplied by `127/m`, or by `(1/m)·127`, which rounds to other numbers and is kept as `reciprocal`;
//!   `x / (m/127)` would round ties to other integers;
//! - a clip, if there is one, has bounds that no rounded value exceeds, as `|x|·(127/m)` rounds to 127 at most;
//! - what is rounded is cast to types alone that hold integers up to 128;
//! - `m` has a floor, so that a row of zeros is zero and not `0·(127/0)`, and the quotient of the floor is finite. Without
//!   one, a cast to an integer makes that 0, and a division by `127/m` keeps it so.
//!
//! A row with NaN or ±∞ is NaN then, in the model by its own factor, and here by its scale.

use trine_ir::attr::Flag;
use trine_ir::ops::{Cast, Div, Mul, TernaryMatmul};
use trine_ir::{Elem, Kind, Op, Value};

use crate::pattern::*;

/// What a model rounds, and by what.
struct OwnRows {
    x: Pat,
    largest: Pat,
    floor: Pat,
    low: Pat,
    high: Pat,
    /// `(1/m)·127`.
    reciprocal: Pat,
    /// `x / (m/127)`, rounded.
    divided: Pat,
    /// Rounded and cut, and then cast, to floats again in the end.
    cut: Pat,
    integers: Pat,
    /// `127/m` in either spelling, its own reciprocal, and `m/127`.
    up: Pat,
    back: Pat,
    down: Pat,
}

impl OwnRows {
    fn new() -> OwnRows {
        let (x, floor, low, high) = (any(), scalar(), scalar(), scalar());
        let largest = reduce_max(abs(&x));
        let clipped = op(Kind::Clip, [&largest, &floor]);
        let absmax = any_of([clipped, op(Kind::Max, [&largest, &floor]), largest.clone()]);
        let reciprocal = inverse(&absmax) * 127.0;
        let (up, down) = ((127.0 / &absmax) | &reciprocal, &absmax / 127.0);
        let divided = round(&x / &down);
        let rounded = round(&x * &up) | &divided;
        let cut = op(Kind::Clip, [&rounded, &low, &high]) | &rounded;
        let once = cast(&cut) | &cut;
        let twice = cast(&once) | &once;
        let integers = cast(&twice) | &twice;
        let back = inverse(&up);
        OwnRows { x, largest, floor, low, high, reciprocal, divided, cut, integers, up, back, down }
    }

    /// The product of what is rounded as the layer that rounds by itself.
    fn layer(&self, m: &Match, g: &mut Rewrite, product: Value) -> Result<Value, Refusal> {
        let (Some(Op::TernaryMatmul(matmul)), Some(Op::ReduceMax(reduce))) =
            (g.op(product).cloned(), g.op(m[&self.largest]))
        else {
            return refuse("not a ternary matmul of rounded activations");
        };
        if matmul.int8 {
            return refuse("the layer rounds what is rounded already");
        }
        if reduce.axes != [g.ty(m[&self.x]).rank() - 1] || !reduce.keepdims {
            return refuse("activations are not quantized by rows");
        }
        if m.get(&self.divided).is_some() {
            return refuse("activations are divided by their scale, which rounds ties otherwise");
        }
        if let (Some(low), Some(high)) = (m.get(&self.low), m.get(&self.high)) {
            let (low, high) = (g.scalar(low)?, g.scalar(high)?);
            if !(low <= -127.0 && high >= 127.0) {
                return refuse(format!("rounded activations are cut to [{low}, {high}]"));
            }
        }
        let floor = self.floor(m, g)?;
        let op = TernaryMatmul {
            int8: true,
            floor,
            reciprocal: Flag(m.get(&self.reciprocal).is_some()),
            ..matmul
        };
        let mut args = g.graph().operands(product.node);
        args[TernaryMatmul::x] = Some(m[&self.x]);
        Ok(Value { node: g.add_node(op, &args)?, result: 0 })
    }

    fn floor(&self, m: &Match, g: &Rewrite) -> Result<Option<f32>, Refusal> {
        let is_integer = through_integers(g, m[&self.integers], m[&self.cut])?;
        let floor = m.get(&self.floor).map(|v| g.single(v)).transpose()?;
        // Rows whose quotient is infinite are 0 either way.
        if is_integer && m.get(&self.down).is_none() && floor.is_none_or(|floor| floor.is_finite()) {
            return Ok(floor.filter(|floor| *floor > 0.0));
        }
        let Some(floor) = floor else { return refuse("a row of zeros has no scale") };
        if !(floor > 0.0 && (127.0 / floor).is_finite()) {
            return refuse(format!("a row of zeros has no scale, for its floor is {floor:?}"));
        }
        Ok(Some(floor))
    }
}

/// `1 / x` in either spelling.
fn inverse(x: &Pat) -> Pat {
    reciprocal(x) | (1.0 / x)
}

/// Whether the casts from `to` back to `from` are to integers somewhere. Others than those that hold all of int8 are
/// refused.
fn through_integers(g: &Rewrite, to: Value, from: Value) -> Result<bool, Refusal> {
    let (mut v, mut is_integer) = (to, false);
    while v != from {
        let (Some(Op::Cast(Cast { to, .. })), Some(source)) = (g.op(v), g.graph().operand(v.node, 0)) else {
            return refuse("rounded activations are not only cast");
        };
        is_integer |= match to {
            Elem::I8 | Elem::I16 | Elem::I32 | Elem::I64 => true,
            Elem::F16 | Elem::Bf16 | Elem::F32 | Elem::F64 => false,
            to => return refuse(format!("rounded activations are cast to {to}")),
        };
        v = source;
    }
    Ok(is_integer)
}

/// The scale is undone before the product.
pub fn undone_before() -> Rule {
    let rows = OwnRows::new();
    let (w, scale, bias) = (constant(), any(), any());
    let rounded =
        any_of([&rows.integers / &rows.up, &rows.integers * &rows.back, &rows.integers * &rows.down]);
    let root = op(Kind::TernaryMatmul, [&rounded, &w, &scale, &maybe(&bias)]);
    rule("own-quantization", root.clone(), move |m, g| rows.layer(m, g, m[&root]))
}

/// The scale is undone after the product, by itself or with the layer's own factor.
pub fn undone_after() -> Rule {
    let rows = OwnRows::new();
    let (w, scale, factor) = (constant(), any(), any());
    let product = op(Kind::TernaryMatmul, [&rows.integers, &w, &scale]);
    let (times, over) = (&product * &factor, &product / &factor);
    let divided = [
        &product / (&rows.up * &factor),
        &product * (&rows.back / &factor),
        &product * (&rows.down / &factor),
        &over / &rows.up,
        &over * &rows.back,
        &over * &rows.down,
    ];
    let multiplied = [
        &product / (&rows.up / &factor),
        &product * (&rows.back * &factor),
        &product * (&rows.down * &factor),
        &times / &rows.up,
        &times * &rows.back,
        &times * &rows.down,
    ];
    let plain = [&product / &rows.up, &product * &rows.back, &product * &rows.down];
    let (plain, divided, multiplied) = (any_of(plain), any_of(divided), any_of(multiplied));
    let root = any_of([&plain, &divided, &multiplied]);
    rule("own-quantization-after", root, move |m, g| {
        let y = rows.layer(m, g, m[&product])?;
        let Some(factor) = m.get(&factor) else { return Ok(y) };
        match m.get(&divided) {
            Some(_) => Ok(g.add(Div {}, &[y, factor])?),
            None => Ok(g.add(Mul {}, &[y, factor])?),
        }
    })
}
