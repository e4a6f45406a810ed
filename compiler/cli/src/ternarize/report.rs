//! What rounding a model cost, as JSON; `table` and `html` show the same to people.

use std::path::Path;

use serde_json::{Value, json};
use trine::calibrate::{Calibrated, Rounded};
use trine::ternarize::Recipe;

use super::format::Format;
use super::judge::Quality;

/// A model at so many bits.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub bits: f64,
    pub quality: Option<Quality>,
}

/// A residual stream that was rotated.
#[derive(Clone, Copy, Debug)]
pub struct Rotated {
    pub seed: u64,
    /// What the weights grew by.
    pub bytes: usize,
}

pub struct Report<'a> {
    /// What makes the same again, from `provenance`.
    pub run: Value,
    pub model: &'a Path,
    pub recipe: &'a Recipe,
    pub format: Format,
    pub rotated: Option<Rotated>,
    pub calibrated: &'a Calibrated,
    pub before: Option<Quality>,
    pub after: Option<Quality>,
    /// The same depth by the weights alone.
    pub plain: Option<Point>,
    /// Bytes of the model's files before and after.
    pub bytes: [usize; 2],
    pub seconds: f64,
    pub peak_memory: Option<usize>,
}

/// Bits a weight of the rounded layers together, all counted.
pub fn bits(calibrated: &Calibrated) -> f64 {
    let sum = |f: &dyn Fn(&Rounded) -> f64| calibrated.layers.iter().map(f).sum::<f64>();
    sum(&|l| (l.n * l.k) as f64 * l.weights.bits()) / sum(&|l| (l.n * l.k) as f64).max(1.0)
}

impl Report<'_> {
    /// Bits a weight of all linear layers, those that stay as they are among them.
    pub fn bits_with_kept(&self) -> f64 {
        let rounded = self.calibrated.layers.iter().map(|l| ((l.n * l.k) as f64, l.weights.bits()));
        let kept = self.calibrated.kept.iter().map(|k| ((k.n * k.k) as f64, k.bits));
        let (weights, bits) =
            rounded.chain(kept).fold((0.0, 0.0), |(w, b), (count, each)| (w + count, b + count * each));
        bits / f64::max(weights, 1.0)
    }

    /// By how many nats a token the loss rose.
    pub fn rise(&self) -> Option<f64> {
        match (self.before, self.after) {
            (Some(Quality::Loss(before)), Some(Quality::Loss(after))) => Some(after - before),
            _ => None,
        }
    }

    /// What the user must know.
    pub fn warning(&self) -> String {
        let cost = match (self.before, self.after) {
            (Some(Quality::Loss(before)), Some(Quality::Loss(after))) => format!(
                "held-out loss {before:.3} became {after:.3} nats a token, {:.2} times the perplexity",
                (after - before).exp()
            ),
            (Some(Quality::Accuracy(before)), Some(Quality::Accuracy(after))) => {
                format!("held-out accuracy {before:.3} became {after:.3}")
            }
            _ => "how much worse the whole model is was not measured".into(),
        };
        let count = self.calibrated.layers.len();
        format!("{count} layers are approximations now: {cost}")
    }

    /// The error of a layer that stands for it: of what it gives for held-out data, or else of its weights.
    pub fn error(layer: &Rounded) -> f64 {
        layer.held_out_error.unwrap_or(layer.weight_error)
    }

    /// Whether the errors of all layers are of what they give for held-out data.
    pub fn is_measured(&self) -> bool {
        self.calibrated.layers.iter().all(|l| l.held_out_error.is_some())
    }

    /// The layers that lost the most, the worst first.
    pub fn worst(&self, count: usize) -> Vec<&Rounded> {
        let mut layers: Vec<&Rounded> = self.calibrated.layers.iter().collect();
        layers.sort_by(|a, b| Report::error(b).total_cmp(&Report::error(a)));
        layers.truncate(count);
        layers
    }

    /// The whole model at the bits it had, at those it has, and by the weights alone.
    pub fn points(&self) -> Vec<(&'static str, Point)> {
        let all = [
            ("as it was", Some(Point { bits: 32.0, quality: self.before })),
            ("by the weights alone", self.plain),
            ("calibrated", Some(Point { bits: bits(self.calibrated), quality: self.after })),
        ];
        all.into_iter().filter_map(|(name, point)| point.map(|p| (name, p))).collect()
    }

    pub fn json(&self) -> Value {
        let layers = self.calibrated.layers.iter().map(|l| {
            json!({
                "weights": l.name,
                "node": l.node,
                "shape": [l.n, l.k],
                "depth": l.weights.depth(),
                "bits": l.weights.bits(),
                "zeros": l.weights.zeros(),
                "bias": l.weights.bias().is_some(),
                "relW": l.weight_error,
                "relX": l.output_error,
                "relX_held_out": l.held_out_error,
                "seconds": l.seconds,
            })
        });
        let kept = self
            .calibrated
            .kept
            .iter()
            .map(|k| json!({ "weights": k.weights, "shape": [k.n, k.k], "bits": k.bits, "why": k.why }));
        let points = self.points();
        let points = points
            .iter()
            .map(|(name, p)| json!({ "name": name, "bits": p.bits, "quality": quality(p.quality) }));
        json!({
            "model": self.model,
            "run": self.run,
            "format": self.format.name(),
            "bytes": { "before": self.bytes[0], "after": self.bytes[1] },
            "recipe": self.recipe.to_string(),
            "rotated": self.rotated.map(|r| json!({ "seed": r.seed, "more_bytes": r.bytes })),
            "bits": bits(self.calibrated),
            "bits_with_kept": self.bits_with_kept(),
            "before": quality(self.before),
            "after": quality(self.after),
            "points": points.collect::<Vec<_>>(),
            "layers": layers.collect::<Vec<_>>(),
            "kept": kept.collect::<Vec<_>>(),
            "seconds": self.seconds,
            "memory_needed": self.calibrated.memory,
            "peak_memory": self.peak_memory,
        })
    }
}

fn quality(quality: Option<Quality>) -> Value {
    match quality {
        Some(Quality::Loss(loss)) => json!({ "loss": loss, "perplexity": loss.exp() }),
        Some(Quality::Accuracy(accuracy)) => json!({ "accuracy": accuracy }),
        None => Value::Null,
    }
}
