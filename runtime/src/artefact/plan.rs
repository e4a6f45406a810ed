//! Plans as messages. What follows from a type or a symbol is left out, and made again as the compiler made it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use trine_ir::graph::Loc;
use trine_ir::{Dim, Graph, Module, Op, Requirement, Tensor, Type, Value, ops};

use super::proto::{self, place, step};
use crate::kernel::Kernel;
use crate::program::{Buffer, Constant, Derived, Place, Plan, Port, Required, Size, State, Step, StepKind};

/// The message of a plan whose kernels begin so many bytes after the start of the code. `main` is the function that the
/// steps were made of; `named` are constants of the module.
pub fn to_message(
    plan: &Plan<usize>,
    main: &Graph,
    constants: impl IntoIterator<Item = (proto::Constant, Option<Type>)>,
    named: BTreeMap<String, u32>,
) -> proto::Plan {
    let mut types = Types::default();
    let port = |types: &mut Types, port: &Port| proto::Port {
        name: port.name.clone(),
        r#type: types.index(&port.ty),
        place: Some(from_place(port.place)),
    };
    let inputs = plan.inputs.iter().map(|p| port(&mut types, p)).collect();
    let outputs = plan.outputs.iter().map(|p| port(&mut types, p)).collect();
    let buffer = |b: &Buffer| proto::Buffer { r#type: types.index(&b.ty), slot: b.slot.map(|s| s as u32) };
    let buffers = plan.buffers.iter().map(buffer).collect();
    let constants = constants.into_iter().map(|(constant, ty)| {
        let r#type = ty.map(|ty| types.index(&ty));
        proto::Constant { r#type, ..constant }
    });
    let constants = constants.collect();
    let plain = plan.symbols[..plan.plain_symbols()].iter();
    proto::Plan {
        symbols: plain.map(|s| s.to_string()).collect(),
        derived: plan.derived.iter().map(|d| d.dim.to_string()).collect(),
        requires: plan.requires.iter().map(|r| from_requirement(&r.requirement)).collect(),
        inputs,
        outputs,
        buffers,
        slots: plan.slots as u32,
        kernels: plan.kernels.iter().map(from_kernel).collect(),
        steps: plan.steps.iter().map(|step| from_step(step, main)).collect(),
        states: plan.states.iter().map(from_state).collect(),
        constants,
        named,
        types: types.texts,
    }
}

/// Types that were met, each once.
#[derive(Default)]
struct Types {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Types {
    fn index(&mut self, ty: &Type) -> u32 {
        let text = ty.to_string();
        *self.numbers.entry(text.clone()).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u32 - 1
        })
    }
}

fn from_place(place: Place) -> proto::Place {
    let of = match place {
        Place::Input(i) => place::Of::Input(i as u32),
        Place::Const(c) => place::Of::Constant(c as u32),
        Place::Buffer(b) => place::Of::Buffer(b as u32),
    };
    proto::Place { of: Some(of) }
}

fn from_requirement(requirement: &Requirement) -> proto::Requirement {
    proto::Requirement {
        left: requirement.left.to_string(),
        right: requirement.right.to_string(),
        node: requirement.loc.as_ref().map(|loc| loc.node.to_string()),
        op_type: requirement.loc.as_ref().map(|loc| loc.op_type.to_string()),
    }
}

fn from_kernel(kernel: &Kernel<usize>) -> proto::Kernel {
    proto::Kernel {
        name: kernel.name.clone(),
        start: kernel.function as u64,
        scratch_shared: Some(from_size(&kernel.scratch_shared)),
        scratch_part: Some(from_size(&kernel.scratch_part)),
        work: Some(from_size(&kernel.work)),
        operations: Some(from_size(&kernel.operations)),
        bytes: Some(from_size(&kernel.bytes)),
    }
}

fn from_size(size: &Size) -> proto::Size {
    let term =
        |(factor, symbols): &(i64, Vec<u32>)| proto::Term { factor: *factor, symbols: symbols.clone() };
    proto::Size { terms: size.terms().iter().map(term).collect() }
}

fn from_step(step: &Step, main: &Graph) -> proto::Step {
    let runs = match (&step.kind, step.node) {
        (StepKind::Kernel(kernel), _) => step::Runs::Kernel(*kernel as u32),
        (StepKind::Interpret(_), Some(node)) => {
            step::Runs::Value(main.name(Value { node, result: 0 }).into())
        }
        (StepKind::Interpret(_), None) => step::Runs::Copy(true),
    };
    proto::Step {
        runs: Some(runs),
        operands: step.args.iter().map(|arg| arg.map(from_place).unwrap_or_default()).collect(),
        results: step.results.iter().copied().map(from_place).collect(),
        place: step.place.clone(),
    }
}

fn from_state(state: &State) -> proto::State {
    let [input, output] = [state.input, state.output].map(|i| i as u32);
    proto::State { input, output, axis: state.axis.map(|axis| axis as u32) }
}

/// What is wrong with a message.
type Result<T> = std::result::Result<T, String>;

/// The constants of a plan, in sections of weights.
pub fn constants(plan: &proto::Plan, weights: &[Bytes]) -> Result<Vec<Constant>> {
    let constant = |(i, constant): (usize, &proto::Constant)| {
        let section = weights.get(constant.section as usize);
        let end = constant.start.checked_add(constant.length);
        let inside = section.zip(end).filter(|(section, end)| *end <= section.len() as u64);
        let (section, end) = inside.ok_or_else(|| format!("constant {i} lies in no section of weights"))?;
        let bytes = section.slice(constant.start as usize..end as usize);
        Ok(match constant.r#type {
            None => Constant::Packed(bytes),
            Some(ty) => {
                let ty = type_of(plan, ty)?;
                let dims =
                    ty.static_dims().ok_or_else(|| format!("constant {i} is {ty}, which has no size"))?;
                let tensor = Tensor::new(ty.elem, dims, bytes);
                Constant::Tensor(tensor.map_err(|e| format!("constant {i}: {e}"))?)
            }
        })
    };
    plan.constants.iter().enumerate().map(constant).collect()
}

/// The first step that runs by its meaning, if there is one.
pub fn interpreted(plan: &proto::Plan) -> Option<&str> {
    let step = plan
        .steps
        .iter()
        .find(|step| matches!(step.runs, Some(step::Runs::Value(_) | step::Runs::Copy(_))))?;
    Some(&step.place)
}

/// The plan of a message, for steps that run ops of `module`.
pub fn from_message(message: &proto::Plan, module: &Module) -> Result<Plan<usize>> {
    let mut symbols: Vec<Arc<str>> = message.symbols.iter().map(|s| s.as_str().into()).collect();
    let mut derived = vec![];
    for text in &message.derived {
        let size = Derived::new(Dim::parse(text)?, &symbols);
        derived.push(
            size.ok_or_else(|| format!("`{}` is not derived from sizes before it", text.escape_debug()))?,
        );
        symbols.push(text.as_str().into());
    }
    let requires = message.requires.iter().map(|r| Ok(Required::new(to_requirement(r)?, &symbols)));
    let port = |port: &proto::Port| {
        let nowhere = || format!("`{}` has a size that nothing says", port.name.escape_debug());
        let place = to_place(port.place.as_ref())?.ok_or_else(|| format!("`{}` lies nowhere", port.name))?;
        Port::new(port.name.clone(), type_of(message, port.r#type)?, &symbols, place).ok_or_else(nowhere)
    };
    let buffer = |(i, buffer): (usize, &proto::Buffer)| {
        let new = Buffer::new(type_of(message, buffer.r#type)?, &symbols);
        let new = new.ok_or_else(|| format!("buffer {i} has a size that nothing says"))?;
        Ok(Buffer { slot: buffer.slot.map(|slot| slot as usize), ..new })
    };
    if message.outputs.is_empty() {
        return Err("it has no outputs".into());
    }
    let steps = Steps::new(module);
    let slots = message.slots as usize;
    if slots > message.buffers.len() {
        return Err(format!("{} buffers share {slots} slots", message.buffers.len()));
    }
    Ok(Plan {
        requires: requires.collect::<Result<_>>()?,
        inputs: message.inputs.iter().map(port).collect::<Result<_>>()?,
        outputs: message.outputs.iter().map(port).collect::<Result<_>>()?,
        buffers: message.buffers.iter().enumerate().map(buffer).collect::<Result<_>>()?,
        slots,
        kernels: message.kernels.iter().map(to_kernel).collect::<Result<_>>()?,
        steps: message.steps.iter().map(|step| steps.step(step)).collect::<Result<_>>()?,
        states: message.states.iter().map(to_state).collect(),
        symbols,
        derived,
    })
}

fn type_of(plan: &proto::Plan, number: u32) -> Result<Type> {
    let text = plan.types.get(number as usize).ok_or_else(|| format!("there is no type {number}"))?;
    Type::parse(text)
}

fn to_place(place: Option<&proto::Place>) -> Result<Option<Place>> {
    let place = place.ok_or("a value lies nowhere")?;
    Ok(place.of.map(|of| match of {
        place::Of::Input(i) => Place::Input(i as usize),
        place::Of::Constant(c) => Place::Const(c as usize),
        place::Of::Buffer(b) => Place::Buffer(b as usize),
    }))
}

fn to_requirement(message: &proto::Requirement) -> Result<Requirement> {
    let loc = message.node.as_deref().zip(message.op_type.as_deref());
    let loc = loc.map(|(node, op_type)| Loc { node: node.into(), op_type: op_type.into() });
    Ok(Requirement { left: Dim::parse(&message.left)?, right: Dim::parse(&message.right)?, loc })
}

fn to_kernel(message: &proto::Kernel) -> Result<Kernel<usize>> {
    let name = &message.name;
    let size = |size: &Option<proto::Size>| {
        let size = size.as_ref().ok_or_else(|| format!("kernel `{}` lacks a size", name.escape_debug()))?;
        Ok::<_, String>(Size::from_terms(size.terms.iter().map(|t| (t.factor, t.symbols.clone())).collect()))
    };
    Ok(Kernel {
        name: name.clone(),
        function: usize::try_from(message.start).map_err(|e| e.to_string())?,
        scratch_shared: size(&message.scratch_shared)?,
        scratch_part: size(&message.scratch_part)?,
        work: size(&message.work)?,
        operations: size(&message.operations)?,
        bytes: size(&message.bytes)?,
    })
}

fn to_state(message: &proto::State) -> State {
    let [input, output] = [message.input, message.output].map(|i| i as usize);
    State { input, output, axis: message.axis.map(|axis| axis as usize) }
}

/// The ops of a module's main function, by the names of their first results.
struct Steps<'m> {
    main: Option<&'m Graph>,
    nodes: HashMap<&'m str, trine_ir::NodeId>,
}

impl<'m> Steps<'m> {
    fn new(module: &'m Module) -> Steps<'m> {
        let main = module.main().map(|main| &main.graph);
        let named = main.into_iter().flat_map(|graph| {
            let nodes = graph.order().into_iter().filter(|node| graph.op(*node).is_some());
            nodes.map(|node| (graph.name(Value { node, result: 0 }), node))
        });
        Steps { nodes: named.collect(), main }
    }

    fn step(&self, message: &proto::Step) -> Result<Step> {
        let args = message.operands.iter().map(|p| to_place(Some(p))).collect::<Result<Vec<_>>>()?;
        let result =
            |place| to_place(Some(place))?.ok_or_else(|| format!("{}: a result lies nowhere", message.place));
        let results = message.results.iter().map(result).collect::<Result<Vec<_>>>()?;
        let given: Vec<bool> = args.iter().map(Option::is_some).collect();
        let (kind, node, has) = match &message.runs {
            None => return Err(format!("{}: it runs nothing", message.place)),
            Some(step::Runs::Kernel(kernel)) => (StepKind::Kernel(*kernel as usize), None, None),
            Some(step::Runs::Copy(_)) => {
                (StepKind::Interpret(Op::from(ops::Identity {})), None, Some((vec![true], 1)))
            }
            Some(step::Runs::Value(name)) => {
                let node = self.nodes.get(name.as_str()).copied();
                let found = node.zip(self.main).and_then(|(node, main)| Some((node, main, main.op(node)?)));
                let none = || format!("{}: the module has no `%{}`", message.place, name.escape_debug());
                let (node, main, op) = found.ok_or_else(none)?;
                let operands = main.operands(node).iter().map(Option::is_some).collect();
                (StepKind::Interpret(op.clone()), Some(node), Some((operands, main.results(node).count())))
            }
        };
        if has.is_some_and(|has| has != (given, results.len())) {
            return Err(format!("{}: it has other operands or results than its op", message.place));
        }
        Ok(Step { kind, node, args, results, place: message.place.clone() })
    }
}
