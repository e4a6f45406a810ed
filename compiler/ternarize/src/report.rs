//! What is told about a layer.

use serde::Serialize;

/// How the weights of one layer became ternary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The constant that held them.
    pub weights: String,
    pub n: usize,
    pub k: usize,
    pub group: usize,
    pub planes: usize,
    /// The recipe, or how they were spelt where they were ternary already.
    #[serde(rename = "found")]
    pub method: String,
    /// `‖W − Q‖² / ‖W‖²`.
    pub error: f64,
    /// The share of zeros, 0 to 1.
    pub zeros: f64,
    /// Bits a weight, all counted.
    #[serde(rename = "bits_per_weight")]
    pub bits: f64,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Layer { weights, n, k, group, planes, method, error, zeros, bits } = self;
        write!(f, "`@{}` [{n},{k}]: {method}", weights.escape_debug())?;
        if *planes > 1 {
            write!(f, ", {planes} planes")?;
        }
        if group < k {
            write!(f, ", a scale per {group}")?;
        }
        write!(f, ", error {error:.3}, {:.0}% zeros, {bits:.2} bits a weight", zeros * 100.0)
    }
}
