//! What must hold of a program's parts before anything is laid out for them or called.
//!
//! Sessions trust a program: its indices, that each value is made before it is read, and that every size that a kernel
//! needs has a value when its turn comes. All steps with kernels between two without are run at once, after memory was
//! made for them; a symbol that depends on data is given its value by a step without a kernel, so that what is checked
//! here step by step holds for such a stretch as a whole.
#![allow(unsafe_code)]

use crate::program::{Parts, Place, Plan, Port, Program, Size, State, Step, StepKind};
use crate::sizes::{derive, given};

/// Why parts are not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("{place}: there is no {what}")]
    Missing { place: String, what: String },
    #[error("{place}: buffer {buffer} is read before it is made")]
    Unmade { place: String, buffer: usize },
    #[error("{place}: buffer {buffer} is made twice")]
    Twice { place: String, buffer: usize },
    #[error("{place} needs `{symbol}`, which has no value before it")]
    Unbound { place: String, symbol: String },
    #[error("the state `{name}` {message}")]
    State { name: String, message: &'static str },
}

impl Program {
    /// The program of parts that fit together.
    ///
    /// # Safety
    /// A kernel that is called as its step says, under any values of the symbols that give all operands their types,
    /// touches nothing but its operands, results and scratch, each as long as its type, its buffer or the kernel's size of
    /// scratch says. Buffers are as long as their types say, and those of one slot are not in use together.
    pub unsafe fn new(parts: Parts) -> Result<Program, ProgramError> {
        Checker::new(&parts).run()?;
        Ok(Program(parts))
    }
}

struct Checker<'a> {
    parts: &'a Parts,
    /// By buffer: whether a step has made it.
    made: Vec<bool>,
    /// By symbol: whether inputs or a step have given it its value.
    bound: Vec<bool>,
}

impl<'a> Checker<'a> {
    fn new(parts: &'a Parts) -> Checker<'a> {
        Checker { parts, made: vec![false; parts.buffers.len()], bound: vec![] }
    }

    fn run(mut self) -> Result<(), ProgramError> {
        let Plan { derived, requires, inputs, outputs, buffers, slots, steps, states, .. } = &self.parts.plan;
        let plain = self.parts.symbols.len().checked_sub(derived.len());
        let plain = plain.ok_or_else(|| missing("a derived size", "symbol for it"))?;
        for (i, derived) in derived.iter().enumerate() {
            let mut symbols = derived.args.iter().flat_map(Size::symbols);
            if symbols.any(|s| s as usize >= plain + i) {
                return Err(missing(&derived.dim.to_string(), "symbol for a size"));
            }
        }
        let sizes = requires.iter().filter_map(|r| r.sizes.as_ref());
        self.symbols_exist("a requirement", sizes.flat_map(|(a, b)| [a, b]))?;
        for (i, port) in inputs.iter().enumerate() {
            self.symbols_exist(&port.name, &port.shape)?;
            if port.place != Place::Input(i) || port.shape.len() != port.ty.dims.len() {
                return Err(missing(&port.name, "input of its type"));
            }
        }
        self.bound = given(self.parts);
        for (b, buffer) in buffers.iter().enumerate() {
            let name = format!("buffer {b}");
            self.symbols_exist(&name, buffer.shape.iter().chain([&buffer.bytes]))?;
            if buffer.shape.len() != buffer.ty.dims.len() || buffer.slot.is_some_and(|slot| slot >= *slots) {
                return Err(missing(&name, "slot of its type"));
            }
            if buffer.slot.is_some() {
                self.are_bound(&name, [&buffer.bytes])?;
            }
        }
        steps.iter().try_for_each(|step| self.step(step))?;
        for port in outputs {
            self.symbols_exist(&port.name, &port.shape)?;
            let Place::Buffer(b) = port.place else { return Err(missing(&port.name, "buffer")) };
            if port.shape.len() != port.ty.dims.len() {
                return Err(missing(&port.name, "output of its type"));
            }
            self.is_made(&port.name, b)?;
        }
        (0..states.len()).try_for_each(|s| self.state(s))
    }

    fn step(&mut self, step: &Step) -> Result<(), ProgramError> {
        let Parts { plan: Plan { inputs, buffers, .. }, consts, .. } = self.parts;
        for arg in step.args.iter().flatten() {
            match *arg {
                Place::Input(i) if i >= inputs.len() => return Err(missing(&step.place, "operand")),
                Place::Const(c) if c >= consts.len() => return Err(missing(&step.place, "constant")),
                Place::Input(_) | Place::Const(_) => {}
                Place::Buffer(b) => self.is_made(&step.place, b)?,
            }
        }
        for result in &step.results {
            let Place::Buffer(b) = *result else { return Err(missing(&step.place, "result")) };
            match self.made.get_mut(b) {
                None => return Err(missing(&step.place, "result")),
                Some(true) => return Err(ProgramError::Twice { place: step.place.clone(), buffer: b }),
                Some(made) => *made = true,
            }
        }
        let results = step.results.iter().filter_map(|place| match place {
            Place::Buffer(b) => Some(&buffers[*b]),
            _ => None,
        });
        match &step.kind {
            StepKind::Kernel(_) => {
                let kernel = self.parts.kernel(step).ok_or_else(|| missing(&step.place, "kernel"))?;
                let own = [&kernel.scratch_shared, &kernel.scratch_part, &kernel.work];
                let others = [&kernel.operations, &kernel.bytes];
                self.symbols_exist(&step.place, own.into_iter().chain(others))?;
                self.are_bound(&step.place, own)?;
                self.are_bound(&step.place, results.flat_map(|b| b.shape.iter().chain([&b.bytes])))
            }
            StepKind::Interpret(_) => {
                let plain = self.parts.plain_symbols();
                let symbols = results.flat_map(|b| &b.shape).flat_map(Size::symbols);
                for symbol in symbols.filter(|s| (*s as usize) < plain) {
                    self.bound[symbol as usize] = true;
                }
                derive(self.parts, &mut self.bound);
                Ok(())
            }
        }
    }

    /// States are inputs that become outputs of their types but for the axis of positions, in one kernel and nowhere else.
    fn state(&self, s: usize) -> Result<(), ProgramError> {
        let State { input, output, axis } = self.parts.states[s];
        let (Some(from), Some(to)) = (self.parts.inputs.get(input), self.parts.outputs.get(output)) else {
            return Err(missing("a state", "input or output"));
        };
        let fail = |message| Err(ProgramError::State { name: from.name.clone(), message });
        let others = || self.parts.states[..s].iter();
        if others().any(|other| other.input == input || other.output == output) {
            return fail("is held twice");
        }
        let but_axis = |port: &'a Port| port.shape.iter().enumerate().filter(move |(i, _)| Some(*i) != axis);
        let same = from.ty.elem == to.ty.elem && from.shape.len() == to.shape.len();
        if !same || axis.is_some_and(|axis| axis >= from.shape.len()) || !but_axis(from).eq(but_axis(to)) {
            return fail("is not of the type that it becomes");
        }
        let makes = |step: &&Step| step.results.contains(&to.place);
        let reads = |step: &Step| step.args.contains(&Some(Place::Input(input)));
        let kernel = self.parts.steps.iter().find(makes);
        if !kernel.is_some_and(|step| matches!(step.kind, StepKind::Kernel(_)) && reads(step)) {
            return fail("becomes what no kernel makes of it");
        }
        if self.parts.outputs.iter().filter(|port| port.place == to.place).count() > 1 {
            return fail("becomes two outputs");
        }
        Ok(())
    }

    fn is_made(&self, place: &str, buffer: usize) -> Result<(), ProgramError> {
        match self.made.get(buffer) {
            Some(true) => Ok(()),
            Some(false) => Err(ProgramError::Unmade { place: place.into(), buffer }),
            None => Err(missing(place, "buffer")),
        }
    }

    fn symbols_exist<'s>(
        &self,
        place: &str,
        sizes: impl IntoIterator<Item = &'s Size>,
    ) -> Result<(), ProgramError> {
        let count = self.parts.symbols.len();
        match sizes.into_iter().flat_map(Size::symbols).all(|s| (s as usize) < count) {
            true => Ok(()),
            false => Err(missing(place, "symbol for a size")),
        }
    }

    fn are_bound<'s>(
        &self,
        place: &str,
        sizes: impl IntoIterator<Item = &'s Size>,
    ) -> Result<(), ProgramError> {
        match sizes.into_iter().flat_map(Size::symbols).find(|s| !self.bound[*s as usize]) {
            None => Ok(()),
            Some(symbol) => {
                let symbol = self.parts.symbols[symbol as usize].to_string();
                Err(ProgramError::Unbound { place: place.into(), symbol })
            }
        }
    }
}

fn missing(place: &str, what: &str) -> ProgramError {
    ProgramError::Missing { place: place.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use trine_ir::{Dim, Elem, Module, Op, Tensor, Type};

    use crate::code::Code;
    use crate::kernel::{Kernel, KernelFn};
    use crate::program::Buffer;
    use crate::session::{Session, SessionOptions};

    extern "C" fn nothing(_: *const *mut u8, _: *const i64, _: i64, _: i64) -> i64 {
        0
    }

    fn kernel(scratch: Size) -> Kernel {
        let none = || Size::constant(0);
        Kernel {
            name: String::new(),
            function: nothing,
            scratch_shared: none(),
            scratch_part: scratch,
            work: none(),
            operations: none(),
            bytes: none(),
        }
    }

    fn of(symbol: &str) -> (Type, Vec<Size>) {
        let symbols: Vec<Arc<str>> = vec!["n".into(), "k".into()];
        let dim = Dim::symbol(symbol);
        (Type { elem: Elem::I8, dims: vec![dim.clone()] }, vec![Size::new(&dim, &symbols).unwrap()])
    }

    /// `x: i8[n]` is interpreted to `i8[k]`, of which a kernel makes `y: i8[k]`.
    fn parts() -> Parts {
        let port = |name: &str, symbol, place| {
            let (ty, shape) = of(symbol);
            Port { name: name.into(), ty, shape, place }
        };
        let buffer = || {
            let (ty, shape) = of("k");
            Buffer { ty, bytes: shape[0].clone(), shape, slot: None }
        };
        let step = |kind, from, to| Step {
            kind,
            node: None,
            args: vec![Some(from)],
            results: vec![Place::Buffer(to)],
            place: format!("step {to}"),
        };
        let op = Op::from(trine_ir::ops::Identity {});
        let scratch = of("k").1.remove(0);
        let plan = Plan {
            symbols: vec!["n".into(), "k".into()],
            derived: vec![],
            requires: vec![],
            inputs: vec![port("x", "n", Place::Input(0))],
            outputs: vec![port("y", "k", Place::Buffer(1))],
            buffers: vec![buffer(), buffer()],
            slots: 0,
            kernels: vec![kernel(scratch), kernel(Size::constant(0))],
            steps: vec![
                step(StepKind::Interpret(op), Place::Input(0), 0),
                step(StepKind::Kernel(0), Place::Buffer(0), 1),
            ],
            states: vec![],
        };
        let code = Code::load(&[], []).unwrap();
        Parts { plan, consts: vec![], code, module: Arc::new(Module::default()) }
    }

    fn refused(spoil: impl FnOnce(&mut Plan)) -> String {
        let mut parts = parts();
        spoil(&mut parts.plan);
        Checker::new(&parts).run().unwrap_err().to_string()
    }

    #[test]
    fn sizes_have_a_value_before_a_kernel_needs_them() {
        assert_eq!(Checker::new(&parts()).run(), Ok(()));
        let first = |p: &mut Plan| p.steps[0].kind = StepKind::Kernel(1);
        assert_eq!(refused(first), "step 0 needs `k`, which has no value before it");
        let scratch = |p: &mut Plan| {
            p.buffers[0].shape = of("n").1;
            p.buffers[0].bytes = of("n").1.remove(0);
            p.buffers[1] = Buffer { slot: None, ..p.buffers[0].clone() };
        };
        assert_eq!(refused(scratch), "step 1 needs `k`, which has no value before it");
        let slot = |p: &mut Plan| {
            p.slots = 1;
            p.buffers[1].slot = Some(0);
        };
        assert_eq!(refused(slot), "buffer 1 needs `k`, which has no value before it");
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let message = |spoil: fn(&mut Plan)| refused(spoil);
        assert_eq!(message(|p| p.steps.swap(0, 1)), "step 1: buffer 0 is read before it is made");
        assert_eq!(
            message(|p| p.steps[1].results = vec![Place::Buffer(0)]),
            "step 1: buffer 0 is made twice"
        );
        assert_eq!(message(|p| p.steps[1].results = vec![Place::Buffer(2)]), "step 1: there is no result");
        assert_eq!(
            message(|p| p.steps[1].args = vec![Some(Place::Const(0))]),
            "step 1: there is no constant"
        );
        assert_eq!(message(|p| p.steps[1].args = vec![Some(Place::Input(1))]), "step 1: there is no operand");
        assert_eq!(message(|p| p.outputs[0].place = Place::Buffer(2)), "y: there is no buffer");
        assert_eq!(message(|p| p.buffers[0].slot = Some(0)), "buffer 0: there is no slot of its type");
        assert_eq!(message(|p| _ = p.symbols.pop()), "buffer 0: there is no symbol for a size");
        assert_eq!(message(|p| p.kernels.clear()), "step 1: there is no kernel");
    }

    /// Writes `before`, the whole result `extra` bytes longer, and `scratch` bytes more than there is scratch.
    ///
    /// # Safety
    /// The memory is guarded.
    unsafe fn write(args: *const *mut u8, dims: *const i64, (before, extra, scratch): (usize, usize, usize)) {
        // SAFETY: an operand, a result of `k` bytes, and scratch of as many, which have guards on both sides.
        unsafe {
            let (result, own, k) = (*args.add(1), *args.add(2), *dims.add(1) as usize);
            result.sub(before).write_bytes(1, before + k + extra);
            own.write_bytes(1, k + scratch);
        }
    }

    macro_rules! writer {
        ($name:ident, $what:expr) => {
            unsafe extern "C" fn $name(args: *const *mut u8, dims: *const i64, _: i64, _: i64) -> i64 {
                // SAFETY: the session is a guarded one.
                unsafe { write(args, dims, $what) };
                0
            }
        };
    }
    writer!(keeps_within, (0, 0, 0));
    writer!(writes_before, (1, 0, 0));
    writer!(writes_behind, (0, 1, 0));
    writer!(needs_more_scratch, (0, 0, 1));

    #[test]
    fn a_kernel_that_writes_outside_is_named() {
        let runs = |function: KernelFn, scratch: &str| {
            let mut parts = parts();
            let kernel = Kernel { function, ..kernel(of(scratch).1.remove(0)) };
            parts.plan.kernels[0] = kernel;
            // SAFETY: what the kernels write outside is within the guards of a guarded session.
            let program = Arc::new(unsafe { Program::new(parts) }.unwrap());
            let x = Tensor::vector(vec![5i8; 70]);
            let mut session = Session::guarded(program, &SessionOptions::default());
            session.run(&[x]).map(|outputs| outputs[0].bytes().to_vec()).map_err(|e| e.to_string())
        };
        for scratch in ["n", "k"] {
            assert_eq!(runs(keeps_within, scratch), Ok(vec![1; 70]));
            // What is not written is not what the memory held before.
            assert_eq!(runs(nothing, scratch), Ok(vec![255; 70]));
            let outside = |memory| Err(format!("step 1: the kernel wrote outside of {memory}"));
            assert_eq!(runs(writes_before, scratch), outside("buffer 1"));
            assert_eq!(runs(writes_behind, scratch), outside("buffer 1"));
            assert_eq!(runs(needs_more_scratch, scratch), outside("scratch"));
        }
    }

    #[test]
    fn states_become_what_a_kernel_makes_of_them() {
        let state = |input, output, axis| State { input, output, axis };
        let message = |states: Vec<State>| refused(|p| p.states = states);
        assert_eq!(message(vec![state(1, 0, Some(0))]), "a state: there is no input or output");
        assert_eq!(message(vec![state(0, 0, Some(1))]), "the state `x` is not of the type that it becomes");
        assert_eq!(message(vec![state(0, 0, None)]), "the state `x` is not of the type that it becomes");
        assert_eq!(message(vec![state(0, 0, Some(0))]), "the state `x` becomes what no kernel makes of it");
        let mut good = parts();
        good.plan.states = vec![state(0, 0, Some(0))];
        good.plan.steps[1].args.push(Some(Place::Input(0)));
        assert_eq!(Checker::new(&good).run(), Ok(()));
        good.plan.states.push(state(0, 0, Some(0)));
        let message = Checker::new(&good).run().unwrap_err().to_string();
        assert_eq!(message, "the state `x` is held twice");
    }
}
