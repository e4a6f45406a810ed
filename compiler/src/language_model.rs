//! Language models as programs: which input is what, and what each is given for a row of tokens.
//!
//! A model is known by the names of its inputs, those that exporters use: `input_ids`, `attention_mask`,
//! `position_ids`, and `past*` for the caches that outputs `present*` become, or by what a file beside it
//! [says](Names) that they are called; and by what is asked besides, lengths and switches.

use std::borrow::Cow;
use std::collections::HashMap;

use half::{bf16, f16};
use trine_ir::tensor::cast_bytes;
use trine_ir::{Dim, Elem, Tensor, Type};
use trine_runtime::{Program, RunError, View};

use trine_ir::Fault;

/// Why a program does not generate text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecoderError {
    #[error("the model is not a decoder: {0}")]
    NotADecoder(String),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl DecoderError {
    pub fn fault(&self) -> Fault {
        match self {
            DecoderError::NotADecoder(_) | DecoderError::Run(_) => Fault::Input,
        }
    }
}

/// What an input is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Ids,
    Mask,
    /// Where what is read stands.
    Positions,
    /// How many positions there are, of the past and new ones.
    Total,
    /// The last of them.
    Last,
    /// How many came before.
    Before,
    /// Of how many positions there are to be logits, the last ones; 0 for all.
    Kept,
    /// Whether the caches hold anything.
    UsesCaches,
    /// A cache of what was read before.
    Past,
}

/// What the input of that name and type is for.
pub(crate) fn role(name: &str, ty: &Type) -> Result<Role, DecoderError> {
    match name {
        "input_ids" => Ok(Role::Ids),
        "attention_mask" => Ok(Role::Mask),
        "position_ids" | "cache_position" => Ok(Role::Positions),
        "total_sequence_length" | "total_seq_len" | "nonpad_kv_seqlen" => Ok(Role::Total),
        "seqlens_k" | "past_seq_len" => Ok(Role::Last),
        "past_sequence_length" | "write_indices" => Ok(Role::Before),
        "num_logits_to_keep" | "logits_to_keep" => Ok(Role::Kept),
        "use_cache_branch" => Ok(Role::UsesCaches),
        _ if ty.rank() > 2 && ty.elem.is_float() && CACHES.iter().any(|start| name.starts_with(start)) => {
            Ok(Role::Past)
        }
        _ => Err(refuse(format!("its input `{}` is none that decoders have", name.escape_debug()))),
    }
}

const PAST: &str = "past";

/// What names of caches begin with; the latter are written where `write_indices` says.
const CACHES: [&str; 3] = [PAST, "key_cache.", "value_cache."];

/// What the output may be called that a cache becomes.
pub(crate) fn present_names(input: &str) -> impl Iterator<Item = String> {
    let rest = ["past_key_values.", "past."].iter().find_map(|prefix| input.strip_prefix(prefix));
    let dotted = ["present.", "present_key_values."].map(|prefix| rest.map(|rest| format!("{prefix}{rest}")));
    let plain = input.strip_prefix(PAST).map(|rest| format!("present{rest}"));
    dotted.into_iter().chain([plain, Some(format!("updated_{input}"))]).flatten()
}

/// What an input is given that is not a cache, to read `tokens` of which the first `before` are in the caches.
pub(crate) fn given(role: Role, ty: &Type, tokens: &[u32], before: usize) -> Result<Tensor, DecoderError> {
    let total = tokens.len() as i64;
    let values = match role {
        Role::Ids => tokens[before..].iter().map(|t| i64::from(*t)).collect(),
        Role::Mask => {
            let mut mask = vec![1; tokens.len()];
            // Where caches have a length, so has the mask.
            let all = ty.back(0).and_then(Dim::as_const).unwrap_or(mask.len());
            mask.resize(all.max(mask.len()), 0);
            mask
        }
        Role::Positions => (before as i64..total).collect(),
        Role::Total => vec![total],
        Role::Last => vec![total - 1],
        Role::Before => vec![before as i64],
        Role::Kept => vec![0],
        Role::UsesCaches => vec![i64::from(before > 0)],
        Role::Past => return empty_cache(ty),
    };
    row(ty, values)
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
    /// The lengths of a decoder. Programs that are not decoders are refused.
    pub fn new(program: &Program) -> Result<Lengths, DecoderError> {
        let (mut new, mut past, mut mask) = (None, None, None);
        for port in &program.inputs {
            let dim = |axis: usize| port.ty.dims.get(axis).cloned();
            match role(&port.name, &port.ty)? {
                Role::Ids => new = dim(1),
                Role::Past => past = dim(CACHE_AXIS),
                Role::Mask => mask = dim(1),
                _ => {}
            }
        }
        Ok(Lengths { new: new.ok_or_else(|| refuse("it has no input `input_ids`"))?, past, mask })
    }
}

/// Positions of a cache `[batch, heads, positions, size]`.
const CACHE_AXIS: usize = 2;

/// Bytes of the largest cache of a fixed length that is made.
const MAX_CACHE: usize = 1 << 32;

/// The inputs for one row of tokens that nothing came before.
pub(crate) fn window<'a>(
    inputs: impl IntoIterator<Item = (&'a str, &'a Type)>,
    tokens: &[u32],
) -> Result<Vec<Tensor>, DecoderError> {
    let mut reads_tokens = false;
    let given = inputs.into_iter().map(|(name, ty)| {
        let role = role(name, ty)?;
        reads_tokens |= role == Role::Ids;
        given(role, ty, tokens, 0)
    });
    let given = given.collect::<Result<_, _>>()?;
    if reads_tokens { Ok(given) } else { Err(refuse("it has no input `input_ids`")) }
}

/// What inputs and outputs are called here, by what a model calls them. Others keep their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// What `genai_config.json` says, which onnxruntime-genai puts beside models: the names of inputs and outputs by what
    /// they are for, with `%d` for the number of a layer.
    pub fn of_genai_config(text: &str) -> Result<Names, DecoderError> {
        let fail = |what: &str| refuse(format!("its `genai_config.json` {what}"));
        let config: serde_json::Value =
            serde_json::from_str(text).map_err(|e| fail(&format!("is not JSON: {e}")))?;
        let decoder = &config["model"]["decoder"];
        let layers = decoder["num_hidden_layers"].as_u64().unwrap_or(0).min(MAX_LAYERS);
        let caches = [
            ("inputs", "past_key_names", "past_key_values.%d.key"),
            ("inputs", "past_value_names", "past_key_values.%d.value"),
            ("outputs", "present_key_names", "present.%d.key"),
            ("outputs", "present_value_names", "present.%d.value"),
        ];
        let mut names = HashMap::new();
        for (side, key, ours) in caches {
            let Some(theirs) = decoder[side][key].as_str() else { continue };
            let numbered = |pattern: &str, i: u64| pattern.replace("%d", &i.to_string());
            names.extend((0..layers).map(|i| (numbered(theirs, i), numbered(ours, i))));
        }
        for side in ["inputs", "outputs"] {
            let given = decoder[side].as_object().into_iter().flatten();
            let plain = given.filter(|(key, _)| !caches.iter().any(|(_, cache, _)| cache == key));
            names.extend(plain.filter_map(|(key, name)| Some((name.as_str()?.to_string(), key.clone()))));
        }
        Ok(Names(names))
    }

    /// What the input or output is called here.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

/// Layers whose names are made.
const MAX_LAYERS: u64 = 4096;

/// The output that holds logits `[batch, seq, vocabulary]`.
pub(crate) fn logits_output(program: &Program) -> Result<usize, DecoderError> {
    logits(program.outputs.iter().map(|p| (p.name.as_str(), &p.ty)))
}

/// Which of the outputs of a model, names and types, holds logits `[batch, seq, vocabulary]`.
pub(crate) fn logits<'a>(outputs: impl Iterator<Item = (&'a str, &'a Type)>) -> Result<usize, DecoderError> {
    let outputs: Vec<_> = outputs.collect();
    let is_logits = |(_, ty): &(&str, &Type)| ty.rank() == 3 && ty.elem.is_float();
    let named = outputs.iter().position(|(name, _)| *name == "logits");
    named
        .or_else(|| outputs.iter().position(is_logits))
        .filter(|i| is_logits(&outputs[*i]))
        .ok_or_else(|| refuse("it has no output of logits `[batch, seq, vocabulary]`"))
}

/// One row of integers as an input of type `ty` wants them.
pub(crate) fn row(ty: &Type, values: Vec<i64>) -> Result<Tensor, DecoderError> {
    let dims = match ty.rank() {
        0 if values.len() == 1 => vec![],
        1 => vec![values.len()],
        _ => vec![1, values.len()],
    };
    let tensor = match ty.elem {
        Elem::I64 => Tensor::from_vec(dims, values),
        Elem::I32 => Tensor::from_vec(dims, values.iter().map(|v| *v as i32).collect()),
        Elem::F32 => Tensor::from_vec(dims, values.iter().map(|v| *v as f32).collect()),
        Elem::Bool => Tensor::from_bools(dims, values.iter().map(|v| *v != 0)),
        elem => return Err(refuse(format!("an input of tokens or positions is {elem}"))),
    };
    tensor.map_err(|e| refuse(e.to_string()))
}

/// A cache of no positions: one sequence, and nothing along the other axes that are not fixed. One of a fixed length is
/// zeros.
pub(crate) fn empty_cache(ty: &Type) -> Result<Tensor, DecoderError> {
    let fail = |e: &dyn std::fmt::Display| refuse(format!("a cache of type {ty}: {e}"));
    let dims: Vec<usize> =
        ty.dims.iter().enumerate().map(|(axis, d)| d.as_const().unwrap_or(usize::from(axis == 0))).collect();
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = count.and_then(|n| ty.elem.bytes(n)).filter(|bytes| *bytes <= MAX_CACHE);
    let bytes = bytes.ok_or_else(|| fail(&"it is too large"))?;
    Tensor::new(ty.elem, dims, vec![0; bytes].into()).map_err(|e| fail(&e))
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

pub(crate) fn refuse(reason: impl Into<String>) -> DecoderError {
    DecoderError::NotADecoder(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(elem: Elem, dims: &[&str]) -> Type {
        Type::new(elem, dims.iter().map(|d| Dim::parse(d).unwrap()))
    }

    #[test]
    fn inputs_are_given_what_their_names_ask_for() {
        let tokens = [7, 8, 9, 10, 11];
        let given = |name: &str, ty: &Type| {
            let tensor = given(role(name, ty).unwrap(), ty, &tokens, 3).unwrap();
            (tensor.dims().to_vec(), tensor.values::<i64>().unwrap().to_vec())
        };
        let row = ty(Elem::I64, &["b", "s"]);
        assert_eq!(given("input_ids", &row), (vec![1, 2], vec![10, 11]));
        assert_eq!(given("attention_mask", &row), (vec![1, 5], vec![1; 5]));
        assert_eq!(
            given("attention_mask", &ty(Elem::I64, &["b", "7"])),
            (vec![1, 7], vec![1, 1, 1, 1, 1, 0, 0])
        );
        assert_eq!(given("cache_position", &ty(Elem::I64, &["s"])), (vec![2], vec![3, 4]));
        assert_eq!(given("total_sequence_length", &ty(Elem::I64, &[])), (vec![], vec![5]));
        assert_eq!(given("seqlens_k", &ty(Elem::I64, &["b"])), (vec![1], vec![4]));
        assert_eq!(given("past_sequence_length", &ty(Elem::I64, &["1"])), (vec![1], vec![3]));
        let switch = ty(Elem::Bool, &["1"]);
        let used =
            |before| super::given(Role::UsesCaches, &switch, &tokens, before).unwrap().bytes().to_vec();
        assert_eq!((used(0), used(3)), (vec![0], vec![1]));
        let cache = ty(Elem::F16, &["b", "2", "past", "8"]);
        assert_eq!(
            super::given(role("past_key_self_0", &cache).unwrap(), &cache, &tokens, 0).unwrap().dims(),
            [1, 2, 0, 8]
        );
        assert_eq!(given("write_indices", &ty(Elem::I64, &["b"])), (vec![1], vec![3]));
        assert_eq!(given("nonpad_kv_seqlen", &ty(Elem::I64, &["b"])), (vec![1], vec![5]));
        let written = ty(Elem::F32, &["b", "256", "64"]);
        let cache_of =
            |name: &str| super::given(role(name, &written).unwrap(), &written, &tokens, 3).unwrap();
        assert_eq!(cache_of("value_cache.1").dims(), [1, 256, 64]);
        let fixed = ty(Elem::F32, &["1", "2", "16", "8"]);
        assert_eq!(empty_cache(&fixed).unwrap().bytes().len(), 4 * 2 * 16 * 8);
        assert!(role("pixel_values", &cache).is_err() && role("past", &row).is_err());
    }

    #[test]
    fn caches_feed_what_is_called_like_them() {
        let feeds = |name: &str, output: &str| present_names(name).any(|name| name == output);
        assert!(feeds("past_key_values.3.key", "present.3.key"));
        assert!(feeds("past_key_values.3.key", "present_key_values.3.key"));
        assert!(feeds("past.3.value", "present.3.value"));
        assert!(feeds("past_key.3", "present_key.3") && feeds("past_key_self_3", "present_key_self_3"));
        assert!(feeds("key_cache.3", "updated_key_cache.3"));
        assert!(!feeds("past_key.3", "present_value.3"));
    }

    #[test]
    fn a_config_beside_a_model_names_its_inputs() {
        let config = r#"{"model": {"decoder": {"num_hidden_layers": 2, "head_size": 64,
            "inputs": {"input_ids": "tokens", "past_key_names": "k_in_%d", "past_value_names": "v_in_%d"},
            "outputs": {"logits": "scores", "present_key_names": "k_out_%d", "present_value_names": "v_out_%d"}}}}"#;
        let names = Names::of_genai_config(config).unwrap();
        assert_eq!(
            ["tokens", "scores", "k_in_1", "v_out_0", "other"].map(|name| names.of(name)),
            ["input_ids", "logits", "past_key_values.1.key", "present.0.value", "other"]
        );
        assert!(Names::of_genai_config("{").is_err());
        assert_eq!(Names::of_genai_config("{}").unwrap(), Names::default());
    }
}
