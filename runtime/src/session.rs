//! A session: one running instance of a program. Once warm, a run allocates nothing.

use std::ops::Range;
use std::sync::Arc;

use trine_ir::{Elem, Requirement, Tensor};

use crate::calls::{Calls, Failure};
use crate::error::RunError;
use crate::interpret;
use crate::kernel::{STATUS_INDEX, STATUS_SHAPE};
use crate::memory::{Home, Memory};
pub use crate::pool::MAX_THREADS;
use crate::pool::{Member, Pool};
use crate::program::{Constant, Place, Port, Program, Size, Step, StepKind};
use crate::schedule::Schedule;
use crate::sizes::{Sizes, eval};

/// How a session runs.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads that share each kernel, the caller's among them: at least that one, and at most [`MAX_THREADS`].
    pub threads: usize,
    /// Positions to hold for the program's states (KV caches). With it the session feeds the states' outputs
    /// back as inputs of the next run, in place; without it states are inputs and outputs as any other. A state whose size
    /// stays begins as zeros. While anything is held the states' other dimensions cannot change.
    pub state_capacity: Option<usize>,
    /// Bytes that the session may have, its program's weights among them: a run that takes more is refused before the memory
    /// is taken. What ops without a kernel make on their way, and copies of outputs, are not counted.
    pub max_bytes: Option<usize>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { threads: 1, state_capacity: None, max_bytes: None }
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

impl View<'_> {
    /// A copy.
    pub fn to_tensor(&self) -> Result<Tensor, RunError> {
        Tensor::new(self.elem, self.dims.to_vec(), self.data.to_vec().into())
            .map_err(|e| RunError::Eval { place: "output".into(), message: e.to_string() })
    }
}

pub struct Session {
    pub(crate) program: Arc<Program>,
    pool: Pool,
    /// Values of the symbols, then the capacity of the states; -1 is unbound.
    dims: Vec<i64>,
    /// The dimensions that sizes, schedule, memory and calls are made for; empty when they are not.
    pub(crate) made_for: Vec<i64>,
    sizes: Sizes,
    schedule: Schedule,
    pub(crate) memory: Memory,
    calls: Calls,
    /// How many positions the states hold.
    pub(crate) filled: usize,
    /// Whether the last run went well, so that there are outputs.
    has_outputs: bool,
    output_dims: Vec<Vec<usize>>,
    /// Bytes of each output; none of what is held as state.
    output_bytes: Vec<usize>,
}

impl Session {
    pub fn new(program: Arc<Program>, options: &SessionOptions) -> Session {
        Session::build(program, options, false)
    }

    /// A session whose memory is guarded, for tests: steps run one by one, and one that writes outside of its results and
    /// scratch is an error that names it. What is read before it is written is not a number, and reading past the end of an
    /// input faults.
    pub fn guarded(program: Arc<Program>, options: &SessionOptions) -> Session {
        Session::build(program, options, true)
    }

    pub(crate) fn build(program: Arc<Program>, options: &SessionOptions, is_guarded: bool) -> Session {
        let capacity = options.state_capacity.filter(|_| !program.states.is_empty());
        let pool = Pool::new(options.threads);
        let mut sizes = Sizes::new(&program);
        let memory =
            Memory::new(program.clone(), pool.parts(), capacity, options.max_bytes, is_guarded, &mut sizes);
        let schedule = Schedule::new(&program, memory.homes(), &mut sizes);
        Session {
            dims: vec![-1; program.symbols.len() + 1],
            made_for: vec![],
            calls: Calls::new(&program, &memory, pool.parts()),
            sizes,
            schedule,
            memory,
            filled: 0,
            has_outputs: false,
            output_bytes: vec![0; program.outputs.len()],
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

    /// Whether outputs that are states stay in the session, as inputs of its next run.
    pub fn holds_states(&self) -> bool {
        self.memory.capacity().is_some()
    }

    /// How many positions the states hold; none where their sizes stay, whose inputs say what counts.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Forgets the positions from `filled` on, all of them for 0. States whose sizes stay are as they were.
    pub fn truncate(&mut self, filled: usize) {
        self.filled = self.filled.min(filled);
    }

    /// Forgets all that the states hold, as if nothing had run.
    pub fn reset(&mut self) {
        self.truncate(0);
        self.memory.forget_states();
    }

    /// Runs on all inputs in order, and returns the outputs in order.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let views: Vec<View> = inputs.iter().map(View::from).collect();
        self.execute(&views)?;
        (0..self.program.outputs.len()).map(|i| self.output(i).to_tensor()).collect()
    }

    /// Runs on `inputs`, in the order of the program's inputs without those that are held as state. The
    /// outputs stay in the session until the next run. After an error there are no outputs, the states hold the
    /// positions that they held before, and the session can run again. A state whose size stays may hold what the run wrote.
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
        self.has_outputs = false;
        self.bind(&program, inputs)?;
        if let Some(broken) = program.broken(&self.dims) {
            return Err(RunError::Sizes(program.complaint(broken, &self.dims)));
        }
        self.prepare(&program)?;
        self.memory.begin_run();
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
                    // Observed or guarded, each is a call of its own.
                    let is_alone = done.is_some() || self.memory.is_guarded();
                    let most = if is_alone { 1 } else { program.steps.len() };
                    next += program.steps[first..].iter().take(most).take_while(is_kernel).count();
                    self.call(&program, first..next)?;
                }
            }
            if let Some(done) = &mut done {
                done(first);
            }
        }
        for (i, port) in program.outputs.iter().enumerate() {
            for (dim, size) in self.output_dims[i].iter_mut().zip(&port.shape) {
                *dim = eval(size, &program, &self.dims)?;
            }
            let count = trine_ir::tensor::count(&self.output_dims[i]);
            let bytes = count.and_then(|n| port.ty.elem.bytes(n));
            self.output_bytes[i] = match self.memory.homes().of(port.place) {
                Home::State(_) => 0,
                _ => bytes.ok_or_else(|| RunError::memory(usize::MAX))?,
            };
        }
        if self.holds_states() {
            let positions = program.states.iter().find_map(|s| Some(self.output_dims[s.output][s.axis?]));
            self.filled = positions.unwrap_or(0);
        }
        self.has_outputs = true;
        Ok(())
    }

    /// Output `i` of the last run. The data of an output that is held as state is empty, and so is that of all before a
    /// run and after one that failed.
    pub fn output(&self, i: usize) -> View<'_> {
        let port = &self.program.outputs[i];
        let len = if self.has_outputs { self.output_bytes[i] } else { 0 };
        let data = self.memory.bytes(port.place, len);
        debug_assert_eq!(data.len(), len);
        View { elem: port.ty.elem, dims: &self.output_dims[i], data }
    }

    fn derive(&mut self, program: &Program) -> Result<(), RunError> {
        program.derive(&mut self.dims).map_err(|derived| {
            let stated = program.requires.iter().map(|r| &r.requirement).find(|r| r.left == derived.dim);
            let own = Requirement { left: derived.dim.clone(), right: derived.dim.clone(), loc: None };
            RunError::Sizes(program.complaint(stated.unwrap_or(&own), &self.dims))
        })
    }

    fn bind(&mut self, program: &Program, inputs: &[View]) -> Result<(), RunError> {
        let held = if self.holds_states() { program.states.len() } else { 0 };
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
                    if let Some(axis) = program.states[s].axis {
                        bind_dim(&mut self.dims, plain, port, axis, self.filled, round)?;
                    }
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
            self.dims[program.symbols.len()] =
                i64::try_from(capacity).map_err(|_| self.memory.no_room_for_states())?;
            self.check_states(program, capacity)?;
        }
        if self.made_for == self.dims {
            return Ok(());
        }
        let must = self.made_for.is_empty();
        self.made_for.clear();
        let states_moved = self.memory.reserve_states(&self.dims, self.filled)?;
        let sizes = self.sizes.update(program, &self.dims)?;
        let changed = self.schedule.update(program, self.memory.homes(), &sizes, self.pool.parts());
        let moved = self.memory.lay_out(&sizes, &self.schedule, must || changed)?;
        if moved || states_moved {
            self.calls.bind(program, &self.memory, &self.schedule);
        }
        self.made_for.extend_from_slice(&self.dims);
        Ok(())
    }

    /// Whether all states have room for the positions that they will hold, which are as many for each.
    fn check_states(&self, program: &Program, capacity: usize) -> Result<(), RunError> {
        let mut first = None;
        for state in &program.states {
            let (port, Some(axis)) = (&program.outputs[state.output], state.axis) else { continue };
            let needed = eval(&port.shape[axis], program, &self.dims)?;
            if needed > capacity {
                return Err(RunError::StateFull { capacity, needed });
            }
            let (other, others) = *first.get_or_insert((port, needed));
            if needed != others {
                let (name, other) = (port.name.clone(), other.name.clone());
                return Err(RunError::StatesDiffer { name, positions: needed, other, others });
            }
        }
        Ok(())
    }

    /// Runs steps that have kernels.
    fn call(&mut self, program: &Program, steps: Range<usize>) -> Result<(), RunError> {
        for step in self.calls.moving(&steps) {
            self.memory.make_late(*step, self.schedule.share(*step), &self.dims)?;
        }
        self.calls.rebind(&steps, program, &self.memory, &self.schedule);
        if self.memory.is_guarded() {
            let sizes = self.sizes.update(program, &self.dims)?;
            for step in steps.clone() {
                self.memory.poison(step, &sizes, self.schedule.share(step), &self.dims)?;
            }
        }
        let failure = Failure::none();
        let job =
            |member: &Member| self.calls.run(steps.clone(), &self.schedule, &self.dims, member, &failure);
        if self.schedule.is_shared() {
            self.pool.run(&job);
        } else {
            job(&Member::alone());
        }
        if self.memory.is_guarded()
            && let Some(memory) = self.memory.overrun()
        {
            return Err(RunError::Overrun { place: program.steps[steps.start].place.clone(), memory });
        }
        let Some((step, status)) = failure.first() else { return Ok(()) };
        Err(program.steps[step].error(match status {
            STATUS_INDEX => "an index is out of range".into(),
            STATUS_SHAPE => {
                let shapes = self.operand_shapes(program, &program.steps[step]);
                format!("the shapes of the operands do not fit: {shapes}")
            }
            status => format!("the kernel failed with status {status}"),
        }))
    }

    /// The shapes of operands that are not constant, for messages.
    fn operand_shapes(&self, program: &Program, step: &Step) -> String {
        let shapes = step.args.iter().flatten().filter_map(|place| match *place {
            Place::Const(_) => None,
            Place::Input(i) => Some(&program.inputs[i].shape),
            Place::Buffer(b) => Some(&program.buffers[b].shape),
        });
        let dim = |size: &Size| size.eval(&self.dims).map_or("?".into(), |dim| dim.to_string());
        let shapes = shapes.map(|shape| format!("[{}]", shape.iter().map(dim).collect::<Vec<_>>().join(",")));
        shapes.collect::<Vec<_>>().join(", ")
    }

    fn interpret(&mut self, program: &Program, step: &Step, op: &trine_ir::Op) -> Result<(), RunError> {
        let args: Vec<Option<Tensor>> = step
            .args
            .iter()
            .map(|p| p.map(|p| self.tensor(program, step, p)).transpose())
            .collect::<Result<_, _>>()?;
        let results = interpret::run(program, op, &args, &self.dims).map_err(|m| step.error(m))?;
        // As for inputs, in two rounds.
        let plain = program.plain_symbols();
        for round in 0..2 {
            for (place, tensor) in step.results.iter().zip(&results) {
                let Place::Buffer(b) = *place else { continue };
                let buffer = &program.buffers[b];
                let dims = buffer.shape.iter().zip(tensor.dims());
                let mut unified = dims.map(|(size, dim)| size.unify(&mut self.dims, plain, *dim));
                let fits = tensor.elem() == buffer.elem() && tensor.rank() == buffer.shape.len();
                if !fits || !unified.all(|known| known.is_ok_and(|known| known || round == 0)) {
                    return Err(step.error(format!("gave {} where the type is {}", tensor.ty(), buffer.ty)));
                }
            }
            self.derive(program)?;
        }
        if let Some(broken) = program.broken(&self.dims) {
            return Err(RunError::Sizes(program.complaint(broken, &self.dims)));
        }
        for (place, tensor) in step.results.iter().zip(results) {
            self.memory.make(*place, &self.dims)?;
            if !self.memory.write(*place, tensor.bytes()) {
                return Err(step.error("a result is larger than planned"));
            }
        }
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
        let dims: Vec<usize> =
            shape.iter().map(|s| eval(s, program, &self.dims)).collect::<Result<_, RunError>>()?;
        let len = trine_ir::tensor::count(&dims).and_then(|count| ty.elem.bytes(count));
        let len = len.ok_or_else(|| RunError::memory(usize::MAX))?;
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
