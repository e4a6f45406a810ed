//! Calls of other functions of the module, and the choice between two.
//!
//! A function that runs only sometimes, or again and again, states its parameters' shapes for itself: they are
//! matched when it is called. So `if`, `loop` and `scan` say in `results` what their results are, with
//! symbols for dimensions that depend on which way things went.

mod loops;

pub use loops::*;

use super::require::may_equal;
use super::*;
use crate::attr::SymbolRef;
use crate::op::Signature;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The results of function `f` on the operands. Symbols of its signature mean what they mean here.
    Call = "call" (args: variadic) { f: SymbolRef }
}

impl OpDef for Call {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let Some(signature) = module.signature(&self.f.0) else { bail!("no function `@{}`", self.f.0) };
        if signature.params.len() != args.len() {
            bail!("`@{}` takes {} operands, got {}", self.f.0, signature.params.len(), args.len());
        }
        for (param, arg) in signature.params.iter().zip(args.from(0)) {
            if param != arg {
                bail!("`@{}` takes {param}, got {arg}", self.f.0);
            }
        }
        Ok(signature.results)
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        cx.call(&self.f.0, args.from(0).cloned().collect())
    }
}

op! {
    /// The results of `then_body` on the first `then_args` operands where `cond` is true, else those of
    /// `else_body` on the others. ONNX If.
    If = "if" (cond, args: variadic) {
        then_body: SymbolRef, else_body: SymbolRef, then_args: usize, results: Vec<Type>,
    }
}

impl OpDef for If {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        expect_condition(&args[0])?;
        let given: Vec<_> = args.from(1).cloned().collect();
        let Some((to_then, to_else)) = given.split_at_checked(self.then_args) else {
            bail!("{} operands, of which {} go to `{}`", given.len(), self.then_args, self.then_body.0);
        };
        for (body, given) in [(&self.then_body, to_then), (&self.else_body, to_else)] {
            let signature = signature(module, body)?;
            expect_alike(&signature.params, given, &format!("parameters of `@{}`", body.0))?;
            expect_alike(&signature.results, &self.results, &format!("results of `@{}`", body.0))?;
        }
        Ok(self.results.clone())
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let given = args.from(1).cloned();
        match condition(&args[0])? {
            true => cx.call(&self.then_body.0, given.take(self.then_args).collect()),
            false => cx.call(&self.else_body.0, given.skip(self.then_args).collect()),
        }
    }
}

pub(super) fn signature(module: &dyn Signatures, body: &SymbolRef) -> OpResult<Signature> {
    module.signature(&body.0).ok_or_else(|| format!("no function `@{}`", body.0).into())
}

/// Checks that types are as many and have the same element types and ranks; constant dimensions must agree.
pub(super) fn expect_alike(expected: &[Type], given: &[Type], what: &str) -> OpResult<()> {
    if expected.len() != given.len() {
        bail!("{} {what}, not {}", expected.len(), given.len());
    }
    for (a, b) in expected.iter().zip(given) {
        let conflict = a.dims.iter().zip(&b.dims).any(|(x, y)| !may_equal(x, y, &()));
        if a.elem != b.elem || a.rank() != b.rank() || conflict {
            bail!("{what}: {b} where {a} is expected");
        }
    }
    Ok(())
}

pub(super) fn expect_condition(ty: &Type) -> OpResult<()> {
    let one = ty.dims.iter().all(|d| d.as_const().is_none_or(|n| n == 1));
    if ty.elem != Elem::Bool || !one {
        bail!("the condition must be one bool, not {ty}");
    }
    Ok(())
}

pub(super) fn condition(x: &Tensor) -> OpResult<bool> {
    let mut elements = x.bools()?;
    match (elements.next(), elements.next()) {
        (Some(element), None) => Ok(element),
        _ => bail!("the condition must be one bool, not {}", x.ty()),
    }
}
