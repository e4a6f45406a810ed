//! `slice(x){starts=[i], ends=[j]}  →  split(x)`'s part from `i` to `j`
//!
//! where the axis has as many elements as that takes: kernels read parts of what is split where they lie.

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
        let (n, start, length) = (from[*axis].as_const()?, start.as_integer()?, to[*axis].as_const()?);
        if length == n {
            continue;
        }
        let n = i64::try_from(n).ok()?;
        let start = usize::try_from(if start < 0 { (start + n).max(0) } else { start.min(n) }).ok()?;
        let rest = (n as usize).checked_sub(start.checked_add(length)?)?;
        if *step != 1 || length == 0 {
            return None;
        }
        cuts.push((*axis, [start, length, rest].map(Dim::constant)));
    }
    (!cuts.is_empty()).then_some(cuts)
}
