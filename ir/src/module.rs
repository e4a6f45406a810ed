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

/// `base`, or `base_N` if that is taken: the first that is free where those before it are not. The search is
/// logarithmic, as a module may have many names of one base.
pub fn unused(base: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(base) {
        return base.into();
    }
    let name = |i: u64| format!("{base}_{i}");
    // Names up to the first number count as taken, that of the second is free.
    let (mut low, mut high) = (0, 1);
    while taken(&name(high)) {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match taken(&name(middle)) {
            true => low = middle,
            false => high = middle,
        }
    }
    name(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_first_that_are_free() {
        for count in 0..40 {
            let taken = |name: &str| name == "x" || (1..count).any(|i| name == format!("x_{i}"));
            assert_eq!(unused("x", taken), format!("x_{}", count.max(1)));
        }
        assert_eq!(unused("x", |_| false), "x");
    }

    #[test]
    fn searches_for_names_are_short() {
        let asked = std::cell::Cell::new(0);
        let taken = |name: &str| {
            asked.set(asked.get() + 1);
            name.strip_prefix("x").is_some_and(|n| n.is_empty() || n[1..].parse::<u64>().unwrap() < 100_000)
        };
        assert_eq!(unused("x", taken), "x_100000");
        assert!(asked.get() < 50, "{}", asked.get());
    }
}
