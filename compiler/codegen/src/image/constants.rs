//! Constants as kernels read them, side by side in the order of their use.
//!
//! A model decodes a token by reading every weight once, and those of a mapped file lie in small pages: the
//! processor translates an address again, and loses the stream that it reads ahead, each few kilobytes. One copy
//! in huge pages is read as one stream from the first layer to the last. It also outlives changes of the file.

use std::collections::hash_map::Entry;
use std::fmt::Display;

use bytes::Bytes;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::{Def, Elem, FunctionKind, MAIN, Module, Tensor};
use trine_runtime::arena::{ALIGN, AlignedBytes, FileMappings};
use trine_runtime::{Constant, RunError};

use crate::emit::ArgLayout;
use crate::error::BuildError;

/// A constant, and how its kernels read it.
#[derive(Clone)]
pub struct Wanted {
    pub tensor: Tensor,
    pub layout: ArgLayout,
}

impl Wanted {
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

/// Lays constants out. `module` keeps those that are still dense, in their new place, and of the others those alone
/// that ops without a kernel read.
pub fn lay_out(wanted: &[Wanted], module: &mut Module) -> Result<Vec<Constant>, BuildError> {
    let (mut starts, mut items, mut total) = (FxHashMap::default(), vec![], 0usize);
    for item in wanted {
        // One tensor may be several constants.
        if let Entry::Vacant(start) = starts.entry((place(&item.tensor), item.layout)) {
            start.insert(total);
            let len = item.len().ok_or_else(too_large)?;
            items.push((item, len));
            let end = len.checked_next_multiple_of(ALIGN).and_then(|len| total.checked_add(len));
            total = end.ok_or_else(too_large)?;
        }
    }
    let memory = Bytes::from_owner(fill(&items, total)?);
    let moved = |tensor: &Tensor| -> Result<Option<Tensor>, BuildError> {
        let Some(start) = starts.get(&(place(tensor), ArgLayout::Dense)) else { return Ok(None) };
        let bytes = memory.slice(*start..start + tensor.bytes().len());
        Ok(Some(Tensor::new(tensor.elem(), tensor.dims().to_vec(), bytes).map_err(malformed)?))
    };
    let constants = wanted.iter().map(|item| {
        Ok(match moved(&item.tensor)?.filter(|_| item.layout == ArgLayout::Dense) {
            Some(tensor) => Constant::Tensor(tensor),
            None => {
                let start = starts[&(place(&item.tensor), item.layout)];
                let len = item.len().ok_or_else(too_large)?;
                Constant::Packed(memory.slice(start..start + len))
            }
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

/// The items one after the other, each from a cache line on.
fn fill(items: &[(&Wanted, usize)], total: usize) -> Result<AlignedBytes, BuildError> {
    // Or a model would be in memory twice.
    let mapped = FileMappings::now();
    items.iter().for_each(|(item, _)| mapped.release(item.tensor.bytes()));
    let mut memory = AlignedBytes::zeroed(total)?;
    let mut rest = memory.as_mut_slice();
    let mut places = vec![];
    for (item, len) in items {
        let (to, behind) = rest.split_at_mut(len.next_multiple_of(ALIGN));
        rest = behind;
        places.push((&mut to[..*len], *item));
    }
    places.into_par_iter().try_for_each(|(to, item)| {
        item.write(to)?;
        mapped.release(item.tensor.bytes());
        Ok::<(), BuildError>(())
    })?;
    Ok(memory)
}

/// Constants of functions that steps without a kernel may call.
fn read_by_functions(module: &Module) -> FxHashSet<String> {
    let functions =
        module.functions.iter().filter(|(name, f)| *name != MAIN && f.kind == FunctionKind::Graph);
    let defs = functions.flat_map(|(_, f)| f.graph.order().into_iter().map(|node| f.graph.def(node)));
    let keys = defs.filter_map(|def| match def {
        Def::Const(key) => Some(key.clone()),
        _ => None,
    });
    keys.collect()
}

/// Start and length: what tells tensors apart as long as they live.
fn place(tensor: &Tensor) -> (usize, usize) {
    (tensor.bytes().as_ptr().addr(), tensor.bytes().len())
}

fn malformed(error: impl Display) -> BuildError {
    BuildError::Malformed(error.to_string())
}

fn too_large() -> BuildError {
    RunError::Memory { bytes: usize::MAX }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_runtime::arena::HUGE;
    use trine_ukernel::matmul::{Panels, WIDTH};

    fn dense(value: f32, count: usize) -> Wanted {
        let tensor = Tensor::from_vec(vec![count], vec![value; count]).unwrap();
        Wanted { tensor, layout: ArgLayout::Dense }
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
        let wanted = layouts.map(|layout| Wanted { tensor: tensor.clone(), layout });
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
