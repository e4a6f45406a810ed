//! What one reading of a model teaches the next.
//!
//! Ops say which sizes they need to be equal only after the types of the inputs are made. A model is therefore read
//! again with what was found: one symbol for sizes that must be equal, and the branch of an `If` whose branches give
//! different ranks. It ends when nothing new is found.

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::dim::{Factor, Symbol};
use trine_ir::requirement::{Requirement, rules, simplified};
use trine_ir::{Dim, Module};

/// What is known before a reading.
#[derive(Clone, Default)]
pub(super) struct Knowledge {
    /// What symbols of inputs are: numbers that the caller gives, or sizes that they must be equal to.
    pub symbols: Vec<(Symbol, Dim)>,
    /// How many of these the caller gave, which come first.
    given: usize,
    /// Why symbols are gone, for messages.
    equations: Vec<Requirement>,
    /// What is required and is not the value of a symbol.
    required: Vec<Requirement>,
    rules: FxHashMap<Factor, Dim>,
    pub choices: Vec<Choice>,
}

/// The branch that an `If` takes to have.
#[derive(Clone)]
pub(super) struct Choice {
    pub node: String,
    pub then: bool,
    /// Whether the other one failed.
    last: bool,
}

/// What a node needs of sizes.
pub(super) struct Finding {
    pub requirement: Requirement,
    /// Whether the model means something else where it does not hold, so that the sizes must stay what they are.
    pub assumed: bool,
}

impl Knowledge {
    /// `dims` are sizes by the names of symbols.
    pub fn new(dims: &[(String, usize)]) -> Knowledge {
        let symbols = dims.iter().map(|(name, size)| (Symbol::from(name.as_str()), Dim::constant(*size)));
        Knowledge { symbols: symbols.collect(), given: dims.len(), ..Knowledge::default() }
    }

    /// Names that the caller gave sizes.
    pub fn given(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols[..self.given].iter().map(|(symbol, _)| symbol)
    }

    /// A dimension by what is required of it.
    pub fn simplified(&self, dim: &Dim) -> Dim {
        simplified(dim, &self.rules)
    }

    /// The branch that was chosen at a node, or is from now on.
    pub fn choose(&mut self, node: &str) -> bool {
        if let Some(choice) = self.choices.iter().find(|c| c.node == node) {
            return choice.then;
        }
        self.choices.push(Choice { node: node.into(), then: true, last: false });
        true
    }

    /// Takes the other branch at the last node where it was not tried yet; whether there is one.
    pub fn choose_again(&mut self) -> bool {
        // What was learnt may follow from the choice that failed.
        self.symbols.truncate(self.given);
        self.equations.clear();
        self.required.clear();
        self.rules.clear();
        while let Some(mut choice) = self.choices.pop() {
            if !choice.last {
                (choice.then, choice.last) = (!choice.then, true);
                self.choices.push(choice);
                return true;
            }
        }
        false
    }

    /// Takes in what a reading found out of sizes of inputs, whose symbols are `inputs`, in order. Whether that is more
    /// than was known.
    pub fn learn(&mut self, found: Vec<Finding>, inputs: &[Symbol]) -> bool {
        let mut solved = false;
        let mut rest: Vec<Requirement> = vec![];
        // What the same length has to be elsewhere too is equal.
        let mut known = FxHashMap::default();
        for Finding { requirement, assumed } in found {
            let [left, right] = [&requirement.left, &requirement.right].map(|d| self.resolved(d));
            let [is, wanted] = [&left, &right].map(|d| simplified(d, &known));
            match solve(&is, &wanted, inputs).filter(|_| !assumed) {
                Some((symbol, value)) => {
                    self.give(symbol, value, requirement);
                    solved = true;
                }
                None if left == right && left.as_atom().is_none() => {}
                None if rest.iter().any(|r| r.left == left && r.right == right) => {}
                None => {
                    let requirement = Requirement { left, right, loc: requirement.loc };
                    for (atom, is) in rules(std::slice::from_ref(&requirement)) {
                        known.entry(atom).or_insert(is);
                    }
                    rest.push(requirement);
                }
            }
        }
        // What was required before holds on, though sizes that are now alike need not say so.
        let rules_before = std::mem::take(&mut self.rules);
        for requirement in std::mem::take(&mut self.required) {
            let [left, right] = [&requirement.left, &requirement.right].map(|d| self.resolved(d));
            let known = rest.iter().any(|r| r.left == left && r.right == right);
            if !known && (left != right || left.as_atom().is_some()) {
                rest.push(Requirement { left, right, loc: requirement.loc });
            }
        }
        self.required = rest;
        self.rules = rules(&self.required);
        solved || self.rules.len() > rules_before.len()
    }

    /// Gives the module what it requires.
    pub fn state(self, module: &mut Module) {
        // What an atom is required to be is not hidden by the symbol that it was found to be first.
        let right = |r: &Requirement| simplified(&r.right, &self.rules);
        module.requires =
            self.equations.iter().map(|r| Requirement { right: right(r), ..r.clone() }).collect();
        self.required.into_iter().for_each(|r| module.add_requirement(r));
    }

    fn resolved(&self, dim: &Dim) -> Dim {
        self.symbols
            .iter()
            .fold(dim.clone(), |dim, (symbol, value)| dim.substitute(symbol, value).unwrap_or(dim))
    }

    fn give(&mut self, symbol: Symbol, value: Dim, cause: Requirement) {
        let with = |d: &Dim| d.substitute(&symbol, &value).unwrap_or_else(|| d.clone());
        self.symbols.iter_mut().for_each(|(_, d)| *d = with(d));
        self.equations.iter_mut().for_each(|r| r.right = with(&r.right));
        self.equations.push(Requirement {
            left: Dim::symbol(symbol.clone()),
            right: value.clone(),
            loc: cause.loc,
        });
        self.symbols.push((symbol, value));
    }
}

/// The symbol of an input that two equal dimensions give a value, and that value.
fn solve(left: &Dim, right: &Dim, inputs: &[Symbol]) -> Option<(Symbol, Dim)> {
    let difference = left.sub(right)?;
    let alone = |s: &Symbol| [left, right].iter().any(|d| d.as_symbol() == Some(s));
    let mut candidates: Vec<(bool, usize, Symbol, Dim)> = vec![];
    for (at, symbol) in inputs.iter().enumerate() {
        let coefficient = difference.terms().find_map(|(m, c)| match m {
            [Factor::Symbol(s)] if s == symbol => Some(c),
            _ => None,
        });
        let Some(c @ (1 | -1)) = coefficient else { continue };
        // symbol = rest where c·symbol - c·rest is the difference.
        let rest = Dim::symbol(symbol.clone()).sub(&difference.mul(&Dim::integer(c))?)?;
        let negative = rest.as_integer().is_some_and(|n| n < 0);
        if !rest.symbols().contains(symbol) && !negative {
            candidates.push((alone(symbol), at, symbol.clone(), rest));
        }
    }
    // A name of its own for what others sum up to, or else the later of two names, goes.
    let best = candidates.into_iter().max_by_key(|(alone, at, ..)| (*alone, *at))?;
    Some((best.2, best.3))
}

/// Symbols of the types of inputs, in order, without repeats.
pub(super) fn symbols<'t>(types: impl Iterator<Item = &'t trine_ir::Type>) -> Vec<Symbol> {
    let mut seen = FxHashSet::default();
    types.flat_map(|t| &t.dims).flat_map(Dim::symbols).filter(|s| seen.insert(s.clone())).collect()
}
