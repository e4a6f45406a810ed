//! A tensor in a few numbers.

use half::{bf16, f16};
use serde_json::{Value, json};
use trine::Tensor;
use trine_ir::small_float::decode;
use trine_ir::{Elem, TensorError};

/// How many elements are shown one by one.
const SHOWN: usize = 8;

/// What a reader wants to know of an output.
pub struct Stats {
    name: String,
    ty: String,
    dims: Vec<usize>,
    elem: Elem,
    min: f64,
    max: f64,
    mean: f64,
    /// NaN and infinities, which are in none of the above.
    not_finite: usize,
    head: Vec<f64>,
}

impl Stats {
    pub fn new(name: &str, tensor: &Tensor) -> Result<Stats, TensorError> {
        let values = reals(tensor)?;
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let count = finite().count();
        Ok(Stats {
            name: name.into(),
            ty: tensor.ty().to_string(),
            dims: tensor.dims().to_vec(),
            elem: tensor.elem(),
            min: finite().fold(f64::INFINITY, f64::min),
            max: finite().fold(f64::NEG_INFINITY, f64::max),
            mean: finite().sum::<f64>() / count as f64,
            not_finite: values.len() - count,
            head: values.iter().copied().take(SHOWN + 1).collect(),
        })
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "elem": self.elem.name(),
            "shape": self.dims,
            "min": self.min,
            "max": self.max,
            "mean": self.mean,
            "not_finite": self.not_finite,
        })
    }
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.name.escape_debug(), self.ty)?;
        if self.head.is_empty() {
            return write!(f, ", empty");
        }
        if self.head.len() > SHOWN {
            write!(f, ", from {} to {}, mean {}", short(self.min), short(self.max), short(self.mean))?;
        }
        if self.not_finite > 0 {
            write!(f, ", {} not finite", self.not_finite)?;
        }
        let head: Vec<_> = self.head.iter().take(SHOWN).map(|v| short(*v)).collect();
        let more = if self.head.len() > SHOWN { " …" } else { "" };
        write!(f, "\n  {}{more}", head.join(" "))
    }
}

/// Six significant digits.
fn short(v: f64) -> String {
    let rounded: f64 = format!("{v:.5e}").parse().unwrap_or(v);
    rounded.to_string()
}

fn reals(tensor: &Tensor) -> Result<Vec<f64>, TensorError> {
    macro_rules! widen {
        ($($elem:ident = $t:ty as $f:expr),*) => { match tensor.elem() {
            $(Elem::$elem => {
                let widen: fn($t) -> f64 = $f;
                Ok(tensor.values::<$t>()?.iter().map(|v| widen(*v)).collect())
            })*
            Elem::Bool => Ok(tensor.bools()?.map(|b| f64::from(u8::from(b))).collect()),
            elem if elem.is_small_float() => {
                Ok(tensor.unpacked()?.iter().map(|code| decode(elem, *code).into()).collect())
            }
            elem => {
                let widen = |b: &u8| if elem.is_signed() { f64::from(*b as i8) } else { f64::from(*b) };
                Ok(tensor.unpacked()?.iter().map(widen).collect())
            }
        } };
    }
    widen! {
        F32 = f32 as f64::from, F64 = f64 as |v| v, F16 = f16 as f64::from, Bf16 = bf16 as f64::from,
        I8 = i8 as f64::from, I16 = i16 as f64::from, I32 = i32 as f64::from, I64 = i64 as |v| v as f64,
        U8 = u8 as f64::from, U16 = u16 as f64::from, U32 = u32 as f64::from, U64 = u64 as |v| v as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_told_in_a_line_or_two() {
        let show = |t: &Tensor| Stats::new("y", t).unwrap().to_string();
        assert_eq!(show(&Tensor::vector(vec![1f32, 0.1])), "y: f32[2]\n  1 0.1");
        assert_eq!(show(&Tensor::vector(Vec::<i64>::new())), "y: i64[0], empty");
        let long = Tensor::vector((0..10).collect::<Vec<i32>>());
        assert_eq!(show(&long), "y: i32[10], from 0 to 9, mean 4.5\n  0 1 2 3 4 5 6 7 …");
        let odd = Tensor::vector(vec![f32::NAN, 1.0]);
        assert_eq!(show(&odd), "y: f32[2], 1 not finite\n  NaN 1");
    }
}
