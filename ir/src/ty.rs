//! Types: an element type and a shape of symbolic dimensions.

use std::fmt;

use crate::attr::split_top;
use crate::dim::{Dim, DimEnv};

/// The type of one element of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Elem {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    I4,
    U4,
    I2,
    U2,
    /// Floats by the bits of exponent and mantissa, for storage alone; those in `Uz` have no negative zero.
    F8E4M3,
    F8E4M3Uz,
    F8E5M2,
    F8E5M2Uz,
    /// A power of two.
    F8E8M0,
    F4E2M1,
    /// One of -1, 0, +1.
    Trit,
}

/// What a value is: `f32[batch,seq,576]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Type {
    pub elem: Elem,
    pub dims: Vec<Dim>,
}

impl Elem {
    #[rustfmt::skip]
    pub const ALL: [Elem; 24] = {
        use Elem::*;
        [
            F32, F64, F16, Bf16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, I4, U4, I2, U2,
            F8E4M3, F8E4M3Uz, F8E5M2, F8E5M2Uz, F8E8M0, F4E2M1, Trit,
        ]
    };

    /// The name in text.
    pub fn name(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::F64 => "f64",
            Elem::F16 => "f16",
            Elem::Bf16 => "bf16",
            Elem::I8 => "i8",
            Elem::I16 => "i16",
            Elem::I32 => "i32",
            Elem::I64 => "i64",
            Elem::U8 => "u8",
            Elem::U16 => "u16",
            Elem::U32 => "u32",
            Elem::U64 => "u64",
            Elem::Bool => "bool",
            Elem::I4 => "i4",
            Elem::U4 => "u4",
            Elem::I2 => "i2",
            Elem::U2 => "u2",
            Elem::F8E4M3 => "f8e4m3",
            Elem::F8E4M3Uz => "f8e4m3uz",
            Elem::F8E5M2 => "f8e5m2",
            Elem::F8E5M2Uz => "f8e5m2uz",
            Elem::F8E8M0 => "f8e8m0",
            Elem::F4E2M1 => "f4e2m1",
            Elem::Trit => "trit",
        }
    }

    pub fn parse(name: &str) -> Option<Elem> {
        Elem::ALL.into_iter().find(|e| e.name() == name)
    }

    /// Bits that an element takes in a tensor. Elements under 8 bits are packed, low bits first.
    pub fn bits(self) -> usize {
        match self {
            Elem::F64 | Elem::I64 | Elem::U64 => 64,
            Elem::F32 | Elem::I32 | Elem::U32 => 32,
            Elem::F16 | Elem::Bf16 | Elem::I16 | Elem::U16 => 16,
            Elem::I8 | Elem::U8 | Elem::Bool => 8,
            Elem::F8E4M3 | Elem::F8E4M3Uz | Elem::F8E5M2 | Elem::F8E5M2Uz | Elem::F8E8M0 => 8,
            Elem::I4 | Elem::U4 | Elem::F4E2M1 => 4,
            Elem::I2 | Elem::U2 | Elem::Trit => 2,
        }
    }

    /// Whether ops compute in the type: floats of 16 bits and more.
    pub fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F64 | Elem::F16 | Elem::Bf16)
    }

    /// Whether the element is a float of 8 bits or under, which is stored and not computed in.
    pub fn is_small_float(self) -> bool {
        let eight = [Elem::F8E4M3, Elem::F8E4M3Uz, Elem::F8E5M2, Elem::F8E5M2Uz, Elem::F8E8M0];
        self == Elem::F4E2M1 || eight.contains(&self)
    }

    /// Whether the element is a signed or unsigned integer of any width; `bool` and `trit` are not.
    pub fn is_int(self) -> bool {
        !self.is_float() && !self.is_small_float() && !matches!(self, Elem::Bool | Elem::Trit)
    }

    /// Whether there are elements below 0, and of integers the highest bit says so.
    pub fn is_signed(self) -> bool {
        let unsigned = [Elem::U8, Elem::U16, Elem::U32, Elem::U64, Elem::U4, Elem::U2, Elem::Bool];
        !unsigned.contains(&self) && !self.is_small_float()
    }

    /// Bytes that `count` packed elements take.
    pub fn bytes(self, count: usize) -> Option<usize> {
        Some(count.checked_mul(self.bits())?.div_ceil(8))
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Type {
    pub fn new(elem: Elem, dims: impl IntoIterator<Item = impl Into<Dim>>) -> Type {
        Type { elem, dims: dims.into_iter().map(Into::into).collect() }
    }

    /// A type without dimensions.
    pub fn scalar(elem: Elem) -> Type {
        Type { elem, dims: vec![] }
    }

    /// The same shape with another element type.
    pub fn with(&self, elem: Elem) -> Type {
        Type { elem, dims: self.dims.clone() }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The dimension counted from the end: `back(0)` is the last.
    pub fn back(&self, i: usize) -> Option<&Dim> {
        self.dims.len().checked_sub(i + 1).map(|j| &self.dims[j])
    }

    /// The shape, when every dimension is constant.
    pub fn static_dims(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(Dim::as_const).collect()
    }

    /// The number of elements; `None` on overflow.
    pub fn count(&self) -> Option<Dim> {
        Dim::product(&self.dims)
    }

    /// The shape under `env`; the error is the first dimension that has no value.
    pub fn eval_dims(&self, env: &DimEnv) -> Result<Vec<usize>, Dim> {
        self.dims.iter().map(|d| d.eval(env).ok_or_else(|| d.clone())).collect()
    }

    /// Reads `f32[batch,seq,576]`.
    pub fn parse(text: &str) -> Result<Type, String> {
        let bad = || format!("bad type `{}`", text.trim().escape_debug());
        let (elem, dims) = text.trim().strip_suffix(']').and_then(|t| t.split_once('[')).ok_or_else(bad)?;
        let elem = Elem::parse(elem).ok_or_else(|| format!("no element type `{}`", elem.escape_debug()))?;
        if dims.trim().is_empty() {
            return Ok(Type::scalar(elem));
        }
        Ok(Type { elem, dims: split_top(dims).into_iter().map(Dim::parse).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dims: Vec<_> = self.dims.iter().map(Dim::to_string).collect();
        write!(f, "{}[{}]", self.elem, dims.join(","))
    }
}
