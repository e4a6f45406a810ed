//! The sizes that a session asks for when dimensions change.
//!
//! A size is known when the dimensions are bound, or it depends on data and is known when the turn of its step comes.
//! Which of the two is a type: only sizes of the first kind have a number here, and only [`Known`], which there is when
//! all of them have a value, says what they are. A model has hundreds of buffers and steps, whose layers all have the
//! same few sizes: each is worked out once.

use std::collections::HashMap;

use crate::error::RunError;
use crate::program::{Parts, Size};

/// Distinct sizes that follow from the inputs' dimensions.
pub struct Sizes {
    /// By symbol: whether the inputs give it its value.
    given: Vec<bool>,
    distinct: Vec<Size>,
    values: Vec<usize>,
    numbers: HashMap<Size, SizeId>,
}

/// A size among the distinct ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeId(u32);

/// What all sizes are under the dimensions at hand.
pub struct Known<'a>(&'a [usize]);

impl Sizes {
    pub fn new(program: &Parts) -> Sizes {
        Sizes { given: given(program), distinct: vec![], values: vec![], numbers: HashMap::new() }
    }

    /// The number of `size`; `None` if it depends on data, so that only its step can tell.
    pub fn add(&mut self, size: &Size) -> Option<SizeId> {
        if !size.symbols().all(|s| self.given[s as usize]) {
            return None;
        }
        if let Some(known) = self.numbers.get(size) {
            return Some(*known);
        }
        let new = SizeId(self.distinct.len() as u32);
        self.numbers.insert(size.clone(), new);
        self.distinct.push(size.clone());
        self.values.push(0);
        Some(new)
    }

    /// Works all out.
    pub fn update(&mut self, program: &Parts, dims: &[i64]) -> Result<Known<'_>, RunError> {
        for (value, size) in self.values.iter_mut().zip(&self.distinct) {
            *value = eval(size, program, dims)?;
        }
        Ok(Known(&self.values))
    }
}

impl Known<'_> {
    pub fn get(&self, id: SizeId) -> usize {
        self.0[id.0 as usize]
    }
}

/// By symbol: whether the inputs give it its value.
pub fn given(program: &Parts) -> Vec<bool> {
    let mut given = vec![false; program.symbols.len()];
    for symbol in program.inputs.iter().flat_map(|port| &port.shape).flat_map(Size::symbols) {
        given[symbol as usize] = true;
    }
    derive(program, &mut given);
    given
}

/// Marks the derived sizes that are made of nothing but what is marked.
pub fn derive(program: &Parts, marked: &mut [bool]) {
    let first = program.plain_symbols();
    for (i, derived) in program.derived.iter().enumerate() {
        marked[first + i] = derived.args.iter().flat_map(Size::symbols).all(|s| marked[s as usize]);
    }
}

/// The value of a size. The error says which symbol has none, or that there is no such size.
pub fn eval(size: &Size, program: &Parts, dims: &[i64]) -> Result<usize, RunError> {
    size.eval(dims).ok_or_else(|| match size.symbols().find(|s| dims[*s as usize] < 0) {
        Some(symbol) => RunError::Unbound { symbol: program.symbols[symbol as usize].to_string() },
        None => RunError::NoSize { dims: bound(program, dims) },
    })
}

/// The symbols that have a value, and the value, for messages.
fn bound(program: &Parts, dims: &[i64]) -> String {
    let bound = program.symbols.iter().zip(dims).filter(|(_, value)| **value >= 0);
    bound.map(|(symbol, value)| format!("{symbol}={value}")).collect::<Vec<_>>().join(", ")
}
