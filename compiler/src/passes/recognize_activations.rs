//! `x · sigmoid(x)  →  silu(x)`, `x · sigmoid(a·x)  →  swish(x)`, `x/2 · (1 + erf(x/√2))  →  gelu(x)`
//!
//! and gelu by tanh, in every order of the factors. `relu(x)²` is two cheap ops and stays.
//!
//! What an op computes is its formula, so a rule is exact, but for the order of its factors, where the numbers are those
//! of the formula: 0.5, 1, 2 and 3 to the bit, 1/√2, √(2/π) and 0.044715 as near as their type has them. `x / 1.4143`
//! is another function than `x / √2`, and so is in f32 a constant that was rounded to f16.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

use trine_ir::Module;
use trine_ir::ops::{Gelu, GeluForm, Mish, Silu, Swish};

use crate::pass::{Cx, PassError};
use crate::pattern::*;

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    Ok(cx.apply(module, &[silu(), swish(), mish(), gelu_erf(), gelu_tanh()]))
}

fn silu() -> Rule {
    let x = any();
    rule("silu", &x * sigmoid(&x), move |m, g| Ok(g.add(Silu {}, &[m[&x]])?))
}

/// Exact where f32, which the attribute is, holds the factor.
fn swish() -> Rule {
    let (x, a) = (any(), scalar());
    rule("swish", &x * sigmoid(&x * &a), move |m, g| {
        let alpha = g.single(m[&a])?;
        Ok(g.add(Swish { alpha }, &[m[&x]])?)
    })
}

fn mish() -> Rule {
    let x = any();
    rule("mish", &x * tanh(softplus(&x)), move |m, g| Ok(g.add(Mish {}, &[m[&x]])?))
}

/// `x/2 · (1 + erf(x/√2))`.
fn gelu_erf() -> Rule {
    let x = any();
    let bend = erf((&x / nearest(SQRT_2)) | (&x * nearest(FRAC_1_SQRT_2)));
    rule("gelu-erf", half_of(&x, &(1.0 + bend)), move |m, g| {
        Ok(g.add(Gelu { form: GeluForm::Erf }, &[m[&x]])?)
    })
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))`.
fn gelu_tanh() -> Rule {
    let (x, root) = (any(), FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
    let factor = nearest(0.044715);
    let square = square(&x);
    let cube = any_of([pow(&x, 3.0), &x * &square]);
    // x + c·x³, x · (1 + c·x²)
    let cubic = any_of([
        &x + &cube * &factor,
        &x + &x * (&square * &factor),
        &x + (&x * &factor) * &square,
        &x * (1.0 + &square * &factor),
        &x * (1.0 + (&x * &factor) * &x),
    ]);
    let scaled = any_of([
        nearest(root) * &cubic,
        (&x * nearest(root)) * (1.0 + &square * &factor),
        (&x * nearest(root)) * (1.0 + (&x * &factor) * &x),
    ]);
    let bend = 1.0 + tanh(scaled);
    rule("gelu-tanh", half_of(&x, &bend), move |m, g| Ok(g.add(Gelu { form: GeluForm::Tanh }, &[m[&x]])?))
}

/// `x · 0.5 · bend` in any order.
fn half_of(x: &Pat, bend: &Pat) -> Pat {
    any_of([(x * 0.5) * bend, x * (bend * 0.5), (x * bend) * 0.5, (x / 2.0) * bend, (x * bend) / 2.0])
}
