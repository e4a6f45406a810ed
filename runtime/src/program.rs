//! A program: what compiling makes and sessions run.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use trine_ir::dim::{AtomOp, Factor};
use trine_ir::{Dim, DimEnv, Elem, Module, NodeId, Op, Requirement, Tensor, Type, eval};

use crate::code::Code;
use crate::kernel::{Kernel, KernelFn};

/// A number known at run time: a polynomial over the program's symbols, by index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Size {
    terms: Vec<(i64, Vec<u32>)>,
}

impl Size {
    pub fn constant(value: i64) -> Size {
        Size { terms: vec![(value, vec![])] }
    }

    /// `dim` over `symbols`, derived sizes among them; `None` when it has another.
    pub fn new(dim: &Dim, symbols: &[Arc<str>]) -> Option<Size> {
        let find = |name: &str| symbols.iter().position(|t| &**t == name).map(|i| i as u32);
        let index = |factor: &Factor| match factor {
            Factor::Symbol(symbol) => find(symbol),
            Factor::Atom(atom) => find(&atom.to_string()),
        };
        let term = |(m, c): (&[Factor], i64)| Some((c, m.iter().map(index).collect::<Option<_>>()?));
        Some(Size { terms: dim.terms().map(term).collect::<Option<_>>()? })
    }

    /// The value; `None` when a symbol is unbound (negative) or the value is not a size.
    pub fn eval(&self, dims: &[i64]) -> Option<usize> {
        self.eval_integer(dims).and_then(|value| usize::try_from(value).ok())
    }

    /// The value, which may be negative; `None` when a symbol is unbound, or on overflow.
    pub fn eval_integer(&self, dims: &[i64]) -> Option<i64> {
        let mut sum = 0i64;
        for (c, symbols) in &self.terms {
            let mut product = *c;
            for s in symbols {
                let value = dims[*s as usize];
                if value < 0 {
                    return None;
                }
                product = product.checked_mul(value)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// Makes the size equal `actual`: binds its one unbound symbol, or checks the value. `Ok(false)` means that two or
    /// more symbols are unbound, or a derived size, which are those from `derived` on; the error is the value that was
    /// expected, if there is one.
    pub fn unify(&self, dims: &mut [i64], derived: usize, actual: usize) -> Result<bool, Option<usize>> {
        let (mut known, mut slope, mut unknown) = (0i64, 0i64, None);
        for (c, symbols) in &self.terms {
            let mut product = *c;
            let mut free = None;
            for s in symbols {
                match dims[*s as usize] {
                    value if value >= 0 => product = product.checked_mul(value).ok_or(None)?,
                    _ if free.is_some() || *s as usize >= derived => return Ok(false),
                    _ => free = Some(*s),
                }
            }
            match free {
                None => known = known.checked_add(product).ok_or(None)?,
                Some(_) if unknown.is_some_and(|u| Some(u) != free) => return Ok(false),
                Some(s) => (unknown, slope) = (Some(s), slope.checked_add(product).ok_or(None)?),
            }
        }
        let Some(symbol) = unknown else {
            let expected = usize::try_from(known).ok();
            return if expected == Some(actual) { Ok(true) } else { Err(expected) };
        };
        let rise = i64::try_from(actual).ok().and_then(|a| a.checked_sub(known)).ok_or(None)?;
        match (rise.checked_div(slope), rise.checked_rem(slope)) {
            (Some(value), Some(0)) if value >= 0 => {
                dims[symbol as usize] = value;
                Ok(true)
            }
            _ => Err(None),
        }
    }

    /// The sum of `terms`, each a coefficient and the symbols it is multiplied with.
    pub fn from_terms(terms: Vec<(i64, Vec<u32>)>) -> Size {
        Size { terms }
    }

    /// The sum's terms: a coefficient and the symbols it is multiplied with.
    pub fn terms(&self) -> &[(i64, Vec<u32>)] {
        &self.terms
    }

    /// The symbols that occur.
    pub fn symbols(&self) -> impl Iterator<Item = u32> + '_ {
        self.terms.iter().flat_map(|(_, s)| s.iter().copied())
    }
}

/// A size that is a function of others and not a polynomial of symbols, such as a length that a stride rounds.
#[derive(Clone, Debug)]
pub struct Derived {
    pub op: AtomOp,
    /// Over symbols, and derived sizes before this one.
    pub args: Vec<Size>,
    pub dim: Dim,
}

/// A requirement of the module, and its sizes; none where it only names a symbol.
#[derive(Clone, Debug)]
pub struct Required {
    pub requirement: Requirement,
    pub sizes: Option<(Size, Size)>,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Input(usize),
    Const(usize),
    Buffer(usize),
}

/// An input or output of the program.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub ty: Type,
    pub shape: Vec<Size>,
    pub place: Place,
}

/// Memory for one value. Buffers of one `slot` are never alive together.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub ty: Type,
    pub shape: Vec<Size>,
    pub bytes: Size,
    /// The part of the arena; `None` for sizes that depend on data, which get memory of their own.
    pub slot: Option<usize>,
}

/// A constant as kernels read it.
pub enum Constant {
    Tensor(Tensor),
    Packed(Bytes),
}

/// An input that a session may hold, fed by an output of the run before: a KV cache.
#[derive(Clone, Debug)]
pub struct State {
    pub input: usize,
    pub output: usize,
    /// The axis of positions, along which the output is longer than the input; `None` where a kernel writes into what is
    /// there, whose size stays.
    pub axis: Option<usize>,
}

/// How a step runs.
pub enum StepKind {
    /// A kernel of the plan's.
    Kernel(usize),
    /// An op without a kernel, run by its meaning.
    Interpret(Op),
}

/// One step: operands, then results.
pub struct Step {
    pub kind: StepKind,
    /// The node of the module's main function that it runs; none for what only copies an output.
    pub node: Option<NodeId>,
    pub args: Vec<Option<Place>>,
    pub results: Vec<Place>,
    /// What errors and profiles call the step: value, op and ONNX node.
    pub place: String,
}

/// What a run does: sizes, values, and steps in their order. `F` is the code of a kernel.
pub struct Plan<F = KernelFn> {
    /// Names of the symbols and then of the derived sizes; their values are passed to kernels in this order.
    pub symbols: Vec<Arc<str>>,
    pub derived: Vec<Derived>,
    pub requires: Vec<Required>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub buffers: Vec<Buffer>,
    pub slots: usize,
    pub kernels: Vec<Kernel<F>>,
    pub steps: Vec<Step>,
    pub states: Vec<State>,
}

/// What a program is made of.
pub struct Parts {
    pub plan: Plan,
    pub consts: Vec<Constant>,
    /// The code of the kernels, which stays where it is as long as this lives.
    pub code: Code,
    /// The module that the steps were made of, for ops that call functions. Where no step runs by its meaning it may be empty.
    pub module: Arc<Module>,
}

/// Everything a session needs, shared by all of them: parts that are known to fit together.
pub struct Program(pub(crate) Parts);

impl Deref for Parts {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl Deref for Program {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The sizes of a type's dimensions; none where it has a symbol that is not among `symbols`.
fn shape(ty: &Type, symbols: &[Arc<str>]) -> Option<Vec<Size>> {
    ty.dims.iter().map(|d| Size::new(d, symbols)).collect()
}

impl Derived {
    /// `dim`, which is an atom, from the `symbols` before it; none where it has another.
    pub fn new(dim: Dim, symbols: &[Arc<str>]) -> Option<Derived> {
        let atom = dim.as_atom()?;
        let args = atom.args().iter().map(|d| Size::new(d, symbols)).collect::<Option<_>>()?;
        Some(Derived { op: atom.op(), args, dim })
    }

    /// The value: none where a symbol has none, and the inner none where there is no size for what they are.
    fn eval(&self, dims: &[i64]) -> Option<Option<i64>> {
        if self.args.iter().flat_map(Size::symbols).any(|s| dims[s as usize] < 0) {
            return None;
        }
        Some(self.op.apply(self.args.iter().map(|a| a.eval_integer(dims))).filter(|value| *value >= 0))
    }
}

impl Required {
    pub fn new(requirement: Requirement, symbols: &[Arc<str>]) -> Required {
        let size = |dim: &Dim| Size::new(dim, symbols);
        let sizes = size(&requirement.left).zip(size(&requirement.right));
        Required { requirement, sizes }
    }
}

impl Port {
    /// None where the type has a symbol that is not among `symbols`.
    pub fn new(name: String, ty: Type, symbols: &[Arc<str>], place: Place) -> Option<Port> {
        Some(Port { name, shape: shape(&ty, symbols)?, ty, place })
    }
}

impl Constant {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Constant::Tensor(t) => t.bytes(),
            Constant::Packed(p) => p,
        }
    }
}

impl Buffer {
    /// Memory for a value of the type, in no slot; none where its size overflows or has a symbol that is not among `symbols`.
    pub fn new(ty: Type, symbols: &[Arc<str>]) -> Option<Buffer> {
        let count = ty.count()?;
        let bytes = match ty.elem.bits() {
            bits @ 8.. => count.mul(&Dim::constant(bits / 8))?,
            // Packed elements: room for one a byte is enough.
            _ => count,
        };
        Some(Buffer { shape: shape(&ty, symbols)?, bytes: Size::new(&bytes, symbols)?, ty, slot: None })
    }

    pub fn elem(&self) -> Elem {
        self.ty.elem
    }
}

impl<F> Plan<F> {
    /// The index of the input called `name`.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|p| p.name == name)
    }

    /// The index of the output called `name`.
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|p| p.name == name)
    }

    /// Input names, for messages.
    pub fn input_names(&self) -> String {
        self.inputs.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ")
    }

    /// How many of the symbols are not derived.
    pub fn plain_symbols(&self) -> usize {
        self.symbols.len() - self.derived.len()
    }

    /// Gives derived sizes their values, as far as what they are made of has one. The error is one that has none.
    pub fn derive(&self, dims: &mut [i64]) -> Result<(), &Derived> {
        let first = self.plain_symbols();
        for (i, derived) in self.derived.iter().enumerate() {
            if dims[first + i] >= 0 {
                continue;
            }
            dims[first + i] = match derived.eval(dims) {
                Some(Some(value)) => value,
                Some(None) => return Err(derived),
                None => continue,
            };
        }
        Ok(())
    }

    /// The plan with what `code` makes of the code of each kernel, in their order.
    pub fn with_code<G, E>(self, mut code: impl FnMut(F) -> Result<G, E>) -> Result<Plan<G>, E> {
        let Plan { symbols, derived, requires, inputs, outputs, buffers, slots, kernels, steps, states } =
            self;
        let kernels = kernels.into_iter().map(|k| k.with_code(&mut code)).collect::<Result<_, _>>()?;
        Ok(Plan { symbols, derived, requires, inputs, outputs, buffers, slots, kernels, steps, states })
    }

    /// The kernel that a step runs, where it runs one.
    pub fn kernel(&self, step: &Step) -> Option<&Kernel<F>> {
        match step.kind {
            StepKind::Kernel(kernel) => self.kernels.get(kernel),
            StepKind::Interpret(_) => None,
        }
    }

    /// How many steps run compiled, and how many interpreted.
    pub fn step_counts(&self) -> (usize, usize) {
        let kernels = self.steps.iter().filter(|s| matches!(s.kind, StepKind::Kernel(_))).count();
        (kernels, self.steps.len() - kernels)
    }

    /// The first of the module's requirements that does not hold, among those whose sizes are known.
    pub fn broken(&self, dims: &[i64]) -> Option<&Requirement> {
        let known = |size: &Size| size.symbols().all(|s| dims[s as usize] >= 0);
        let broken = |(left, right): &(Size, Size)| {
            let value = left.eval_integer(dims);
            known(left) && known(right) && (value.is_none() || value != right.eval_integer(dims))
        };
        let required = self.requires.iter().find(|r| r.sizes.as_ref().is_some_and(broken));
        required.map(|r| &r.requirement)
    }

    /// What is wrong with sizes, as a message.
    pub fn complaint(&self, requirement: &Requirement, dims: &[i64]) -> String {
        let mut env = DimEnv::default();
        for (symbol, value) in self.symbols[..self.plain_symbols()].iter().zip(dims) {
            if let Ok(value) = usize::try_from(*value) {
                env.set(symbol.clone(), value);
            }
        }
        let inputs = || self.inputs.iter().map(|port| (port.name.as_str(), &port.ty));
        requirement.complaint(&env, &|symbol| eval::origin(inputs(), symbol))
    }
}
