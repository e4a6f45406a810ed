//! Reductions, and what else goes along axes.

mod arg;
mod dynamic;
mod fold;
mod scan;
mod softmax;
mod top_k;
mod unique;

use super::layout::copy::{View, strides};
use super::*;
use crate::bail;

pub use arg::{ArgMax, ArgMin};
pub use dynamic::ReduceDynamic;
pub use fold::*;
pub use scan::{CumProd, CumSum};
pub use softmax::{Hardmax, LogSoftmax, Softmax};
pub use top_k::TopK;
pub use unique::Unique;

pub(super) use softmax::softmax;

/// The shape without `axes`, or with 1 in their places.
fn reduced_dims<T: Clone>(dims: &[T], axes: &[usize], keepdims: bool, one: T) -> Vec<T> {
    let kept = dims.iter().enumerate().filter_map(|(i, d)| match axes.contains(&i) {
        true => keepdims.then(|| one.clone()),
        false => Some(d.clone()),
    });
    kept.collect()
}

/// `x` with `axes` after all others, in order.
fn axes_last(x: &Tensor, axes: &[usize]) -> OpResult<Tensor> {
    let (mut order, mut last): (Vec<_>, Vec<_>) = (0..x.rank()).partition(|i| !axes.contains(i));
    order.append(&mut last);
    permute(x, &order)
}

/// The inverse of `axes_last` of one axis, where the dims before were `dims`.
fn axis_back(y: Tensor, axis: usize) -> OpResult<Tensor> {
    let rank = y.rank();
    let order: Vec<usize> = (0..axis).chain([rank - 1]).chain(axis..rank - 1).collect();
    permute(&y, &order)
}

fn permute(x: &Tensor, order: &[usize]) -> OpResult<Tensor> {
    if order.iter().enumerate().all(|(i, axis)| i == *axis) {
        return Ok(x.clone());
    }
    let strides = strides(x.dims());
    let dims = order.iter().map(|axis| x.dims()[*axis]).collect();
    View { dims, strides: order.iter().map(|axis| strides[*axis]).collect(), offset: 0 }.read(x)
}

/// The rows of the last axis of a tensor of shape `dims`, also where they are empty.
fn rows<'a, T>(values: &'a [T], dims: &[usize]) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, T> {
    let (n, count) = (dims.last().copied().unwrap_or(1), dims.iter().rev().skip(1).product());
    (0..count).map(move |i| &values[i * n..][..n])
}

fn check_axes(x: &Type, axes: &[usize]) -> OpResult<()> {
    for (i, axis) in axes.iter().enumerate() {
        if *axis >= x.rank() || axes[..i].contains(axis) {
            bail!("axis {axis} is not an axis of {x}, or there twice");
        }
    }
    Ok(())
}

/// The order of values in which NaN comes last and equals itself.
fn order<T: PartialOrd>(a: &T, b: &T) -> std::cmp::Ordering {
    let is_nan = |v: &T| v.partial_cmp(v).is_none();
    a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

/// `$body` with `$t` standing for the type of numbers of `$elem`.
macro_rules! match_number {
    ($elem:expr, $t:ident => $body:expr) => {
        match $elem {
            $crate::ty::Elem::F32 => {
                type $t = f32;
                $body
            }
            $crate::ty::Elem::F64 => {
                type $t = f64;
                $body
            }
            $crate::ty::Elem::F16 => {
                type $t = half::f16;
                $body
            }
            $crate::ty::Elem::Bf16 => {
                type $t = half::bf16;
                $body
            }
            elem => super::elementwise::match_int!(elem, $t => $body),
        }
    };
}
use match_number;

/// Whether elements are numbers that arithmetic is defined for.
fn is_number(elem: crate::ty::Elem) -> bool {
    elem.is_float() || elem.is_int() && elem.bits() >= 8
}
