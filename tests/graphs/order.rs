//! Which outputs depend on the order of sums, and which jump by it.

use std::collections::HashSet;

use trine_ir::{Def, Graph, Kind, Module, NodeId, Op};

/// Outputs of `@main` by what another order of sums may do to them.
pub struct Order {
    /// Whether dense products or attention, whose kernels sum in another order, are in it.
    pub loose: Vec<bool>,
    /// Whether a sum is rounded, compared, counted or told apart on the way: its last bit may then change anything.
    pub jumps: Vec<bool>,
}

impl Order {
    pub fn of(module: &Module) -> Order {
        let Some(main) = module.main() else { return Order { loose: vec![], jumps: vec![] } };
        let graph = &main.graph;
        let sums = downstream(graph, |_, op| is_sum(op));
        let jumps = downstream(graph, |node, op| {
            let operands = graph.operands(node).into_iter().flatten();
            is_jump(op) && operands.into_iter().any(|v| sums.contains(&v.node))
        });
        let loose = downstream(graph, |_, op| in_another_order(module, op));
        let of = |set: &HashSet<NodeId>| graph.outputs().iter().map(|v| set.contains(&v.node)).collect();
        Order { loose: of(&loose), jumps: of(&jumps) }
    }
}

/// Nodes of ops for which `own` holds, and all that depend on them.
fn downstream(graph: &Graph, own: impl Fn(NodeId, &Op) -> bool) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    for node in graph.order() {
        let from = graph.operands(node).into_iter().flatten().any(|v| found.contains(&v.node));
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

fn is_jump(op: &Op) -> bool {
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
            | NonZero
            | Unique
            | ArgMax
            | ArgMin
            | Hardmax
            | TopK
    )
}
