//! A session: one running instance of a program. Once warm, a run allocates nothing.

use std::ops::Range;
use std::sync::Arc;

use trine_ir::{Elem, Requirement, Tensor};

use crate::calls::{Calls, Failure};
use crate::error::RunError;
use crate::interpret;
use crate::kernel::{STATUS_INDEX, STATUS_SHAPE};
use crate::memory::{Home, Memory};
use crate::pool::{Member, Pool};
use crate::program::{Constant, Place, Port, Program, Size, Step, StepKind};
use crate::schedule::Schedule;
use crate::sizes::Sizes;

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
    /// The dimensions that sizes, schedule, memory and calls are made for; empty when they are not.
    made_for: Vec<i64>,
    sizes: Sizes,
    schedule: Schedule,
    memory: Memory,
    calls: Calls,
    /// How many positions the states hold.
    filled: usize,
    output_dims: Vec<Vec<usize>>,
}

impl Session {
    pub fn new(program: Arc<Program>, options: &SessionOptions) -> Session {
        let capacity = options.state_capacity.filter(|_| !program.states.is_empty());
        let pool = Pool::new(options.threads);
        let mut sizes = Sizes::default();
        let memory = Memory::new(program.clone(), pool.parts(), capacity, &mut sizes);
        let schedule = Schedule::new(&program, memory.homes(), &mut sizes);
        Session {
            dims: vec![-1; program.symbols.len() + 1],
            made_for: vec![],
            calls: Calls::new(&program, &memory, pool.parts()),
            sizes,
            schedule,
            memory,
            filled: 0,
            output_dims: program.outputs.iter().map(|p| vec![0; p.shape.len()]).collect(),
            pool,
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
        matches!(self.memory.homes().of(Place::Input(input)), Home::State(_))
    }

    /// How many positions the states hold.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Forgets the positions from `filled` on, all of them for 0.
    pub fn truncate(&mut self, filled: usize) {
        self.filled = self.filled.min(filled);
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
        self.run_steps(inputs, None)
    }

    /// As [`Session::execute`]; `done` is told the number of each step when all threads are done with it.
    pub fn execute_observed(&mut self, inputs: &[View], mut done: impl FnMut(usize)) -> Result<(), RunError> {
        self.run_steps(inputs, Some(&mut done))
    }

    fn run_steps(
        &mut self,
        inputs: &[View],
        mut done: Option<&mut dyn FnMut(usize)>,
    ) -> Result<(), RunError> {
        let program = self.program.clone();
        self.bind(&program, inputs)?;
        if let Some(broken) = program.broken(&self.dims) {
            return Err(RunError::Sizes(program.complaint(broken, &self.dims)));
        }
        self.prepare(&program)?;
        let is_kernel = |step: &&Step| matches!(step.kind, StepKind::Kernel(_));
        let mut next = 0;
        while let Some(step) = program.steps.get(next) {
            let first = next;
            match &step.kind {
                StepKind::Interpret(op) => {
                    self.interpret(&program, step, op)?;
                    next += 1;
                }
                StepKind::Kernel(_) => {
                    // Observed, each is a call of its own.
                    let most = if done.is_some() { 1 } else { program.steps.len() };
                    next += program.steps[first..].iter().take(most).take_while(is_kernel).count();
                    self.call(&program, first..next)?;
                }
            }
            if let Some(done) = &mut done {
                done(first);
            }
        }
        for (dims, port) in self.output_dims.iter_mut().zip(&program.outputs) {
            for (dim, size) in dims.iter_mut().zip(&port.shape) {
                *dim = size.eval(&self.dims).unwrap_or(0);
            }
        }
        if self.memory.capacity().is_some() {
            let state = &program.states[0];
            self.filled = self.output_dims[state.output][state.axis];
        }
        Ok(())
    }

    /// Output `i` of the last run. The data of an output that is held as state is empty.
    pub fn output(&self, i: usize) -> View<'_> {
        let port = &self.program.outputs[i];
        let dims = &self.output_dims[i];
        let is_held = matches!(self.memory.homes().of(port.place), Home::State(_));
        let len = if is_held { 0 } else { port.ty.elem.bytes(dims.iter().product()).unwrap_or(0) };
        let data = self.memory.bytes(port.place, len);
        debug_assert_eq!(data.len(), len);
        View { elem: port.ty.elem, dims, data }
    }

    fn derive(&mut self, program: &Program) -> Result<(), RunError> {
        program.derive(&mut self.dims).map_err(|derived| {
            let stated = program.module.requires.iter().find(|r| r.left == derived.dim);
            let own = Requirement { left: derived.dim.clone(), right: derived.dim.clone(), loc: None };
            RunError::Sizes(program.complaint(stated.unwrap_or(&own), &self.dims))
        })
    }

    fn bind(&mut self, program: &Program, inputs: &[View]) -> Result<(), RunError> {
        let held = if self.memory.capacity().is_some() { program.states.len() } else { 0 };
        if inputs.len() + held != program.inputs.len() {
            return Err(RunError::InputCount {
                expected: program.inputs.len() - held,
                actual: inputs.len(),
                names: program.input_names(),
            });
        }
        self.dims.fill(-1);
        let plain = program.plain_symbols();
        // Two rounds: `past+seq` is checked once other inputs have given `past` and `seq`.
        for round in 0..2 {
            let mut given = inputs.iter();
            for (i, port) in program.inputs.iter().enumerate() {
                if let Home::State(s) = self.memory.homes().of(Place::Input(i)) {
                    bind_dim(&mut self.dims, plain, port, program.states[s].axis, self.filled, round)?;
                    continue;
                }
                let view = given.next().expect("counted above");
                if view.elem != port.ty.elem || view.dims.len() != port.shape.len() {
                    return Err(type_error(port, view));
                }
                for (axis, actual) in view.dims.iter().enumerate() {
                    bind_dim(&mut self.dims, plain, port, axis, *actual, round)?;
                }
                let bytes = trine_ir::tensor::count(view.dims).and_then(|n| view.elem.bytes(n));
                if bytes != Some(view.data.len()) {
                    return Err(type_error(port, view));
                }
                self.memory.place_input(i, view)?;
            }
            self.derive(program)?;
        }
        Ok(())
    }

    /// Makes schedule, memory and calls for the dimensions, if they are not.
    fn prepare(&mut self, program: &Program) -> Result<(), RunError> {
        if let Some(capacity) = self.memory.capacity() {
            self.dims[program.symbols.len()] = capacity as i64;
            let first = &program.states[0];
            let needed = program.outputs[first.output].shape[first.axis].eval(&self.dims).unwrap_or(0);
            if needed > capacity {
                return Err(RunError::StateFull { capacity, needed });
            }
            self.memory.reserve_states(&self.dims)?;
        }
        if self.made_for == self.dims {
            return Ok(());
        }
        let must = self.made_for.is_empty();
        self.made_for.clear();
        self.sizes.update(&self.dims);
        let changed = self.schedule.update(program, self.memory.homes(), &self.sizes, self.pool.parts());
        if self.memory.lay_out(&self.sizes, &self.dims, &self.schedule, must || changed)? {
            self.calls.bind(program, &self.memory, &self.schedule);
        }
        self.made_for.extend_from_slice(&self.dims);
        Ok(())
    }

    /// Runs steps that have kernels.
    fn call(&mut self, program: &Program, steps: Range<usize>) -> Result<(), RunError> {
        for step in self.calls.moving(&steps) {
            for result in &program.steps[*step].results {
                self.memory.make(*result, &self.dims)?;
            }
        }
        self.calls.rebind(&steps, program, &self.memory, &self.schedule);
        let failure = Failure::none();
        let job =
            |member: &Member| self.calls.run(steps.clone(), &self.schedule, &self.dims, member, &failure);
        if self.schedule.is_shared() {
            self.pool.run(&job);
        } else {
            job(&Member::alone());
        }
        let Some((step, status)) = failure.first() else { return Ok(()) };
        Err(program.steps[step].error(match status {
            STATUS_INDEX => "an index is out of range".into(),
            STATUS_SHAPE => "the shapes of the operands do not fit".into(),
            status => format!("the kernel failed with status {status}"),
        }))
    }

    fn interpret(&mut self, program: &Program, step: &Step, op: &trine_ir::Op) -> Result<(), RunError> {
        let args: Vec<Option<Tensor>> = step
            .args
            .iter()
            .map(|p| p.map(|p| self.tensor(program, step, p)).transpose())
            .collect::<Result<_, _>>()?;
        let results = interpret::run(program, op, &args, &self.dims).map_err(|m| step.error(m))?;
        for (place, tensor) in step.results.iter().zip(results) {
            let Place::Buffer(b) = *place else { continue };
            let buffer = &program.buffers[b];
            let plain = program.plain_symbols();
            let fits = tensor.elem() == buffer.elem()
                && tensor.rank() == buffer.shape.len()
                && buffer
                    .shape
                    .iter()
                    .zip(tensor.dims())
                    .all(|(s, d)| s.unify(&mut self.dims, plain, *d).is_ok());
            self.derive(program)?;
            if !fits {
                return Err(step.error(format!("gave {} where the type is {}", tensor.ty(), buffer.ty)));
            }
            self.memory.make(*place, &self.dims)?;
            if !self.memory.write(*place, tensor.bytes()) {
                return Err(step.error("a result is larger than planned"));
            }
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
        let data = self.memory.bytes(place, len);
        if data.len() < len {
            return Err(step.error("an operand is smaller than its type"));
        }
        Tensor::new(ty.elem, dims, data.to_vec().into()).map_err(|e| step.error(e.to_string()))
    }
}

impl Step {
    fn error(&self, message: impl Into<String>) -> RunError {
        RunError::Eval { place: self.place.clone(), message: message.into() }
    }
}

fn bind_dim(
    dims: &mut [i64],
    plain: usize,
    port: &Port,
    axis: usize,
    actual: usize,
    round: usize,
) -> Result<(), RunError> {
    match port.shape[axis].unify(dims, plain, actual) {
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
