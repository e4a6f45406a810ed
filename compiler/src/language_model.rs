//! Language models as programs: which input is what, and what each is given for a row of tokens.
//!
//! A model is known by the names of its inputs, those that exporters use: `input_ids`, `attention_mask`,
//! `position_ids`, and `past_key_values.*` for the caches that outputs `present*` become.

use std::borrow::Cow;

use half::{bf16, f16};
use trine_ir::tensor::cast_bytes;
use trine_ir::{Dim, Elem, Tensor, Type};
use trine_runtime::{Program, View};

use crate::error::Error;

/// What an input is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Ids,
    Mask,
    Positions,
    /// A cache of what was read before.
    Past,
}

/// The prefixes of inputs that are caches.
const PAST: [&str; 2] = ["past_key_values.", "past."];

/// What the input of that name is for.
pub(crate) fn role(name: &str) -> Result<Role, Error> {
    match name {
        "input_ids" => Ok(Role::Ids),
        "attention_mask" => Ok(Role::Mask),
        "position_ids" => Ok(Role::Positions),
        _ if cache_name(name).is_some() => Ok(Role::Past),
        _ => Err(refuse(format!("its input `{}` is none that decoders have", name.escape_debug()))),
    }
}

/// What a cache's name says behind its prefix.
pub(crate) fn cache_name(input: &str) -> Option<&str> {
    PAST.iter().find_map(|prefix| input.strip_prefix(prefix))
}

/// The dimensions in which runs of a decoder differ, whatever the model calls them.
#[derive(Clone, PartialEq, Debug)]
pub struct Lengths {
    /// Tokens that are read.
    pub new: Dim,
    /// Positions in the caches.
    pub past: Option<Dim>,
    /// What the mask covers: the positions of both.
    pub mask: Option<Dim>,
}

impl Lengths {
    /// The lengths of a decoder. Programs that are no decoders are refused.
    pub fn new(program: &Program) -> Result<Lengths, Error> {
        let (mut new, mut past, mut mask) = (None, None, None);
        for port in &program.inputs {
            let dim = |axis: usize| port.ty.dims.get(axis).cloned();
            match role(&port.name)? {
                Role::Ids => new = dim(1),
                Role::Past => past = dim(CACHE_AXIS),
                Role::Mask => mask = dim(1),
                Role::Positions => {}
            }
        }
        Ok(Lengths { new: new.ok_or_else(|| refuse("it has no input `input_ids`"))?, past, mask })
    }
}

/// Positions of a cache `[batch, heads, positions, size]`.
const CACHE_AXIS: usize = 2;

/// The inputs for one row of tokens that nothing came before.
pub(crate) fn window<'a>(
    inputs: impl IntoIterator<Item = (&'a str, &'a Type)>,
    tokens: &[u32],
) -> Result<Vec<Tensor>, Error> {
    let mut reads_tokens = false;
    let given = inputs.into_iter().map(|(name, ty)| match role(name)? {
        Role::Ids => {
            reads_tokens = true;
            row(ty, tokens.iter().map(|t| i64::from(*t)).collect())
        }
        Role::Mask => row(ty, vec![1; tokens.len()]),
        Role::Positions => row(ty, (0..tokens.len() as i64).collect()),
        Role::Past => empty_cache(ty),
    });
    let given = given.collect::<Result<_, _>>()?;
    if reads_tokens { Ok(given) } else { Err(refuse("it has no input `input_ids`")) }
}

/// The output that holds logits `[batch, seq, vocabulary]`.
pub(crate) fn logits_output(program: &Program) -> Result<usize, Error> {
    logits(program.outputs.iter().map(|p| (p.name.as_str(), &p.ty)))
}

/// Which of the outputs of a model, names and types, holds logits `[batch, seq, vocabulary]`.
pub(crate) fn logits<'a>(outputs: impl Iterator<Item = (&'a str, &'a Type)>) -> Result<usize, Error> {
    let outputs: Vec<_> = outputs.collect();
    let is_logits = |(_, ty): &(&str, &Type)| ty.rank() == 3 && ty.elem.is_float();
    let named = outputs.iter().position(|(name, _)| *name == "logits");
    named
        .or_else(|| outputs.iter().position(is_logits))
        .filter(|i| is_logits(&outputs[*i]))
        .ok_or_else(|| refuse("it has no output of logits `[batch, seq, vocabulary]`"))
}

/// One row of integers as an input of type `ty` wants them.
pub(crate) fn row(ty: &Type, values: Vec<i64>) -> Result<Tensor, Error> {
    let dims = vec![1, values.len()];
    let tensor = match ty.elem {
        Elem::I64 => Tensor::from_vec(dims, values),
        Elem::I32 => Tensor::from_vec(dims, values.iter().map(|v| *v as i32).collect()),
        Elem::F32 => Tensor::from_vec(dims, values.iter().map(|v| *v as f32).collect()),
        Elem::Bool => Tensor::from_bools(dims, values.iter().map(|v| *v != 0)),
        elem => return Err(refuse(format!("an input of tokens or positions is {elem}"))),
    };
    tensor.map_err(|e| refuse(e.to_string()))
}

/// A cache of no positions: one sequence, and nothing along the other axes that are not fixed.
pub(crate) fn empty_cache(ty: &Type) -> Result<Tensor, Error> {
    let dims =
        ty.dims.iter().enumerate().map(|(axis, d)| d.as_const().unwrap_or(usize::from(axis == 0))).collect();
    Tensor::new(ty.elem, dims, bytes::Bytes::new()).map_err(|e| refuse(format!("a cache of type {ty}: {e}")))
}

/// The numbers of a float output; `None` for other elements.
pub(crate) fn floats<'a>(view: View<'a>) -> Option<Cow<'a, [f32]>> {
    Some(match view.elem {
        Elem::F32 => cast_bytes::<f32>(view.data),
        Elem::F64 => cast_bytes::<f64>(view.data).iter().map(|v| *v as f32).collect(),
        Elem::F16 => cast_bytes::<f16>(view.data).iter().map(|v| v.to_f32()).collect(),
        Elem::Bf16 => cast_bytes::<bf16>(view.data).iter().map(|v| v.to_f32()).collect(),
        _ => return None,
    })
}

pub(crate) fn refuse(reason: impl Into<String>) -> Error {
    Error::NotADecoder(reason.into())
}
