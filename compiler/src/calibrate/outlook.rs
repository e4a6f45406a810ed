//! What a change of a layer comes to at the end of the model: its loss on held-out data, which runs only from where the
//! model's stream is.

use trine_ir::Value;
use trine_runtime::View;

use crate::evaluate::window_nats;
use crate::language_model::{floats, logits};

use super::CalibrateError;
use super::Data;
use super::stream::Stream;

/// A judge of streams.
pub struct Outlook<'a> {
    data: &'a Data,
    measure: Measure,
}

enum Measure {
    /// Nats a token of the held-out text.
    Text { logits: Value },
    /// The squared error of all float outputs, relative to those of the unrounded model, which are kept batch by batch.
    Outputs { outputs: Vec<Value>, original: Vec<Vec<f32>> },
}

impl<'a> Outlook<'a> {
    /// By the model's `outputs`; `stream` is at its start.
    pub fn new(outputs: &[Value], stream: &Stream, data: &'a Data) -> Result<Outlook<'a>, CalibrateError> {
        let graph = stream.graph()?;
        let measure = if data.held_out_windows.is_empty() {
            let is_float = |v: &Value| graph.ty(*v).elem.is_float();
            let outputs: Vec<Value> = outputs.iter().copied().filter(is_float).collect();
            let mut original = vec![];
            held_out(stream, &outputs, data, |_, values| {
                original.push(values.iter().flat_map(|v| floats(*v)).flat_map(|v| v.into_owned()).collect());
                Ok(())
            })?;
            Measure::Outputs { outputs, original }
        } else {
            let ports = outputs.iter().map(|v| (graph.name(*v), graph.ty(*v)));
            Measure::Text { logits: outputs[logits(ports)?] }
        };
        Ok(Outlook { data, measure })
    }

    /// The loss of the model as it is in `stream`.
    pub fn loss(&self, stream: &Stream) -> Result<f64, CalibrateError> {
        // What was lost, and what that is a part of.
        let (mut lost, mut all) = (0.0, 0.0);
        match &self.measure {
            Measure::Text { logits } => held_out(stream, &[*logits], self.data, |i, values| {
                let window = &self.data.held_out_windows[i];
                lost += window_nats(values[0], window)?;
                all += (window.len() - 1) as f64;
                Ok(())
            })?,
            Measure::Outputs { outputs, original } => held_out(stream, outputs, self.data, |i, values| {
                let rounded = values.iter().flat_map(|v| floats(*v)).flat_map(|v| v.into_owned());
                for (y, rounded) in original[i].iter().zip(rounded) {
                    lost += (f64::from(*y) - f64::from(rounded)).powi(2);
                    all += f64::from(*y).powi(2);
                }
                Ok(())
            })?,
        }
        Ok(if all > 0.0 { lost / all } else { 0.0 })
    }
}

/// Runs held-out batches, counted from 0, from where `stream` is to `targets`.
fn held_out(
    stream: &Stream,
    targets: &[Value],
    data: &Data,
    mut see: impl FnMut(usize, &[View]) -> Result<(), CalibrateError>,
) -> Result<(), CalibrateError> {
    let mut ahead = stream.ahead(targets)?;
    let first = data.calibration();
    for (i, inputs) in data.batches[first..].iter().enumerate() {
        let values = stream.values(&mut ahead, first + i, inputs)?;
        see(i, &values.iter().map(View::from).collect::<Vec<_>>())?;
    }
    Ok(())
}
