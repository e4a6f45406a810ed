//! Literals: scalars written in place, `1e-5`, `3i64`, `true`.

use crate::attr::Attr;
use crate::tensor::{Tensor, TensorError};
use crate::ty::Elem;

/// A scalar constant. A plain number in text is `f32`; other element types are a suffix.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    F32(f32),
    F64(f64),
    I32(i32),
    I64(i64),
    Bool(bool),
}

/// Floats are equal when their bits are, so that `-0.0` and `nan` stay what they are.
impl PartialEq for Literal {
    fn eq(&self, other: &Literal) -> bool {
        self.elem() == other.elem() && self.bits() == other.bits()
    }
}
impl Eq for Literal {}
impl std::hash::Hash for Literal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.elem(), self.bits()).hash(state);
    }
}

impl Literal {
    pub fn elem(self) -> Elem {
        match self {
            Literal::F32(_) => Elem::F32,
            Literal::F64(_) => Elem::F64,
            Literal::I32(_) => Elem::I32,
            Literal::I64(_) => Elem::I64,
            Literal::Bool(_) => Elem::Bool,
        }
    }

    /// The value as a float, for patterns that ask what a constant is worth.
    pub fn as_f64(self) -> f64 {
        match self {
            Literal::F32(v) => v.into(),
            Literal::F64(v) => v,
            Literal::I32(v) => v.into(),
            Literal::I64(v) => v as f64,
            Literal::Bool(v) => v.into(),
        }
    }

    pub fn tensor(self) -> Result<Tensor, TensorError> {
        match self {
            Literal::F32(v) => Ok(Tensor::scalar(v)),
            Literal::F64(v) => Ok(Tensor::scalar(v)),
            Literal::I32(v) => Ok(Tensor::scalar(v)),
            Literal::I64(v) => Ok(Tensor::scalar(v)),
            Literal::Bool(v) => Tensor::from_bools(vec![], [v]),
        }
    }

    /// The literal that equals a tensor without dimensions; `None` for the other element types, which
    /// stay constants of the module.
    pub fn from_tensor(t: &Tensor) -> Option<Literal> {
        if t.rank() != 0 {
            return None;
        }
        Some(match t.elem() {
            Elem::F32 => Literal::F32(*t.values().ok()?.first()?),
            Elem::F64 => Literal::F64(*t.values().ok()?.first()?),
            Elem::I32 => Literal::I32(*t.values().ok()?.first()?),
            Elem::I64 => Literal::I64(*t.values().ok()?.first()?),
            Elem::Bool => Literal::Bool(t.bools().ok()?.next()?),
            _ => return None,
        })
    }

    fn bits(self) -> u64 {
        match self {
            Literal::F32(v) => v.to_bits().into(),
            Literal::F64(v) => v.to_bits(),
            Literal::I32(v) => v as u64,
            Literal::I64(v) => v as u64,
            Literal::Bool(v) => v.into(),
        }
    }
}

impl Attr for Literal {
    fn print(&self) -> String {
        match self {
            Literal::F32(v) if v.is_nan() && v.to_bits() != f32::NAN.to_bits() => {
                format!("0x{:08x}f32", v.to_bits())
            }
            Literal::F64(v) if v.is_nan() && v.to_bits() != f64::NAN.to_bits() => {
                format!("0x{:016x}f64", v.to_bits())
            }
            Literal::F32(v) => format!("{v:?}"),
            Literal::F64(v) => format!("{v:?}f64"),
            Literal::I32(v) => format!("{v}i32"),
            Literal::I64(v) => format!("{v}i64"),
            Literal::Bool(v) => v.to_string(),
        }
    }

    fn parse(text: &str) -> Result<Literal, String> {
        let bad = || format!("bad literal `{}`", text.escape_debug());
        if let Some(hex) = text.strip_prefix("0x") {
            return match (hex.strip_suffix("f32"), hex.strip_suffix("f64")) {
                (Some(h), _) => u32::from_str_radix(h, 16).ok().map(|b| Literal::F32(f32::from_bits(b))),
                (_, Some(h)) => u64::from_str_radix(h, 16).ok().map(|b| Literal::F64(f64::from_bits(b))),
                _ => None,
            }
            .ok_or_else(bad);
        }
        let float_like = |t: &str| matches!(t, "inf" | "-inf" | "NaN") || t.contains(['.', 'e']);
        let literal = if let Some(t) = text.strip_suffix("f64") {
            t.parse().ok().filter(|_| float_like(t)).map(Literal::F64)
        } else if let Some(t) = text.strip_suffix("i64") {
            t.parse().ok().map(Literal::I64)
        } else if let Some(t) = text.strip_suffix("i32") {
            t.parse().ok().map(Literal::I32)
        } else if let Ok(b) = text.parse() {
            Some(Literal::Bool(b))
        } else {
            text.parse().ok().filter(|_| float_like(text)).map(Literal::F32)
        };
        literal.ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_pattern_survives_text() {
        for bits in [0, 1, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0001, 0x3727_c5ac] {
            let literal = Literal::F32(f32::from_bits(bits));
            assert_eq!(Literal::parse(&literal.print()), Ok(literal));
        }
        for literal in [
            Literal::F64(-0.0),
            Literal::I64(i64::MIN),
            Literal::I32(-7),
            Literal::Bool(true),
            Literal::F64(1.0),
        ] {
            assert_eq!(Literal::parse(&literal.print()), Ok(literal));
        }
        assert!(Literal::parse("12").is_err());
    }
}
