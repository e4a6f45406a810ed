//! `cast(matmul_integer(a, W))  →  ternary_matmul(cast(a), t, scale)` where `W` less its zeros is ternary
//!
//! Exact, where the cast is to f32 and no sum, whatever `a` is, is beyond what f32 counts in ones: all sums on the way
//! are integers then, in any order.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::ops::{Cast, MatmulInteger, Reshape, Sub};
use trine_ir::{Elem, Kind, Tensor, Value};

use crate::layers;
use crate::pattern::*;
use trine_ternarize::{Layer, Matrix};

/// Integers up to this one are f32, each.
const COUNTED: f32 = 16777216.0;

pub fn products(layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (a, w, a_zero, w_zero) = (any(), any(), any(), any());
    let product = op(Kind::MatmulInteger, [&a, &w, &maybe(&a_zero), &maybe(&w_zero)])
        .filter(|scope, y| scope.graph.operand(y.node, MatmulInteger::b).is_some_and(|w| scope.is_known(w)));
    let root = cast(&product);
    rule("detect-ternary-integers", root.clone(), move |m, g| {
        if g.ty(m[&root]).elem != Elem::F32 {
            return refuse(format!("sums are cast to {}", g.ty(m[&root]).elem));
        }
        let matrix = weights(g, m[&w], m.get(&w_zero))?;
        let Some(ternary) = trine_ternarize::find(&matrix) else {
            return refuse("the weights are not ternary");
        };
        let greatest = if m.get(&a_zero).is_some() { 255.0 } else { greatest(g.ty(m[&a]).elem)? };
        let weight = matrix.values.iter().fold(0f32, |greatest, w| greatest.max(w.abs()));
        if greatest * weight * matrix.k as f32 > COUNTED {
            return refuse(format!("sums of {} products are beyond what f32 counts", matrix.k));
        }
        let mut x = as_floats(g, m[&a])?;
        if let Some(zero) = m.get(&a_zero) {
            if g.ty(zero).count().and_then(|c| c.as_const()) != Some(1) {
                return refuse(format!("zeros {} of activations differ", g.ty(zero)));
            }
            let zero = as_floats(g, zero)?;
            let zero = g.add(Reshape { shape: vec![] }, &[zero])?;
            x = g.add(Sub {}, &[x, zero])?;
        }
        let base = layers::weights_name(g, m[&w]);
        let y = layers::product(&ternary, g, x, &base, false)?;
        layers.borrow_mut().push(ternary.lossless_report(&base, "ternary integers"));
        Ok(y)
    })
}

fn as_floats(g: &mut Rewrite, v: Value) -> Result<Value, Refusal> {
    Ok(Value { node: g.share(Cast { to: Elem::F32 }, &[Some(v)])?, result: 0 })
}

/// The largest magnitude of an element type.
fn greatest(elem: Elem) -> Result<f32, Refusal> {
    match elem {
        Elem::I8 => Ok(128.0),
        Elem::U8 => Ok(255.0),
        elem => refuse(format!("activations of {elem}")),
    }
}

/// The weights less their zeros, a row an output.
fn weights(g: &Rewrite, w: Value, zero: Option<Value>) -> Result<Matrix, Refusal> {
    let Some(&[k, n]) = g.ty(w).static_dims().as_deref() else {
        return refuse(format!("weights {} are not a matrix", g.ty(w)));
    };
    let known = |v: Value| g.scope().known(v).ok_or("the weights cannot be evaluated");
    let (w, zero) = (numbers(&known(w)?)?, zero.map(known).transpose()?);
    let zeros = zero.map(|zero| numbers(&zero)).transpose()?.unwrap_or(vec![0.0]);
    let zero = |column: usize| match zeros.as_slice() {
        [zero] => Some(*zero),
        zeros => zeros.get(column).copied().filter(|_| zeros.len() == n),
    };
    let zeros: Vec<f32> =
        (0..n).map(zero).collect::<Option<_>>().ok_or("zeros of weights do not fit them")?;
    let values = (0..n).flat_map(|j| w.iter().skip(j).step_by(n.max(1)).map(move |w| (j, w)));
    Ok(Matrix { n, k, values: values.map(|(j, w)| w - zeros[j]).collect() })
}

fn numbers(t: &Tensor) -> Result<Vec<f32>, Refusal> {
    Ok(match t.elem() {
        Elem::I8 => t.values::<i8>()?.iter().map(|v| f32::from(*v)).collect(),
        Elem::U8 => t.values::<u8>()?.iter().map(|v| f32::from(*v)).collect(),
        elem => return refuse(format!("weights of {elem}")),
    })
}
