//! The sizes that a session asks for when dimensions change.
//!
//! A model has hundreds of buffers and steps, whose layers all have the same few sizes: each is worked out once.

use std::collections::HashMap;

use crate::program::Size;

/// Distinct sizes, and what they are under the dimensions at hand.
#[derive(Default)]
pub struct Sizes {
    distinct: Vec<Size>,
    values: Vec<Option<usize>>,
    numbers: HashMap<Size, SizeId>,
}

/// A size among the distinct ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeId(u32);

impl Sizes {
    /// The number of `size`, which has no value until `update`.
    pub fn add(&mut self, size: &Size) -> SizeId {
        if let Some(known) = self.numbers.get(size) {
            return *known;
        }
        let new = SizeId(self.distinct.len() as u32);
        self.numbers.insert(size.clone(), new);
        self.distinct.push(size.clone());
        self.values.push(None);
        new
    }

    /// Works all out.
    pub fn update(&mut self, dims: &[i64]) {
        for (value, size) in self.values.iter_mut().zip(&self.distinct) {
            *value = size.eval(dims);
        }
    }

    /// `None` when a symbol is unbound or the value is no size.
    pub fn get(&self, id: SizeId) -> Option<usize> {
        self.values[id.0 as usize]
    }

    pub fn size(&self, id: SizeId) -> &Size {
        &self.distinct[id.0 as usize]
    }
}
