//! Element by element, with numpy broadcasting.

use half::{bf16, f16};

use super::*;
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{bail, op};

/// The broadcast of two shapes; dimensions are equal or one of them is 1.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> OpResult<Vec<Dim>> {
    let one = Dim::constant(1);
    let rank = a.len().max(b.len());
    let at =
        |dims: &[Dim], i: usize| (i + dims.len()).checked_sub(rank).map_or(one.clone(), |j| dims[j].clone());
    let axis = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y => Ok(x),
        (x, y) if x == one => Ok(y),
        (x, y) if y == one => Ok(x),
        (x, y) => bail!("cannot broadcast `{x}` against `{y}`"),
    };
    (0..rank).map(axis).collect()
}

/// Declares binary arithmetic ops: mnemonic, whether it commutes, and the function on floats and on
/// integers. Integers wrap to their width; f16 and bf16 are computed in f32.
macro_rules! arithmetic {
    ($($(#[$meta:meta])* $name:ident = $mnemonic:literal, $commutes:literal, $float:expr, $int:expr;)*) => { $(
        op! { $(#[$meta])* $name = $mnemonic (a, b) {} }
        impl OpDef for $name {
            const COMMUTES: bool = $commutes;
            fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
                let (a, b) = (&args[0], &args[1]);
                if a.elem != b.elem || a.elem == Elem::Bool || a.elem.bits() < 8 {
                    bail!("expects two operands of one number type, got {a} and {b}");
                }
                Ok(vec![Type { elem: a.elem, dims: broadcast(&a.dims, &b.dims)? }])
            }
            fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
                fn float<T: Float>(a: T, b: T) -> T { let f: fn(T, T) -> T = $float; f(a, b) }
                Ok(vec![zip_numbers(&args[0], &args[1], float, float, $int)?])
            }
        }
    )* };
}

arithmetic! {
    /// `a + b`.
    Add = "add", true, |a, b| a + b, |a, b| Ok(a + b);
    /// `a - b`.
    Sub = "sub", false, |a, b| a - b, |a, b| Ok(a - b);
    /// `a · b`.
    Mul = "mul", true, |a, b| a * b, |a, b| Ok(a * b);
    /// `a / b`; integers round towards zero and refuse a zero `b`.
    Div = "div", false, |a, b| a / b, |a: i128, b: i128| a.checked_div(b).ok_or("division by zero".into());
}

/// The arithmetic that f32 and f64 share.
pub(super) trait Float:
    Copy
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
}
impl Float for f32 {}
impl Float for f64 {}

/// `f` on every pair of broadcast elements.
fn zip_numbers(
    a: &Tensor,
    b: &Tensor,
    single: fn(f32, f32) -> f32,
    double: fn(f64, f64) -> f64,
    int: fn(i128, i128) -> OpResult<i128>,
) -> OpResult<Tensor> {
    macro_rules! ints {
        ($($elem:ident = $t:ty),*) => { match a.elem() {
            Elem::F32 => zip(a, b, |a, b| Ok(single(a, b))),
            Elem::F64 => zip(a, b, |a, b| Ok(double(a, b))),
            Elem::F16 => zip(a, b, |a: f16, b: f16| Ok(f16::from_f32(single(a.to_f32(), b.to_f32())))),
            Elem::Bf16 => zip(a, b, |a: bf16, b: bf16| Ok(bf16::from_f32(single(a.to_f32(), b.to_f32())))),
            $(Elem::$elem => zip(a, b, |a: $t, b: $t| Ok(int(a.into(), b.into())? as $t)),)*
            elem => bail!("no arithmetic on {elem}"),
        } };
    }
    ints! { I8 = i8, I16 = i16, I32 = i32, I64 = i64, U8 = u8, U16 = u16, U32 = u32, U64 = u64 }
}

/// `f` on every pair of broadcast elements.
pub(super) fn zip<T: Element, U: Element>(
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(T, T) -> OpResult<U>,
) -> OpResult<Tensor> {
    let (x, y) = (a.values::<T>()?, b.values::<T>()?);
    let dims = broadcast_dims(a.dims(), b.dims())?;
    let total = crate::tensor::count(&dims).ok_or("the result is too large")?;
    let values: OpResult<Vec<U>> = if a.dims() == b.dims() {
        x.iter().zip(y.iter()).map(|(x, y)| f(*x, *y)).collect()
    } else {
        let (i, j) = (offsets(a.dims(), &dims), offsets(b.dims(), &dims));
        i.zip(j).take(total).map(|(i, j)| f(x[i], y[j])).collect()
    };
    Ok(Tensor::from_vec(dims, values?)?)
}

/// The broadcast of two shapes at run time.
pub fn broadcast_dims(a: &[usize], b: &[usize]) -> OpResult<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            (x, y) => bail!("cannot broadcast {x} against {y}"),
        })
        .collect()
}

/// For each element of a tensor of shape `to`, row-major, the offset of the element of a tensor of shape
/// `from` that broadcasts to it.
pub fn offsets(from: &[usize], to: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for (i, d) in from.iter().enumerate().rev() {
        strides[i + to.len() - from.len()] = if *d == 1 { 0 } else { stride };
        stride *= d;
    }
    let (to, total) = (to.to_vec(), to.iter().product());
    let (mut index, mut offset) = (vec![0; to.len()], 0);
    (0..total).map(move |_| {
        let current = offset;
        for axis in (0..to.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < to[axis] {
                break;
            }
            offset -= strides[axis] * to[axis];
            index[axis] = 0;
        }
        current
    })
}
