//! Calls of other functions of the module.

use super::*;
use crate::attr::SymbolRef;
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
