//! Dense weights, a row an output.

use trine_ir::Tensor;

use super::Refusal;

/// A weight matrix, a row an output: `[n, k]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub n: usize,
    pub k: usize,
    pub values: Vec<f32>,
}

impl Matrix {
    /// The filters of a convolution `[outputs, inputs, …]`, a row each.
    pub fn of_filters(w: &Tensor) -> Option<Matrix> {
        let (n, rest) = w.dims().split_first()?;
        Some(Matrix { n: *n, k: rest.iter().product(), values: w.values::<f32>().ok()?.into_owned() })
    }

    /// Refuses what no method can round: no weights at all, or weights that are not finite.
    pub fn check(&self) -> Result<(), Refusal> {
        let &Matrix { n, k, ref values } = self;
        if n == 0 || k == 0 || n.checked_mul(k) != Some(values.len()) {
            return Err(Refusal::Empty { n, k, values: values.len() });
        }
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(Refusal::NotFinite { what: "weight", row: at / k, column: at % k }),
            None => Ok(()),
        }
    }

    /// `‖W‖²`.
    pub fn squares(&self) -> f64 {
        self.values.iter().map(|v| f64::from(*v).powi(2)).sum()
    }
}
