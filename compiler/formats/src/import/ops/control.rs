//! Branches and loops: subgraphs become functions, and what they use of the graph around becomes operands.

use trine_ir::dim::Symbol;
use trine_ir::ops::*;
use trine_ir::{Dim, Elem, Literal, Op, OpResult, Tensor, Type, Value, bail};

use super::layout::{require_not_one, reshaped};
use super::{Body, Mapper, NodeCx};

pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    Some(match (domain, op_type) {
        ("", "If") => branch,
        ("", "Loop") => repeat,
        ("", "Scan") => scan,
        _ => return None,
    })
}

/// A condition that is known leaves only its branch.
fn branch(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let cond = cx.input(0)?;
    if let Some(taken) = cx.const_tensor(cond).and_then(|t| t.bools().ok()?.next()) {
        return cx.inline_body(if taken { "then_branch" } else { "else_branch" }, &[]);
    }
    let yes = cx.body("then_branch", &[])?;
    let no = cx.body("else_branch", &[])?;
    if yes.results.len() != no.results.len() {
        bail!("the branches have {} and {} outputs", yes.results.len(), no.results.len());
    }
    let ranks = |body: &Body| body.results.iter().map(Type::rank).collect::<Vec<_>>();
    if ranks(&yes) != ranks(&no)
        && let Some((a, b)) = compared(cx, cond)
    {
        cx.drop_body(no);
        cx.drop_body(yes);
        return chosen(cx, &a, &b);
    }
    let inner = [yes.inner_symbols, no.inner_symbols].concat();
    let mut results = vec![];
    for (a, b) in yes.results.iter().zip(&no.results) {
        results.push(merge(cx, a, b, &inner)?);
    }
    let op = If { then_body: yes.function, else_body: no.function, then_args: yes.captures.len(), results };
    let args: Vec<_> = [cond].into_iter().chain(yes.captures).chain(no.captures).map(Some).collect();
    cx.add_node(op, &args)
}

/// The sizes that a condition compares for equality.
fn compared(cx: &NodeCx, cond: Value) -> Option<(Dim, Dim)> {
    let Some(Op::Equal(_)) = cx.producer(cond) else { return None };
    let side = |i: usize| match cx.operand_elements(cond, i)?.as_slice() {
        [Some(only)] => Some(only.clone()),
        _ => None,
    };
    Some((side(0)?, side(1)?))
}

/// The branch for equal sizes or the other, whichever the rest of the model goes with; that it is the one to take is
/// required. Exporters write such branches to drop an axis of one element.
fn chosen(cx: &mut NodeCx, a: &Dim, b: &Dim) -> OpResult<Vec<Value>> {
    if cx.choose_then() {
        // In a body that does not always run the branch itself fails where it is not the one to take, as reshaping does.
        cx.assume(a, b);
        return cx.inline_body("then_branch", &[]);
    }
    match (a.as_integer(), b.as_integer()) {
        (_, Some(1)) => require_not_one(cx, a)?,
        (Some(1), _) => require_not_one(cx, b)?,
        _ => bail!("the rank depends on whether `{a}` is `{b}`; fix them by `--dim`"),
    }
    cx.inline_body("else_branch", &[])
}

/// A type for what may be of either: dimensions that differ, or that `inner` symbols say, are open.
fn merge(cx: &mut NodeCx, a: &Type, b: &Type, inner: &[Symbol]) -> OpResult<Type> {
    if a.elem != b.elem || a.rank() != b.rank() {
        bail!("gives {a} on one way and {b} on another");
    }
    let dim = |(x, y): (&Dim, &Dim)| {
        let same = x == y && !x.symbols().iter().any(|s| inner.contains(s));
        if same { x.clone() } else { cx.fresh_dim() }
    };
    Ok(Type { elem: a.elem, dims: a.dims.iter().zip(&b.dims).map(dim).collect() })
}

fn repeat(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let states = cx.inputs_from(2)?;
    let own = [Type::scalar(Elem::I64), Type::scalar(Elem::Bool)];
    let types: Vec<_> = states.iter().map(|v| cx.ty(*v)).collect();
    let (body, inner) = stable_body(cx, &own, &types, &[], 1)?;
    let outputs = &body.results[1..];
    let trips = trip_count(cx, &body);
    let mut results = vec![];
    for (i, output) in outputs.iter().enumerate() {
        let ty = if i < states.len() { &body.params[2 + i] } else { output };
        let mut ty = merge(cx, ty, ty, &inner)?;
        if i >= states.len() {
            ty.dims.insert(0, trips.clone().unwrap_or_else(|| cx.fresh_dim()));
        }
        results.push(ty);
    }
    let op = Loop { body: body.function, states: states.len(), results };
    let mut args = vec![cx.opt(0), cx.opt(1)];
    args.extend(states.into_iter().chain(body.captures).map(Some));
    cx.add_node(op, &args)
}

/// How often a loop runs, if only a known trip count ends it.
fn trip_count(cx: &NodeCx, body: &Body) -> Option<Dim> {
    let is_true = |v: Value| cx.const_tensor(v).and_then(|t| t.bools().ok()?.next()) == Some(true);
    let graph = cx.body_graph(body)?;
    let goes_on = *graph.outputs().first()?;
    let always =
        graph.params().get(1) == Some(&goes_on) || graph.as_literal(goes_on) == Some(Literal::Bool(true));
    if !always || !cx.opt(1).is_none_or(is_true) {
        return None;
    }
    cx.shape_values(cx.opt(0)?)?.into_iter().next().filter(Dim::is_nonnegative)
}

/// The body of a loop on `own` parameters, states like `states`, and `rest`; its states are results from
/// `skip` on. Where these have other dimensions than those, a symbol of the body's own stands for both.
/// Sizes that depend on data in the body are taken to stay what they were, which is checked at run time.
/// Returns the symbols that mean nothing outside, too.
fn stable_body(
    cx: &mut NodeCx,
    own: &[Type],
    states: &[Type],
    rest: &[Type],
    skip: usize,
) -> OpResult<(Body, Vec<Symbol>)> {
    let mut types = states.to_vec();
    let mut open: Vec<Symbol> = vec![];
    loop {
        let body = cx.body("body", &[own, &types, rest].concat())?;
        if body.results.len() < skip + types.len() {
            bail!("the body has {} outputs for {} states", body.results.len(), types.len());
        }
        let before = open.len();
        for (ty, result) in types.iter_mut().zip(&body.results[skip..]) {
            if ty.elem != result.elem || ty.rank() != result.rank() {
                bail!("a state is {ty} before and {result} after an iteration");
            }
            for (dim, after) in ty.dims.iter_mut().zip(&result.dims) {
                let is_open = dim.as_symbol().is_some_and(|s| open.contains(s));
                if !is_open && dim != after && !after.symbols().iter().any(|s| body.inner_symbols.contains(s))
                {
                    *dim = cx.fresh_dim();
                    open.extend(dim.symbols());
                }
            }
        }
        if open.len() == before {
            open.extend(body.inner_symbols.iter().cloned());
            return Ok((body, open));
        }
        cx.drop_body(body);
    }
}

fn scan(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    if cx.opset() < 9 {
        return scan_batch(cx);
    }
    let sequences = sequence_count(cx)?;
    let args = cx.inputs()?;
    let Some(states) = args.len().checked_sub(sequences) else { bail!("has no {sequences} inputs to scan") };
    let types: Vec<_> = args.iter().map(|v| cx.ty(*v)).collect();
    let axes = cx.attr_ints("scan_input_axes")?.map_or(vec![0; sequences], <[_]>::to_vec);
    let reverse = directions(cx, "scan_input_directions", sequences)?;
    let (op, captures) = scan_op(cx, &types[..states], &types[states..], &axes, reverse)?;
    let args: Vec<_> = args.into_iter().chain(captures).map(Some).collect();
    cx.add_node(op, &args)
}

/// Opset 8 scans each element of a batch for itself.
fn scan_batch(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    if cx.opt(0).is_some() {
        bail!("sequences of different lengths are not supported");
    }
    let sequences = sequence_count(cx)?;
    let args = cx.inputs_from(1)?;
    let Some(states) = args.len().checked_sub(sequences) else { bail!("has no {sequences} inputs to scan") };
    let mut types: Vec<_> = args.iter().map(|v| cx.ty(*v)).collect();
    let batch = types.iter().find_map(|ty| ty.dims.first()).and_then(Dim::as_const);
    let Some(batch @ 1..=MAX_BATCH) = batch else {
        bail!("the batch must be known, and at most {MAX_BATCH}")
    };
    for ty in types.iter_mut().filter(|ty| ty.rank() > 0) {
        ty.dims.remove(0);
    }
    let reverse = directions(cx, "directions", sequences)?;
    let (op, captures) = scan_op(cx, &types[..states], &types[states..], &vec![0; sequences], reverse)?;
    let mut stacks: Vec<Vec<Value>> = vec![vec![]; op.results.len()];
    for i in 0..batch {
        let index = cx.constant(Tensor::scalar(i as i64));
        let mut element = vec![];
        for arg in &args {
            element.push(Some(cx.add(Gather { axis: 0 }, &[*arg, index])?));
        }
        element.extend(captures.iter().copied().map(Some));
        for (stack, result) in stacks.iter_mut().zip(cx.add_node(op.clone(), &element)?) {
            let shape = [vec![Dim::constant(1)], cx.ty(result).dims].concat();
            stack.push(reshaped(cx, result, shape)?);
        }
    }
    stacks.into_iter().map(|stack| cx.add(Concat { axis: 0 }, &stack)).collect()
}

/// How many elements of a batch opset 8 may scan: each is a node.
const MAX_BATCH: usize = 256;

/// The op for given states and sequences, and what it takes besides.
fn scan_op(
    cx: &mut NodeCx,
    states: &[Type],
    sequences: &[Type],
    axes: &[i64],
    reverse: Vec<bool>,
) -> OpResult<(Scan, Vec<Value>)> {
    if sequences.is_empty() || axes.len() != sequences.len() {
        bail!("has {} axes for {} inputs to scan", axes.len(), sequences.len());
    }
    let mut slices = sequences.to_vec();
    let mut lengths = vec![];
    let mut in_axes = vec![];
    for (slice, axis) in slices.iter_mut().zip(axes) {
        let axis = cx.axis(*axis, slice.rank())?;
        lengths.push(slice.dims.remove(axis));
        in_axes.push(axis);
    }
    let length = lengths.iter().find(|l| l.as_const().is_some()).unwrap_or(&lengths[0]);
    let (body, inner) = stable_body(cx, &[], states, &slices, 0)?;
    let outputs = body.results.len() - states.len();
    let axes = cx.attr_ints("scan_output_axes")?.map_or(vec![0; outputs], <[_]>::to_vec);
    if axes.len() != outputs {
        bail!("has {} axes for {outputs} scan outputs", axes.len());
    }
    let (mut results, mut out_axes) = (vec![], vec![]);
    for ty in &body.params[..states.len()] {
        results.push(merge(cx, ty, ty, &inner)?);
    }
    for (ty, axis) in body.results[states.len()..].iter().zip(axes) {
        let mut ty = merge(cx, ty, ty, &inner)?;
        let axis = cx.axis(axis, ty.rank() + 1)?;
        ty.dims.insert(axis, length.clone());
        out_axes.push(axis);
        results.push(ty);
    }
    let out_reverse = directions(cx, "scan_output_directions", outputs)?;
    let op = Scan {
        body: body.function,
        states: states.len(),
        axes: in_axes,
        reverse,
        out_axes,
        out_reverse,
        results,
    };
    Ok((op, body.captures))
}

fn sequence_count(cx: &NodeCx) -> OpResult<usize> {
    match usize::try_from(cx.attr_int("num_scan_inputs", 0)?) {
        Ok(n @ 1..) => Ok(n),
        _ => bail!("attribute `num_scan_inputs` must be 1 or more"),
    }
}

/// Whether each of `count` sequences is taken from its end.
fn directions(cx: &NodeCx, name: &str, count: usize) -> OpResult<Vec<bool>> {
    match cx.attr_ints(name)? {
        None => Ok(vec![false; count]),
        Some(given) if given.len() == count => Ok(given.iter().map(|d| *d != 0).collect()),
        Some(given) => bail!("has {} {name} for {count} sequences", given.len()),
    }
}
