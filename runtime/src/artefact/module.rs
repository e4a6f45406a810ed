//! The module of a file, for steps that run ops by their meaning.

use std::cell::RefCell;

use bytes::Bytes;
use trine_ir::{Error, Module, Tensor, Type, text, verify};

use super::proto;
use crate::arena::{AlignedBytes, HUGE};
use crate::program::Constant;

/// Parses the text of a module. Constants that ops read have their data in the plan; others, which kernels read as they are
/// packed, are gone from the module.
pub fn parse(source: &str, plan: &proto::Plan, constants: &[Constant]) -> Result<Module, Error> {
    let absent = RefCell::new((vec![], Bytes::new()));
    let given = |name: &str| match constants.get(*plan.named.get(name)? as usize)? {
        Constant::Tensor(tensor) => Some(tensor.clone()),
        Constant::Packed(_) => None,
    };
    let mut module = text::parse_with(source, &|name, ty| {
        given(name).or_else(|| {
            let (names, zeros) = &mut *absent.borrow_mut();
            names.push(name.to_string());
            stand_in(ty, zeros)
        })
    })?;
    verify(&module)?;
    for name in absent.into_inner().0 {
        module.consts.shift_remove(&name);
    }
    Ok(module)
}

/// Zeros of a type, with which a module parses and is verified; nobody reads them.
fn stand_in(ty: &Type, zeros: &mut Bytes) -> Option<Tensor> {
    let dims = ty.static_dims()?;
    let count = dims.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim))?;
    let len = ty.elem.bytes(count)?;
    if zeros.len() < len {
        // Memory of this size is the system's from the first byte, which gives none before it is touched.
        *zeros = Bytes::from_owner(AlignedBytes::zeroed(len.max(HUGE)).ok()?);
    }
    Tensor::new(ty.elem, dims, zeros.slice(..len)).ok()
}
