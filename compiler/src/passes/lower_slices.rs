//! `slice(x){starts=[i], ends=[j]}  →  split(x)`'s part from `i` to `j`
//!
//! where the axis is known to have as many elements as that takes: kernels read parts of what is split where they lie.

use trine_ir::dim::Factor;
use trine_ir::ops::{Slice, Split};
use trine_ir::{Dim, Graph, Kind, Module, Op, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, op, refuse, rule};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    Ok(cx.apply(module, &[part()]))
}

fn part() -> Rule {
    let x = any();
    let root = op(Kind::Slice, [&x]).filter(|scope, y| cuts(scope.graph, y).is_some());
    rule("part", root.clone(), move |m, g| {
        let Some(cuts) = cuts(g.graph(), m[&root]) else { return refuse("its parts are not known") };
        let mut y = m[&x];
        for (axis, sizes) in cuts {
            // What comes before is a part only if there is some of it.
            let result = u32::from(sizes[0].as_const() != Some(0));
            let sizes = sizes.into_iter().filter(|n| n.as_const() != Some(0)).collect();
            y = Value { node: g.share(Split { axis, sizes }, &[Some(y)])?, result };
        }
        Ok(y)
    })
}

/// The axes that the slice at `y` cuts, with the sizes of what is before, of the part, and of what is after it.
fn cuts(graph: &Graph, y: Value) -> Option<Vec<(usize, [Dim; 3])>> {
    let Some(Op::Slice(Slice { axes, starts, steps, .. })) = graph.op(y.node) else { return None };
    let from = &graph.ty(graph.operand(y.node, 0)?).dims;
    let to = &graph.ty(y).dims;
    let mut cuts = vec![];
    for ((axis, start), step) in axes.iter().zip(starts).zip(steps) {
        let (n, length) = (&from[*axis], &to[*axis]);
        if *step != 1 {
            return None;
        }
        if length == n {
            continue;
        }
        let start = match (start.as_integer(), n.as_const()) {
            (Some(start), Some(n)) if start < 0 => {
                Dim::constant(n.checked_add_signed(isize::try_from(start).ok()?)?)
            }
            _ => start.clone(),
        };
        let rest = n.sub(&start)?.sub(length)?;
        if length.as_const() == Some(0) || ![&start, length, &rest].iter().all(|d| is_size(d)) {
            return None;
        }
        cuts.push((*axis, [start, length.clone(), rest]));
    }
    (!cuts.is_empty()).then_some(cuts)
}

/// Whether a dimension is 0 or more, whatever its symbols are.
fn is_size(dim: &Dim) -> bool {
    dim.terms().all(|(factors, n)| n >= 0 && factors.iter().all(|f| matches!(f, Factor::Symbol(_))))
}
