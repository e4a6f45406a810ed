//! How tests of ops run them.

use super::*;

/// The results of an op, which must be of the types that it infers.
pub fn run(op: impl Into<Op>, args: &[Option<&Tensor>]) -> OpResult<Vec<Tensor>> {
    let op = op.into();
    let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    let inferred = op.infer(&types, &())?;
    let results = op.eval(args, &DimEnv::default())?;
    assert_eq!(results.iter().map(Tensor::ty).collect::<Vec<_>>(), inferred, "{op:?}");
    Ok(results)
}

/// The only result of an op on operands that fit.
pub fn one(op: impl Into<Op>, args: &[&Tensor]) -> Tensor {
    let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
    let mut results = run(op, &args).expect("operands fit");
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// A tensor of values that are as many as the dims say.
pub fn tensor<T: crate::tensor::Element>(dims: &[usize], values: &[T]) -> Tensor {
    Tensor::from_vec(dims.to_vec(), values.to_vec()).expect("values fit the dims")
}
