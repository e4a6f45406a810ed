//! The floats that norms and attention compute in: f64 for f64 tensors, f32 for f32, f16 and bf16.

use std::borrow::Cow;
use std::ops::AddAssign;

use half::{bf16, f16};

use super::*;
use crate::bail;
use crate::math::Float;
use crate::tensor::Element;
use crate::ty::Elem;

pub(super) trait Real: Element + Float<Mask = bool> + AddAssign {
    fn of(value: f32) -> Self;
    fn powf(self, exponent: Self) -> Self;
    /// The elements of a tensor, widened where they are narrower.
    fn read(t: &Tensor) -> OpResult<Cow<'_, [Self]>>;
    /// A tensor of `elem`, each element rounded once.
    fn write(elem: Elem, dims: Vec<usize>, values: Vec<Self>) -> OpResult<Tensor>;
}

impl Real for f32 {
    fn of(value: f32) -> f32 {
        value
    }
    fn powf(self, exponent: f32) -> f32 {
        libm::powf(self, exponent)
    }
    fn read(t: &Tensor) -> OpResult<Cow<'_, [f32]>> {
        Ok(match t.elem() {
            Elem::F16 => t.values::<f16>()?.iter().map(|v| v.to_f32()).collect(),
            Elem::Bf16 => t.values::<bf16>()?.iter().map(|v| v.to_f32()).collect(),
            _ => t.values()?,
        })
    }
    fn write(elem: Elem, dims: Vec<usize>, values: Vec<f32>) -> OpResult<Tensor> {
        Ok(match elem {
            Elem::F16 => Tensor::from_vec(dims, values.into_iter().map(f16::from_f32).collect())?,
            Elem::Bf16 => Tensor::from_vec(dims, values.into_iter().map(bf16::from_f32).collect())?,
            Elem::F32 => Tensor::from_vec(dims, values)?,
            _ => bail!("{elem} is not computed in f32"),
        })
    }
}

impl Real for f64 {
    fn of(value: f32) -> f64 {
        value.into()
    }
    fn powf(self, exponent: f64) -> f64 {
        libm::pow(self, exponent)
    }
    fn read(t: &Tensor) -> OpResult<Cow<'_, [f64]>> {
        Ok(match t.elem() {
            Elem::F64 => t.values()?,
            _ => f32::read(t)?.iter().map(|v| f64::from(*v)).collect(),
        })
    }
    fn write(elem: Elem, dims: Vec<usize>, values: Vec<f64>) -> OpResult<Tensor> {
        if elem != Elem::F64 {
            bail!("{elem} is not computed in f64");
        }
        Ok(Tensor::from_vec(dims, values)?)
    }
}

/// `f::<f64>(…)` for f64 tensors, `f::<f32>(…)` for the other floats.
macro_rules! in_real {
    ($elem:expr, $f:ident($($arg:expr),*)) => {
        match $elem {
            $crate::ty::Elem::F64 => $f::<f64>($($arg),*),
            _ => $f::<f32>($($arg),*),
        }
    };
}
pub(super) use in_real;

/// The sum in sixteen strands, `strand[i % 16] += x[i]`, added by halves: an order that vectors keep.
pub(super) fn sum_strands<T: Real>(values: impl Iterator<Item = T>) -> T {
    let mut strands = [T::default(); 16];
    for (i, v) in values.enumerate() {
        strands[i % 16] += v;
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            let upper = strands[i + half];
            strands[i] += upper;
        }
    }
    strands[0]
}
