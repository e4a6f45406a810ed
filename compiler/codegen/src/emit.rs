//! Emitters: from the body of a kernel to its code.
//!
//! [`plan`] says which emitter takes a body, or that none does. All that follows from a body and the machine is settled
//! then: which microkernels are called, how constants lie, what scratch there is. What is left, [`Kernel::emit`], writes
//! over any `cranelift_module::Module`. Weights and state reach code as arguments, other code by symbols.

mod arguments;
pub(crate) mod attention;
mod checks;
mod concat;
mod contraction;
mod cumsum;
mod elementwise;
mod function;
mod gather;
mod halves;
mod kernel;
mod matmul;
mod reduce;
mod rotary;
pub(crate) mod rows;
mod sign_sum;
mod sizes;
mod tensor_scatter;
mod terms;
pub(crate) mod view;

use cranelift_module::{FuncId, Module};
use trine_ir::{Graph, NodeId, Op};

use super::choice::Choices;
use super::error::CodegenError;
use attention::AttentionKernel;
use concat::ConcatKernel;
use cumsum::CumSumKernel;
pub use function::{Result, Symbols};
use gather::GatherKernel;
use kernel::Shape;
pub use kernel::{ArgLayout, Family, Kernel, Microkernel, Scratch, Table};
use matmul::MatmulKernel;
use rotary::RotaryKernel;
use rows::RowsKernel;
use sign_sum::SignSumKernel;
pub use sign_sum::layer;
use sizes::SizesKernel;
use tensor_scatter::TensorScatterKernel;

/// Instructions of the largest kernel, roughly. What compiling one takes grows faster than its code, and what it saves
/// does not.
pub const MAX_CODE: usize = 800;

/// The kernel for a body, or `None` when no emitter takes it.
pub fn plan<'g>(graph: &'g Graph, choices: &Choices) -> Option<Box<dyn Kernel + 'g>> {
    fn boxed<'g>(kernel: impl Kernel + 'g) -> Box<dyn Kernel + 'g> {
        Box::new(kernel)
    }
    let target = choices.target;
    let order = graph.order();
    let ops = || order.iter().filter_map(|n| graph.op(*n));
    if order.iter().map(|node| instructions(graph, *node)).sum::<usize>() > MAX_CODE {
        return None;
    }
    // Attention turns its operands itself.
    let attends = ops().any(attention::attends);
    let anchor = ops().find_map(|op| match op {
        Op::SignSelect(_) | Op::WeightProducts(_) => Some(SignSumKernel::new(graph, choices).map(boxed)),
        Op::Matmul(_) => Some(MatmulKernel::new(graph, target).map(boxed)),
        Op::Attention(_) | Op::CachedAttention(_) => Some(AttentionKernel::new(graph, target).map(boxed)),
        Op::Rotary(_) if !attends => Some(RotaryKernel::new(graph).map(boxed)),
        Op::Gather(_) => Some(GatherKernel::new(graph).map(boxed)),
        Op::TensorScatter(_) => Some(TensorScatterKernel::new(graph).map(boxed)),
        Op::CumSum(_) => Some(CumSumKernel::new(graph).map(boxed)),
        Op::Concat(_) => Some(ConcatKernel::new(graph).map(boxed)),
        Op::Shape(_) | Op::Size(_) | Op::Range(_) => Some(SizesKernel::new(graph).map(boxed)),
        _ => None,
    });
    anchor.unwrap_or_else(|| RowsKernel::new(graph, target).map(boxed))
}

/// Roughly how many instructions a node is worth in a kernel.
pub fn instructions(graph: &Graph, node: NodeId) -> usize {
    /// Loads, and the bookkeeping of any op.
    const ANY: usize = 8;
    /// Loops over the row.
    const REDUCTION: usize = 100;
    match graph.op(node) {
        None => 0,
        Some(_) if reduce::is_row_reduction(graph, node) => REDUCTION,
        Some(op) => ANY + elementwise::cost(op, &graph.operands(node)).unwrap_or(0),
    }
}

/// Writes a kernel of the body `graph` as the function `name` of `module`, in Cranelift's own language.
pub fn translate(
    module: &mut dyn Module,
    symbols: &Symbols,
    name: &str,
    graph: &Graph,
    kernel: &dyn Kernel,
) -> Result<(FuncId, cranelift_codegen::Context)> {
    function::define(module, symbols, name, Shape::of(graph).scratch() + 1, |e| kernel.emit(e))
}
