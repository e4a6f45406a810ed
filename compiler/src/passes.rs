//! The passes: one file each under `passes/`, one documented line each here.
//!
//! A pass is named as its file and its tests are, opens with its equation, and does one thing. What the
//! default pipelines are stands here too, so that the whole course of a compilation is in one place.

use crate::pass::{Exactness, Pass};

mod detect_integers;
mod detect_ternary;
mod fold_constants;
mod fuse_siblings;
mod lower_reductions;
mod lower_slices;
mod lower_ternary;
mod norm_inputs;
mod open_recurrent;
mod quantize_activations;
mod quantize_head;
mod recognize_activations;
mod recognize_attention;
mod recognize_norms;
mod recognize_rotary;
mod rotate_residual;
mod sharing;
mod simplify;
pub mod ternarize;
pub(crate) mod ternarize_features;
mod ternarize_states;
mod text;
mod unroll_scans;
mod widen;
mod widen_halves;

/// Collects passes: the doc comment is the help text.
macro_rules! passes {
    ($($(#[doc = $about:literal])+ $name:literal = $module:ident: $exactness:ident [$($option:literal),*];)*) => {
        /// Every pass there is.
        pub const PASSES: &[Pass] = &[$(Pass {
            name: $name,
            about: concat!($($about),+).trim_ascii_start(),
            exactness: Exactness::$exactness,
            options: &[$($option),*],
            run: $module::run,
        }),*];
    };
}

passes! {
    /// Compute what depends on constants alone
    "fold-constants" = fold_constants: Exact [];
    /// Drop what does nothing, share what is equal
    "simplify" = simplify: Exact [];
    /// Find RMSNorm and LayerNorm however they are spelt
    "recognize-norms" = recognize_norms: Reassociates [];
    /// Find rotary position embeddings, by half rotation or on halves
    "recognize-rotary" = recognize_rotary: Exact [];
    /// Find scaled dot-product attention, with shared key heads and a cache
    "recognize-attention" = recognize_attention: Reassociates [];
    /// Find SiLU, swish and both forms of GELU
    "recognize-activations" = recognize_activations: Reassociates [];
    /// Make loops of ordinary ops of recurrent layers, the product with the input in front
    "open-recurrent" = open_recurrent: Exact ["weights"];
    /// Round a value to {-1, 0, +1}, or to {0, 1}, by a threshold
    "ternarize-features" = ternarize_features: Lossy ["value", "threshold", "form"];
    /// Round the states of recurrent layers to {-1, 0, +1}, as HitNet does (NeurIPS 2018)
    "ternarize-states" = ternarize_states: Lossy ["hidden", "seed", "slope"];
    /// Compute products, attention and rotary embeddings of f16 and bf16 in f32, as they are meant
    "widen-halves" = widen_halves: Exact [];
    /// Make f32 of all that is f16 or bf16 between inputs and outputs
    "widen" = widen: Lossy [];
    /// Find matmuls whose weights are ternary as they stand, however they are spelt
    "detect-ternary" = detect_ternary: Reassociates [];
    /// Keep the weights of 4 and 8 bits that a model multiplies with int8 activations as they are
    "detect-integers" = detect_integers: Reassociates [];
    /// Put an RMSNorm before every linear layer, and what it takes away after it
    "norm-inputs" = norm_inputs: Reassociates [];
    /// Turn the residual stream by a random Hadamard matrix, which the weights around it absorb
    "rotate-residual" = rotate_residual: Reassociates ["seed"];
    /// Round the weights of matmuls to {-1, 0, +1} times a scale
    "ternarize" = ternarize: Lossy ["method", "group", "planes", "scales", "lambda", "gamma", "seed", "keep", "activations"];
    /// Round the weights of the last linear layer to int8, a scale a row
    "quantize-head" = quantize_head: Lossy [];
    /// Round what ternary matmuls sum to int8, with one scale a row or, with `block`, one for each block of inputs
    "quantize-activations" = quantize_activations: Lossy ["block"];
    /// Join ternary matmuls of one input, such as q, k and v
    "fuse-siblings" = fuse_siblings: Exact [];
    /// Lower ternary matmuls to sign selection, sums and one rescaling
    "lower-ternary" = lower_ternary: Exact [];
    /// Lower sums and extremes over the last axes to those of one axis, the last, which is kept
    "lower-reductions" = lower_reductions: Exact [];
    /// Lower slices within their axes to the parts of what is split
    "lower-slices" = lower_slices: Exact [];
    /// Put the steps of short scans one after the other
    "unroll-scans" = unroll_scans: Exact [];
}

/// The default pipeline of each optimisation level: none, exact passes, and those that round elsewhere.
pub const LEVELS: [&str; 3] = [
    "",
    "fold-constants,simplify,recognize-rotary,widen-halves,fuse-siblings,lower-ternary,unroll-scans,lower-reductions,\
     lower-slices",
    "fold-constants,simplify,recognize-norms,recognize-rotary,recognize-attention,recognize-activations,\
     widen-halves,simplify,open-recurrent{weights=ternary},detect-ternary,detect-integers,fuse-siblings,lower-ternary,\
     unroll-scans,lower-reductions,lower-slices",
];

/// Where a lossy step that the user names goes: before the first of these.
pub const BEFORE_LOWERING: &[&str] = &["fuse-siblings", "lower-ternary"];

#[cfg(test)]
mod tests {
    use crate::pass::{Exactness, Pipeline};

    /// Nothing is approximated unless asked for.
    #[test]
    fn levels_change_no_more_than_they_say() {
        let of = |level: u8| Pipeline::level(level).unwrap().exactness();
        assert_eq!([of(0), of(1), of(2)], [Exactness::Exact, Exactness::Exact, Exactness::Reassociates]);
    }
}
