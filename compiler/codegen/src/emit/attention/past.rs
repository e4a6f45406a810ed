//! The cache that attention appends to.

use trine_ir::ops::Attention;
use trine_ir::{Dim, Elem, Graph, NodeId, Value};

use super::super::checks::Checks;
use super::super::halves::is_real;
use super::Heads;

/// Arguments of the past, and the results they grow into.
pub struct Past {
    /// f32, or halves, which are made wide before they are read.
    pub elem: Elem,
    pub rows: Dim,
    /// Whether what it grows into may be longer.
    pub grows: bool,
    pub keys: Cache,
    pub values: Cache,
}

#[derive(Clone, Copy)]
pub struct Cache {
    pub past: usize,
    /// Where nobody wants what it grows into, it is scratch.
    pub present: Option<usize>,
}

impl Past {
    /// The past of the attention at `node`, whose caches grow to `total` rows.
    pub fn new(graph: &Graph, node: NodeId, past_k: Value, total: &Dim) -> Option<Past> {
        let cache = |past: Value, result: u32| {
            let present = Value { node, result };
            Some(Cache {
                past: graph.params().iter().position(|p| *p == past)?,
                present: graph.outputs().iter().position(|o| *o == present),
            })
        };
        let elem = graph.ty(past_k).elem;
        let same = graph.ty(graph.operand(node, Attention::past_v)?).elem == elem;
        (same && is_real(elem)).then_some(())?;
        let rows = graph.ty(past_k).dims.get(2)?.clone();
        Some(Past {
            elem,
            grows: rows != *total,
            rows,
            keys: cache(past_k, 1)?,
            values: cache(graph.operand(node, Attention::past_v)?, 2)?,
        })
    }

    /// What must hold for rows of the past to lie before the new ones.
    pub fn fits(&self, graph: &Graph, k: &Heads, v: &Heads, checks: &mut Checks) -> Option<()> {
        for (cache, new) in [(self.keys, k), (self.values, v)] {
            let past = &graph.ty(*graph.params().get(cache.past)?).dims;
            for (axis, (past, new)) in past.iter().zip(new.dims()).enumerate() {
                checks.equal(past, if axis == 2 { &self.rows } else { new });
            }
        }
        Some(())
    }
}
