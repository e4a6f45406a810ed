//! Steps without a kernel: the op runs by its meaning.

use trine_ir::eval::{Calls, run_function};
use trine_ir::op::Context;
use trine_ir::{DimEnv, Op, OpResult, Tensor};

use crate::program::Program;

/// The results of `op`; the message says what is wrong.
pub fn run(program: &Program, op: &Op, args: &[Option<Tensor>], dims: &[i64]) -> Result<Vec<Tensor>, String> {
    let mut env = DimEnv::default();
    for (symbol, value) in program.symbols.iter().zip(dims) {
        if let Ok(value) = usize::try_from(*value) {
            env.set(symbol.clone(), value);
        }
    }
    let args: Vec<Option<&Tensor>> = args.iter().map(Option::as_ref).collect();
    op.eval(&args, &Frame { program, env, calls: Calls::default() }).map_err(|e| e.0)
}

struct Frame<'a> {
    program: &'a Program,
    env: DimEnv,
    calls: Calls,
}

impl Context for Frame<'_> {
    fn dims(&self) -> &DimEnv {
        &self.env
    }
    fn call(&self, function: &str, args: Vec<Tensor>) -> OpResult<Vec<Tensor>> {
        run_function(&self.program.module, function, args, &self.env, &self.calls)
            .map_err(|e| e.to_string().into())
    }
}
