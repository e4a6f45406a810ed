//! Branches and loops with small bodies that use what stands around them.

use trine_ir::Elem;
use trine_ir::Elem::*;

use crate::graphs::build::{Builder, Size, Val};
use crate::graphs::data::Draw;
use crate::graphs::proto::{graph, int, ints};

/// A value of `x`'s type, by an op or two.
fn variation(b: &mut Builder, x: &Val) -> Option<Val> {
    let mut y = x.clone();
    for _ in 0..b.choices.between(1, 2) {
        y = match b.choices.below(3) {
            0 => {
                let op = b.choices.pick(&["Tanh", "Neg", "Sigmoid", "Relu"]);
                b.emit1(op, &[&y.name], vec![], F32, y.dims)?
            }
            1 => {
                let other = b.find(|v| v.elem == F32 && v.dims == x.dims)?;
                b.emit1("Add", &[&y.name, &other.name], vec![], F32, y.dims)?
            }
            _ => {
                let half = b.scalar(F32, 0.5);
                b.emit1("Mul", &[&y.name, &half], vec![], F32, y.dims)?
            }
        };
    }
    Some(y)
}

fn known(b: &mut Builder, ranks: std::ops::Range<usize>) -> Option<Val> {
    let x = b.operand(&[F32], ranks);
    x.dims.iter().all(|d| d.known()).then_some(x)
}

pub fn branch(b: &mut Builder) -> Option<()> {
    let x = known(b, 0..4)?;
    let cond = match b.choices.below(3) {
        0 => b.input(Bool, &[], Draw::Whole(0, 1)).name,
        1 => b.scalar(Bool, 1.0),
        _ => {
            let (p, q) = (b.input(F32, &[], Draw::Reals).name, b.scalar(F32, 0.0));
            b.emit1("Greater", &[&p, &q], vec![], Bool, vec![])?.name
        }
    };
    let make = |b: &mut Builder| b.body(&[], |b, _| Some(vec![variation(b, &x)?]));
    let (yes, no) = (make(b)?, make(b)?);
    b.emit1("If", &[&cond], vec![graph("then_branch", yes), graph("else_branch", no)], F32, x.dims.clone())?;
    Some(())
}

pub fn repeat(b: &mut Builder) -> Option<()> {
    let x = known(b, 0..3)?;
    let trips = b.choices.between(0, 4);
    let by_input = b.choices.chance(40);
    let count =
        if by_input { b.input(I64, &[], Draw::Whole(0, 4)).name } else { b.scalar(I64, trips as f64) };
    let go = b.scalar(Bool, 1.0);
    let scans = b.choices.chance(50);
    let own: [(Elem, Vec<Size>); 3] = [(I64, vec![]), (Bool, vec![]), (F32, x.dims.clone())];
    let body = b.body(&own, |b, p| {
        let goes_on = b.emit1("Identity", &[&p[1].name], vec![], Bool, vec![])?;
        let next = variation(b, &p[2])?;
        let mut results = vec![goes_on, next.clone()];
        if scans {
            results.push(b.emit1("Neg", &[&next.name], vec![], F32, next.dims)?);
        }
        Some(results)
    })?;
    let mut results = vec![(F32, x.dims.clone())];
    if scans {
        let n = if by_input { b.unknown(Size::fixed(4)) } else { Size::fixed(trips as usize) };
        results.push((F32, [&[n], &x.dims[..]].concat()));
    }
    b.emit("Loop", &[&count, &go, &x.name], vec![graph("body", body)], &results)?;
    Some(())
}

pub fn scan(b: &mut Builder) -> Option<()> {
    let x = known(b, 1..4)?;
    let axis = if b.choices.chance(70) { 0 } else { b.choices.below(x.rank()) };
    let mut slice = x.dims.clone();
    let length = slice.remove(axis);
    let state = b.leaf(F32, &slice);
    let own = [(F32, slice.clone()), (F32, slice.clone())];
    let body = b.body(&own, |b, p| {
        let sum = b.emit1("Add", &[&p[0].name, &p[1].name], vec![], F32, slice.clone())?;
        let next = variation(b, &sum)?;
        let out = b.emit1("Tanh", &[&sum.name], vec![], F32, slice.clone())?;
        Some(vec![next, out])
    })?;
    let mut attributes = vec![graph("body", body), int("num_scan_inputs", 1)];
    if axis > 0 {
        attributes.push(ints("scan_input_axes", &[axis as i64]));
    }
    if b.choices.chance(30) {
        attributes.push(ints("scan_input_directions", &[1]));
    }
    if b.choices.chance(20) {
        attributes.push(ints("scan_output_directions", &[1]));
    }
    let results = [(F32, slice.clone()), (F32, [&[length], &slice[..]].concat())];
    b.emit("Scan", &[&state.name, &x.name], attributes, &results)?;
    Some(())
}
