//! The weights beside the text, as safetensors: with them a printed module parses back and runs.
//!
//! Element types that safetensors lacks (under 8 bits) are stored as their packed bytes, one dimension
//! of `U8`; the text says what they are.

use std::borrow::Cow;
use std::io::Write;

use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::error::Error;
use crate::module::Module;
use crate::tensor::Tensor;
use crate::text;
use crate::ty::{Elem, Type};

/// Writes all constants of `module` as one safetensors file.
pub fn write(module: &Module, out: &mut impl Write) -> Result<(), Error> {
    let views = module.consts.iter().map(|(name, tensor)| (name.as_str(), Stored::new(tensor)));
    let bytes = safetensors::serialize(views, None).map_err(|e| Error::Sidecar(e.to_string()))?;
    out.write_all(&bytes).map_err(|e| Error::Sidecar(e.to_string()))
}

/// Parses `text` with the constants that `weights`, a safetensors file, holds. They stay where they are.
pub fn parse(text: &str, weights: &Bytes) -> Result<Module, Error> {
    let file = SafeTensors::deserialize(weights).map_err(|e| Error::Sidecar(e.to_string()))?;
    text::parse_with(text, &|name, ty| {
        let view = file.tensor(name).ok()?;
        let dims = ty.static_dims()?;
        let fits = view.dtype() == dtype(ty.elem)
            && match packed_len(ty) {
                Some(len) => view.shape() == [len],
                None => view.shape() == dims,
            };
        if !fits {
            return None;
        }
        Tensor::new(ty.elem, dims, weights.slice_ref(view.data())).ok()
    })
}

struct Stored<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
}

impl Stored<'_> {
    fn new(tensor: &Tensor) -> Stored<'_> {
        let packed = tensor.elem().bits() < 8;
        let shape = if packed { vec![tensor.bytes().len()] } else { tensor.dims().to_vec() };
        Stored { tensor, shape }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        dtype(self.tensor.elem())
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.tensor.bytes())
    }
    fn data_len(&self) -> usize {
        self.tensor.bytes().len()
    }
}

fn packed_len(ty: &Type) -> Option<usize> {
    let count = ty.count()?.as_const()?;
    (ty.elem.bits() < 8).then(|| ty.elem.bytes(count))?
}

fn dtype(elem: Elem) -> Dtype {
    match elem {
        Elem::F32 => Dtype::F32,
        Elem::F64 => Dtype::F64,
        Elem::F16 => Dtype::F16,
        Elem::Bf16 => Dtype::BF16,
        Elem::I8 => Dtype::I8,
        Elem::I16 => Dtype::I16,
        Elem::I32 => Dtype::I32,
        Elem::I64 => Dtype::I64,
        Elem::U16 => Dtype::U16,
        Elem::U32 => Dtype::U32,
        Elem::U64 => Dtype::U64,
        Elem::Bool => Dtype::BOOL,
        Elem::U8 | Elem::I4 | Elem::U4 | Elem::I2 | Elem::U2 | Elem::Trit => Dtype::U8,
    }
}
