//! Kernels: from the body of a `kernel` function to machine code.
//!
//! [`Plan::new`] says what kind of kernel a body is, or that it is none; forming kernels asks it for every
//! group it thinks of, so there is one answer. Emitters write over any `cranelift_module::Module`: memory
//! and object files differ in a constructor. Weights and state reach code as arguments, other code by symbols.

pub mod attention;
pub mod autotune;
pub mod checks;
pub mod choice;
pub mod concat;
mod contraction;
pub mod cumsum;
pub mod elementwise;
pub mod emit;
pub mod entry;
pub mod gather;
pub mod halves;
pub mod jit;
pub mod matmul;
pub mod object;
pub mod reduce;
pub mod rotary;
pub mod rows;
pub mod sign_sum;
pub mod sizes;
pub mod tables;
pub mod target;
pub mod tensor_scatter;
pub mod terms;
pub mod verify_kernels;
pub mod view;

use cranelift_module::{FuncId, Module};
use trine_ir::{Dim, Function, Graph, NodeId, Op};
use trine_ukernel::Geometry;
use trine_ukernel::call::CallError;
use trine_ukernel::matmul::{Codes, Panels};

use emit::Symbols;
pub use target::Target;

/// Instructions of the largest kernel, roughly. What compiling one takes grows faster than its code, and what it saves
/// does not.
pub const MAX_CODE: usize = 800;

/// Why no code came out. All but `Target` and `Overflow`, which is of a model's sizes, are bugs of the compiler.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    #[error("target: {message}")]
    Target { message: String },
    #[error("kernel code has no value for `{symbol}`")]
    Symbol { symbol: String },
    #[error("{what} overflows")]
    Overflow { what: String },
    #[error("{what} is not what its plan says")]
    Malformed { what: &'static str },
    #[error("{what}: {message}")]
    Cranelift { what: String, message: String },
    #[error(transparent)]
    Differs(Box<verify_kernels::Difference>),
}

impl CodegenError {
    pub(crate) fn bug(what: &str, error: impl std::fmt::Debug) -> CodegenError {
        CodegenError::Cranelift { what: what.into(), message: format!("{error:?}") }
    }

    /// A microkernel that this machine cannot run is one of the target that was asked for.
    pub(crate) fn refused(error: CallError) -> CodegenError {
        match error {
            CallError::Features(_) => {
                CodegenError::Target { message: format!("its microkernels cannot be tried here: {error}") }
            }
            _ => CodegenError::bug("a microkernel", error),
        }
    }

    pub(crate) fn malformed(what: &'static str) -> CodegenError {
        CodegenError::Malformed { what }
    }
}

/// How a kernel reads an argument that is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgLayout {
    /// Row-major, as it is.
    Dense,
    /// Trits or int8 packed for a microkernel.
    Weights(Geometry),
    /// Scales `[n, groups]` as `[groups, n_padded]`.
    Scales(Geometry),
    /// Dense f32 weights packed for a microkernel.
    Panels(Panels),
    /// Codes of a few bits, their scales, and their zeros, as panels.
    Codes(Codes),
    BlockScales(Codes),
    BlockZeros(Codes),
}

impl ArgLayout {
    /// Bytes of what is packed; none of what is not, and the inner one on overflow.
    pub fn packed_bytes(&self) -> Option<Option<usize>> {
        match self {
            ArgLayout::Dense => None,
            ArgLayout::Weights(geometry) => Some(Some(geometry.bytes)),
            ArgLayout::Scales(geometry) => Some(geometry.groups.checked_mul(4 * geometry.n_padded)),
            ArgLayout::Panels(panels) => Some(panels.packed_len().and_then(|len| len.checked_mul(4))),
            ArgLayout::Codes(codes) => Some(codes.codes_len()),
            ArgLayout::BlockScales(codes) | ArgLayout::BlockZeros(codes) => {
                Some(codes.scales_len().and_then(|len| len.checked_mul(4)))
            }
        }
    }
}

/// Bytes of scratch: shared by all parts, then for each part.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub shared: Dim,
    pub part: Dim,
}

/// What kind of kernel a body is.
pub enum Plan<'g> {
    Rows(rows::Plan<'g>),
    SignSum(Box<sign_sum::Plan<'g>>),
    Matmul(Box<matmul::Plan<'g>>),
    Attention(Box<attention::Plan<'g>>),
    Rotary(Box<rotary::Plan<'g>>),
    Gather(gather::Plan<'g>),
    Concat(concat::Plan<'g>),
    CumSum(cumsum::Plan<'g>),
    TensorScatter(tensor_scatter::Plan<'g>),
    Sizes(sizes::Plan<'g>),
}

impl<'g> Plan<'g> {
    /// The plan for a kernel's body, or `None` when no emitter takes it.
    pub fn new(graph: &'g Graph, target: &Target) -> Option<Plan<'g>> {
        let order = graph.order();
        let ops = || order.iter().filter_map(|n| graph.op(*n));
        if order.iter().map(|node| instructions(graph, *node)).sum::<usize>() > MAX_CODE {
            return None;
        }
        // Attention turns its operands itself.
        let attends = ops().any(attention::attends);
        let anchor = ops().find_map(|op| match op {
            Op::SignSelect(_) | Op::WeightProducts(_) => {
                Some(sign_sum::Plan::new(graph, target).map(Box::new).map(Plan::SignSum))
            }
            Op::Matmul(_) => Some(matmul::Plan::new(graph, target).map(Box::new).map(Plan::Matmul)),
            Op::Attention(_) | Op::CachedAttention(_) => {
                Some(attention::Plan::new(graph, target).map(Box::new).map(Plan::Attention))
            }
            Op::Rotary(_) if !attends => Some(rotary::Plan::new(graph).map(Box::new).map(Plan::Rotary)),
            Op::Gather(_) => Some(gather::Plan::new(graph, target).map(Plan::Gather)),
            Op::TensorScatter(_) => Some(tensor_scatter::Plan::new(graph).map(Plan::TensorScatter)),
            Op::CumSum(_) => Some(cumsum::Plan::new(graph).map(Plan::CumSum)),
            Op::Concat(_) => Some(concat::Plan::new(graph).map(Plan::Concat)),
            Op::Shape(_) | Op::Size(_) | Op::Range(_) => Some(sizes::Plan::new(graph).map(Plan::Sizes)),
            _ => None,
        });
        anchor.unwrap_or_else(|| rows::Plan::new(graph, target).map(Plan::Rows))
    }

    pub fn layout(&self, arg: usize) -> ArgLayout {
        match self {
            Plan::SignSum(plan) => plan.layout(arg),
            Plan::Matmul(plan) => plan.layout(arg),
            Plan::Gather(plan) => plan.layout(arg),
            _ => ArgLayout::Dense,
        }
    }

    /// Scratch in bytes; `None` on overflow.
    pub fn scratch(&self) -> Option<Scratch> {
        let none = Dim::constant(0);
        Some(match self {
            Plan::Rows(plan) => Scratch { shared: none, part: plan.scratch()? },
            Plan::Matmul(plan) => Scratch { shared: plan.shared_scratch()?, part: plan.part_scratch() },
            Plan::Attention(plan) => Scratch { shared: none, part: plan.part_scratch()? },
            Plan::Rotary(_)
            | Plan::Gather(_)
            | Plan::Concat(_)
            | Plan::CumSum(_)
            | Plan::TensorScatter(_)
            | Plan::Sizes(_) => Scratch { shared: none.clone(), part: none },
            Plan::SignSum(plan) => Scratch { shared: none, part: plan.part_scratch()? },
        })
    }

    /// Elementary operations of a whole call, roughly; `None` on overflow.
    pub fn work(&self) -> Option<Dim> {
        match self {
            Plan::Rows(plan) => plan.work(),
            Plan::SignSum(plan) => plan.work(),
            Plan::Matmul(plan) => plan.work(),
            Plan::Attention(plan) => plan.work(),
            Plan::Rotary(plan) => plan.work(),
            Plan::Gather(plan) => plan.work(),
            Plan::Concat(plan) => plan.work(),
            Plan::CumSum(plan) => plan.work(),
            Plan::TensorScatter(plan) => plan.work(),
            Plan::Sizes(plan) => plan.work(),
        }
    }

    /// Additions and multiplications of a whole call; `None` on overflow.
    pub fn operations(&self) -> Option<Dim> {
        match self {
            Plan::SignSum(plan) => plan.operations(),
            // A product and its addition are two.
            Plan::Matmul(plan) => plan.work()?.mul(&Dim::constant(2)),
            Plan::Attention(plan) => plan.work()?.mul(&Dim::constant(2)),
            _ => self.work(),
        }
    }

    /// Whether some rows of argument `arg` are read, and not all of it.
    pub fn reads_rows_of(&self, arg: usize) -> bool {
        matches!(self, Plan::Gather(plan) if plan.table() == arg)
    }

    fn emit(&self, e: &mut emit::Emit) -> emit::Result<emit::ClifValue> {
        match self {
            Plan::Rows(plan) => rows::emit(plan, e),
            Plan::SignSum(plan) => sign_sum::emit(plan, e),
            Plan::Matmul(plan) => matmul::emit(plan, e),
            Plan::Attention(plan) => attention::emit(plan, e),
            Plan::Rotary(plan) => rotary::emit(plan, e),
            Plan::Gather(plan) => gather::emit(plan, e),
            Plan::Concat(plan) => concat::emit(plan, e),
            Plan::CumSum(plan) => cumsum::emit(plan, e),
            Plan::TensorScatter(plan) => tensor_scatter::emit(plan, e),
            Plan::Sizes(plan) => sizes::emit(plan, e),
        }
    }
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

/// Writes the kernel `name` into `module`, whose code is then complete but for linking.
pub fn define(
    module: &mut dyn Module,
    symbols: &Symbols,
    name: &str,
    function: &Function,
    target: &Target,
) -> Result<FuncId, CodegenError> {
    let (id, mut context) = translate(module, symbols, name, function, target)?;
    module.define_function(id, &mut context).map_err(|e| CodegenError::bug(name, e))?;
    Ok(id)
}

/// The kernel in Cranelift's own text.
pub fn clif(symbols: &Symbols, function: &Function, target: &Target) -> Result<String, CodegenError> {
    let mut file = object::ObjectFile::new(target, "kernel")?;
    let (_, context) = translate(file.module(), symbols, "kernel", function, target)?;
    Ok(context.func.display().to_string())
}

/// The kernel in the instructions of `target`.
pub fn assembly(symbols: &Symbols, function: &Function, target: &Target) -> Result<String, CodegenError> {
    let fail = |e: &dyn std::fmt::Debug| CodegenError::bug("kernel", e);
    let mut file = object::ObjectFile::new(target, "kernel")?;
    let (_, mut context) = translate(file.module(), symbols, "kernel", function, target)?;
    context.set_disasm(true);
    let code = context.compile(&*target.isa, &mut Default::default()).map_err(|e| fail(&e))?;
    code.vcode.clone().ok_or_else(|| fail(&"no disassembly"))
}

fn translate(
    module: &mut dyn Module,
    symbols: &Symbols,
    name: &str,
    function: &Function,
    target: &Target,
) -> Result<(FuncId, cranelift_codegen::Context), CodegenError> {
    let plan = Plan::new(&function.graph, target).ok_or(CodegenError::malformed("a kernel"))?;
    let shape = Shape::of(&function.graph);
    emit::define(module, symbols, name, shape.scratch() + 1, |e| plan.emit(e))
}

/// Where a kernel's arguments are: operands, results, scratch.
struct Shape {
    arguments: usize,
    results: usize,
}

impl Shape {
    fn of(graph: &Graph) -> Shape {
        Shape { arguments: graph.params().len(), results: graph.outputs().len() }
    }
    fn result(&self, i: usize) -> usize {
        self.arguments + i
    }
    fn scratch(&self) -> usize {
        self.arguments + self.results
    }
}
