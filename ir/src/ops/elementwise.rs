//! Element by element, with numpy broadcasting.

mod activation;
mod arithmetic;
mod broadcast;
mod cast;
mod compare;
mod dropout;
mod formulas;
mod int;
mod library;
mod power;
mod select;
mod unary;

use super::*;
use crate::math::Float;

pub use activation::*;
pub use arithmetic::*;
pub use broadcast::{broadcast, broadcast_dims, offsets};
pub use cast::Cast;
pub use compare::*;
pub use dropout::Dropout;
pub use library::*;
pub use power::{Mod, Pow};
pub use select::{Clip, Where};
pub use unary::*;

pub(super) use formulas::{flag, match_int};
pub(super) use int::Int;

/// The value of an op on float elements, for ops that make one float of each of their operands'
/// elements by the operations of [`Float`]; `None` for others, and for absent operands that are required.
/// f16 and bf16 are computed in f32.
///
/// This is what the interpreter computes, and what a code generator gets to emit the same.
pub fn formula<F: Float>(op: &Op, args: &[Option<F>]) -> Option<F> {
    arithmetic::formula(op, args)
        .or_else(|| unary::formula(op, args))
        .or_else(|| activation::formula(op, args))
        .or_else(|| select::formula(op, args))
}
