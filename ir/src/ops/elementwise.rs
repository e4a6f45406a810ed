//! Element by element, with numpy broadcasting.

mod activation;
mod arithmetic;
mod bits;
mod broadcast;
mod cast;
mod compare;
mod dropout;
mod formulas;
mod int;
mod library;
mod narrow;
mod power;
mod select;
mod unary;

use super::*;
use crate::math::Float;

pub use activation::*;
pub use arithmetic::*;
pub use bits::*;
pub use broadcast::{broadcast, broadcast_dim, broadcast_dims, offsets};
pub use cast::Cast;
pub use compare::*;
pub use dropout::Dropout;
pub use library::*;
pub use narrow::Narrow;
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

/// Whether each element of the op's result is made of one element of each operand, by numpy's broadcasting.
pub fn is_elementwise(op: &Op) -> bool {
    let has_formula = || formula(op, &vec![Some(0f32); op.kind().operands().len()]).is_some();
    match op {
        Op::Equal(_) | Op::Greater(_) | Op::GreaterOrEqual(_) | Op::Less(_) | Op::LessOrEqual(_) => true,
        Op::And(_) | Op::Or(_) | Op::Xor(_) | Op::Not(_) | Op::IsNan(_) | Op::IsInf(_) => true,
        Op::Where(_) | Op::Cast(_) | Op::Pow(_) | Op::Mod(_) => true,
        Op::BitAnd(_) | Op::BitOr(_) | Op::BitXor(_) | Op::BitNot(_) | Op::Shift(_) | Op::BitCast(_) => true,
        Op::Sin(_) | Op::Cos(_) | Op::Tan(_) | Op::Asin(_) | Op::Acos(_) | Op::Atan(_) => true,
        Op::Sinh(_) | Op::Cosh(_) | Op::Asinh(_) | Op::Acosh(_) | Op::Atanh(_) => true,
        _ => has_formula(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::{run, tensor};
    use crate::ty::Elem;

    fn attribute(name: &str) -> Option<String> {
        Some(if name == "form" { "tanh".into() } else { "0.75".into() })
    }

    /// Every op that `formula` knows, with its number of operands.
    fn formulas() -> impl Iterator<Item = (Op, usize)> {
        Kind::ALL.iter().filter_map(|kind| {
            let op = kind.with_attrs(&attribute).ok()?;
            let operands = kind.operands().len();
            formula(&op, &vec![Some(1f32); operands]).map(|_| (op, operands))
        })
    }

    #[test]
    fn the_interpreter_evaluates_the_formulas() {
        let x: Vec<f32> = [0.0, -0.0, 0.3, -0.3, 2.0, -7.5, 88.0, -1e-40, f32::INFINITY, f32::NAN].into();
        let mut known = 0;
        for (op, operands) in formulas() {
            let columns: Vec<Vec<f32>> = (0..operands).map(|i| [&x[i..], &x[..i]].concat()).collect();
            let tensors: Vec<_> = columns.iter().map(|c| tensor(&[x.len()], c)).collect();
            if op.kind() == Kind::Clip {
                // Its bounds are single, see its own test.
                continue;
            }
            let args: Vec<_> = tensors.iter().map(Some).collect();
            let y = run(op.clone(), &args).unwrap().remove(0);
            for (i, got) in y.values::<f32>().unwrap().iter().enumerate() {
                let args: Vec<_> = columns.iter().map(|c| Some(c[i])).collect();
                let want = formula(&op, &args).unwrap();
                assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{op:?} {args:?}");
                let args: Vec<_> = args.iter().map(|a| a.map(f64::from)).collect();
                let exact = formula(&op, &args).unwrap();
                let close = (f64::from(want) - exact).abs() <= 1e-6 * exact.abs() + 1e-6;
                let same = f64::from(want) == exact || want.is_nan() && exact.is_nan();
                assert!(close || same || exact.abs() > 1e38, "{op:?} {args:?}: {want} {exact}");
            }
            known += 1;
        }
        assert!(known > 30);
    }

    #[test]
    fn halves_are_computed_in_single_precision() {
        let x = tensor(&[2], &[half::f16::from_f32(3.0), half::f16::from_f32(0.1)]);
        let y = run(Exp {}, &[Some(&x)]).unwrap().remove(0);
        let want =
            [3.0f32, half::f16::from_f32(0.1).to_f32()].map(|v| half::f16::from_f32(crate::math::exp(v)));
        assert_eq!(&*y.values::<half::f16>().unwrap(), want);
    }

    #[test]
    fn integers_wrap_and_refuse_zero_divisors() {
        let (a, b) = (tensor(&[2], &[i8::MIN, 100]), tensor(&[2], &[-1i8, 100]));
        for (op, want) in [
            (Op::from(Add {}), [127i8, -56]),
            (Sub {}.into(), [-127, 0]),
            (Mul {}.into(), [-128, 16]),
            (Div {}.into(), [-128, 1]),
            (Max {}.into(), [-1, 100]),
            (PRelu {}.into(), [-128, 100]),
        ] {
            let y = run(op, &[Some(&a), Some(&b)]).unwrap().remove(0);
            assert_eq!(&*y.values::<i8>().unwrap(), want);
        }
        for (op, want) in
            [(Op::from(Neg {}), -128i8), (Abs {}.into(), -128), (Sign {}.into(), -1), (Relu {}.into(), 0)]
        {
            assert_eq!(run(op, &[Some(&a)]).unwrap()[0].values::<i8>().unwrap()[0], want);
        }
        let zero = tensor(&[1], &[0i8]);
        for op in [Op::from(Div {}), Mod { fmod: true }.into()] {
            assert_eq!(run(op, &[Some(&a), Some(&zero)]).unwrap_err().to_string(), "division by zero");
        }
        assert!(run(Exp {}, &[Some(&a)]).is_err());
        assert!(run(Add {}, &[Some(&a), Some(&tensor(&[2], &[0i16; 2]))]).is_err());
    }

    /// The tensors of an op's results, with zeros and NaN each in one form.
    fn canonical(results: Vec<Tensor>) -> Vec<Vec<u32>> {
        let bits = |v: &f32| if v.is_nan() { f32::NAN } else { *v + 0.0 }.to_bits();
        let of = |t: Tensor| match t.elem() {
            Elem::F32 => t.values::<f32>().unwrap().iter().map(bits).collect(),
            _ => t.bytes().iter().map(|b| u32::from(*b)).collect(),
        };
        results.into_iter().map(of).collect()
    }

    proptest! {
        #[test]
        fn what_says_it_commutes_does(
            a in prop::collection::vec(prop_oneof![prop::num::f32::ANY, Just(0.0), Just(-0.0)], 6),
            b in prop::collection::vec(prop_oneof![prop::num::f32::ANY, Just(0.0), Just(1.0)], 3),
        ) {
            let floats = [tensor(&[2, 3], &a), tensor(&[3], &b)];
            let truth = |v: &[f32], dims: &[usize]| {
                Tensor::from_bools(dims.to_vec(), v.iter().map(|v| *v > 0.5)).unwrap()
            };
            let bools = [truth(&a, &[2, 3]), truth(&b, &[3])];
            let mut seen = 0;
            for kind in Kind::ALL.iter().filter(|k| k.commutes() && k.operands().len() == 2) {
                let Ok(op) = kind.with_attrs(&|_| None) else { continue };
                for [a, b] in [&floats, &bools] {
                    let (forth, back) = (run(op.clone(), &[Some(a), Some(b)]), run(op.clone(), &[Some(b), Some(a)]));
                    prop_assert_eq!(forth.is_ok(), back.is_ok());
                    if let (Ok(forth), Ok(back)) = (forth, back) {
                        prop_assert_eq!(canonical(forth), canonical(back), "{}", kind.mnemonic());
                        seen += 1;
                    }
                }
            }
            prop_assert!(seen >= 9);
        }
    }
}
