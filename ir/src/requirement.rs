//! What a module takes to hold of the sizes of its inputs.
//!
//! Exporters name one length twice, so that sizes that must be equal are not always equal by name. A module whose ops
//! need it says so, and whoever runs it checks once, when the sizes of the inputs are known.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::dim::{Dim, DimEnv, Factor};
use crate::graph::Loc;
use crate::module::Module;

/// Two dimensions that are equal in every run, and have values.
#[derive(Clone, PartialEq, Debug)]
pub struct Requirement {
    /// Where it is a symbol that occurs nowhere else, it is another name that the model has for `right`.
    pub left: Dim,
    pub right: Dim,
    /// The node that needs it.
    pub loc: Option<Loc>,
}

impl Requirement {
    /// Whether it does not hold; one with a symbol that has no value is not seen to.
    pub fn is_broken(&self, env: &DimEnv) -> bool {
        let bound = |d: &Dim| d.symbols().iter().all(|s| env.get(s).is_some());
        let value = |d: &Dim| d.eval_integer(env);
        bound(&self.left)
            && bound(&self.right)
            && (value(&self.left).is_none() || value(&self.left) != value(&self.right))
    }

    /// What is wrong under `env`; `origin` says of a symbol which input it is read from.
    pub fn complaint(&self, env: &DimEnv, origin: &dyn Fn(&str) -> Option<String>) -> String {
        let node = self.loc.as_ref().map_or(String::new(), |loc| format!(" by {loc}"));
        let (left, right) = (self.left.to_string(), self.right.to_string());
        let needed = match left == right {
            true => format!("`{left}` has to have a value"),
            false => format!("`{left}` and `{right}` have to be equal"),
        };
        let mut symbols = [self.left.symbols(), self.right.symbols()].concat();
        symbols.sort();
        symbols.dedup();
        let values: Vec<_> = symbols
            .iter()
            .filter_map(|s| {
                let value = env.get(s)?;
                Some(match origin(s) {
                    Some(origin) => format!("`{s}` is {value} ({origin})"),
                    None => format!("`{s}` is {value}"),
                })
            })
            .collect();
        let hint = symbols.first().map_or(String::new(), |s| format!("; `--dim {s}=…` fixes a size"));
        format!("{needed}{node}, but {}{hint}", values.join(" and "))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.left)?;
        if self.left != self.right {
            write!(f, " == {}", self.right)?;
        }
        Ok(())
    }
}

impl Module {
    /// Adds a requirement that the module does not have yet.
    pub fn add_requirement(&mut self, requirement: Requirement) {
        if !self.states(&requirement.left, &requirement.right) {
            self.requires.push(requirement);
        }
    }

    /// Whether two dimensions are equal whenever the module's requirements hold.
    pub fn implies(&self, a: &Dim, b: &Dim) -> bool {
        a == b || self.states(a, b) || self.simplified(a) == self.simplified(b)
    }

    /// The dimension with every atom that is required to equal something else replaced by that.
    pub fn simplified(&self, dim: &Dim) -> Dim {
        if self.requires.is_empty() || !dim.factors().any(|f| matches!(f, Factor::Atom(_))) {
            return dim.clone();
        }
        simplified(dim, &rules(&self.requires))
    }

    fn states(&self, a: &Dim, b: &Dim) -> bool {
        let pairs = self.requires.iter().map(|r| (&r.left, &r.right));
        pairs.into_iter().any(|(left, right)| (left, right) == (a, b) || (right, left) == (a, b))
    }
}

/// What atoms are required to equal: what stands for each of them.
pub fn rules(requires: &[Requirement]) -> FxHashMap<Factor, Dim> {
    let atom = |d: &Dim| d.as_atom().cloned().map(Factor::Atom);
    let mut rules = FxHashMap::default();
    for Requirement { left, right, .. } in requires.iter().filter(|r| r.left != r.right) {
        // What an atom is replaced by does not hold it, so that replacing ends; of two atoms the longer goes.
        let holds =
            |d: &Dim, atom: &Factor| d.replace(&|f| (f == atom).then(|| Dim::constant(0))) != Some(d.clone());
        let mut sides = [(left, right), (right, left)];
        sides.sort_by_key(|(from, _)| std::cmp::Reverse(from.to_string().len()));
        let mut sides = sides.into_iter().filter_map(|(from, to)| Some((atom(from)?, to)));
        if let Some((from, to)) = sides.find(|(from, to)| !holds(to, from)) {
            rules.entry(from).or_insert_with(|| to.clone());
        }
    }
    rules
}

/// `dim` by `rules`; on overflow it stays.
pub fn simplified(dim: &Dim, rules: &FxHashMap<Factor, Dim>) -> Dim {
    if rules.is_empty() {
        return dim.clone();
    }
    let mut dim = dim.clone();
    // What replaces an atom may hold another.
    for _ in 0..8 {
        match dim.replace(&|factor| rules.get(factor).cloned()) {
            Some(next) if next != dim => dim = next,
            _ => break,
        }
    }
    dim
}
