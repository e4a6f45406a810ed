//! Symbols for the dimensions that a model leaves open.

use indexmap::IndexSet;
use rustc_hash::FxHashMap;
use trine_ir::Dim;
use trine_ir::dim::{Symbol, is_symbol};

/// Longer names are not read as expressions.
const MAX_EXPRESSION: usize = 128;

/// Names that dimensions have, each used for one thing.
#[derive(Default)]
pub(super) struct Symbols {
    taken: IndexSet<String>,
    /// What sizes of inputs are known to be: other sizes, or numbers.
    known: Vec<(Symbol, Dim)>,
    /// Where the search for a free `base_N` goes on, by base.
    next: FxHashMap<String, u64>,
    opaque: FxHashMap<String, Dim>,
}

impl Symbols {
    /// With what sizes of inputs are known to be.
    pub fn new(known: Vec<(Symbol, Dim)>) -> Symbols {
        Symbols { known, ..Symbols::default() }
    }

    /// A symbol that nothing else has, called `base` if that is free.
    pub fn fresh(&mut self, base: &str) -> Dim {
        let base = identifier(base);
        let mut name = base.clone();
        while !self.taken.insert(name.clone()) {
            let next = self.next.entry(base.clone()).or_default();
            *next += 1;
            name = format!("{base}_{next}");
        }
        Dim::symbol(name.as_str())
    }

    /// The dimension that a `dim_param` reads as: a symbol or a sum of products of symbols.
    pub fn expression(&mut self, text: &str) -> Option<Dim> {
        let text = python(text);
        let dim = Some(text).filter(|t| t.len() <= MAX_EXPRESSION).and_then(|t| Dim::parse(&t).ok())?;
        if dim.symbols().is_empty() && dim.as_const().is_none() {
            return None;
        }
        self.taken.extend(dim.symbols().iter().map(|s| s.to_string()));
        Some(self.resolved(dim))
    }

    /// A dimension of an input, by what is known of its symbols.
    pub fn resolved(&self, dim: Dim) -> Dim {
        self.known.iter().fold(dim, |dim, (symbol, value)| dim.substitute(symbol, value).unwrap_or(dim))
    }

    /// Whether there is a symbol of that name.
    pub fn has(&self, name: &str) -> bool {
        self.taken.contains(name)
    }

    /// How many symbols there are so far.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    /// Whether the symbol was not yet there when there were `count`.
    pub fn is_newer(&self, symbol: &str, count: usize) -> bool {
        self.taken.get_index_of(symbol).is_some_and(|i| i >= count)
    }

    /// The symbol that stands for a `dim_param` which is not an expression, or not one that can be solved.
    pub fn opaque(&mut self, text: &str) -> Dim {
        if let Some(dim) = self.opaque.get(text) {
            return dim.clone();
        }
        let dim = self.fresh(text);
        self.opaque.insert(text.into(), dim.clone());
        dim
    }
}

/// Functions as PyTorch's symbolic shapes spell them.
fn python(text: &str) -> String {
    [("Max(", "max("), ("Min(", "min("), ("Mod(", "mod("), ("FloorDiv(", "floordiv(")]
        .into_iter()
        .fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

fn identifier(text: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    let mut name: String = text.chars().take(MAX_EXPRESSION).map(word).collect();
    if !is_symbol(&name) {
        name.insert(0, '_');
    }
    name
}
