//! What is remembered of the inputs of layers while batches stream past.

use std::borrow::Cow;

use trine_ir::{Tensor, Value};

use trine_ternarize::{Refusal, Statistics};

use super::layers::Stage;
use super::stream::Stream;
use super::{CalibrateError, Data, refused};

/// What is remembered of the input of a stage.
pub struct Moments {
    pub calibration: Statistics,
    /// Of batches that nothing is fitted to.
    pub held_out: Statistics,
}

impl Moments {
    pub fn new(k: usize, paired: bool) -> Moments {
        let calibration = if paired { Statistics::paired(k) } else { Statistics::new(k) };
        Moments { calibration, held_out: Statistics::new(k) }
    }

    /// Moves all batches of `rounded`, and of the unrounded model with it where pairs are wanted, to the `cut` of a stage.
    /// The moments of its input, or none if they are not `wanted`.
    pub fn on_the_way(
        stage: &Stage,
        cut: &[Value],
        data: &Data,
        rounded: &mut Stream,
        mut full: Option<&mut Stream>,
        wanted: bool,
    ) -> Result<Moments, CalibrateError> {
        let mut moments = Moments::new(stage.layers[0].k, full.is_some());
        let targets = stage.targets(cut);
        let mut ahead = rounded.ahead(&targets)?;
        let mut ahead_of_full = full.as_ref().map(|s| s.ahead(&targets)).transpose()?;
        for (i, inputs) in data.batches.iter().enumerate() {
            let x = rounded.advance(&mut ahead, i, inputs)?;
            let original = match (&mut full, &mut ahead_of_full) {
                (Some(stream), Some(ahead)) => Some(stream.advance(ahead, i, inputs)?),
                _ => None,
            };
            if wanted {
                let (x, original) = (rows(&x)?, original.as_ref().map(rows).transpose()?);
                let add = moments.add(&x, original.as_deref(), i >= data.calibration());
                add.map_err(|refusal| refused(&stage.layers[0], refusal))?;
            }
        }
        rounded.arrive(cut);
        if let Some(stream) = full {
            stream.arrive(cut);
        }
        Ok(moments)
    }

    fn add(&mut self, x: &[f32], original: Option<&[f32]>, held_out: bool) -> Result<(), Refusal> {
        match (held_out, original) {
            (true, _) => self.held_out.add(x),
            (false, Some(original)) => self.calibration.add_pairs(x, original),
            (false, None) => self.calibration.add(x),
        }
    }
}

/// The inputs of a layer, one row after another.
fn rows(x: &Tensor) -> Result<Cow<'_, [f32]>, CalibrateError> {
    x.values::<f32>().map_err(|e| CalibrateError::Inputs(e.to_string()))
}
