//! Data for constants that are too large to stand in the text: always the same for the same name.
//!
//! `// fill @w: gaussian` (the default for floats), `// fill @w: ternary SCALE [GROUP]`, which draws
//! {-SCALE, 0, SCALE} and doubles the scale from group to group of a row, or `// fill @w: range` for 0, 1, 2, ….

use half::{bf16, f16};
use trine_ir::{Elem, Tensor, Type};

/// The constant `name` of type `ty`; `None` if no such data can be made.
pub fn fill(rules: &[&str], name: &str, ty: &Type) -> Option<Tensor> {
    let dims = ty.static_dims()?;
    let count: usize = dims.iter().product();
    let rule = rules.iter().find_map(|r| r.strip_prefix('@')?.strip_prefix(name)?.strip_prefix(':'));
    let words: Vec<_> = rule.unwrap_or("gaussian").split_whitespace().collect();
    let mut random = Random::new(name);
    let last = *dims.last()?;
    let values: Vec<f64> = match words.as_slice() {
        ["gaussian"] => (0..count).map(|_| random.gaussian()).collect(),
        ["range"] => (0..count).map(|i| i as f64).collect(),
        ["ternary", scale, rest @ ..] => {
            let scale: f64 = scale.parse().ok()?;
            let group = rest.first().map_or(Some(usize::MAX), |g| g.parse().ok())?;
            let at = |i: usize| scale * f64::from(1 << (i % last / group));
            (0..count).map(|i| (random.below(3) as f64 - 1.0) * at(i)).collect()
        }
        _ => return None,
    };
    tensor(ty.elem, dims, &values)
}

/// A tensor of these numbers, rounded to the element type; integers are kept small.
pub fn tensor(elem: Elem, dims: Vec<usize>, values: &[f64]) -> Option<Tensor> {
    let ints = || values.iter().map(|v| v.round() as i64);
    match elem {
        Elem::F32 => Tensor::from_vec(dims, values.iter().map(|v| *v as f32).collect()),
        Elem::F64 => Tensor::from_vec(dims, values.to_vec()),
        Elem::F16 => Tensor::from_vec(dims, values.iter().map(|v| f16::from_f64(*v)).collect()),
        Elem::Bf16 => Tensor::from_vec(dims, values.iter().map(|v| bf16::from_f64(*v)).collect()),
        Elem::I64 => Tensor::from_vec(dims, ints().collect()),
        Elem::I32 => Tensor::from_vec(dims, ints().map(|v| v as i32).collect()),
        Elem::Bool => Tensor::from_bools(dims, values.iter().map(|v| *v > 0.0)),
        Elem::Trit => Tensor::pack(elem, dims, &ints().map(|v| v.clamp(-1, 1) as u8).collect::<Vec<_>>()),
        _ if elem.bits() <= 8 => Tensor::pack(elem, dims, &ints().map(|v| v as u8).collect::<Vec<_>>()),
        _ => return None,
    }
    .ok()
}

/// Numbers that depend on a name alone.
pub struct Random(u64);

impl Random {
    pub fn new(name: &str) -> Random {
        Random(name.bytes().fold(0xcbf29ce484222325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100000001b3)))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }

    pub fn gaussian(&mut self) -> f64 {
        let mut uniform = || (self.below(1 << 30) as f64 + 0.5) / f64::from(1 << 30);
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }
}
