//! `ternary_matmul(x, a), ternary_matmul(x, b)  →  split(ternary_matmul(x, a ‖ b))`
//!
//! Projections of one input, such as q, k and v or gate and up, become one with the rows of all: a long
//! matrix keeps the cores busy where short ones would not. Exact where they have one input and the same attributes, and
//! all have a bias or none has: every row is summed as before, so the bits stay.

use indexmap::IndexMap;
use trine_ir::ops::{Split, TernaryMatmul};
use trine_ir::{Dim, Elem, Module, NodeId, Op, Tensor, Value};

use crate::pass::{Cx, PassError};
use crate::pattern::{Refusal, Rewrite, refuse};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let mut count = 0;
    for (name, function) in &mut module.functions {
        let mut g = Rewrite::new(&mut function.graph, &mut module.consts);
        for siblings in families(&g) {
            match fuse(&mut g, &siblings) {
                Ok(()) => count += siblings.len(),
                Err(refusal) => cx.miss("fuse-siblings", name, g.graph(), siblings[0], refusal),
            }
        }
    }
    Ok(count)
}

/// Layers that are alike but for their weights.
type Family = (TernaryMatmul, Vec<NodeId>);

/// Ternary matmuls of one input that differ in nothing but their weights; two or more each.
fn families(g: &Rewrite) -> Vec<Vec<NodeId>> {
    let mut families: IndexMap<(Value, bool), Vec<Family>> = IndexMap::new();
    for node in g.graph().order() {
        let Some(Op::TernaryMatmul(op)) = g.graph().op(node) else { continue };
        let operands = g.graph().operands(node);
        let Some(x) = operands[TernaryMatmul::x] else { continue };
        let biased = operands.get(TernaryMatmul::bias).copied().flatten().is_some();
        let of_input = families.entry((x, biased)).or_default();
        match of_input.iter_mut().find(|(other, _)| other == op) {
            Some((_, family)) => family.push(node),
            None => of_input.push((op.clone(), vec![node])),
        }
    }
    families.into_values().flatten().map(|(_, nodes)| nodes).filter(|nodes| nodes.len() > 1).collect()
}

fn fuse(g: &mut Rewrite, siblings: &[NodeId]) -> Result<(), Refusal> {
    let Some(Op::TernaryMatmul(op)) = g.graph().op(siblings[0]).cloned() else {
        return refuse("not a ternary matmul");
    };
    let x = g.graph().operands(siblings[0])[TernaryMatmul::x];
    let slots = g.graph().operands(siblings[0]).len();
    let mut args = vec![x];
    for slot in TernaryMatmul::w..slots {
        args.push(stacked(g, siblings, slot)?);
    }
    let whole = Value { node: g.add_node(op, &args)?, result: 0 };
    let parts: Vec<Value> = siblings.iter().map(|node| Value { node: *node, result: 0 }).collect();
    let sizes: Option<Vec<Dim>> = parts.iter().map(|v| g.ty(*v).back(0).cloned()).collect();
    let axis = g.ty(whole).rank() - 1;
    let split = g.add_node(Split { axis, sizes: sizes.ok_or("a product has no axes")? }, &[Some(whole)])?;
    for (i, part) in parts.into_iter().enumerate() {
        g.replace(part, Value { node: split, result: i as u32 })?;
    }
    Ok(())
}

/// The constants in a slot of all siblings, one after the other along their first axis.
fn stacked(g: &mut Rewrite, siblings: &[NodeId], slot: usize) -> Result<Option<Value>, Refusal> {
    let mut tensors = vec![];
    let mut name = String::new();
    for node in siblings {
        let Some(v) = g.graph().operand(*node, slot) else { return Ok(None) };
        if name.is_empty() {
            name = g.graph().const_key(v).unwrap_or("weights").to_string();
        }
        tensors.push(g.tensor(v)?);
    }
    let mut dims = tensors[0].dims().to_vec();
    dims[0] = tensors.iter().map(|t| t.dims()[0]).sum();
    let stacked = match tensors[0].elem() {
        Elem::Trit => {
            let mut trits = vec![];
            for t in &tensors {
                trits.extend_from_slice(&t.unpacked()?);
            }
            Tensor::pack(Elem::Trit, dims, &trits)?
        }
        elem => {
            let bytes: Vec<u8> = tensors.iter().flat_map(|t| t.bytes().iter().copied()).collect();
            Tensor::new(elem, dims, bytes.into())?
        }
    };
    Ok(Some(g.constant(&format!("{name}.siblings"), stacked)))
}
