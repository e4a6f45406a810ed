//! Steps without a kernel, where the runtime is built without the interpreter.

use trine_ir::{Op, Tensor};

use crate::program::Program;

pub fn run(_: &Program, _: &Op, _: &[Option<Tensor>], _: &[i64]) -> Result<Vec<Tensor>, String> {
    Err("this runtime was built without the feature `interpreter`".into())
}
