//! Outputs against those expected: exact types and shapes, elements within ONNX's tolerance, or two units in the last
//! place of half floats: expected ones were rounded at each step, in an order of their own.

use half::{bf16, f16};
use trine_ir::small_float::decode;
use trine_ir::{Elem, Tensor};

const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-5;

/// The message says where the first difference is.
pub fn compare(actual: &[Tensor], expected: &[Tensor]) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!("{} outputs, expected {}", actual.len(), expected.len()));
    }
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        if a.ty() != e.ty() {
            return Err(format!("output {i} is {}, expected {}", a.ty(), e.ty()));
        }
        let relative = match a.elem() {
            Elem::F16 => 2.0 * f16::EPSILON.to_f64(),
            Elem::Bf16 => 2.0 * bf16::EPSILON.to_f64(),
            _ => RELATIVE,
        };
        let (a, e) = (numbers(a)?, numbers(e)?);
        if let Some(at) = a.iter().zip(&e).position(|(a, e)| !close(*a, *e, relative)) {
            return Err(format!("output {i} is {} at {at}, expected {}", a[at], e[at]));
        }
    }
    Ok(())
}

fn close(actual: f64, expected: f64, relative: f64) -> bool {
    actual == expected
        || actual.is_nan() && expected.is_nan()
        || (actual - expected).abs() <= ABSOLUTE + relative * expected.abs() && expected.is_finite()
}

fn numbers(t: &Tensor) -> Result<Vec<f64>, String> {
    macro_rules! widen {
        ($ty:ty, $f:expr) => {
            t.values::<$ty>().map(|v| v.iter().copied().map($f).collect())
        };
    }
    match t.elem() {
        Elem::F32 => widen!(f32, f64::from),
        Elem::F64 => widen!(f64, f64::from),
        Elem::F16 => widen!(f16, f16::to_f64),
        Elem::Bf16 => widen!(bf16, bf16::to_f64),
        Elem::I16 => widen!(i16, f64::from),
        Elem::I32 => widen!(i32, f64::from),
        Elem::I64 => widen!(i64, |v| v as f64),
        Elem::U16 => widen!(u16, f64::from),
        Elem::U32 => widen!(u32, f64::from),
        Elem::U64 => widen!(u64, |v| v as f64),
        Elem::Bool => t.bools().map(|v| v.map(f64::from).collect()),
        elem if elem.is_small_float() => {
            t.unpacked().map(|v| v.iter().map(|code| f64::from(decode(elem, *code))).collect())
        }
        elem if elem.is_signed() => t.unpacked().map(|v| v.iter().map(|b| f64::from(*b as i8)).collect()),
        _ => t.unpacked().map(|v| v.iter().map(|b| f64::from(*b)).collect()),
    }
    .map_err(|e| e.to_string())
}
