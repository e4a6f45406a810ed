//! To floats of 8 bits and under.

use super::*;
use crate::small_float::{Round, encode, power};
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The nearest float of 8 bits or under, of two the even one; `round` says which power of two, where there are no others.
    /// With `saturate` what is too large is the largest that there is, else infinity or NaN. ONNX Cast to such types.
    Narrow = "narrow" (x) { to: Elem, saturate: bool, round: Round }
}

impl OpDef for Narrow {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        if args[0].elem != Elem::F32 || !self.to.is_small_float() {
            bail!("makes floats of 8 bits or under of f32, not {} of {}", self.to, args[0]);
        }
        Ok(vec![args[0].with(self.to)])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let code = |v: &f32| match self.to {
            Elem::F8E8M0 => power(*v, self.saturate, self.round),
            to => encode(to, *v, self.saturate),
        };
        let codes: Vec<u8> = x.values::<f32>()?.iter().map(code).collect();
        Ok(vec![Tensor::pack(self.to, x.dims().to_vec(), &codes)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    #[test]
    fn codes_are_packed_and_read_back_by_a_cast() {
        let x = tensor(&[3], &[1.4f32, -7.0, 0.0]);
        let narrow = |to| Narrow { to, saturate: true, round: Round::Up };
        let y = one(narrow(Elem::F4E2M1), &[&x]);
        assert_eq!((y.elem(), y.bytes().len()), (Elem::F4E2M1, 2));
        assert_eq!(one(Cast { to: Elem::F32 }, &[&y]), tensor(&[3], &[1.5f32, -6.0, 0.0]));
        let y = one(narrow(Elem::F8E8M0), &[&x]);
        assert_eq!(y.bytes()[..], [128, 255, 0]);
        assert_eq!(one(Cast { to: Elem::F64 }, &[&y]).values::<f64>().unwrap()[0], 2.0);
        assert!(run(narrow(Elem::I8), &[Some(&x)]).is_err());
        assert!(run(Cast { to: Elem::F8E4M3 }, &[Some(&x)]).is_err());
    }
}
