//! Which outputs depend on the order of sums, and which jump by it.

use std::collections::HashSet;

use trine_ir::{Def, Graph, Kind, Module, NodeId, Op};

/// Outputs of `@main` by what another order of sums may do to them.
pub struct Order {
    /// Whether dense products or attention, whose kernels sum in another order, are in it.
    pub loose: Vec<bool>,
    pub jumps: Vec<Jump>,
}

/// What the last bit of a sum may change of an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jump {
    /// Last bits.
    No,
    /// An element, which is rounded or compared on the way.
    Element,
    /// Where elements are, and how many: those that are alike or not zero are told apart on the way.
    Places,
}

impl Order {
    pub fn of(module: &Module) -> Order {
        let Some(main) = module.main() else { return Order { loose: vec![], jumps: vec![] } };
        let graph = &main.graph;
        let sums = downstream(graph, |_, op| is_sum(op));
        let reads = |node: NodeId| graph.operands(node).into_iter().flatten().any(|v| sums.contains(&v.node));
        let elements = downstream(graph, |node, op| rounds(op) && reads(node));
        let places = downstream(graph, |node, op| tells_apart(op) && reads(node));
        let loose = downstream(graph, |_, op| in_another_order(module, op));
        let jump = |node: &NodeId| match (places.contains(node), elements.contains(node)) {
            (true, _) => Jump::Places,
            (_, true) => Jump::Element,
            _ => Jump::No,
        };
        let outputs = graph.outputs();
        Order {
            loose: outputs.iter().map(|v| loose.contains(&v.node)).collect(),
            jumps: outputs.iter().map(|v| jump(&v.node)).collect(),
        }
    }
}

/// Nodes of ops for which `own` holds, and all that depend on them, be it for a size.
fn downstream(graph: &Graph, own: impl Fn(NodeId, &Op) -> bool) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    let order = graph.order();
    for (node, needed) in order.iter().copied().zip(graph.needed(&order)) {
        let from = needed.iter().any(|node| found.contains(node));
        if from || matches!(graph.def(node), Def::Op(op) if own(node, op)) {
            found.insert(node);
        }
    }
    found
}

fn in_another_order(module: &Module, op: &Op) -> bool {
    let dense = matches!(op.kind(), Kind::Matmul | Kind::Attention | Kind::CachedAttention);
    let inside = |name: &String| {
        module.functions.get(name).is_some_and(|f| {
            f.graph.order().into_iter().any(|n| f.graph.op(n).is_some_and(|op| in_another_order(module, op)))
        })
    };
    dense || op.callees().iter().any(inside)
}

/// Whether passes may sum it in another order.
fn is_sum(op: &Op) -> bool {
    use Kind::*;
    matches!(
        op.kind(),
        Matmul
            | Einsum
            | Conv
            | ConvTranspose
            | Attention
            | CachedAttention
            | LinearAttention
            | Softmax
            | LogSoftmax
            | RmsNorm
            | LayerNorm
            | ReduceSum
            | ReduceMean
            | ReduceL1
            | ReduceL2
            | ReduceLogSum
            | ReduceLogSumExp
            | ReduceSumSquare
            | CumSum
    )
}

fn tells_apart(op: &Op) -> bool {
    matches!(op.kind(), Kind::NonZero | Kind::Unique | Kind::TopK)
}

fn rounds(op: &Op) -> bool {
    use Kind::*;
    matches!(
        op.kind(),
        Cast | Round
            | Floor
            | Ceil
            | Sign
            | Mod
            | Equal
            | Greater
            | GreaterOrEqual
            | Less
            | LessOrEqual
            | ArgMax
            | ArgMin
            | Hardmax
            | QuantizeLinear
            | DynamicQuantizeLinear
            | QuantizeRows
    )
}
