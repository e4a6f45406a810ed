//! The weights beside the text, as safetensors: with them a printed module parses back and runs.
//!
//! Floats of 8 bits are stored as `U8`. Element types that safetensors lacks (under 8 bits) are stored as their packed bytes, one dimension
//! of `U8`; the text says what they are.

use std::cmp::Reverse;
use std::io::{self, Write};

use bytes::Bytes;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use crate::error::Error;
use crate::module::Module;
use crate::tensor::Tensor;
use crate::text;
use crate::trit;
use crate::ty::{Elem, Type};

/// Writes all constants of `module` as one safetensors file, tensor by tensor as they lie in memory.
pub fn write(module: &Module, out: &mut impl Write) -> io::Result<()> {
    // The widest elements first, so that all are aligned.
    let mut tensors: Vec<_> = module.consts.iter().collect();
    tensors.sort_by_key(|(name, tensor)| (Reverse(dtype(tensor.elem())), *name));
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.bytes().len();
        let (dtype, data_offsets) = (dtype(tensor.elem()), (start, end));
        let shape = match packed_len(&tensor.ty()) {
            Some(len) => vec![len],
            None => tensor.dims().to_vec(),
        };
        (name.to_string(), TensorInfo { dtype, shape, data_offsets })
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|(_, tensor)| out.write_all(tensor.bytes()))
}

/// Parses `text` with the constants that `weights`, a safetensors file, holds. They stay where they are.
pub fn parse(text: &str, weights: &Bytes) -> Result<Module, Error> {
    let file = SafeTensors::deserialize(weights).map_err(|e| Error::Sidecar(e.to_string()))?;
    let mut module = text::parse_with(text, &|name, ty| {
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
    })?;
    for (name, tensor) in &mut module.consts {
        make_valid(name, tensor)?;
    }
    Ok(module)
}

/// Makes bools 0 or 1, and refuses what is not a trit: kernels rely on both.
fn make_valid(name: &str, tensor: &mut Tensor) -> Result<(), Error> {
    if tensor.elem() == Elem::Trit && !trit::is_valid(tensor.bytes(), tensor.len()) {
        return Err(Error::Sidecar(format!("`@{}` has two bits that are not a trit", name.escape_debug())));
    }
    if tensor.elem() == Elem::Bool && tensor.bytes().iter().any(|b| *b > 1) {
        let normal: Bytes = tensor.bytes().iter().map(|b| u8::from(*b != 0)).collect();
        *tensor = Tensor::new(Elem::Bool, tensor.dims().to_vec(), normal)
            .map_err(|e| Error::Sidecar(e.to_string()))?;
    }
    Ok(())
}

/// Bytes of a type that safetensors lacks.
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
        Elem::F8E4M3 | Elem::F8E4M3Uz | Elem::F8E5M2 | Elem::F8E5M2Uz => Dtype::U8,
        Elem::F8E8M0 | Elem::F4E2M1 => Dtype::U8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bools_are_0_or_1() {
        let text =
            "const @b: bool[3]\n\ngraph @main(%x: f32[]) -> (%y: bool[3]) {\n  %y = not @b : bool[3]\n}\n";
        let data = |bytes: [u8; 3]| Tensor::new(Elem::Bool, vec![3], bytes.to_vec().into()).unwrap();
        let module = text::parse_with(text, &|_, _| Some(data([0, 1, 1]))).unwrap();
        let mut file = vec![];
        write(&module, &mut file).unwrap();
        let end = file.len();
        file[end - 3..].copy_from_slice(&[0, 2, 255]);
        let read = parse(text, &file.into()).unwrap();
        assert_eq!(read.consts["b"], data([0, 1, 1]));
    }

    #[test]
    fn what_is_no_trit_is_refused() {
        let text = "const @t: trit[3]\n\ngraph @main(%x: f32[]) -> (%y: trit[3]) {\n  %y = identity @t : trit[3]\n}\n";
        let data = Tensor::pack(Elem::Trit, vec![3], &[1, 0, 255]).unwrap();
        let module = text::parse_with(text, &|_, _| Some(data.clone())).unwrap();
        let mut file = vec![];
        write(&module, &mut file).unwrap();
        assert_eq!(parse(text, &file.clone().into()).unwrap().consts["t"], data);
        *file.last_mut().unwrap() |= 3;
        let message = parse(text, &file.into()).unwrap_err().to_string();
        assert_eq!(message, "weights: `@t` has two bits that are not a trit");
    }
}
