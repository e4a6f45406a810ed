//! What is known of integer values while a model is imported: each element as a polynomial of the sizes of
//! inputs, such as `[batch, seq, 9*64]`.
//!
//! Exporters compute the shapes they reshape to: `Shape`, `Gather`, `Mul`, `Concat`, `Reshape`. Followed
//! through these, a computed shape is an attribute with symbols, and what computed it is dead. Floats are
//! followed too where they hold whole numbers, since sizes are scaled in floats.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;
use trine_ir::{Def, Dim, DimEnv, Elem, Module, Op, OpResult, Tensor, Type, Value};

use super::cx::NodeCx;
use super::lower::Level;

/// The elements of a vector or scalar; `None` for one that is not known.
pub(super) type Elements = Vec<Option<Dim>>;

/// Longer vectors are data, not shapes.
const MAX_ELEMENTS: usize = 1024;

/// Polynomials with more terms, or of a higher degree, are not followed.
const MAX_TERMS: usize = 32;
const MAX_DEGREE: usize = 8;

/// Nodes and elements that folding a constant may touch.
const MAX_FOLD_NODES: usize = 64;
const MAX_FOLD_ELEMENTS: usize = 1 << 16;

/// What the node says of the elements of its results, in order of results.
pub(super) fn elements(cx: &NodeCx, results: &[Value]) -> Vec<Option<Elements>> {
    if !cx.domain().is_empty() || !results.iter().any(|r| vector_len(&cx.ty(*r)).is_some()) {
        return vec![];
    }
    let all = match cx.op_type() {
        "Split" => split(cx, results),
        _ => results.first().and_then(|r| single(cx, *r).ok().flatten()).into_iter().map(Some).collect(),
    };
    let fits =
        |v: &Value, e: &Elements| vector_len(&cx.ty(*v)) == Some(e.len()) && e.iter().any(Option::is_some);
    all.into_iter().zip(results).map(|(e, v)| e.filter(|e| fits(v, e))).collect()
}

/// The tensor of type `ty` that has these elements, if all are constants.
fn known(elements: &Elements, ty: &Type) -> Option<Tensor> {
    let values: Vec<i64> = elements.iter().map(|e| e.as_ref()?.as_integer()).collect::<Option<_>>()?;
    let dims = ty.static_dims()?;
    match ty.elem {
        Elem::I64 => Tensor::from_vec(dims, values).ok(),
        Elem::I32 => {
            let values = values.into_iter().map(|v| i32::try_from(v).ok()).collect::<Option<Vec<_>>>()?;
            Tensor::from_vec(dims, values).ok()
        }
        Elem::Bool => Tensor::from_bools(dims, values.into_iter().map(|v| v != 0)).ok(),
        _ => None,
    }
}

/// The elements of a constant.
pub(super) fn of_tensor(tensor: &Tensor) -> Option<Elements> {
    if tensor.rank() > 1 || tensor.len() > MAX_ELEMENTS {
        return None;
    }
    let whole = |v: f64| (v.fract() == 0.0 && v.abs() < 9e15).then_some(Dim::integer(v as i64));
    Some(match tensor.elem() {
        Elem::I64 => tensor.values::<i64>().ok()?.iter().map(|v| Some(Dim::integer(*v))).collect(),
        Elem::I32 => tensor.values::<i32>().ok()?.iter().map(|v| Some(Dim::integer((*v).into()))).collect(),
        Elem::Bool => tensor.bools().ok()?.map(|v| Some(Dim::integer(v.into()))).collect(),
        Elem::F32 => tensor.values::<f32>().ok()?.iter().map(|v| whole((*v).into())).collect(),
        Elem::F64 => tensor.values::<f64>().ok()?.iter().map(|v| whole(*v)).collect(),
        _ => return None,
    })
}

/// The tensor that a value is when it is computed from small constants alone.
pub(super) fn fold(level: &Level, module: &Module, v: Value) -> Option<Tensor> {
    let graph = &level.graph;
    let mut done: FxHashMap<Value, Tensor> = FxHashMap::default();
    let mut stack = vec![v];
    let mut visits = 0;
    while let Some(top) = stack.last().copied() {
        visits += 1;
        let small = graph.ty(top).static_dims().and_then(|d| trine_ir::tensor::count(&d));
        if visits > 4 * MAX_FOLD_NODES || small? > MAX_FOLD_ELEMENTS {
            return None;
        }
        if let Some(tensor) = level.elements.get(&top).and_then(|e| known(e, graph.ty(top))) {
            done.insert(top, tensor);
            stack.pop();
            continue;
        }
        let results = match graph.def(top.node) {
            Def::Param { .. } => return None,
            Def::Const(key) => vec![module.consts.get(key)?.clone()],
            Def::Literal(literal) => vec![literal.tensor().ok()?],
            Def::Op(op) => {
                let operands = graph.operands(top.node);
                let missing = operands.iter().flatten().find(|o| !done.contains_key(o));
                if let Some(missing) = missing {
                    stack.push(*missing);
                    continue;
                }
                let args: Vec<_> = operands.iter().map(|o| o.map(|v| &done[&v])).collect();
                op.eval(&args, &DimEnv::default()).ok()?
            }
        };
        done.extend(graph.results(top.node).zip(results));
        stack.pop();
    }
    done.remove(&v)
}

/// The elements of the first result.
fn single(cx: &NodeCx, result: Value) -> OpResult<Option<Elements>> {
    let input = |i: usize| cx.opt(i).and_then(|v| read(cx, v));
    Ok(match cx.op_type() {
        "Shape" => {
            let dims = cx.ty(cx.input(0)?).dims;
            let n = dims.len() as i64;
            let at = |i: i64| (if i < 0 { i + n } else { i }).clamp(0, n) as usize;
            let (start, end) = (at(cx.attr_int("start", 0)?), at(cx.attr_int("end", n)?));
            dims.get(start..end.max(start)).map(|d| d.iter().cloned().map(Some).collect())
        }
        "Size" => cx.ty(cx.input(0)?).dims.into_iter().map(Some).reduce(lift(mul)).map(|n| vec![n]),
        "Cast" | "CastLike" if !keeps_integers(cx.ty(result).elem) => None,
        "Floor" | "Ceil" => match cx.producer(cx.input(0)?) {
            Some(Op::Div(_)) => rounded_quotient(cx, cx.input(0)?),
            _ => input(0),
        },
        "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Cast" | "CastLike" | "Dropout" => {
            input(0)
        }
        "Concat" => {
            cx.inputs()?.into_iter().map(|v| read(cx, v)).collect::<Option<Vec<_>>>().map(|e| e.concat())
        }
        "Gather" => input(0).zip(cx.const_ints(cx.input(1)?)).and_then(|(data, indices)| {
            let n = data.len() as i64;
            let at = |i: &i64| data.get(usize::try_from(if *i < 0 { i + n } else { *i }).ok()?).cloned();
            indices.iter().map(at).collect()
        }),
        "Slice" => slice(cx, input(0))?,
        "Expand" => input(0).zip(vector_len(&cx.ty(result))).and_then(|(e, n)| match e.as_slice() {
            [one] => Some(vec![one.clone(); n]),
            _ => (e.len() == n).then_some(e),
        }),
        "Neg" => input(0).map(|e| e.into_iter().map(|e| Dim::constant(0).sub(&e?)).collect()),
        "Abs" => input(0).map(|e| {
            let zero = Dim::constant(0);
            e.into_iter().map(|e| if at_least(e.as_ref()?, &zero)? { e } else { zero.sub(&e?) }).collect()
        }),
        "Not" => input(0).map(|e| e.into_iter().map(|e| truth(e?.as_integer()? == 0)).collect()),
        "Where" => match (input(0), input(1), input(2)) {
            (Some(c), Some(x), Some(y)) => {
                let picked = |i| match pick(&c, i)?.as_ref()?.as_integer()? {
                    0 => pick(&y, i)?.clone(),
                    _ => pick(&x, i)?.clone(),
                };
                Some((0..c.len().max(x.len()).max(y.len())).map(picked).collect())
            }
            _ => None,
        },
        "ReduceProd" => input(0).and_then(|e| e.into_iter().reduce(lift(mul))).map(|n| vec![n]),
        "ReduceSum" => input(0).and_then(|e| e.into_iter().reduce(lift(Dim::add))).map(|n| vec![n]),
        "ReduceMax" => input(0).and_then(|e| e.into_iter().reduce(lift(Dim::max_of))).map(|n| vec![n]),
        "ReduceMin" => input(0).and_then(|e| e.into_iter().reduce(lift(Dim::min_of))).map(|n| vec![n]),
        op => {
            let float = cx.ty(result).elem.is_float();
            let Some(f) = binary(op, float) else { return Ok(None) };
            let all: Option<Vec<_>> = cx.inputs()?.into_iter().map(|v| read(cx, v)).collect();
            all.and_then(|all| {
                all.into_iter().reduce(|a, b| {
                    let n = if a.is_empty() || b.is_empty() { 0 } else { a.len().max(b.len()) };
                    (0..n).map(|i| f(pick(&a, i)?.as_ref()?, pick(&b, i)?.as_ref()?)).collect()
                })
            })
        }
    })
}

/// A quotient of floats that are whole numbers, rounded.
fn rounded_quotient(cx: &NodeCx, quotient: Value) -> Option<Elements> {
    let (a, b) = (cx.operand_elements(quotient, 0)?, cx.operand_elements(quotient, 1)?);
    let round = |a: &Dim, b: &Dim| match cx.op_type() {
        "Ceil" => a.ceildiv(b),
        _ => a.floordiv(b),
    };
    let n = if a.is_empty() || b.is_empty() { 0 } else { a.len().max(b.len()) };
    Some((0..n).map(|i| round(pick(&a, i)?.as_ref()?, pick(&b, i)?.as_ref()?)).collect())
}

/// What is known of an input: at least how many elements it has.
fn read(cx: &NodeCx, v: Value) -> Option<Elements> {
    let ty = cx.ty(v);
    let len = vector_len(&ty)?;
    Some(cx.partial_shape_values(v).filter(|e| e.len() == len).unwrap_or_else(|| vec![None; len]))
}

fn vector_len(ty: &Type) -> Option<usize> {
    let kind = ty.elem == Elem::Bool || keeps_integers(ty.elem);
    match ty.dims.as_slice() {
        _ if !kind => None,
        [] => Some(1),
        [n] => n.as_const().filter(|n| *n <= MAX_ELEMENTS),
        _ => None,
    }
}

fn keeps_integers(elem: Elem) -> bool {
    matches!(elem, Elem::I64 | Elem::I32 | Elem::F32 | Elem::F64)
}

type Binary = fn(&Dim, &Dim) -> Option<Dim>;

fn binary(op: &str, float: bool) -> Option<Binary> {
    Some(match op {
        "Add" | "Sum" => Dim::add,
        "Sub" => Dim::sub,
        "Mul" => mul,
        "Div" if float => Dim::div_exact,
        "Div" => |a, b| match (a.as_integer(), b.as_integer()) {
            (Some(a), Some(b)) => a.checked_div(b).map(Dim::integer),
            // Rounded towards zero, which is down where nothing is negative.
            _ => whole_quotient(a, b).then(|| a.floordiv(b)).flatten().or_else(|| a.div_exact(b)),
        },
        "Mod" => |a, b| match (a.as_integer(), b.as_integer()) {
            // Neither sign convention matters where both are positive.
            (Some(a), Some(b)) => a.checked_rem(b).filter(|_| a >= 0 && b > 0).map(Dim::integer),
            _ => whole_quotient(a, b).then(|| a.modulo(b)).flatten(),
        },
        "Max" => Dim::max_of,
        "Min" => Dim::min_of,
        "Equal" => |a, b| truth(compare(a, b)? == Ordering::Equal),
        "Greater" => |a, b| truth(compare(a, b)? == Ordering::Greater),
        "Less" => |a, b| truth(compare(a, b)? == Ordering::Less),
        "GreaterOrEqual" => |a, b| truth(at_least(a, b)?),
        "LessOrEqual" => |a, b| truth(at_least(b, a)?),
        "And" => |a, b| truth(a.as_integer()? != 0 && b.as_integer()? != 0),
        "Or" => |a, b| truth(a.as_integer()? != 0 || b.as_integer()? != 0),
        _ => return None,
    })
}

/// A truth value as an element.
fn truth(value: bool) -> Option<Dim> {
    Some(Dim::integer(value.into()))
}

fn lift(f: fn(&Dim, &Dim) -> Option<Dim>) -> impl Fn(Option<Dim>, Option<Dim>) -> Option<Dim> {
    move |a, b| f(&a?, &b?)
}

/// Element `i` of what is broadcast to the other operand's length.
fn pick(elements: &Elements, i: usize) -> Option<&Option<Dim>> {
    elements.get(if elements.len() == 1 { 0 } else { i })
}

fn mul(a: &Dim, b: &Dim) -> Option<Dim> {
    let degree = |d: &Dim| d.terms().map(|(m, _)| m.len()).max().unwrap_or(0);
    let terms = a.terms().count() * b.terms().count();
    (terms <= MAX_TERMS && degree(a) + degree(b) <= MAX_DEGREE).then(|| a.mul(b))?
}

/// Whether a quotient is rounded down, whichever way it is rounded.
fn whole_quotient(a: &Dim, b: &Dim) -> bool {
    a.is_nonnegative() && b.sub(&Dim::constant(1)).is_some_and(|b| b.is_nonnegative())
}

/// How `a` compares with `b` whatever sizes the symbols, which are not negative, have.
fn compare(a: &Dim, b: &Dim) -> Option<Ordering> {
    let difference = a.sub(b)?;
    if let Some(d) = difference.as_integer() {
        return Some(d.cmp(&0));
    }
    let one = Dim::constant(1);
    match () {
        _ if a.is_at_least(&b.add(&one)?) => Some(Ordering::Greater),
        _ if b.is_at_least(&a.add(&one)?) => Some(Ordering::Less),
        _ => None,
    }
}

/// Whether `a >= b` always, or never.
fn at_least(a: &Dim, b: &Dim) -> Option<bool> {
    match () {
        _ if a.is_at_least(b) => Some(true),
        _ if b.is_at_least(&a.add(&Dim::constant(1))?) => Some(false),
        _ => None,
    }
}

fn slice(cx: &NodeCx, data: Option<Elements>) -> OpResult<Option<Elements>> {
    let Some(data) = data else { return Ok(None) };
    let one = |ints: Option<Vec<i64>>, default| match ints.as_deref() {
        None => Some(default),
        Some([i]) => Some(*i),
        Some(_) => None,
    };
    let (Some(start), Some(end), Some(step)) =
        (one(cx.ints("starts", 1)?, 0), one(cx.ints("ends", 2)?, i64::MAX), one(cx.ints("steps", 4)?, 1))
    else {
        return Ok(None);
    };
    let n = data.len() as i64;
    let from_end = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (start, end) = (from_end(start), from_end(end));
    let magnitude = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(match step.cmp(&0) {
        Ordering::Equal => None,
        Ordering::Greater => {
            let (start, end) = (start.clamp(0, n) as usize, end.clamp(0, n) as usize);
            Some(data.get(start..end).unwrap_or_default().iter().step_by(magnitude).cloned().collect())
        }
        Ordering::Less => {
            let (last, first) = (start.clamp(-1, n - 1) + 1, end.clamp(-1, n - 1) + 1);
            let range = data.get(first as usize..last as usize).unwrap_or_default();
            Some(range.iter().rev().step_by(magnitude).cloned().collect())
        }
    })
}

fn split(cx: &NodeCx, results: &[Value]) -> Vec<Option<Elements>> {
    let Some(mut rest) = cx.opt(0).and_then(|v| read(cx, v)) else { return vec![] };
    let mut parts = vec![];
    for result in results {
        let Some(n) = vector_len(&cx.ty(*result)).filter(|n| *n <= rest.len()) else { return vec![] };
        let tail = rest.split_off(n);
        parts.push(Some(std::mem::replace(&mut rest, tail)));
    }
    parts
}
