//! What a run does: constants named, buffers planned, steps in order.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::dim::{Atom, Factor, Symbol};
use trine_ir::{Def, Dim, Graph, MAIN, Module, NodeId, Op, Type, Value};
use trine_runtime::{Buffer, Derived, Kernel, Place, Plan, Port, Required, Size, State, Step, StepKind};

use super::buffers;
use super::constants::Wanted;
use crate::emit::ArgLayout;
use crate::emit::attention::attends;
use crate::error::BuildError;
use crate::plan::{Kernels, Planned};

/// The plan of a run, whose kernels have no code yet, and the constants that it reads.
pub fn plan(kernels: &Kernels) -> Result<(Plan<()>, Vec<Wanted>), BuildError> {
    let module = kernels.module;
    let main = &module.main().ok_or(BuildError::NoMain)?.graph;
    let (symbols, derived) = symbols(module);
    let given: FxHashSet<Symbol> = symbols_of(main, main.params()).collect();
    let called = |(name, planned)| called(name, planned, &given, &symbols);
    let called = kernels.iter().map(called).collect::<Result<Vec<_>, _>>()?;
    let numbered = called.iter().enumerate();
    let numbered = numbered.map(|(i, (kernel, layouts))| (kernel.name.as_str(), (i, layouts.as_slice())));
    let mut builder = Builder {
        module,
        symbols: &symbols,
        kernels: &numbered.collect(),
        places: FxHashMap::default(),
        consts: vec![],
        named: FxHashMap::default(),
        buffers: vec![],
        steps: vec![],
    };
    builder.run(main)?;
    let Builder { places, consts, mut buffers, steps, .. } = builder;
    let port = |v: &Value, place| {
        let ty = main.ty(*v);
        let nowhere = || BuildError::Malformed(format!("{ty} has a symbol that is nowhere"));
        Port::new(main.name(*v).into(), ty.clone(), &symbols, place).ok_or_else(nowhere)
    };
    // An input that is an output is copied, and is found there from then on.
    let inputs = main.params().iter().enumerate().map(|(i, v)| port(v, Place::Input(i)));
    let inputs = inputs.collect::<Result<Vec<_>, BuildError>>()?;
    let outputs = main.outputs().iter().map(|v| port(v, places[v]));
    let outputs = outputs.collect::<Result<Vec<_>, BuildError>>()?;
    let known = inputs.iter().flat_map(|p| p.ty.dims.iter().flat_map(Dim::symbols)).collect();
    let slots = buffers::assign(&mut buffers, &steps, &outputs, &known);
    let states = states(module, main);
    let requires = module.requires.iter().map(|r| Required::new(r.clone(), &symbols)).collect();
    let kernels = called.into_iter().map(|(kernel, _)| kernel).collect();
    Ok((Plan { symbols, derived, requires, inputs, outputs, buffers, slots, kernels, steps, states }, consts))
}

/// A kernel as its callers see it, and how it reads its arguments.
fn called(
    name: &str,
    planned: &Planned,
    given: &FxHashSet<Symbol>,
    symbols: &[Arc<str>],
) -> Result<(Kernel<()>, Vec<ArgLayout>), BuildError> {
    let malformed = || BuildError::NoKernel(name.into());
    if let Some(symbol) = unknown_symbol(planned.body, given) {
        let message =
            format!("kernel `@{name}` needs `{symbol}`, which neither its operands nor inputs have");
        return Err(BuildError::Malformed(message));
    }
    let kernel = &planned.kernel;
    let scratch = kernel.scratch().ok_or_else(malformed)?;
    let size = |dim: &Dim| Size::new(dim, symbols).ok_or_else(malformed);
    let called = Kernel {
        name: name.into(),
        function: (),
        scratch_shared: size(&scratch.shared)?,
        scratch_part: size(&scratch.part)?,
        work: size(&kernel.work().ok_or_else(malformed)?)?,
        operations: size(&kernel.operations().ok_or_else(malformed)?)?,
        bytes: size(&bytes(planned).ok_or_else(malformed)?)?,
    };
    Ok((called, (0..planned.body.params().len()).map(|i| kernel.layout(i)).collect()))
}

/// A symbol in a kernel that neither its operands nor the inputs of the program, which are `given`, give a value.
fn unknown_symbol(kernel: &Graph, given: &FxHashSet<Symbol>) -> Option<Symbol> {
    let own: FxHashSet<Symbol> = symbols_of(kernel, kernel.params()).collect();
    let values: Vec<Value> = kernel.order().into_iter().flat_map(|node| kernel.results(node)).collect();
    symbols_of(kernel, &values).find(|symbol| !own.contains(symbol) && !given.contains(symbol))
}

fn symbols_of(graph: &Graph, values: &[Value]) -> impl Iterator<Item = Symbol> {
    values.iter().flat_map(move |v| graph.ty(*v).dims.iter().flat_map(Dim::symbols))
}

/// Bytes of all operands, packed as the kernel reads them, and of all results.
fn bytes(Planned { body, kernel }: &Planned) -> Option<Dim> {
    let table = kernel.table().map(|table| table.arg);
    let dense = |ty: &Type| ty.count()?.mul(&Dim::constant(ty.elem.bits().div_ceil(8)));
    let mut total = Dim::constant(0);
    for output in body.outputs() {
        total = total.add(&dense(body.ty(*output))?)?;
    }
    for (i, param) in body.params().iter().enumerate() {
        let bytes = match kernel.layout(i).packed_bytes() {
            Some(bytes) => Dim::constant(bytes?),
            // A table is read as often as results are written.
            None if table == Some(i) => body.outputs().first().and_then(|o| dense(body.ty(*o)))?,
            None => dense(body.ty(*param))?,
        };
        total = total.add(&bytes)?;
    }
    Some(total)
}

struct Builder<'a> {
    module: &'a Module,
    symbols: &'a [Arc<str>],
    /// The number of each kernel, and how it reads its arguments.
    kernels: &'a FxHashMap<&'a str, (usize, &'a [ArgLayout])>,
    places: FxHashMap<Value, Place>,
    consts: Vec<Wanted>,
    named: FxHashMap<(String, ArgLayout), usize>,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
}

impl Builder<'_> {
    fn run(&mut self, graph: &Graph) -> Result<(), BuildError> {
        for (i, param) in graph.params().iter().enumerate() {
            self.places.insert(*param, Place::Input(i));
        }
        let aliases = self.aliases(graph);
        for node in graph.order() {
            match graph.def(node) {
                Def::Param { .. } => {}
                Def::Const(_) => {}
                Def::Literal(l) => {
                    let tensor = l.tensor().map_err(|e| BuildError::Malformed(e.to_string()))?;
                    self.consts.push(Wanted { name: String::new(), tensor, layout: ArgLayout::Dense });
                    self.places.insert(Value { node, result: 0 }, Place::Const(self.consts.len() - 1));
                }
                Def::Op(_) if aliases.contains(&node) => {
                    let source = graph.operand(node, 0).ok_or(BuildError::NoMain)?;
                    let place = self.place(graph, source, ArgLayout::Dense)?;
                    self.places.insert(Value { node, result: 0 }, place);
                }
                Def::Op(op) => self.step(graph, node, op)?,
            }
        }
        for output in graph.outputs() {
            let place = self.place(graph, *output, ArgLayout::Dense)?;
            if !matches!(place, Place::Buffer(_)) {
                self.copy(graph, *output, place)?;
            }
        }
        Ok(())
    }

    /// The nodes whose results are their operands' memory.
    fn aliases(&self, graph: &Graph) -> FxHashSet<NodeId> {
        let mut aliases = FxHashSet::default();
        // Users come first.
        for node in graph.order().into_iter().rev() {
            if self.is_alias(graph, node, &aliases) {
                aliases.insert(node);
            }
        }
        aliases
    }

    /// Whether the node's result can be its operand's memory: kernels bring their own shapes, the interpreter
    /// takes that of the memory, and outputs are copied by type where they are not in a buffer. Where only a run can
    /// tell whether there are as many elements, a step has to. `aliases` holds those of the users that are ones.
    fn is_alias(&self, graph: &Graph, node: NodeId, aliases: &FxHashSet<NodeId>) -> bool {
        if !matches!(graph.op(node), Some(Op::Reshape(_) | Op::Identity(_))) {
            return false;
        }
        let value = Value { node, result: 0 };
        let Some(source) = graph.operand(node, 0) else { return false };
        let same_type = graph.ty(source) == graph.ty(value);
        let is_kernel = |user: NodeId| matches!(graph.op(user), Some(Op::Call(call)) if self.kernels.contains_key(call.f.0.as_str()));
        let count = |v: Value| graph.ty(v).count();
        let as_many =
            count(source).zip(count(value)).is_some_and(|(from, to)| self.module.implies(&from, &to));
        same_type
            || as_many
                && !graph.is_output(value)
                && graph.users(value).iter().all(|(user, _)| is_kernel(*user) || aliases.contains(user))
    }

    fn step(&mut self, graph: &Graph, node: NodeId, op: &Op) -> Result<(), BuildError> {
        let kernel = match op {
            Op::Call(call) => self.kernels.get(call.f.0.as_str()).copied(),
            _ => None,
        };
        let mut args = vec![];
        for (i, operand) in graph.operands(node).into_iter().enumerate() {
            let layout = kernel.map_or(ArgLayout::Dense, |(_, layouts)| layouts[i]);
            args.push(operand.map(|v| self.place(graph, v, layout)).transpose()?);
        }
        let mut results = vec![];
        for value in graph.results(node) {
            let place = self.buffer(graph, value)?;
            self.places.insert(value, place);
            results.push(place);
        }
        let kind = match kernel {
            Some((kernel, _)) => StepKind::Kernel(kernel),
            None => StepKind::Interpret(op.clone()),
        };
        let place = trine_ir::Place::new(MAIN, graph, node).to_string();
        self.steps.push(Step { kind, node: Some(node), args, results, place });
        Ok(())
    }

    /// Copies an output that is an input or a constant, so that it lies in the session.
    fn copy(&mut self, graph: &Graph, output: Value, from: Place) -> Result<(), BuildError> {
        let to = self.buffer(graph, output)?;
        let op = Op::from(trine_ir::ops::Identity {});
        let place = format!("output `{}`", graph.name(output));
        let kind = StepKind::Interpret(op);
        self.steps.push(Step { kind, node: None, args: vec![Some(from)], results: vec![to], place });
        self.places.insert(output, to);
        Ok(())
    }

    fn buffer(&mut self, graph: &Graph, value: Value) -> Result<Place, BuildError> {
        let ty = graph.ty(value);
        let overflow = || BuildError::TooLarge {
            place: trine_ir::Place::new(MAIN, graph, value.node).to_string(),
            ty: ty.to_string(),
        };
        self.buffers.push(Buffer::new(ty.clone(), self.symbols).ok_or_else(overflow)?);
        Ok(Place::Buffer(self.buffers.len() - 1))
    }

    fn place(&mut self, graph: &Graph, v: Value, layout: ArgLayout) -> Result<Place, BuildError> {
        let Some(key) = graph.const_key(v) else {
            let missing = || BuildError::Malformed(format!("`%{}` is used before it is made", graph.name(v)));
            return self.places.get(&v).copied().ok_or_else(missing);
        };
        let id = (key.to_string(), layout);
        if let Some(c) = self.named.get(&id) {
            return Ok(Place::Const(*c));
        }
        let tensor = self
            .module
            .consts
            .get(key)
            .ok_or_else(|| BuildError::Malformed(format!("no data for `@{key}`")))?;
        self.consts.push(Wanted { name: key.into(), tensor: tensor.clone(), layout });
        self.named.insert(id, self.consts.len() - 1);
        Ok(Place::Const(self.consts.len() - 1))
    }
}

/// All symbols of the module in order of appearance, and the sizes that are derived from them, each after those that it
/// is derived from.
pub fn symbols(module: &Module) -> (Vec<Arc<str>>, Vec<Derived>) {
    let mut seen = FxHashSet::default();
    let (mut symbols, mut atoms) = (vec![], vec![]);
    let mut add = |dim: &Dim| {
        symbols.extend(dim.symbols().into_iter().filter(|s| seen.insert(s.clone())));
        atoms_of(dim, &mut atoms);
    };
    for function in module.functions.values() {
        let graph = &function.graph;
        for value in graph.order().into_iter().flat_map(|n| graph.results(n)) {
            graph.ty(value).dims.iter().for_each(&mut add);
        }
    }
    for requirement in &module.requires {
        atoms_of(&requirement.left, &mut atoms);
        atoms_of(&requirement.right, &mut atoms);
    }
    let mut derived = vec![];
    for atom in atoms {
        let name: Arc<str> = atom.to_string().into();
        // What is derived from a name that only a requirement has is not needed.
        let new = Derived::new(Dim::from(atom), &symbols);
        if let Some(new) = new.filter(|_| seen.insert(name.clone())) {
            derived.push(new);
            symbols.push(name);
        }
    }
    (symbols, derived)
}

/// The atoms of a dimension, each after those inside of it.
fn atoms_of(dim: &Dim, atoms: &mut Vec<Arc<Atom>>) {
    for factor in dim.factors() {
        if let Factor::Atom(atom) = factor {
            if atoms.contains(atom) {
                continue;
            }
            atom.args().iter().for_each(|d| atoms_of(d, atoms));
            atoms.push(atom.clone());
        }
    }
}

/// Inputs that a kernel appends to or writes into, with the outputs that they become.
fn states(module: &Module, main: &Graph) -> Vec<State> {
    let mut states = vec![];
    for node in main.order() {
        let Some(Op::Call(call)) = main.op(node) else { continue };
        let Some(kernel) = module.functions.get(&call.f.0) else { continue };
        let body = &kernel.graph;
        for inner in body.order() {
            let Some(op) = body.op(inner) else { continue };
            let found = caches(op).iter().filter_map(|(slot, result)| {
                let past = body.operand(inner, *slot)?;
                let param = body.params().iter().position(|p| *p == past)?;
                let index =
                    body.outputs().iter().position(|o| *o == Value { node: inner, result: *result })?;
                state(module, main, main.operand(node, param)?, Value { node, result: index as u32 })
            });
            states.extend(found);
        }
    }
    // How large a cache is whose size stays, other inputs say.
    let is_held = |i: usize| states.iter().any(|state| state.input == i);
    let others = (0..main.params().len()).filter(|i| !is_held(*i)).map(|i| main.params()[i]);
    let given: FxHashSet<Symbol> = symbols_of(main, &others.collect::<Vec<_>>()).collect();
    let is_given = |v: Value| symbols_of(main, &[v]).all(|symbol| given.contains(&symbol));
    states.retain(|state| state.axis.is_some() || is_given(main.params()[state.input]));
    states
}

/// The operands that a kernel of the op writes into where they lie, and the results that they become.
fn caches(op: &Op) -> &'static [(usize, u32)] {
    match op {
        op if attends(op) => &[(4, 1), (5, 2)],
        Op::TensorScatter(_) => &[(0, 0)],
        _ => &[],
    }
}

/// The state whose past, `input`, becomes `made`, if they can be one memory.
fn state(module: &Module, main: &Graph, input: Value, made: Value) -> Option<State> {
    let position = |all: &[Value], v: Value| all.iter().position(|other| *other == v);
    let is_once = |all: &[Value], v: Value| all.iter().filter(|other| **other == v).count() == 1;
    let state = |axis| {
        let (input, output) = (position(main.params(), input)?, position(main.outputs(), made)?);
        Some(State { input, output, axis })
    };
    // An op that asks for the shape reads nothing of what lies there.
    let users = main.users(input);
    let reads = users.iter().filter(|(u, slot)| reads_data(module, main, *u, *slot)).count();
    if reads != 1 || main.is_output(input) || !is_once(main.outputs(), made) {
        return None;
    }
    let (from, to) = (&main.ty(input).dims, &main.ty(made).dims);
    if from == to {
        return state(None);
    }
    let mut longer = (0..from.len()).filter(|i| from[*i] != to[*i]);
    let axis = longer.next().filter(|_| longer.next().is_none() && from.len() == to.len())?;
    // What has so many positions from the start has none to hold, and where others read it, it is dense.
    (from[axis].as_const().is_none() && main.use_count(made) == 1).then(|| state(Some(axis)))?
}

/// Whether a node reads more of its operand than its dimensions.
fn reads_data(module: &Module, graph: &Graph, node: NodeId, slot: usize) -> bool {
    match graph.op(node) {
        Some(Op::Shape(_) | Op::Size(_)) => false,
        Some(Op::Call(call)) => module.functions.get(&call.f.0).is_none_or(|function| {
            let body = &function.graph;
            body.params().get(slot).is_none_or(|param| {
                body.users(*param).iter().any(|(user, slot)| reads_data(module, body, *user, *slot))
            })
        }),
        _ => true,
    }
}
