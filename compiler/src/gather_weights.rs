//! Weights side by side, in the order of their use.
//!
//! A model decodes a token by reading every weight once, and those of a mapped file lie in small pages: the
//! processor translates an address anew, and loses the stream that it reads ahead, each few kilobytes. One copy
//! in huge pages is read as one stream from the first layer to the last.

use std::collections::hash_map::Entry;

use bytes::Bytes;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use trine_ir::{Module, Tensor};
use trine_runtime::arena::{ALIGN, AlignedBytes, FileMappings, HUGE};
use trine_runtime::{Constant, RunError};

use crate::build::BuildError;

/// Moves the tensors among `consts` together when they fill huge pages, and those of `module` with them.
pub fn gather(consts: &mut [Constant], module: &mut Module) -> Result<(), BuildError> {
    let (mut starts, mut tensors, mut total) = (FxHashMap::default(), vec![], 0usize);
    for constant in consts.iter() {
        let Constant::Tensor(tensor) = constant else { continue };
        let bytes = tensor.bytes().len();
        // One tensor may be several constants.
        if bytes > 0
            && let Entry::Vacant(start) = starts.entry(place(tensor))
        {
            start.insert(total);
            tensors.push(tensor.clone());
            let end = bytes.checked_next_multiple_of(ALIGN).and_then(|bytes| total.checked_add(bytes));
            total = end.ok_or(RunError::Memory { bytes })?;
        }
    }
    if total < HUGE {
        return Ok(());
    }
    let weights = Bytes::from_owner(copy(&tensors, total)?);
    let moves = |tensor: &mut Tensor| match starts.get(&place(tensor)) {
        None => Ok(()),
        Some(start) => {
            let bytes = weights.slice(*start..start + tensor.bytes().len());
            let moved = Tensor::new(tensor.elem(), tensor.dims().to_vec(), bytes);
            *tensor = moved.map_err(|e| BuildError::Malformed(e.to_string()))?;
            Ok(())
        }
    };
    for constant in consts {
        if let Constant::Tensor(tensor) = constant {
            moves(tensor)?;
        }
    }
    module.consts.values_mut().try_for_each(moves)
}

/// Start and length: what tells tensors apart as long as they live.
fn place(tensor: &Tensor) -> (usize, usize) {
    (tensor.bytes().as_ptr().addr(), tensor.bytes().len())
}

/// The tensors in order, each from a cache line on.
fn copy(tensors: &[Tensor], total: usize) -> Result<AlignedBytes, RunError> {
    // Or a model would be in memory twice.
    let mapped = FileMappings::now();
    tensors.iter().for_each(|tensor| mapped.release(tensor.bytes()));
    let mut weights = AlignedBytes::zeroed(total)?;
    let mut rest = weights.as_mut_slice();
    let mut copies = vec![];
    for tensor in tensors {
        let from = tensor.bytes();
        let (to, behind) = rest.split_at_mut(from.len().next_multiple_of(ALIGN));
        rest = behind;
        copies.push((&mut to[..from.len()], from));
    }
    copies.into_par_iter().for_each(|(to, from)| {
        to.copy_from_slice(from);
        mapped.release(from);
    });
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(value: f32, count: usize) -> Tensor {
        Tensor::from_vec(vec![count], vec![value; count]).unwrap()
    }

    fn start(constant: &Constant) -> usize {
        constant.bytes().as_ptr().addr()
    }

    #[test]
    fn large_weights_move_together_and_stay_what_they_are() {
        let (a, b) = (tensor(1.0, HUGE / 4), tensor(2.0, 5));
        let mut module = Module::default();
        module.consts.insert("b".into(), b.clone());
        let mut consts = [&a, &b, &a].map(|t| Constant::Tensor(t.clone()));
        gather(&mut consts, &mut module).unwrap();
        for (constant, tensor) in consts.iter().zip([&a, &b, &a]) {
            assert_eq!(constant.bytes(), tensor.bytes());
        }
        assert_eq!(start(&consts[1]), start(&consts[0]) + HUGE);
        assert_eq!(start(&consts[2]), start(&consts[0]));
        assert_eq!(module.consts["b"].bytes().as_ptr().addr(), start(&consts[1]));
    }

    #[test]
    fn small_weights_stay_where_they_are() {
        let a = tensor(1.0, 100);
        let mut consts = [Constant::Tensor(a.clone())];
        gather(&mut consts, &mut Module::default()).unwrap();
        assert_eq!(start(&consts[0]), a.bytes().as_ptr().addr());
    }
}
