//! What tensors of random models hold: numbers of a range, weights of few values, and now and then what is special.

use half::{bf16, f16};
use trine_ir::{Elem, Tensor};

use super::choices::Choices;

/// What the elements are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// About -2 to 2, a few of them whole.
    Reals,
    /// Above 0 and below 4.
    Positive,
    /// As `Reals`, with NaN, infinities, zeros of both signs, denormals and ties of rounding.
    Special,
    /// Whole numbers of a range, both ends included.
    Whole(i64, i64),
    /// -1, 0 and 1 times a scale.
    Ternary(f32),
    /// Everything the same.
    All(f64),
}

const SPECIAL: [f64; 16] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.0,
    -0.0,
    1e-40,
    -1e-40,
    0.5,
    1.5,
    2.5,
    -0.5,
    -2.5,
    1e30,
    -1e30,
    1e-38,
    65504.0,
];

/// A tensor of `elem`, whose elements are rounded to it.
pub fn tensor(elem: Elem, dims: &[usize], draw: Draw, seed: u64) -> Tensor {
    let mut random = Choices::of_seed(seed);
    let count = dims.iter().product();
    let values: Vec<f64> = (0..count).map(|_| value(draw, &mut random)).collect();
    of_values(elem, dims, &values)
}

fn value(draw: Draw, random: &mut Choices) -> f64 {
    let unit = |random: &mut Choices| random.number() as f64 / u64::MAX as f64;
    match draw {
        Draw::Reals if random.chance(10) => random.between(-3, 3) as f64 / 2.0,
        Draw::Reals => (unit(random) + unit(random) + unit(random) - 1.5) * 1.4,
        Draw::Positive => 0.03125 + 3.9 * unit(random),
        Draw::Special if random.chance(30) => random.pick(&SPECIAL),
        Draw::Special => (unit(random) - 0.5) * 4.0,
        Draw::Whole(low, high) => random.between(low, high) as f64,
        Draw::Ternary(scale) => random.between(-1, 1) as f64 * f64::from(scale),
        Draw::All(value) => value,
    }
}

/// A tensor of `elem` that holds `values`, which integers cut off at their ends.
pub fn of_values(elem: Elem, dims: &[usize], values: &[f64]) -> Tensor {
    fn all<T>(values: &[f64], f: impl Fn(f64) -> T) -> Vec<T> {
        values.iter().map(|v| f(*v)).collect()
    }
    let dims = dims.to_vec();
    // The casts saturate, and make 0 of what is not a number.
    let tensor = match elem {
        Elem::F32 => Tensor::from_vec(dims, all(values, |v| v as f32)),
        Elem::F64 => Tensor::from_vec(dims, values.to_vec()),
        Elem::F16 => Tensor::from_vec(dims, all(values, f16::from_f64)),
        Elem::Bf16 => Tensor::from_vec(dims, all(values, bf16::from_f64)),
        Elem::I8 => Tensor::from_vec(dims, all(values, |v| v as i8)),
        Elem::I16 => Tensor::from_vec(dims, all(values, |v| v as i16)),
        Elem::I32 => Tensor::from_vec(dims, all(values, |v| v as i32)),
        Elem::I64 => Tensor::from_vec(dims, all(values, |v| v as i64)),
        Elem::U8 => Tensor::from_vec(dims, all(values, |v| v as u8)),
        Elem::U16 => Tensor::from_vec(dims, all(values, |v| v as u16)),
        Elem::U32 => Tensor::from_vec(dims, all(values, |v| v as u32)),
        Elem::U64 => Tensor::from_vec(dims, all(values, |v| v as u64)),
        Elem::Bool => Tensor::from_bools(dims, values.iter().map(|v| *v > 0.0)),
        _ if elem.is_signed() => Tensor::pack(elem, dims, &all(values, |v| v as i8 as u8)),
        _ => Tensor::pack(elem, dims, &all(values, |v| v as u8)),
    };
    tensor.expect("as many values as the dimensions say")
}

/// The elements as numbers, for comparison and for print.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    fn all<T: trine_ir::Element>(tensor: &Tensor, f: impl Fn(T) -> f64) -> Vec<f64> {
        tensor.values::<T>().expect("of this type").iter().map(|v| f(*v)).collect()
    }
    match tensor.elem() {
        Elem::F32 => all(tensor, |v: f32| v.into()),
        Elem::F64 => all(tensor, |v: f64| v),
        Elem::F16 => all(tensor, |v: f16| v.into()),
        Elem::Bf16 => all(tensor, |v: bf16| v.into()),
        Elem::I16 => all(tensor, |v: i16| v.into()),
        Elem::I32 => all(tensor, |v: i32| v.into()),
        Elem::I64 => all(tensor, |v: i64| v as f64),
        Elem::U16 => all(tensor, |v: u16| v.into()),
        Elem::U32 => all(tensor, |v: u32| v.into()),
        Elem::U64 => all(tensor, |v: u64| v as f64),
        Elem::Bool => tensor.bools().expect("of bools").map(|b| f64::from(u8::from(b))).collect(),
        elem => {
            let bytes = tensor.unpacked().expect("of bytes");
            bytes.iter().map(|b| if elem.is_signed() { f64::from(*b as i8) } else { f64::from(*b) }).collect()
        }
    }
}
