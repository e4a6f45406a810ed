//! Tensors and differences as text.

use half::{bf16, f16};
use trine_ir::{Elem, Tensor, TensorError};

/// Type and all elements.
pub fn tensor(t: &Tensor) -> String {
    match elements(t) {
        Ok(elements) => format!("{} = [{}]", t.ty(), elements.join(",")),
        Err(error) => format!("{} ({error})", t.ty()),
    }
}

fn elements(t: &Tensor) -> Result<Vec<String>, TensorError> {
    fn all<T: std::fmt::Debug>(values: &[T]) -> Vec<String> {
        values.iter().map(|v| format!("{v:?}")).collect()
    }
    Ok(match t.elem() {
        Elem::F32 => all(&t.values::<f32>()?),
        Elem::F64 => all(&t.values::<f64>()?),
        Elem::F16 => all(&t.values::<f16>()?),
        Elem::Bf16 => all(&t.values::<bf16>()?),
        Elem::I64 => all(&t.values::<i64>()?),
        Elem::I32 => all(&t.values::<i32>()?),
        Elem::I16 => all(&t.values::<i16>()?),
        Elem::U64 => all(&t.values::<u64>()?),
        Elem::U32 => all(&t.values::<u32>()?),
        Elem::U16 => all(&t.values::<u16>()?),
        Elem::Bool => all(&t.bools()?.collect::<Vec<_>>()),
        elem if elem.is_signed() => t.unpacked()?.iter().map(|b| (*b as i8).to_string()).collect(),
        _ => all(&t.unpacked()?),
    })
}

/// The lines of both texts, with `-` and `+` where they part.
pub fn diff(expected: &str, got: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    // Longest common subsequences of every pair of tails.
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        let (sign, line) = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x == y => (' ', x),
            (Some(x), Some(_)) if common[i + 1][j] >= common[i][j + 1] => ('-', x),
            (Some(x), None) => ('-', x),
            (_, Some(y)) => ('+', y),
            (None, None) => break,
        };
        i += usize::from(sign != '+');
        j += usize::from(sign != '-');
        out += &format!("{sign} {line}\n");
    }
    out
}
