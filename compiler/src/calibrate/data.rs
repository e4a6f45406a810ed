//! What a model is calibrated on: batches of its inputs, the last of which are held out.

use trine_ir::{Module, Tensor, Value};

use super::CalibrateError;
use crate::language_model::window;

/// Examples of arrays that run at once.
const BATCH: usize = 128;

/// One in so many batches is held out, and no fewer than one.
const HELD_OUT: usize = 8;

/// Batches of inputs, in the order of the model's parameters.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub batches: Vec<Vec<Tensor>>,
    /// How many batches, the last ones, nothing is fitted to.
    pub held_out: usize,
    /// The tokens of the held-out windows, if the data is text.
    pub held_out_windows: Vec<Vec<u32>>,
}

impl Data {
    /// Windows of `context` tokens of a text, `count` tokens in all and an eighth more that are held out. Which of
    /// the text's windows they are follows from `seed`; 0 takes them from its start.
    pub fn text(
        module: &Module,
        tokens: &[u32],
        context: usize,
        count: usize,
        seed: u64,
    ) -> Result<Data, CalibrateError> {
        let context = context.max(2);
        let mut windows: Vec<&[u32]> = tokens.chunks_exact(context).collect();
        if windows.len() < 2 {
            return Err(CalibrateError::TooFewTokens { tokens: tokens.len(), needed: 2 * context });
        }
        shuffle(&mut windows, seed);
        let wanted = count.div_ceil(context).max(1);
        let held_out = wanted.div_ceil(HELD_OUT).min(windows.len() / 2).max(1);
        windows.truncate(wanted.saturating_add(held_out));
        let held_out_windows = windows[windows.len() - held_out..].iter().map(|w| w.to_vec()).collect();
        let params = params(module)?;
        let ports = || params.iter().map(|(name, ty)| (name.as_str(), ty));
        let batches = windows.iter().map(|w| window(ports(), w)).collect::<Result<_, _>>()?;
        Ok(Data { batches, held_out, held_out_windows })
    }

    /// Batches of examples, which lie along the first axis of all `inputs`.
    pub fn arrays(module: &Module, inputs: &[Tensor]) -> Result<Data, CalibrateError> {
        let params = params(module)?;
        let mismatch = |message: String| CalibrateError::Inputs(message);
        if params.len() != inputs.len() {
            let message = format!("{} arrays for {} inputs", inputs.len(), params.len());
            return Err(mismatch(message));
        }
        let examples = inputs.first().and_then(|t| t.dims().first().copied()).unwrap_or(0);
        for ((name, ty), tensor) in params.iter().zip(inputs) {
            if tensor.dims().first() != Some(&examples) {
                return Err(mismatch(format!("`{name}` is {}, not of {examples} examples", tensor.ty())));
            }
            if ty.elem != tensor.elem() || ty.rank() != tensor.rank() {
                return Err(mismatch(format!("input `{name}` is {ty}, got {}", tensor.ty())));
            }
            if tensor.values::<f32>().is_ok_and(|v| v.iter().any(|v| !v.is_finite())) {
                return Err(CalibrateError::NotFinite { name: name.clone() });
            }
        }
        let fixed = params.first().and_then(|(_, ty)| ty.dims.first()?.as_const());
        // Small enough that some batches can be held out.
        let batch = fixed.unwrap_or_else(|| BATCH.min(examples / 4).max(1));
        let count = examples / batch;
        if count < 2 {
            return Err(CalibrateError::TooFewExamples { examples });
        }
        let part = |tensor: &Tensor, i: usize| {
            let mut dims = tensor.dims().to_vec();
            let size = tensor.bytes().len() / examples * batch;
            dims[0] = batch;
            Tensor::new(tensor.elem(), dims, tensor.bytes().slice(i * size..(i + 1) * size))
        };
        let batches = (0..count).map(|i| inputs.iter().map(|t| part(t, i)).collect::<Result<Vec<_>, _>>());
        let batches: Vec<Vec<Tensor>> =
            batches.collect::<Result<_, _>>().map_err(|e| mismatch(e.to_string()))?;
        let graph = &module.main().ok_or(CalibrateError::NoLayers)?.graph;
        trine_ir::eval::bind(graph, &batches[0], &trine_ir::DimEnv::default())
            .map_err(|e| mismatch(e.to_string()))?;
        let held_out = count.div_ceil(HELD_OUT).min(count - 1);
        Ok(Data { batches, held_out, held_out_windows: vec![] })
    }

    /// How many batches are fitted to, the first ones.
    pub fn calibration(&self) -> usize {
        self.batches.len() - self.held_out
    }
}

/// Fisher and Yates's shuffle, drawn by SplitMix64; the identity for seed 0.
fn shuffle<T>(items: &mut [T], seed: u64) {
    if seed == 0 {
        return;
    }
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    for i in (1..items.len()).rev() {
        items.swap(i, (next() % (i as u64 + 1)) as usize);
    }
}

fn params(module: &Module) -> Result<Vec<(String, trine_ir::Type)>, CalibrateError> {
    let graph = &module.main().ok_or(CalibrateError::NoLayers)?.graph;
    let port = |v: &Value| (graph.name(*v).to_string(), graph.ty(*v).clone());
    Ok(graph.params().iter().map(port).collect())
}
