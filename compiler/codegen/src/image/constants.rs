//! Constants as kernels read them, side by side in the order of their use.
//!
//! A model decodes a token by reading every weight once, and those of a mapped file lie in small pages: the
//! processor translates an address again, and loses the stream that it reads ahead, each few kilobytes. One copy
//! in huge pages is read as one stream from the first layer to the last. It also outlives changes of the file.

use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::ops::Range;

use bytes::Bytes;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::{Def, Elem, FunctionKind, MAIN, Module, Tensor};
use trine_runtime::arena::{ALIGN, AlignedBytes, FileMappings};
use trine_runtime::{Constant, RunError};

use crate::emit::ArgLayout;
use crate::error::BuildError;

/// Bytes of constants that are made before they are written to a file, unless one alone is larger.
const STREAMED: usize = 64 << 20;

/// A constant, and how its kernels read it.
#[derive(Clone)]
pub struct Wanted {
    /// What the module calls it; empty for a literal.
    pub name: String,
    pub tensor: Tensor,
    pub layout: ArgLayout,
}

impl Wanted {
    pub fn key(&self) -> Key {
        ((self.tensor.bytes().as_ptr().addr(), self.tensor.bytes().len()), self.layout)
    }

    /// Bytes that it takes as it is read; `None` on overflow.
    fn len(&self) -> Option<usize> {
        self.layout.packed_bytes().unwrap_or(Some(self.tensor.bytes().len()))
    }

    /// Writes it into zeroed memory of its length, aligned to a cache line.
    fn write(&self, out: &mut [u8]) -> Result<(), BuildError> {
        match &self.layout {
            ArgLayout::Dense => out.copy_from_slice(self.tensor.bytes()),
            ArgLayout::Weights(geometry) => {
                let weights = self.tensor.unpacked().map_err(malformed)?;
                geometry.pack(bytemuck::cast_slice(&weights), out).map_err(malformed)?;
            }
            ArgLayout::Scales(geometry) => {
                let scales = self.tensor.values::<f32>().map_err(malformed)?;
                let out: &mut [f32] = bytemuck::cast_slice_mut(out);
                for (n, row) in scales.chunks(geometry.groups).enumerate() {
                    for (g, scale) in row.iter().enumerate() {
                        out[g * geometry.n_padded + n] = *scale;
                    }
                }
            }
            ArgLayout::Panels(panels) => {
                let values = self.tensor.values::<f32>().map_err(malformed)?;
                panels.pack(&values, bytemuck::cast_slice_mut(out)).map_err(malformed)?;
            }
            ArgLayout::Codes(codes) => codes.pack(self.tensor.bytes(), out).map_err(malformed)?,
            ArgLayout::BlockZeros(codes) if self.tensor.elem() == Elem::U8 => {
                codes.pack_zeros(self.tensor.bytes(), bytemuck::cast_slice_mut(out)).map_err(malformed)?;
            }
            ArgLayout::BlockScales(codes) | ArgLayout::BlockZeros(codes) => {
                let values = self.tensor.values::<f32>().map_err(malformed)?;
                codes.pack_scales(&values, bytemuck::cast_slice_mut(out)).map_err(malformed)?;
            }
        }
        Ok(())
    }

    /// What it is as it is read.
    pub fn to_bytes(&self) -> Result<AlignedBytes, BuildError> {
        let mut out = AlignedBytes::zeroed(self.len().ok_or_else(too_large)?)?;
        self.write(out.as_mut_slice())?;
        Ok(out)
    }
}

/// What tells constants apart as long as their tensors live: start and length of the tensor, and how it is read.
pub type Key = ((usize, usize), ArgLayout);

/// Constants one after the other, each from a cache line on.
pub struct Pieces<'w> {
    starts: FxHashMap<Key, usize>,
    /// The distinct constants, each with its length.
    items: Vec<(&'w Wanted, usize)>,
    /// Bytes of all.
    pub total: usize,
}

impl<'w> Pieces<'w> {
    pub fn new(wanted: impl IntoIterator<Item = &'w Wanted>) -> Result<Pieces<'w>, BuildError> {
        let mut pieces = Pieces { starts: FxHashMap::default(), items: vec![], total: 0 };
        for item in wanted {
            // One tensor may be several constants.
            if let Entry::Vacant(start) = pieces.starts.entry(item.key()) {
                start.insert(pieces.total);
                let len = item.len().ok_or_else(too_large)?;
                pieces.items.push((item, len));
                let end = len.checked_next_multiple_of(ALIGN).and_then(|len| pieces.total.checked_add(len));
                pieces.total = end.ok_or_else(too_large)?;
            }
        }
        Ok(pieces)
    }

    /// Where a constant is, if it is one of these.
    pub fn place(&self, wanted: &Wanted) -> Option<Range<usize>> {
        let start = *self.starts.get(&wanted.key())?;
        Some(start..start + wanted.len()?)
    }

    /// A copy of all of them in memory.
    fn fill(&self) -> Result<AlignedBytes, BuildError> {
        // If pages of the file stayed, a model would be in memory twice.
        let mapped = FileMappings::now();
        self.items.iter().for_each(|(item, _)| mapped.release(item.tensor.bytes()));
        let mut memory = AlignedBytes::zeroed(self.total)?;
        self.write(&self.items, memory.as_mut_slice(), &mapped)?;
        Ok(memory)
    }

    /// Gives `out` all of them in pieces of some megabytes, so that few are in memory at once.
    pub fn stream<E: From<BuildError>>(&self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mapped = FileMappings::now();
        let mut rest = self.items.as_slice();
        while !rest.is_empty() {
            let mut len = 0;
            let fits = |(_, own): &&(&Wanted, usize)| {
                len += own.next_multiple_of(ALIGN);
                len <= STREAMED
            };
            let (some, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let total = some.iter().map(|(_, len)| len.next_multiple_of(ALIGN)).sum();
            let mut memory = AlignedBytes::zeroed(total).map_err(BuildError::from)?;
            self.write(some, memory.as_mut_slice(), &mapped)?;
            out(memory.as_slice())?;
            rest = others;
        }
        Ok(())
    }

    /// Writes `items` into zeroed memory, on all cores.
    fn write(
        &self,
        items: &[(&Wanted, usize)],
        mut rest: &mut [u8],
        mapped: &FileMappings,
    ) -> Result<(), BuildError> {
        let mut places = vec![];
        for (item, len) in items {
            let (to, others) = rest.split_at_mut(len.next_multiple_of(ALIGN));
            rest = others;
            places.push((&mut to[..*len], *item));
        }
        places.into_par_iter().try_for_each(|(to, item)| {
            item.write(to)?;
            mapped.release(item.tensor.bytes());
            Ok::<(), BuildError>(())
        })
    }
}

/// Lays constants out. `module` keeps those that are still dense, in their new place, and of the others those alone
/// that ops without a kernel read.
pub fn lay_out(wanted: &[Wanted], module: &mut Module) -> Result<Vec<Constant>, BuildError> {
    let pieces = Pieces::new(wanted)?;
    let memory = Bytes::from_owner(pieces.fill()?);
    let moved = |tensor: &Tensor| -> Result<Option<Tensor>, BuildError> {
        let dense = Wanted { name: String::new(), tensor: tensor.clone(), layout: ArgLayout::Dense };
        let Some(place) = pieces.place(&dense) else { return Ok(None) };
        let moved = Tensor::new(tensor.elem(), tensor.dims().to_vec(), memory.slice(place));
        Ok(Some(moved.map_err(malformed)?))
    };
    let constants = wanted.iter().map(|item| {
        Ok(match moved(&item.tensor)?.filter(|_| item.layout == ArgLayout::Dense) {
            Some(tensor) => Constant::Tensor(tensor),
            None => Constant::Packed(memory.slice(pieces.place(item).ok_or_else(too_large)?)),
        })
    });
    let constants = constants.collect::<Result<_, BuildError>>()?;
    let read = read_by_functions(module);
    let mut kept = std::mem::take(&mut module.consts);
    for (key, tensor) in kept.drain(..) {
        match moved(&tensor)? {
            Some(tensor) => _ = module.consts.insert(key, tensor),
            None if read.contains(&key) => _ = module.consts.insert(key, tensor),
            None => {}
        }
    }
    Ok(constants)
}

/// Constants of functions that steps without a kernel may call.
pub fn read_by_functions(module: &Module) -> FxHashSet<String> {
    let functions =
        module.functions.iter().filter(|(name, f)| *name != MAIN && f.kind == FunctionKind::Graph);
    let defs = functions.flat_map(|(_, f)| f.graph.order().into_iter().map(|node| f.graph.def(node)));
    let keys = defs.filter_map(|def| match def {
        Def::Const(key) => Some(key.clone()),
        _ => None,
    });
    keys.collect()
}

fn malformed(error: impl Display) -> BuildError {
    BuildError::Malformed(error.to_string())
}

fn too_large() -> BuildError {
    RunError::memory(usize::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_runtime::arena::HUGE;
    use trine_ukernel::matmul::{Panels, WIDTH};

    fn dense(value: f32, count: usize) -> Wanted {
        let tensor = Tensor::from_vec(vec![count], vec![value; count]).unwrap();
        Wanted { name: String::new(), tensor, layout: ArgLayout::Dense }
    }

    fn start(constant: &Constant) -> usize {
        constant.bytes().as_ptr().addr()
    }

    #[test]
    fn weights_move_together_and_stay_what_they_are() {
        let (a, b, packed) = (dense(1.0, HUGE / 4), dense(2.0, 5), dense(3.0, 4));
        let mut module = Module::default();
        module.consts.insert("b".into(), b.tensor.clone());
        module.consts.insert("gone".into(), packed.tensor);
        let wanted = [a.clone(), b, a];
        let consts = lay_out(&wanted, &mut module).unwrap();
        for (constant, wanted) in consts.iter().zip(&wanted) {
            assert_eq!(constant.bytes(), wanted.tensor.bytes());
        }
        assert_eq!(start(&consts[1]), start(&consts[0]) + HUGE);
        assert_eq!(start(&consts[2]), start(&consts[0]));
        assert_eq!(module.consts["b"].bytes().as_ptr().addr(), start(&consts[1]));
        assert_eq!(module.consts.len(), 1);
    }

    #[test]
    fn one_tensor_may_be_read_in_several_ways() {
        let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let tensor = Tensor::from_vec(vec![2, 3], values).unwrap();
        let panels = Panels { k: 2, n: 3, transposed: false };
        let layouts = [ArgLayout::Dense, ArgLayout::Panels(panels)];
        let wanted = layouts.map(|layout| Wanted { name: String::new(), tensor: tensor.clone(), layout });
        let consts = lay_out(&wanted, &mut Module::default()).unwrap();
        assert_eq!(consts[0].bytes(), tensor.bytes());
        assert_eq!(consts[1].bytes().len(), 2 * 4 * WIDTH);
        assert_eq!(consts[1].bytes(), wanted[1].to_bytes().unwrap().as_slice());
    }

    #[test]
    fn there_may_be_no_weights() {
        assert!(lay_out(&[], &mut Module::default()).unwrap().is_empty());
    }
}
