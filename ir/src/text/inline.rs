//! Small constants stand in the text itself: `const @axes: i64[2] = [0,-1]`.

use half::{bf16, f16};

use crate::attr::split_top;
use crate::tensor::{Element, Tensor};
use crate::ty::{Elem, Type};

/// Constants of up to this many elements are printed in place.
const MAX_INLINE: usize = 8;

/// The elements as text, row-major; `None` when the constant belongs into the weights file.
pub fn print(t: &Tensor) -> Option<String> {
    if t.len() > MAX_INLINE {
        return None;
    }
    let texts: Vec<String> = match t.elem() {
        Elem::F32 => floats(t.values::<f32>().ok()?.iter().copied())?,
        Elem::F64 => floats(t.values::<f64>().ok()?.iter().copied())?,
        Elem::F16 => floats(t.values::<f16>().ok()?.iter().map(|v| v.to_f32()))?,
        Elem::Bf16 => floats(t.values::<bf16>().ok()?.iter().map(|v| v.to_f32()))?,
        Elem::I64 => ints(&t.values::<i64>().ok()?),
        Elem::I32 => ints(&t.values::<i32>().ok()?),
        Elem::I16 => ints(&t.values::<i16>().ok()?),
        Elem::U64 => ints(&t.values::<u64>().ok()?),
        Elem::U32 => ints(&t.values::<u32>().ok()?),
        Elem::U16 => ints(&t.values::<u16>().ok()?),
        Elem::Bool => t.bools().ok()?.map(|b| b.to_string()).collect(),
        elem if elem.is_signed() => t.unpacked().ok()?.iter().map(|b| (*b as i8).to_string()).collect(),
        _ => t.unpacked().ok()?.iter().map(u8::to_string).collect(),
    };
    Some(format!("[{}]", texts.join(",")))
}

/// The constant of type `ty` that `text` spells.
pub fn parse(ty: &Type, text: &str) -> Result<Tensor, String> {
    let dims = ty.static_dims().ok_or_else(|| format!("a constant cannot be {ty}"))?;
    match ty.elem {
        Elem::F32 => build(dims, list::<f32>(text)?),
        Elem::F64 => build(dims, list::<f64>(text)?),
        Elem::F16 => build(dims, list::<f32>(text)?.into_iter().map(f16::from_f32).collect()),
        Elem::Bf16 => build(dims, list::<f32>(text)?.into_iter().map(bf16::from_f32).collect()),
        Elem::I64 => build(dims, list::<i64>(text)?),
        Elem::I32 => build(dims, list::<i32>(text)?),
        Elem::I16 => build(dims, list::<i16>(text)?),
        Elem::U64 => build(dims, list::<u64>(text)?),
        Elem::U32 => build(dims, list::<u32>(text)?),
        Elem::U16 => build(dims, list::<u16>(text)?),
        Elem::Bool => Tensor::from_bools(dims, list::<bool>(text)?).map_err(|e| e.to_string()),
        elem => {
            let (low, high) = match (elem, elem.is_signed()) {
                (Elem::Trit, _) => (-1, 1),
                (_, true) => (-(1i16 << (elem.bits() - 1)), (1i16 << (elem.bits() - 1)) - 1),
                (_, false) => (0, (1i16 << elem.bits()) - 1),
            };
            let values = list::<i16>(text)?;
            if let Some(v) = values.iter().find(|v| !(low..=high).contains(*v)) {
                return Err(format!("{v} is no {elem}"));
            }
            let bytes: Vec<u8> = values.iter().map(|v| *v as u8).collect();
            Tensor::pack(elem, dims, &bytes).map_err(|e| e.to_string())
        }
    }
}

fn floats<T: std::fmt::Debug + PartialEq + Copy>(values: impl Iterator<Item = T>) -> Option<Vec<String>> {
    // A NaN has a payload that text would lose.
    #[allow(clippy::eq_op)]
    values.map(|v| (v == v).then(|| format!("{v:?}"))).collect()
}

fn ints<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn build<T: Element>(dims: Vec<usize>, values: Vec<T>) -> Result<Tensor, String> {
    Tensor::from_vec(dims, values).map_err(|e| e.to_string())
}

fn list<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    let bad = || format!("bad elements `{}`", text.escape_debug());
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or_else(bad)?.trim();
    if inner.is_empty() {
        return Ok(vec![]);
    }
    split_top(inner).into_iter().map(|t| t.trim().parse().map_err(|_| bad())).collect()
}
