//! Made-up inputs: of the right types and sizes, and of values that models accept.

use std::collections::BTreeMap;
use std::fmt;

use half::{bf16, f16};
use serde_json::json;
use trine::generate::Lengths;
use trine::{Program, Tensor};
use trine_ir::{Dim, DimEnv, Elem, TensorError};

use crate::args::suggest;
use crate::failure::Failure;

/// Sizes of the symbolic dimensions of a program's inputs.
pub struct Dims(BTreeMap<String, usize>);

impl Dims {
    /// What is given, and defaults for the rest: 1, but decoders read `prompt` tokens with empty caches.
    pub fn new(
        program: &Program,
        given: &[(String, usize)],
        lengths: Option<&Lengths>,
        prompt: usize,
    ) -> Result<Dims, Failure> {
        let ports = program.inputs.iter().flat_map(|p| p.ty.dims.iter().flat_map(Dim::symbols));
        let mut dims: BTreeMap<String, usize> = ports.map(|s| (s.to_string(), 1)).collect();
        for (name, size) in &mut dims {
            match lengths {
                Some(lengths) if is(&lengths.new, name) => *size = prompt,
                Some(lengths) if lengths.past.as_ref().is_some_and(|past| is(past, name)) => *size = 0,
                None if name.starts_with("past") => *size = 0,
                _ => {}
            }
        }
        for (name, size) in given {
            let names: Vec<_> = dims.keys().map(String::as_str).collect();
            if !names.contains(&name.as_str()) {
                let message = format!("no input has a dimension `{}`", name.escape_debug());
                let known = match names.is_empty() {
                    true => "all dimensions of the inputs are fixed".into(),
                    false => format!("there are {}", names.join(", ")),
                };
                let near = suggest(name, &names).map_or(String::new(), |n| format!("did you mean `{n}`? "));
                return Err(Failure::usage(message, format!("{near}{known}")));
            }
            dims.insert(name.clone(), *size);
        }
        let mut dims = Dims(dims);
        if let Some(lengths) = lengths {
            dims.cover(lengths, given);
        }
        Ok(dims)
    }

    /// Makes the mask as long as what it covers, where its length has a name of its own.
    fn cover(&mut self, lengths: &Lengths, given: &[(String, usize)]) {
        let past = lengths.past.as_ref().map_or(0, |past| self.get(past));
        let total = past.saturating_add(self.get(&lengths.new));
        let of_its_own = |name: &&String| {
            let differs =
                !is(&lengths.new, name) && !lengths.past.as_ref().is_some_and(|past| is(past, name));
            let free = given.iter().all(|(given, _)| given != *name);
            differs && free && lengths.mask.as_ref().is_some_and(|mask| is(mask, name))
        };
        if let Some(name) = self.0.keys().find(of_its_own).cloned() {
            self.0.insert(name, total);
        }
    }

    /// The size of a dimension; 1 if it is none of these, nor constant.
    pub fn get(&self, dim: &Dim) -> usize {
        let named = || self.0.iter().find(|(name, _)| is(dim, name)).map(|(_, size)| *size);
        dim.as_const().or_else(named).unwrap_or(1)
    }

    pub fn json(&self) -> serde_json::Value {
        json!(self.0)
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|(name, size)| write!(f, ", {}={size}", name.escape_debug()))
    }
}

/// Whether the dimension is the symbol called so.
fn is(dim: &Dim, name: &str) -> bool {
    *dim == Dim::symbol(name)
}

/// Inputs for a run, in order.
pub fn inputs(program: &Program, dims: &Dims) -> Result<Vec<Tensor>, Failure> {
    let mut env = DimEnv::default();
    for (name, size) in &dims.0 {
        // Fresh symbols: there is nothing to contradict.
        let bound = env.unify(&Dim::symbol(name.as_str()), *size);
        debug_assert_eq!(bound, Ok(true));
    }
    let vocabulary = vocabulary(program);
    let mut inputs = vec![];
    for (seed, port) in program.inputs.iter().enumerate() {
        let bad =
            |message: String| Failure::usage(format!("input `{}`: {message}", port.name.escape_debug()), "");
        let shape =
            port.ty.eval_dims(&env).map_err(|d| bad(format!("`{d}` is not a size with these dimensions")))?;
        let tensor = fill(&port.name, port.ty.elem, shape, vocabulary, seed as u64);
        inputs.push(tensor.map_err(|e| bad(e.to_string()))?);
    }
    Ok(inputs)
}

/// Token ids that the model knows.
pub fn tokens(program: &Program, count: usize) -> Vec<u32> {
    let vocabulary = vocabulary(program);
    let mut random = Random(0);
    (0..count).map(|_| (random.next() % vocabulary) as u32).collect()
}

/// How many tokens a decoder knows; 1 for other models, so that all indices are 0.
fn vocabulary(program: &Program) -> u64 {
    let logits = program.output("logits").and_then(|i| program.outputs[i].ty.back(0)?.as_const());
    logits.map_or(1, |n| n.max(1) as u64)
}

fn fill(name: &str, elem: Elem, dims: Vec<usize>, vocabulary: u64, seed: u64) -> Result<Tensor, TensorError> {
    let count = trine_ir::tensor::result_count(elem, &dims)?;
    let last = dims.last().copied().unwrap_or(1).max(1);
    let mut random = Random(seed);
    let mut real = || random.next() as f64 / (1u64 << 63) as f64 - 1.0;
    match elem {
        Elem::F32 => return Tensor::from_vec(dims, (0..count).map(|_| real() as f32).collect()),
        Elem::F64 => return Tensor::from_vec(dims, (0..count).map(|_| real()).collect()),
        Elem::F16 => return Tensor::from_vec(dims, (0..count).map(|_| f16::from_f64(real())).collect()),
        Elem::Bf16 => return Tensor::from_vec(dims, (0..count).map(|_| bf16::from_f64(real())).collect()),
        Elem::Bool => return Tensor::from_bools(dims, (0..count).map(|_| true)),
        _ => {}
    }
    let value = |i: usize| match name {
        "input_ids" => (Random(seed + i as u64).next() % vocabulary) as i64,
        "position_ids" => (i % last) as i64,
        name if name.contains("mask") => 1,
        _ => 0,
    };
    let values = (0..count).map(value);
    match elem {
        Elem::I64 => Tensor::from_vec(dims, values.collect()),
        Elem::I32 => Tensor::from_vec(dims, values.map(|v| v as i32).collect()),
        // Small integers hold no token ids.
        elem => {
            let bytes = elem.bytes(count).unwrap_or(0);
            Tensor::new(elem, dims, vec![0; bytes].into())
        }
    }
}

/// SplitMix64 (Steele et al. 2014): good enough to make inputs up, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_what_is_read_and_what_was() {
        let dim = |name: &str| Dim::symbol(name);
        let lengths = Lengths { new: dim("s"), past: Some(dim("p")), mask: Some(dim("past_s___s")) };
        let sizes = |names: &[(&str, usize)]| names.iter().map(|(n, size)| (n.to_string(), *size)).collect();
        let mut dims = Dims(sizes(&[("s", 5), ("p", 3), ("past_s___s", 1)]));
        dims.cover(&lengths, &[]);
        assert_eq!(dims.get(&dim("past_s___s")), 8);
        dims.cover(&Lengths { mask: Some(dim("s")), ..lengths.clone() }, &[]);
        assert_eq!(dims.get(&dim("s")), 5);
        let mut dims = Dims(sizes(&[("s", 5), ("p", 3), ("past_s___s", 9)]));
        dims.cover(&lengths, &[("past_s___s".into(), 9)]);
        assert_eq!(dims.get(&dim("past_s___s")), 9);
    }

    #[test]
    fn values_are_those_that_models_accept() {
        let ids = fill("input_ids", Elem::I64, vec![1, 50], 10, 0).unwrap();
        let ids = ids.values::<i64>().unwrap();
        assert!(ids.iter().all(|t| (0..10).contains(t)) && ids.iter().any(|t| *t != ids[0]));
        let positions = fill("position_ids", Elem::I64, vec![2, 3], 1, 0).unwrap();
        assert_eq!(&*positions.values::<i64>().unwrap(), &[0, 1, 2, 0, 1, 2]);
        let mask = fill("attention_mask", Elem::I32, vec![1, 2], 1, 0).unwrap();
        assert_eq!(&*mask.values::<i32>().unwrap(), &[1, 1]);
        let reals = fill("x", Elem::F32, vec![1000], 1, 3).unwrap();
        let reals = reals.values::<f32>().unwrap();
        assert!(reals.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!(reals.iter().sum::<f32>().abs() < 100.0);
        assert!(fill("x", Elem::F32, vec![usize::MAX, 2], 1, 0).is_err());
    }
}
