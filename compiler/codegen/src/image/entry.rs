//! The functions by which C runs a program: one lays its arena out, one calls the kernels in order.
//!
//! What a session does at run time for any program is code here for one: no loops, no tables, no heap. Sizes
//! are polynomials of the caller's dimensions; one that is negative or overflows is a status, never an address.

mod run;
mod sizes;

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, Block, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, UserFuncName, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use trine_runtime::{Buffer, Place, Plan, Port};
use trine_ukernel::Features;

use crate::emit::Result;
use crate::error::CodegenError;
use run::{Held, Run, Threads};
use sizes::Sizes;

/// A dimension is negative, or some size overflows.
pub const STATUS_DIMS: i64 = -1;
/// The machine lacks instructions that the code uses.
pub const STATUS_CPU: i64 = -2;
/// States have fewer positions than they were to hold.
pub const STATUS_FULL: i64 = -3;

/// Where slots of the arena start.
const ALIGN: i64 = 64;

/// What the functions refer to.
pub struct Parts<'a> {
    pub plan: &'a Plan<FuncId>,
    pub consts: &'a Consts,
}

/// Where constants are.
pub enum Consts {
    /// In the object.
    Inside(Vec<DataId>),
    /// In memory of the caller's, so many bytes after its start.
    Outside(Vec<usize>),
}

/// Writes `int64_t NAME(void)`: 0, or [`STATUS_CPU`] where the machine lacks a feature of `needs`.
pub fn define_check_cpu(module: &mut dyn Module, name: &str, needs: Features) -> Result<FuncId> {
    define(module, name, 0, |f, _| {
        if needs == Features::NONE {
            return Ok(f.b.ins().iconst(I64, 0));
        }
        let needs = f.b.ins().iconst(I64, i64::from(needs.bits()));
        let lacks = f.import("trine_cpu_lacks", &[needs])?;
        let bad = f.b.ins().iconst(I64, STATUS_CPU);
        let zero = f.b.ins().iconst(I64, 0);
        Ok(f.b.ins().select(lacks, bad, zero))
    })
}

/// Writes `int64_t NAME(int64_t port, const int64_t *dims)`: bytes of an input or output, or [`STATUS_DIMS`].
pub fn define_bytes(module: &mut dyn Module, name: &str, parts: &Parts, ports: &[Port]) -> Result<FuncId> {
    define(module, name, 2, |f, params| {
        let arena = f.lay_out(parts.plan, params[1], None);
        let mut sizes = Sizes { values: arena.dims, bad: arena.bad };
        let mut bytes = f.b.ins().iconst(I64, STATUS_DIMS);
        for (i, port) in ports.iter().enumerate() {
            let symbols = &parts.plan.symbols;
            let buffer = Buffer::new(port.ty.clone(), symbols).ok_or(CodegenError::malformed("a port"))?;
            let own = sizes.eval(f, &buffer.bytes);
            let is_this = f.b.ins().icmp_imm_s(IntCC::Equal, params[0], i as i64);
            bytes = f.b.ins().select(is_this, own, bytes);
        }
        let bad = f.b.ins().iconst(I64, STATUS_DIMS);
        Ok(f.b.ins().select(sizes.bad, bad, bytes))
    })
}

/// Writes `int64_t NAME(int64_t state, const int64_t *dims, int64_t capacity)`: bytes of a state that has room for so many
/// positions, or [`STATUS_DIMS`].
pub fn define_state_bytes(module: &mut dyn Module, name: &str, parts: &Parts) -> Result<FuncId> {
    define(module, name, 3, |f, params| {
        let arena = f.lay_out(parts.plan, params[1], None);
        let mut sizes = Sizes { values: arena.dims, bad: arena.bad };
        sizes.refuse_negative(f, params[2]);
        let mut bytes = f.b.ins().iconst(I64, STATUS_DIMS);
        for (i, state) in parts.plan.states.iter().enumerate() {
            let port = &parts.plan.inputs[state.input];
            let element = port.ty.elem.bytes(1).ok_or(CodegenError::malformed("a state"))?;
            let mut own = f.b.ins().iconst(I64, element as i64);
            for (axis, size) in port.shape.iter().enumerate() {
                let length = if state.axis == Some(axis) { params[2] } else { sizes.eval(f, size) };
                own = sizes.multiply(f, own, length);
            }
            let is_this = f.b.ins().icmp_imm_s(IntCC::Equal, params[0], i as i64);
            bytes = f.b.ins().select(is_this, own, bytes);
        }
        let bad = f.b.ins().iconst(I64, STATUS_DIMS);
        Ok(f.b.ins().select(sizes.bad, bad, bytes))
    })
}

/// Writes `int64_t NAME(const int64_t *dims, int64_t parts)`: bytes of the arena of so many threads; or without `parts`, of
/// one.
pub fn define_arena_size(module: &mut dyn Module, name: &str, parts: &Parts, many: bool) -> Result<FuncId> {
    define(module, name, if many { 2 } else { 1 }, |f, params| {
        let arena = f.lay_out(parts.plan, params[0], params.get(1).copied());
        let bad = f.b.ins().iconst(I64, STATUS_DIMS);
        Ok(f.b.ins().select(arena.bad, bad, arena.bytes))
    })
}

/// What is asked of a run function besides a run.
#[derive(Clone, Copy, Default)]
pub struct Ways {
    /// States stay in memory of theirs.
    pub holds_states: bool,
    /// Threads of the caller's run it together.
    pub has_parts: bool,
}

/// Writes `int64_t NAME(const void *const *inputs, void *const *outputs, const int64_t *dims, void *arena)`, with
/// `const void *weights` before these where constants are outside of the object, `void *const *states, int64_t capacity`
/// after these where it holds states, and last `int64_t part, int64_t parts, void (*meet)(void *), void *context` where it
/// has parts.
pub fn define_run(module: &mut dyn Module, name: &str, parts: &Parts, ways: Ways) -> Result<FuncId> {
    let first = usize::from(matches!(parts.consts, Consts::Outside(_)));
    let (after, last) = (if ways.holds_states { 2 } else { 0 }, if ways.has_parts { 4 } else { 0 });
    define(module, name, first + 4 + after + last, |f, params| {
        let (weights, params) = params.split_at(first);
        let (params, rest) = params.split_at(4);
        let (held, threads) = rest.split_at(after);
        let held = ways.holds_states.then(|| Held { states: held[0], capacity: held[1] });
        let threads = ways.has_parts.then(|| Threads {
            part: threads[0],
            parts: threads[1],
            meet: threads[2],
            context: threads[3],
        });
        let mut arena = f.lay_out(parts.plan, params[2], threads.as_ref().map(|threads| threads.parts));
        if let Some(threads) = &threads {
            threads.check(f, &mut arena);
        }
        let full = held.as_ref().map(|held| held.is_full(f, parts.plan, &mut arena));
        let bad = f.b.ins().iconst(I64, STATUS_DIMS);
        f.return_if(arena.bad, bad);
        if let Some(is_full) = full {
            let status = f.b.ins().iconst(I64, STATUS_FULL);
            f.return_if(is_full, status);
        }
        let weights = weights.first().copied();
        let (inputs, outputs, start) = (params[0], params[1], params[3]);
        Run { parts, weights, inputs, outputs, start, held, threads, arena }.emit(f)
    })
}

/// A function under construction.
struct Function<'a> {
    b: FunctionBuilder<'a>,
    module: &'a mut dyn Module,
    /// Returns its parameter.
    exit: Block,
}

/// Offsets of the slots, of scratch after them, and the size of all.
struct Arena {
    slots: Vec<Value>,
    scratch: Value,
    bytes: Value,
    /// Not zero when there is no such arena.
    bad: Value,
    /// Values of all symbols, derived sizes among them.
    dims: Vec<Value>,
}

fn define(
    module: &mut dyn Module,
    name: &str,
    params: usize,
    body: impl FnOnce(&mut Function, &[Value]) -> Result<Value>,
) -> Result<FuncId> {
    let fail = |e| CodegenError::bug(name, e);
    let mut context: Context = module.make_context();
    context.func.signature.params.extend(vec![AbiParam::new(I64); params]);
    context.func.signature.returns.push(AbiParam::new(I64));
    let id = module.declare_function(name, Linkage::Export, &context.func.signature).map_err(fail)?;
    context.func.name = UserFuncName::user(0, id.as_u32());
    let target = module.target_config();
    let mut builder_context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut builder_context);
    let (entry, exit) = (b.create_block(), b.create_block());
    b.append_block_params_for_function_params(entry);
    b.append_block_param(exit, I64);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    let mut f = Function { b, module: &mut *module, exit };
    let status = body(&mut f, &params)?;
    let Function { mut b, .. } = f;
    b.ins().jump(exit, &[status.into()]);
    b.switch_to_block(exit);
    let status = b.block_params(exit)[0];
    b.ins().return_(&[status]);
    b.seal_all_blocks();
    b.finalize(target);
    module.define_function(id, &mut context).map_err(fail)?;
    Ok(id)
}

impl Function<'_> {
    /// Lays out the arena: each slot as large as its largest buffer, then scratch for the hungriest kernel, in so many parts.
    fn lay_out(&mut self, plan: &Plan<FuncId>, dims: Value, parts: Option<Value>) -> Arena {
        let zero = self.b.ins().iconst(I64, 0);
        let plain = plan.plain_symbols();
        let mut sizes = Sizes { values: (0..plain).map(|i| self.load(dims, i)).collect(), bad: zero };
        for derived in &plan.derived {
            sizes.derive(self, derived);
        }
        for (left, right) in plan.requires.iter().filter_map(|r| r.sizes.as_ref()) {
            let (left, right) = (sizes.sum(self, left), sizes.sum(self, right));
            let differ = self.b.ins().icmp(IntCC::NotEqual, left, right);
            sizes.refuse(self, differ);
        }
        let mut slots = vec![zero; plan.slots];
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if let (Some(slot), None) = (buffer.slot, output_of(plan, i)) {
                let bytes = sizes.eval(self, &buffer.bytes);
                slots[slot] = self.b.ins().smax(slots[slot], bytes);
            }
        }
        let mut end = zero;
        for slot in &mut slots {
            let bytes = sizes.round_up(self, *slot);
            *slot = end;
            end = sizes.add(self, end, bytes);
        }
        if let Some(parts) = parts {
            let few = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, parts, 1);
            sizes.refuse(self, few);
        }
        let mut scratch = zero;
        for kernel in &plan.kernels {
            let (shared, part) =
                (sizes.eval(self, &kernel.scratch_shared), sizes.eval(self, &kernel.scratch_part));
            let part = parts.map_or(part, |parts| sizes.multiply(self, part, parts));
            let both = sizes.add(self, shared, part);
            scratch = self.b.ins().smax(scratch, both);
        }
        let bytes = sizes.add(self, end, scratch);
        Arena { slots, scratch: end, bytes, bad: sizes.bad, dims: sizes.values }
    }

    fn load(&mut self, base: Value, index: usize) -> Value {
        let flags = MemFlagsData::new().with_notrap().with_readonly();
        self.b.ins().load(I64, flags, base, 8 * index as i32)
    }

    fn stack(&mut self, words: usize) -> Value {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * words as u32, 4);
        let slot = self.b.create_sized_stack_slot(data);
        self.b.ins().stack_addr(I64, slot, 0)
    }

    fn store(&mut self, value: Value, base: Value, index: usize) {
        self.b.ins().store(MemFlagsData::new().with_notrap(), value, base, 8 * index as i32);
    }

    fn return_if(&mut self, condition: Value, status: Value) {
        let next = self.b.create_block();
        self.b.ins().brif(condition, self.exit, &[status.into()], next, &[]);
        self.b.switch_to_block(next);
    }

    /// Calls a function that is elsewhere, whose parameters and result are words.
    fn import(&mut self, name: &str, args: &[Value]) -> Result<Value> {
        let mut signature = self.module.make_signature();
        signature.params.extend(vec![AbiParam::new(I64); args.len()]);
        signature.returns.push(AbiParam::new(I64));
        let id = self.module.declare_function(name, Linkage::Import, &signature);
        let id = id.map_err(|e| CodegenError::bug(name, e))?;
        let function = self.module.declare_func_in_func(id, self.b.func);
        let call = self.b.ins().call(function, args);
        Ok(self.b.inst_results(call)[0])
    }

    /// Calls `memcpy` of the C library.
    fn copy(&mut self, to: Value, from: Value, bytes: Value) -> Result<()> {
        self.import("memcpy", &[to, from, bytes]).map(|_| ())
    }
}

/// The first output that buffer `b` is.
fn output_of(plan: &Plan<FuncId>, b: usize) -> Option<usize> {
    plan.outputs.iter().position(|port| port.place == Place::Buffer(b))
}
