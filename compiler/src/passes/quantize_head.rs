//! `matmul(x, W)  →  int8_matmul(x, q, scale)` with `W ≈ scale · q`, for the last linear layer of `@main`
//!
//! Lossy, and only by name. Every row has one scale, `max|w| / 127`. The head of a language model holds as many
//! weights as several blocks, too telling to be ternary: a byte each is a quarter of what there is to read.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::ops::Int8Matmul;
use trine_ir::{Module, Stage, Tensor, TensorError};

use super::ternarize::last_linear;
use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, refuse, rule};
use crate::ternarize::{self, Layer, Matrix};

const NAME: &str = "quantize-head";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        let message = format!("the module is `{}` already", module.stage.name());
        return Err(PassError::Refused { pass: NAME, message });
    }
    let layers = Rc::new(RefCell::new(vec![]));
    let count = cx.apply(module, &[quantize(last_linear(module), layers.clone())]);
    module.stage = Stage::Ternary;
    cx.layers.append(&mut layers.borrow_mut());
    Ok(count)
}

fn quantize(head: Option<trine_ir::NodeId>, layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (x, w) = (any(), any());
    let root = ternarize::linear(&x, &w);
    rule(NAME, root.clone(), move |m, g| {
        if head != Some(m[&root].node) {
            return refuse("not the last linear layer");
        }
        let base = ternarize::weights_name(g, m[&w]);
        let matrix = ternarize::weights(g, m[&root], m[&w], true)?;
        if matrix.k == 0 || matrix.values.iter().any(|v| !v.is_finite()) {
            return refuse("the weights are not finite");
        }
        let rows = Rows::of(&matrix);
        layers.borrow_mut().push(rows.report(&base, &matrix));
        let (q, scale) = rows.tensors()?;
        let q = g.constant(&format!("{base}.int8"), q);
        let scale = g.constant(&format!("{base}.scale"), scale);
        Ok(g.add(Int8Matmul { group: matrix.k }, &[m[&x], q, scale])?)
    })
}

/// `q` `[n, k]` and a scale a row.
struct Rows {
    n: usize,
    k: usize,
    q: Vec<i8>,
    scales: Vec<f32>,
}

impl Rows {
    fn of(w: &Matrix) -> Rows {
        let (mut q, mut scales) = (Vec::with_capacity(w.values.len()), Vec::with_capacity(w.n));
        for row in w.values.chunks(w.k) {
            let absmax = row.iter().fold(0f32, |m, v| m.max(v.abs()));
            let inverse = if absmax > 0.0 { 127.0 / absmax } else { 0.0 };
            q.extend(row.iter().map(|v| (v * inverse).round_ties_even() as i8));
            scales.push(absmax / 127.0);
        }
        Rows { n: w.n, k: w.k, q, scales }
    }

    fn tensors(self) -> Result<(Tensor, Tensor), TensorError> {
        Ok((Tensor::from_vec(vec![self.n, self.k], self.q)?, Tensor::from_vec(vec![self.n, 1], self.scales)?))
    }

    fn report(&self, weights: &str, w: &Matrix) -> Layer {
        let (mut lost, mut all) = (0f64, 0f64);
        let rows = w.values.chunks(self.k).zip(self.q.chunks(self.k)).zip(&self.scales);
        for ((w, q), scale) in rows {
            for (w, q) in w.iter().zip(q) {
                lost += (f64::from(*w) - f64::from(*q) * f64::from(*scale)).powi(2);
                all += f64::from(*w).powi(2);
            }
        }
        Layer {
            weights: weights.into(),
            n: self.n,
            k: self.k,
            group: self.k,
            planes: 1,
            method: "int8".into(),
            error: if all > 0.0 { lost / all } else { 0.0 },
            zeros: self.q.iter().filter(|q| **q == 0).count() as f64 / self.q.len() as f64,
            bits: 8.0 + 32.0 / self.k as f64,
        }
    }
}
