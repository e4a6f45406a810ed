//! Attention with an in-place cache: append the new keys and values, then one microkernel call a block of queries or,
//! where heads have but one query each, a call for all heads that share keys.
//!
//! Parts share blocks of query heads, so that they are even however few key heads there are. Each appends what its
//! own key heads need, and reads only rows that it appended itself: where parts share a key head, they write the
//! same bytes. Queries and new keys that a rotary embedding turns are turned on the way.

mod cache;
mod form;
mod mask;
mod past;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I32, I64};
use trine_ir::ops::{Attention, CachedAttention};
use trine_ir::{Dim, Elem, Graph, NodeId, Op, Value};
use trine_ukernel::{attention, best, widen};

use super::arguments::arguments;
use super::checks::Checks;
use super::function::{ClifValue, Emit, Result};
use super::matmul::ceil_div;
use super::rotary::Rotary;
use super::rows::{outer_offset, row_stride};
use super::view::View;
use super::{CodegenError, Family, Kernel, Microkernel, Scratch, Shape};
use crate::Target;
use form::Form;
pub use form::attends;
use past::Past;

/// Queries that a call takes.
const BLOCK: i64 = 64;

pub struct AttentionKernel<'g> {
    graph: &'g Graph,
    symbol: &'static str,
    /// Makes f32 of halves.
    widen: &'static str,
    scale: f32,
    softcap: f32,
    hidden: Option<f32>,
    /// [`attention::NAN_UNSEEN`] and its like.
    modes: u32,
    causal: bool,
    /// Keys that a query sees at most, where not all before it.
    window: Option<usize>,
    q: Heads,
    k: Heads,
    v: Heads,
    mask: Option<View>,
    checks: Checks,
    past: Option<Past>,
    /// Where the new rows of each sequence begin, if not after the past.
    starts: Option<View>,
    /// The result that `y` is, and whether it is stored as `[b,s,h,dv]`.
    y: usize,
    transposed: bool,
    total: Dim,
}

/// An operand: heads as they lie, or that are turned first.
enum Heads {
    Plain(View),
    Rotated(Box<Rotary>),
}

impl<'g> AttentionKernel<'g> {
    pub fn new(graph: &'g Graph, target: &Target) -> Option<AttentionKernel<'g>> {
        let order = graph.order();
        let mut hits = order.iter().filter(|n| graph.op(**n).is_some_and(attends));
        let node = hits.next().copied().filter(|_| hits.next().is_none())?;
        let form = Form::of(graph.op(node)?)?;
        let mut y = Value { node, result: 0 };
        let transposed = behind(graph, y);
        if let Some(t) = transposed {
            y = Value { node: t, result: 0 };
        }
        let operand = |slot| graph.operand(node, slot);
        let heads = |slot| Heads::of(graph, operand(slot)?);
        let (q, k, v) = (heads(Attention::q)?, heads(Attention::k)?, heads(Attention::v)?);
        let new = &k.dims()[2];
        let past = operand(Attention::past_k);
        let total = match (&form.rows, past) {
            (Some(rows), Some(_)) => rows.clone(),
            (None, Some(past)) => graph.ty(past).dims.get(2)?.add(new)?,
            (_, None) => new.clone(),
        };
        let past = match past {
            Some(past) => Some(Past::new(graph, node, past, &total)?),
            None => None,
        };
        // Keys are turned as they are appended, values are not at all.
        let turns = |heads: &Heads| matches!(heads, Heads::Rotated(_));
        if turns(&v) || turns(&k) && past.is_none() {
            return None;
        }
        let turned = [(&q, Attention::q), (&k, Attention::k)].into_iter().filter(|(heads, _)| turns(heads));
        let turned: Vec<NodeId> = turned.flat_map(|(_, slot)| operand(slot)).map(|v| v.node).collect();
        let known = |n: &NodeId| {
            *n == node
                || Some(*n) == transposed
                || turned.contains(n)
                || graph.results(*n).all(|v| View::of(graph, v).is_some())
        };
        if !order.iter().filter(|n| graph.op(**n).is_some()).all(known) {
            return None;
        }
        // A cache of rows by number is one with a past, and its queries have no sinks.
        let of_cache = form.rows.is_none() || past.is_some() && operand(CachedAttention::sink).is_none();
        let starts = match operand(CachedAttention::starts) {
            Some(starts) => Some(View::of(graph, starts)?),
            None => None,
        };
        if !of_cache || starts.as_ref().is_some_and(|starts| starts.elem != Elem::I64) {
            return None;
        }
        let mut checks = operands_fit(&q, &k, &v);
        if let Some(starts) = &starts {
            checks.equal(starts.dims.first()?, &q.dims()[0]);
        }
        if let (Some(rows), Some(past)) = (&form.rows, &past) {
            checks.at_most(&past.rows, rows);
            checks.at_most(&k.dims()[2], rows);
        }
        if let Some(past) = &past {
            past.fits(graph, &k, &v, &mut checks)?;
        }
        let mask = match operand(Attention::mask) {
            Some(mask) => {
                let q = q.dims();
                let scores = [q[0].clone(), q[1].clone(), q[2].clone(), total.clone()];
                let mut view = View::of(graph, mask)?;
                let missing = 4usize.checked_sub(view.dims.len())?;
                for (dim, score) in view.dims.iter_mut().zip(&scores[missing..]) {
                    if dim != score && dim.as_const().is_none() {
                        checks.equal(dim, score);
                        *dim = score.clone();
                    }
                }
                Some(view.broadcast(&scores)?)
            }
            None => None,
        };
        let result = |v: Value| graph.outputs().iter().position(|o| *o == v);
        let caches = past.iter().flat_map(|p| [p.keys.present, p.values.present]).flatten();
        if graph.outputs().len() != 1 + caches.count() {
            return None;
        }
        Some(AttentionKernel {
            graph,
            symbol: best(attention::VARIANTS, target.features)?.symbol,
            widen: best(widen::VARIANTS, target.features)?.symbol,
            scale: form.scale,
            softcap: form.softcap,
            hidden: form.hidden,
            modes: form.modes,
            causal: form.causal,
            window: form.window,
            q,
            k,
            v,
            mask,
            checks,
            past,
            starts,
            y: result(y)?,
            transposed: transposed.is_some(),
            total,
        })
    }

    /// Bytes of a head's keys, or values, that are scratch.
    fn kept_bytes(&self, keys: bool) -> Option<Dim> {
        let Some(past) = &self.past else { return Some(Dim::constant(0)) };
        let (cache, heads) = if keys { (past.keys, &self.k) } else { (past.values, &self.v) };
        match cache.present {
            Some(_) if past.elem == Elem::F32 => Some(Dim::constant(0)),
            _ => self.total.mul(&heads.dims()[3])?.mul(&Dim::constant(4)),
        }
    }

    /// Bytes of a block of queries that are turned.
    fn turned_bytes(&self) -> Option<Dim> {
        match &self.q {
            Heads::Plain(_) => Some(Dim::constant(0)),
            Heads::Rotated(q) => q.x.dims[3].mul(&Dim::constant(4 * BLOCK as usize)),
        }
    }
}

impl Kernel for AttentionKernel<'_> {
    fn work(&self) -> Option<Dim> {
        let rows = self.q.dims()[..3].iter().try_fold(Dim::constant(2), |n, d| n.mul(d))?;
        rows.mul(&self.total)?.mul(&self.q.dims()[3])
    }

    /// The queries of a block, if they are turned, the keys and values of a head, if nobody else keeps them, the mask of
    /// a block, and what the microkernel works in.
    fn scratch(&self) -> Option<Scratch> {
        let block = BLOCK as usize;
        // Linear in the keys.
        let none = attention::scratch(block, 0);
        let each = attention::scratch(block, 1) - none + block;
        let scores = self.total.mul(&Dim::constant(4 * each))?.add(&Dim::constant(4 * none + 128))?;
        let kept = self.kept_bytes(true)?.add(&self.kept_bytes(false)?)?;
        Some(Scratch::of_parts(scores.add(&self.turned_bytes()?)?.add(&kept)?))
    }

    /// A product and its addition are two.
    fn operations(&self) -> Option<Dim> {
        self.work()?.mul(&Dim::constant(2))
    }

    fn microkernels(&self) -> Vec<Microkernel> {
        vec![Microkernel { family: Family::Attention, symbol: self.symbol }]
    }

    /// The status is `STATUS_SHAPE` when the operands do not fit each other, or the mask the scores.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let shape = Shape::of(self.graph);
        let dims = |e: &mut Emit, d: &Dim| e.size(d);
        let batch = dims(e, &self.q.dims()[0])?;
        let sizes = Sizes {
            heads: dims(e, &self.q.dims()[1])?,
            key_heads: dims(e, &self.k.dims()[1])?,
            rows: dims(e, &self.q.dims()[2])?,
            d: dims(e, &self.q.dims()[3])?,
            dv: dims(e, &self.v.dims()[3])?,
            new: dims(e, &self.k.dims()[2])?,
            past: match &self.past {
                Some(past) => dims(e, &past.rows)?,
                None => e.int(0),
            },
            total: dims(e, &self.total)?,
        };
        let scratch = self.scratch().ok_or_else(|| CodegenError::Overflow { what: "scores".into() })?.part;
        let own = e.size(&scratch)?;
        let own = e.b.ins().imul(own, e.part);
        let turned = e.at(e.arg(shape.scratch()), own, 1);
        let mut end = turned;
        let mut behind = |e: &mut Emit, bytes: Option<Dim>| {
            let bytes = bytes.ok_or_else(|| CodegenError::Overflow { what: "heads".into() })?;
            let bytes = e.size(&bytes)?;
            end = e.b.ins().iadd(end, bytes);
            Ok(end)
        };
        let keys = behind(e, self.turned_bytes())?;
        let values = behind(e, self.kept_bytes(true))?;
        let mask = behind(e, self.kept_bytes(false))?;
        let work = behind(e, self.total.mul(&Dim::constant(4 * BLOCK as usize)))?;
        let room = Room { turned, keys, values, mask, work };

        let blocks = e.b.ins().iadd_imm_s(sizes.rows, BLOCK - 1);
        let blocks = e.b.ins().udiv_imm_u(blocks, BLOCK);
        let all_heads = e.b.ins().imul(batch, sizes.heads);
        let units = e.b.ins().imul(all_heads, blocks);
        let key_heads = match self.k.dims()[1].as_const() {
            Some(1..) => sizes.key_heads,
            // Without any the shapes do not fit, and nothing is to be divided by them.
            _ => {
                let one = e.int(1);
                e.b.ins().smax(sizes.key_heads, one)
            }
        };
        let group = e.b.ins().udiv(sizes.heads, key_heads);
        let of_key_head = e.b.ins().imul(group, blocks);
        // Without queries there is nothing to share, nor to divide by.
        let one = e.int(1);
        let of_key_head = e.b.ins().smax(of_key_head, one);
        let (first, last) = e.share(units, 1);
        let status = self.checks.emit(e)?;
        let status = cache::in_range(self, e, &sizes, (batch, status))?;
        let last = e.b.ins().select(status, first, last);
        let single = e.b.ins().icmp_imm_s(IntCC::Equal, sizes.rows, 1);
        let most = e.int(BLOCK);
        let together = e.b.ins().select(single, most, one);
        let first_key_head = e.b.ins().udiv(first, of_key_head);
        let last_key_head = ceil_div(e, last, of_key_head);
        let is_idle = e.b.ins().icmp(IntCC::Equal, first, last);
        let last_key_head = e.b.ins().select(is_idle, first_key_head, last_key_head);
        e.for_range(first_key_head, last_key_head, 1, &[], |e, key_head, _| {
            let keys = cache::present(self, e, &shape, &sizes, key_head, (&room, true))?;
            let values = cache::present(self, e, &shape, &sizes, key_head, (&room, false))?;
            let begin = e.b.ins().imul(key_head, of_key_head);
            let end = e.b.ins().iadd(begin, of_key_head);
            let (begin, end) = (e.b.ins().smax(begin, first), e.b.ins().smin(end, last));
            let count = e.b.ins().isub(end, begin);
            let calls = ceil_div(e, count, together);
            let zero = e.int(0);
            e.for_range(zero, calls, 1, &[], |e, call, _| {
                let done = e.b.ins().imul(call, together);
                let unit = e.b.ins().iadd(begin, done);
                let left = e.b.ins().isub(end, unit);
                let heads = e.b.ins().smin(left, together);
                let head = e.b.ins().udiv(unit, blocks);
                let block = e.b.ins().urem(unit, blocks);
                let row = e.b.ins().imul_imm_s(block, BLOCK);
                let queries = Queries { head, row, single, heads };
                queries.emit(self, e, &shape, &sizes, (keys, values), &room)?;
                Ok(vec![])
            })?;
            Ok(vec![])
        })?;
        Ok(status)
    }
}

impl Heads {
    fn of(graph: &Graph, v: Value) -> Option<Heads> {
        if let Some(rotary) = Rotary::of(graph, v.node) {
            return Some(Heads::Rotated(Box::new(rotary)));
        }
        let view = View::of(graph, v)?;
        let contiguous = view.strides.last()?.as_const() == Some(1);
        (view.elem == Elem::F32 && contiguous).then_some(Heads::Plain(view))
    }

    /// `[b,h,s,d]`.
    fn dims(&self) -> &[Dim] {
        match self {
            Heads::Plain(view) => &view.dims,
            Heads::Rotated(rotary) => &rotary.x.dims,
        }
    }
}

/// What must hold for keys to be read by the batch and width of queries, and values by the length of keys.
fn operands_fit(q: &Heads, k: &Heads, v: &Heads) -> Checks {
    let mut checks = Checks::default();
    let (dims_q, dims_k, dims_v) = (q.dims(), k.dims(), v.dims());
    checks.equal(&dims_q[0], &dims_k[0]);
    checks.equal(&dims_q[3], &dims_k[3]);
    (0..3).for_each(|axis| checks.equal(&dims_k[axis], &dims_v[axis]));
    checks.multiple(&dims_q[1], &dims_k[1]);
    for heads in [q, k] {
        if let Heads::Rotated(rotary) = heads {
            rotary.fits(&mut checks);
        }
    }
    checks
}

/// The transpose to `[b,s,h,dv]` that alone reads `y`.
fn behind(graph: &Graph, y: Value) -> Option<NodeId> {
    let users = graph.users(y);
    let [(user, _)] = users.as_slice() else { return None };
    match graph.op(*user) {
        Some(Op::Transpose(t)) if t.perm == [0, 2, 1, 3] && !graph.outputs().contains(&y) => Some(*user),
        _ => None,
    }
}

/// Sizes of the problem as values.
struct Sizes {
    heads: ClifValue,
    key_heads: ClifValue,
    rows: ClifValue,
    d: ClifValue,
    dv: ClifValue,
    new: ClifValue,
    past: ClifValue,
    total: ClifValue,
}

/// Rows of one head: where the first lies, and elements from one to the next.
#[derive(Clone, Copy)]
struct Rows {
    start: ClifValue,
    stride: ClifValue,
}

/// What queries see of a cache: rows from the first that any of them does.
struct Seen {
    keys: Rows,
    values: Rows,
    mask: Rows,
    /// How many the first query sees.
    first: ClifValue,
    total: ClifValue,
}

/// The scratch of a part.
struct Room {
    /// Queries that are turned.
    turned: ClifValue,
    /// Keys and values that nobody else keeps.
    keys: ClifValue,
    values: ClifValue,
    mask: ClifValue,
    /// The microkernel's.
    work: ClifValue,
}

/// Rows from `index` of all axes but the last `inner` on, where they lie.
fn in_place(e: &mut Emit, view: &View, (index, inner): (ClifValue, usize)) -> Result<Rows> {
    let offset = outer_offset(e, view, index, inner)?;
    let base = e.arg(view.arg);
    Ok(Rows { start: e.at(base, offset, 4), stride: row_stride(e, view)? })
}

/// Queries of a call: a block of `head`'s from `row` on or, where each head has but a `single` one, of so many `heads`.
struct Queries {
    head: ClifValue,
    row: ClifValue,
    single: ClifValue,
    heads: ClifValue,
}

impl Queries {
    fn emit(
        &self,
        plan: &AttentionKernel,
        e: &mut Emit,
        shape: &Shape,
        sizes: &Sizes,
        (keys, values): (Rows, Rows),
        room: &Room,
    ) -> Result<()> {
        let Queries { head, row: i, single, heads } = *self;
        let left = e.b.ins().isub(sizes.rows, i);
        let block = e.int(BLOCK);
        let rows = e.b.ins().smin(left, block);
        let rows = e.b.ins().select(single, heads, rows);
        let row = e.b.ins().imul(head, sizes.rows);
        let row = e.b.ins().iadd(row, i);
        let q = match &plan.q {
            Heads::Plain(view) => in_place(e, view, (row, 1))?,
            Heads::Rotated(rotary) => {
                rotary.rows(e, row, rows, room.turned)?;
                Rows { start: room.turned, stride: sizes.d }
            }
        };
        let out_row = match plan.transposed {
            false => sizes.dv,
            true => e.b.ins().imul(sizes.heads, sizes.dv),
        };
        let out_row = e.b.ins().select(single, sizes.dv, out_row);
        let place = match plan.transposed {
            false => row,
            true => {
                // [b, s, h]: the head within its batch, after the position.
                let b = e.b.ins().udiv(head, sizes.heads);
                let h = e.b.ins().urem(head, sizes.heads);
                let position = e.b.ins().imul(b, sizes.rows);
                let position = e.b.ins().iadd(position, i);
                let position = e.b.ins().imul(position, sizes.heads);
                e.b.ins().iadd(position, h)
            }
        };
        let place = e.b.ins().imul(place, sizes.dv);
        let y = e.arg(shape.result(plan.y));
        let out = e.at(y, place, 4);
        let sequence = e.b.ins().udiv(head, sizes.heads);
        let start = cache::start(plan, e, sizes, sequence)?;
        let (visible, more) = match (plan.causal, &plan.starts) {
            (false, None) => (sizes.total, e.int(0)),
            (false, Some(_)) => (e.b.ins().iadd(start, sizes.new), e.int(0)),
            (true, _) => {
                let first = e.b.ins().iadd(start, i);
                (e.b.ins().iadd_imm_s(first, 1), e.int(1))
            }
        };
        let mask = match &plan.mask {
            None => Rows { start: e.int(0), stride: e.int(0) },
            Some(view) => mask::rows(e, view, (row, rows), sizes.total, room.mask)?,
        };
        let mut seen = Seen { keys, values, mask, first: visible, total: sizes.total };
        if let Some(width) = plan.window {
            mask::cut(e, &mut seen, width, (rows, single), sizes.total, room.mask)?;
        }
        let Seen { keys, values, mask, first: visible, total } = seen;
        let args = arguments!(attention::AttentionF32 {
            q: q.start,
            q_row: q.stride,
            k: keys.start,
            k_stride: keys.stride,
            v: values.start,
            v_stride: values.stride,
            mask: mask.start,
            mask_row: mask.stride,
            scratch: room.work,
            out,
            out_row,
            rows,
            d: sizes.d,
            dv: sizes.dv,
            keys: total,
            visible,
            more,
            alone: e.b.ins().uextend(I64, single),
            scale: e.float(plan.scale, F32),
            softcap: e.float(plan.softcap, F32),
            hidden: e.float(plan.hidden.unwrap_or(0.0), F32),
            modes: e.b.ins().iconst(I32, i64::from(plan.modes)),
        });
        e.call_with_struct(plan.symbol, args)
    }
}
