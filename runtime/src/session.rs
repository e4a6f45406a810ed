//! A session: one running instance of a program. Once warm, a run allocates nothing.
//!
//! The arena is laid out anew when a dimension changes, which takes a sum a slot; it only ever grows.
#![allow(unsafe_code)]

use std::sync::Arc;

use trine_ir::{Elem, Tensor};

use crate::arena::{ALIGN, AlignedBytes};
use crate::error::RunError;
use crate::interpret;
use crate::kernel::{Call, Kernel, STATUS_INDEX, STATUS_SHAPE};
use crate::pool::Pool;
use crate::program::{Constant, Place, Port, Program, Size, Step, StepKind};

/// Below this much work a call is not split among threads.
const MIN_SPLIT_WORK: usize = 16_384;

/// How a session runs.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads that share each kernel, the caller's among them.
    pub threads: usize,
    /// Positions to hold for the program's states (KV caches). With it the session feeds the states' outputs
    /// back as inputs of the next run, in place; without it states are inputs and outputs as any other.
    pub state_capacity: Option<usize>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { threads: 1, state_capacity: None }
    }
}

/// A tensor that somebody else holds: row-major, elements as in [`Tensor`].
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub elem: Elem,
    pub dims: &'a [usize],
    pub data: &'a [u8],
}

impl<'a> From<&'a Tensor> for View<'a> {
    fn from(t: &'a Tensor) -> View<'a> {
        View { elem: t.elem(), dims: t.dims(), data: t.bytes() }
    }
}

pub struct Session {
    program: Arc<Program>,
    pool: Pool,
    /// Values of the symbols, then the capacity of the states; -1 is unbound.
    dims: Vec<i64>,
    /// The dims that the arena is laid out for.
    laid_out: Vec<i64>,
    arena: AlignedBytes,
    slots: Vec<usize>,
    /// Memory of buffers that are in no slot.
    own: Vec<AlignedBytes>,
    scratch: AlignedBytes,
    args: Vec<*mut u8>,
    /// Inputs of the run at hand: pointers that are used only while `run` borrows the views.
    inputs: Vec<(*mut u8, usize)>,
    /// Copies of inputs that the caller holds unaligned.
    staged: Vec<AlignedBytes>,
    states: Option<States>,
    output_dims: Vec<Vec<usize>>,
}

/// Memory of states, one for each of the program's.
struct States {
    capacity: usize,
    filled: usize,
    buffers: Vec<AlignedBytes>,
}

// SAFETY: the raw pointers are scratch of `run`, refilled by each; between runs nothing reads them.
unsafe impl Send for Session {}

impl Session {
    pub fn new(program: Arc<Program>, options: &SessionOptions) -> Session {
        let states = options.state_capacity.filter(|_| !program.states.is_empty()).map(|capacity| States {
            capacity,
            filled: 0,
            buffers: vec![],
        });
        let widest = program.steps.iter().map(|s| s.args.len() + s.results.len() + 1).max().unwrap_or(1);
        let empty = || AlignedBytes::zeroed(0).expect("nothing is allocated");
        let own = program.buffers.iter().map(|_| empty()).collect();
        Session {
            pool: Pool::new(options.threads),
            dims: vec![-1; program.symbols.len() + 1],
            laid_out: vec![],
            arena: empty(),
            slots: vec![0; program.slots],
            own,
            scratch: empty(),
            staged: program.inputs.iter().map(|_| empty()).collect(),
            args: Vec::with_capacity(widest),
            inputs: vec![(std::ptr::null_mut(), 0); program.inputs.len()],
            output_dims: program.outputs.iter().map(|p| vec![0; p.shape.len()]).collect(),
            states,
            program,
        }
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// How many threads share each kernel.
    pub fn threads(&self) -> usize {
        self.pool.parts()
    }

    /// What a size was in the last run.
    pub fn size(&self, size: &Size) -> Option<usize> {
        size.eval(&self.dims)
    }

    /// Whether input `i` is held by the session.
    pub fn is_state(&self, input: usize) -> bool {
        self.states.is_some() && self.program.states.iter().any(|s| s.input == input)
    }

    /// How many positions the states hold.
    pub fn filled(&self) -> usize {
        self.states.as_ref().map_or(0, |s| s.filled)
    }

    /// Forgets the positions from `filled` on, all of them for 0.
    pub fn truncate(&mut self, filled: usize) {
        if let Some(s) = &mut self.states {
            s.filled = s.filled.min(filled);
        }
    }

    /// Runs on all inputs in order, and returns the outputs in order.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let views: Vec<View> = inputs.iter().map(View::from).collect();
        self.execute(&views)?;
        (0..self.program.outputs.len())
            .map(|i| {
                let view = self.output(i);
                Tensor::new(view.elem, view.dims.to_vec(), view.data.to_vec().into())
                    .map_err(|e| RunError::Eval { place: "output".into(), message: e.to_string() })
            })
            .collect()
    }

    /// Runs on `inputs`, in the order of the program's inputs without those that are held as state. The
    /// outputs stay in the session until the next run.
    pub fn execute(&mut self, inputs: &[View]) -> Result<(), RunError> {
        self.execute_observed(inputs, |_| {})
    }

    /// As [`Session::execute`]; `done` is told the number of each step when it has run.
    pub fn execute_observed(&mut self, inputs: &[View], mut done: impl FnMut(usize)) -> Result<(), RunError> {
        let program = self.program.clone();
        self.bind(&program, inputs)?;
        self.lay_out(&program)?;
        for (i, step) in program.steps.iter().enumerate() {
            match &step.kind {
                StepKind::Kernel(kernel) => self.call(&program, step, kernel)?,
                StepKind::Interpret(op) => self.interpret(&program, step, op)?,
            }
            done(i);
        }
        for (dims, port) in self.output_dims.iter_mut().zip(&program.outputs) {
            for (dim, size) in dims.iter_mut().zip(&port.shape) {
                *dim = size.eval(&self.dims).unwrap_or(0);
            }
        }
        if let Some(states) = &mut self.states {
            let state = &program.states[0];
            states.filled = self.output_dims[state.output][state.axis];
        }
        Ok(())
    }

    /// Output `i` of the last run. The data of an output that is held as state is empty.
    pub fn output(&self, i: usize) -> View<'_> {
        let port = &self.program.outputs[i];
        let dims = &self.output_dims[i];
        let held = self.states.is_some() && self.program.states.iter().any(|s| s.output == i);
        let len = if held { 0 } else { port.ty.elem.bytes(dims.iter().product()).unwrap_or(0) };
        let (start, available) = self.locate(port.place);
        debug_assert!(len <= available || held);
        let data: &[u8] = if len == 0 || start.is_null() {
            &[]
        } else {
            // SAFETY: `locate` gives memory of the session or program that is valid for `available` bytes; an
            // output that is an input of the run is copied by a step of its own, never located.
            unsafe { std::slice::from_raw_parts(start, len.min(available)) }
        };
        View { elem: port.ty.elem, dims, data }
    }

    fn bind(&mut self, program: &Program, inputs: &[View]) -> Result<(), RunError> {
        let held = if self.states.is_some() { program.states.len() } else { 0 };
        if inputs.len() + held != program.inputs.len() {
            return Err(RunError::InputCount {
                expected: program.inputs.len() - held,
                actual: inputs.len(),
                names: program.input_names(),
            });
        }
        self.dims.fill(-1);
        // Two rounds: `past+seq` is checked once other inputs have given `past` and `seq`.
        for round in 0..2 {
            let mut given = inputs.iter();
            for (i, port) in program.inputs.iter().enumerate() {
                if let Some(state) = program.states.iter().find(|s| s.input == i && held > 0) {
                    let filled = self.states.as_ref().map_or(0, |s| s.filled);
                    bind_dim(&mut self.dims, port, state.axis, filled, round)?;
                    continue;
                }
                let view = given.next().expect("counted above");
                if view.elem != port.ty.elem || view.dims.len() != port.shape.len() {
                    return Err(type_error(port, view));
                }
                for (axis, actual) in view.dims.iter().enumerate() {
                    bind_dim(&mut self.dims, port, axis, *actual, round)?;
                }
                let bytes = trine_ir::tensor::count(view.dims).and_then(|n| view.elem.bytes(n));
                if bytes != Some(view.data.len()) {
                    return Err(type_error(port, view));
                }
                self.inputs[i] = if view.data.as_ptr().addr().is_multiple_of(view.elem.bits().div_ceil(8)) {
                    (view.data.as_ptr().cast_mut(), view.data.len())
                } else {
                    // Kernels read whole elements.
                    grow(&mut self.staged[i], view.data.len())?;
                    self.staged[i].as_mut_slice()[..view.data.len()].copy_from_slice(view.data);
                    (self.staged[i].as_ptr(), view.data.len())
                };
            }
        }
        Ok(())
    }

    fn lay_out(&mut self, program: &Program) -> Result<(), RunError> {
        self.reserve_states(program)?;
        if self.laid_out == self.dims {
            return Ok(());
        }
        self.laid_out.clear();
        self.slots.fill(0);
        for buffer in &program.buffers {
            let Some(slot) = buffer.slot else { continue };
            let bytes = buffer.bytes.eval(&self.dims).ok_or_else(|| self.unbound(program, &buffer.bytes))?;
            self.slots[slot] = self.slots[slot].max(bytes);
        }
        let mut total = 0usize;
        for slot in &mut self.slots {
            let bytes = slot.checked_next_multiple_of(ALIGN).ok_or(RunError::Memory { bytes: usize::MAX })?;
            *slot = total;
            total = total.checked_add(bytes).ok_or(RunError::Memory { bytes: usize::MAX })?;
        }
        grow(&mut self.arena, total)?;
        let mut scratch = 0;
        for step in &program.steps {
            if let StepKind::Kernel(k) = &step.kind {
                let (shared, part) = (k.scratch_shared.eval(&self.dims), k.scratch_part.eval(&self.dims));
                let parts = part.unwrap_or(0).saturating_mul(self.pool.parts());
                scratch = scratch.max(shared.unwrap_or(0).saturating_add(parts));
            }
        }
        grow(&mut self.scratch, scratch)?;
        self.laid_out.extend_from_slice(&self.dims);
        Ok(())
    }

    fn reserve_states(&mut self, program: &Program) -> Result<(), RunError> {
        let Some(states) = &mut self.states else { return Ok(()) };
        self.dims[program.symbols.len()] = states.capacity as i64;
        let first = &program.states[0];
        let needed = program.outputs[first.output].shape[first.axis].eval(&self.dims).unwrap_or(0);
        if needed > states.capacity {
            return Err(RunError::StateFull { capacity: states.capacity, needed });
        }
        if !states.buffers.is_empty() {
            return Ok(());
        }
        for state in &program.states {
            let port = &program.inputs[state.input];
            let mut count = states.capacity;
            for (axis, size) in port.shape.iter().enumerate() {
                if axis != state.axis {
                    let dim = size.eval(&self.dims).ok_or(RunError::Unbound { symbol: port.name.clone() })?;
                    count = count.checked_mul(dim).ok_or(RunError::Memory { bytes: usize::MAX })?;
                }
            }
            let bytes = port.ty.elem.bytes(count).ok_or(RunError::Memory { bytes: usize::MAX })?;
            states.buffers.push(AlignedBytes::zeroed(bytes)?);
        }
        Ok(())
    }

    fn call(&mut self, program: &Program, step: &Step, kernel: &Kernel) -> Result<(), RunError> {
        self.own_results(program, step)?;
        self.args.clear();
        for place in &step.args {
            let start = place.map_or(std::ptr::null_mut(), |p| self.locate(p).0);
            self.args.push(start);
        }
        for place in &step.results {
            let start = self.locate(*place).0;
            self.args.push(start);
        }
        self.args.push(self.scratch.as_ptr());
        let work = kernel.work.eval(&self.dims).unwrap_or(usize::MAX);
        // SAFETY: the arguments are the step's operands, results and scratch in the order of the ABI, each of
        // the size its type has under `dims` (checked for inputs by `bind`, laid out for buffers); slots of values
        // that are alive together are disjoint by the plan. All outlive the call.
        let call = unsafe { Call::new(kernel.function, &self.args, &self.dims) };
        let status = if work < MIN_SPLIT_WORK { call.run(0, 1) } else { self.pool.run(call) };
        match status {
            0 => Ok(()),
            STATUS_INDEX => Err(step.error("an index is out of range")),
            STATUS_SHAPE => Err(step.error("the shapes of the operands do not fit")),
            status => Err(step.error(&format!("the kernel failed with status {status}"))),
        }
    }

    fn interpret(&mut self, program: &Program, step: &Step, op: &trine_ir::Op) -> Result<(), RunError> {
        let args: Vec<Option<Tensor>> = step
            .args
            .iter()
            .map(|p| p.map(|p| self.tensor(program, step, p)).transpose())
            .collect::<Result<_, _>>()?;
        let results = interpret::run(program, op, &args, &self.dims).map_err(|m| step.error(&m))?;
        for (place, tensor) in step.results.iter().zip(results) {
            let Place::Buffer(b) = *place else { continue };
            let buffer = &program.buffers[b];
            let fits = tensor.elem() == buffer.elem()
                && tensor.rank() == buffer.shape.len()
                && buffer.shape.iter().zip(tensor.dims()).all(|(s, d)| s.unify(&mut self.dims, *d).is_ok());
            if !fits {
                return Err(step.error(&format!("gave {} where the type is {}", tensor.ty(), buffer.ty)));
            }
            self.own_buffer(program, b)?;
            let (start, available) = self.locate(*place);
            let bytes = tensor.bytes();
            if bytes.len() > available {
                return Err(step.error("a result is larger than planned"));
            }
            // SAFETY: `start` is valid for `available` bytes, which the tensor's own do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
        }
        // Dimensions that depend on data are part of what the arena is laid out for.
        Ok(())
    }

    fn tensor(&self, program: &Program, step: &Step, place: Place) -> Result<Tensor, RunError> {
        let (ty, shape) = match place {
            Place::Const(c) => match &program.consts[c] {
                Constant::Tensor(t) => return Ok(t.clone()),
                Constant::Packed(_) => return Err(step.error("a packed constant is interpreted")),
            },
            Place::Input(i) => (&program.inputs[i].ty, &program.inputs[i].shape),
            Place::Buffer(b) => (&program.buffers[b].ty, &program.buffers[b].shape),
        };
        let dims: Option<Vec<usize>> = shape.iter().map(|s| s.eval(&self.dims)).collect();
        let dims = dims.ok_or_else(|| step.error("a dimension is not known"))?;
        let len = ty.elem.bytes(dims.iter().product()).unwrap_or(usize::MAX);
        let (start, available) = self.locate(place);
        if len > available {
            return Err(step.error("an operand is smaller than its type"));
        }
        let data: &[u8] = match len {
            0 => &[],
            // SAFETY: `start` is valid for `available` bytes.
            _ => unsafe { std::slice::from_raw_parts(start, len) },
        };
        Tensor::new(ty.elem, dims, data.to_vec().into()).map_err(|e| step.error(&e.to_string()))
    }

    /// Start and length of the memory of a place.
    fn locate(&self, place: Place) -> (*mut u8, usize) {
        match place {
            Place::Input(i) => match (&self.states, self.program.states.iter().position(|s| s.input == i)) {
                (Some(states), Some(s)) => states.memory(s),
                _ => self.inputs[i],
            },
            Place::Const(c) => {
                let bytes = self.program.consts[c].bytes();
                (bytes.as_ptr().cast_mut(), bytes.len())
            }
            Place::Buffer(b) => {
                let buffer = &self.program.buffers[b];
                if let (Some(states), Some(s)) = (&self.states, self.state_of(b)) {
                    return states.memory(s);
                }
                match buffer.slot {
                    Some(slot) => {
                        let at = self.slots[slot];
                        // SAFETY: slots lie inside of the arena, or it is empty and the offset 0.
                        (unsafe { self.arena.as_ptr().add(at) }, self.arena.len().saturating_sub(at))
                    }
                    None => (self.own[b].as_ptr(), self.own[b].len()),
                }
            }
        }
    }

    /// The state whose output lies in buffer `b`.
    fn state_of(&self, b: usize) -> Option<usize> {
        let program = &self.program;
        program.states.iter().position(|s| program.outputs[s.output].place == Place::Buffer(b))
    }

    fn own_results(&mut self, program: &Program, step: &Step) -> Result<(), RunError> {
        for place in &step.results {
            if let Place::Buffer(b) = *place {
                self.own_buffer(program, b)?;
            }
        }
        Ok(())
    }

    /// Makes memory for a buffer that is in no slot, now that its size is known.
    fn own_buffer(&mut self, program: &Program, b: usize) -> Result<(), RunError> {
        let buffer = &program.buffers[b];
        if buffer.slot.is_some() {
            return Ok(());
        }
        let bytes = buffer.bytes.eval(&self.dims).ok_or_else(|| self.unbound(program, &buffer.bytes))?;
        grow(&mut self.own[b], bytes)
    }

    fn unbound(&self, program: &Program, size: &Size) -> RunError {
        let unbound = size.symbols().find(|s| self.dims[*s as usize] < 0);
        let symbol = unbound.map_or("a size".into(), |s| program.symbols[s as usize].to_string());
        RunError::Unbound { symbol }
    }
}

impl States {
    fn memory(&self, state: usize) -> (*mut u8, usize) {
        self.buffers.get(state).map_or((std::ptr::null_mut(), 0), |b| (b.as_ptr(), b.len()))
    }
}

impl Step {
    fn error(&self, message: &str) -> RunError {
        RunError::Eval { place: self.place.clone(), message: message.into() }
    }
}

fn grow(memory: &mut AlignedBytes, bytes: usize) -> Result<(), RunError> {
    if memory.len() < bytes {
        // A little more than asked for, so that a growing sequence does not move it each time.
        *memory = AlignedBytes::zeroed(bytes.saturating_add(bytes / 4))?;
    }
    Ok(())
}

fn bind_dim(dims: &mut [i64], port: &Port, axis: usize, actual: usize, round: usize) -> Result<(), RunError> {
    match port.shape[axis].unify(dims, actual) {
        Ok(true) => Ok(()),
        Ok(false) if round == 0 => Ok(()),
        Ok(false) => Err(RunError::Unbound { symbol: port.ty.dims[axis].to_string() }),
        Err(known) => Err(RunError::InputDim {
            name: port.name.clone(),
            axis,
            actual,
            dim: port.ty.dims[axis].to_string(),
            known: match known.filter(|_| port.ty.dims[axis].as_const().is_none()) {
                Some(k) => format!(", which is {k} here"),
                None => String::new(),
            },
        }),
    }
}

fn type_error(port: &Port, view: &View) -> RunError {
    let dims: Vec<_> = view.dims.iter().map(usize::to_string).collect();
    let whole = trine_ir::tensor::count(view.dims).and_then(|n| view.elem.bytes(n)) == Some(view.data.len());
    let bytes = if whole { String::new() } else { format!(" of {} bytes", view.data.len()) };
    let actual = format!("{}[{}]{bytes}", view.elem, dims.join(","));
    RunError::InputType { name: port.name.clone(), expected: port.ty.to_string(), actual }
}
