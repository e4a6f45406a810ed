//! The body of a run: its steps in order, by one thread or by several that meet between them.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{AbiParam, Block, InstBuilder, Value};
use cranelift_frontend::Variable;
use cranelift_module::{FuncId, Module};
use trine_runtime::{MIN_SPLIT_WORK, Place, Plan, Size, State, Step, StepKind};

use super::sizes::Sizes;
use super::{Arena, Consts, Function, Parts, output_of};
use crate::emit::Result;
use crate::error::CodegenError;

/// Memory of the caller's in which states stay from run to run.
pub struct Held {
    /// Where there are pointers, one a state.
    pub states: Value,
    pub capacity: Value,
}

impl Held {
    /// Whether some state has no room for its positions. A capacity that cannot be makes the arena a bad one.
    pub fn is_full(&self, f: &mut Function, plan: &Plan<FuncId>, arena: &mut Arena) -> Value {
        let mut sizes = Sizes { values: arena.dims.clone(), bad: arena.bad };
        sizes.refuse_negative(f, self.capacity);
        let mut full = f.b.ins().iconst(I64, 0);
        for state in &plan.states {
            let Some(axis) = state.axis else { continue };
            let positions = sizes.eval(f, &plan.outputs[state.output].shape[axis]);
            let more = f.b.ins().icmp(IntCC::SignedGreaterThan, positions, self.capacity);
            let more = f.b.ins().uextend(I64, more);
            full = f.b.ins().bor(full, more);
        }
        arena.bad = sizes.bad;
        full
    }
}

/// A thread of several that run a program together.
pub struct Threads {
    pub part: Value,
    pub parts: Value,
    /// Returns when all threads have called it, with the context.
    pub meet: Value,
    pub context: Value,
}

impl Threads {
    /// Makes the arena a bad one where this is not one of the parts.
    pub fn check(&self, f: &mut Function, arena: &mut Arena) {
        // A negative one is a large one without its sign.
        let wrong = f.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, self.part, self.parts);
        let wrong = f.b.ins().uextend(I64, wrong);
        arena.bad = f.b.ins().bor(arena.bad, wrong);
    }

    fn meet(&self, f: &mut Function) {
        let mut signature = f.module.make_signature();
        signature.params.push(AbiParam::new(I64));
        let signature = f.b.import_signature(signature);
        f.b.ins().call_indirect(signature, self.meet, &[self.context]);
    }

    /// Meets the others if a condition holds, which is the same for all.
    fn meet_if(&self, f: &mut Function, condition: Value) {
        let (meet, next) = (f.b.create_block(), f.b.create_block());
        f.b.ins().brif(condition, meet, &[], next, &[]);
        f.b.switch_to_block(meet);
        self.meet(f);
        f.b.ins().jump(next, &[]);
        f.b.switch_to_block(next);
    }
}

/// What a thread knows between two steps.
struct Turn {
    /// The first status of its own that is not 0: it then has no more shares, but meets the others.
    status: Variable,
    /// Whether the step before was split.
    was_split: Option<Value>,
}

impl Turn {
    fn new(f: &mut Function) -> Turn {
        let status = f.b.declare_var(I64);
        let zero = f.b.ins().iconst(I64, 0);
        f.b.def_var(status, zero);
        Turn { status, was_split: None }
    }
}

/// A share of a step.
struct Share {
    part: Value,
    parts: Value,
    /// Where a thread goes on that has none.
    next: Option<Block>,
}

impl Share {
    fn end(self, f: &mut Function) {
        if let Some(next) = self.next {
            f.b.ins().jump(next, &[]);
            f.b.switch_to_block(next);
        }
    }
}

/// The body of a run function.
pub struct Run<'a> {
    pub parts: &'a Parts<'a>,
    pub weights: Option<Value>,
    pub inputs: Value,
    pub outputs: Value,
    pub start: Value,
    pub held: Option<Held>,
    pub threads: Option<Threads>,
    pub arena: Arena,
}

impl Run<'_> {
    /// Writes the steps, and gives the status of all.
    pub fn emit(&self, f: &mut Function) -> Result<Value> {
        let plan = self.parts.plan;
        let count = plan.symbols.len();
        let dims = f.stack(count + 1);
        for (i, value) in self.arena.dims.iter().enumerate() {
            f.store(*value, dims, i);
        }
        // After the symbols stands the capacity of states, -1 where these are dense.
        let capacity = self.held.as_ref().map(|held| held.capacity);
        let capacity = capacity.unwrap_or_else(|| f.b.ins().iconst(I64, -1));
        f.store(capacity, dims, count);
        let widest = plan.steps.iter().map(|s| s.args.len() + s.results.len() + 1).max().unwrap_or(1);
        let args = f.stack(widest);
        let mut turn = Turn::new(f);
        for step in &plan.steps {
            let work = plan.kernel(step).map(|kernel| self.size(f, &kernel.work));
            let share = self.begin(f, &mut turn, work);
            match step.kind {
                StepKind::Kernel(kernel) => {
                    let status = self.call(f, step, plan.kernels[kernel].function, args, dims, &share)?;
                    match self.threads {
                        Some(_) => f.b.def_var(turn.status, status),
                        None => f.return_if(status, status),
                    }
                }
                StepKind::Interpret(_) => {
                    let [Some(from)] = step.args[..] else { return Err(CodegenError::malformed("a copy")) };
                    let [to @ Place::Buffer(b)] = step.results[..] else {
                        return Err(CodegenError::malformed("a copy"));
                    };
                    let bytes = self.size(f, &plan.buffers[b].bytes);
                    let (to, from) = (self.locate(f, to)?, self.locate(f, from)?);
                    f.copy(to, from, bytes)?;
                }
            }
            share.end(f);
        }
        // A value that is several outputs was written to the first.
        let share = self.begin(f, &mut turn, None);
        for (i, port) in plan.outputs.iter().enumerate() {
            let Place::Buffer(b) = port.place else { continue };
            if output_of(plan, b) != Some(i) {
                let bytes = self.size(f, &plan.buffers[b].bytes);
                let (to, from) = (f.load(self.outputs, i), self.locate(f, port.place)?);
                f.copy(to, from, bytes)?;
            }
        }
        share.end(f);
        Ok(f.b.use_var(turn.status))
    }

    /// A size of which is known that it is one.
    fn size(&self, f: &mut Function, size: &Size) -> Value {
        Sizes { values: self.arena.dims.clone(), bad: self.arena.bad }.eval(f, size)
    }

    /// Goes on where this thread has a share of a step with so much work, if that can be split: otherwise the first has all
    /// of it. No thread begins a step that is split, or one after it, before all have come there.
    fn begin(&self, f: &mut Function, turn: &mut Turn, work: Option<Value>) -> Share {
        let (zero, one) = (f.b.ins().iconst(I64, 0), f.b.ins().iconst(I64, 1));
        let Some(threads) = &self.threads else { return Share { part: zero, parts: one, next: None } };
        let is_split = match work {
            Some(work) => f.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, work, MIN_SPLIT_WORK as i64),
            None => f.b.ins().iconst(I8, 0),
        };
        if let Some(was_split) = turn.was_split.replace(is_split) {
            let either = f.b.ins().bor(was_split, is_split);
            threads.meet_if(f, either);
        }
        let is_first = f.b.ins().icmp_imm_s(IntCC::Equal, threads.part, 0);
        let has_share = f.b.ins().bor(is_first, is_split);
        let status = f.b.use_var(turn.status);
        let goes_well = f.b.ins().icmp_imm_s(IntCC::Equal, status, 0);
        let runs = f.b.ins().band(has_share, goes_well);
        let part = f.b.ins().select(is_split, threads.part, zero);
        let parts = f.b.ins().select(is_split, threads.parts, one);
        let (run, next) = (f.b.create_block(), f.b.create_block());
        f.b.ins().brif(runs, run, &[], next, &[]);
        f.b.switch_to_block(run);
        Share { part, parts, next: Some(next) }
    }

    /// Calls the kernel of a step, and gives its status.
    fn call(
        &self,
        f: &mut Function,
        step: &Step,
        kernel: FuncId,
        args: Value,
        dims: Value,
        share: &Share,
    ) -> Result<Value> {
        let absent = f.b.ins().iconst(I64, 0);
        let places = step.args.iter().copied().chain(step.results.iter().copied().map(Some));
        let mut count = 0;
        for place in places {
            let pointer = place.map_or(Ok(absent), |p| self.locate(f, p))?;
            f.store(pointer, args, count);
            count += 1;
        }
        let scratch = f.b.ins().iadd(self.start, self.arena.scratch);
        f.store(scratch, args, count);
        let kernel = f.module.declare_func_in_func(kernel, f.b.func);
        let call = f.b.ins().call(kernel, &[args, dims, share.part, share.parts]);
        Ok(f.b.inst_results(call)[0])
    }

    fn locate(&self, f: &mut Function, place: Place) -> Result<Value> {
        let plan = self.parts.plan;
        let is_it =
            |state: &State| [Place::Input(state.input), plan.outputs[state.output].place].contains(&place);
        if let Some(held) = &self.held
            && let Some(state) = plan.states.iter().position(is_it)
        {
            return Ok(f.load(held.states, state));
        }
        Ok(match place {
            Place::Input(i) => f.load(self.inputs, i),
            Place::Const(c) => match (self.parts.consts, self.weights) {
                (Consts::Inside(data), _) => {
                    let data = f.module.declare_data_in_func(data[c], f.b.func);
                    f.b.ins().symbol_value(I64, data)
                }
                (Consts::Outside(starts), Some(weights)) => f.b.ins().iadd_imm_s(weights, starts[c] as i64),
                (Consts::Outside(_), None) => return Err(CodegenError::malformed("a constant")),
            },
            Place::Buffer(b) => match (output_of(plan, b), plan.buffers[b].slot) {
                (Some(output), _) => f.load(self.outputs, output),
                (None, Some(slot)) => f.b.ins().iadd(self.start, self.arena.slots[slot]),
                (None, None) => return Err(CodegenError::malformed("a buffer")),
            },
        })
    }
}
