//! A module: constants by name, and functions.

use indexmap::IndexMap;

use crate::dim::Dim;
use crate::graph::{Def, Graph};
use crate::op::{Signature, Signatures, Stage};
use crate::requirement::Requirement;
use crate::tensor::Tensor;

/// The name of the function that a program starts with.
pub const MAIN: &str = "main";

/// What a function is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionKind {
    /// The model, or a body of `if`, `loop` or `scan`.
    Graph,
    /// A fused group of ops that is compiled as one.
    Kernel,
}

#[derive(Clone, Debug)]
pub struct Function {
    pub kind: FunctionKind,
    pub graph: Graph,
}

#[derive(Clone, Debug, Default)]
pub struct Module {
    pub stage: Stage,
    pub requires: Vec<Requirement>,
    pub consts: IndexMap<String, Tensor>,
    pub functions: IndexMap<String, Function>,
}

impl Function {
    pub fn signature(&self) -> Signature {
        let types = |values: &[crate::graph::Value]| {
            values.iter().map(|v| self.graph.ty(*v).clone()).collect::<Vec<_>>()
        };
        Signature { params: types(self.graph.params()), results: types(self.graph.outputs()) }
    }
}

impl Module {
    /// The function that a program starts with.
    pub fn main(&self) -> Option<&Function> {
        self.functions.get(MAIN)
    }

    /// Adds a constant under `base` or, if that is taken by another tensor, `base_N`. Returns its name.
    pub fn add_const(&mut self, base: &str, tensor: Tensor) -> String {
        let name = unused(base, |n| self.consts.contains_key(n));
        self.consts.insert(name.clone(), tensor);
        name
    }

    /// Adds a function under `base` or, if that is taken, `base_N`. Returns its name.
    pub fn add_function(&mut self, base: &str, function: Function) -> String {
        let name = unused(base, |n| self.functions.contains_key(n));
        self.functions.insert(name.clone(), function);
        name
    }

    /// Fixes a symbol everywhere.
    pub fn fix_dim(&mut self, symbol: &str, value: usize) {
        let value = Dim::constant(value);
        // What overflows has no value in any run.
        let with = |d: &Dim| d.substitute(symbol, &value).unwrap_or_else(|| d.clone());
        self.functions.values_mut().for_each(|f| f.graph.map_dims(&with));
        for requirement in &mut self.requires {
            (requirement.left, requirement.right) = (with(&requirement.left), with(&requirement.right));
        }
        self.requires.retain(|r| r.left != r.right || r.left.as_integer().is_none());
    }

    /// Drops dead nodes, and constants that no function uses. Returns how many nodes went.
    pub fn sweep(&mut self) -> usize {
        let dead = self.functions.values_mut().map(|f| f.graph.sweep()).sum();
        let mut used = rustc_hash::FxHashSet::default();
        for f in self.functions.values() {
            for node in f.graph.order() {
                if let Def::Const(key) = f.graph.def(node) {
                    used.insert(key.clone());
                }
            }
        }
        self.consts.retain(|key, _| used.contains(key));
        dead
    }
}

impl Signatures for Module {
    fn signature(&self, function: &str) -> Option<Signature> {
        self.functions.get(function).map(Function::signature)
    }
}

fn unused(base: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(base) {
        return base.into();
    }
    (1u64..).map(|i| format!("{base}_{i}")).find(|n| !taken(n)).expect("names are unbounded")
}
