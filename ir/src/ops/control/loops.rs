//! Loops: a function of the module that runs again on its own results.
//!
//! Each keeps some values from run to run (states) and stacks others (scan outputs). Values from around the
//! loop that the body uses are operands after the rest.

use super::*;
use crate::attr::SymbolRef;
use crate::ops::control::{condition, expect_alike, expect_condition, signature};
use crate::ops::layout::args::*;
use crate::ops::layout::join::concat;
use crate::ops::layout::slice::slice;
use crate::tensor::{MAX_RESULT_BYTES, result_count};
use crate::ty::Elem;
use crate::{bail, op};

/// How often a body may run: a loop whose condition never becomes false is an error, not a hang.
pub const MAX_ITERATIONS: usize = 1_000_000;

op! {
    /// Runs `body` on `(iteration: i64, true, states…, captures…)` until `trip` runs are done, or `cond` or
    /// the body's first result is false; absent, they set no bound. The first `states` of `args` are the
    /// initial states, the others captures. The body returns `(condition, states…, scan outputs…)`; the
    /// results are the last states and the scan outputs, stacked along a new first axis. ONNX Loop.
    Loop = "loop" (trip: optional, cond: optional, args: variadic) {
        body: SymbolRef, states: usize, results: Vec<Type>,
    }
}
op! {
    /// Runs `body` once for each index of the sequence axes. `args` are `states` initial states, the
    /// sequences, one for each of `axes`, and captures; the body takes states, one slice of each sequence
    /// and captures, and returns states and scan outputs. Results are the last states and the scan outputs,
    /// stacked along a new axis, one of `out_axes`. Sequences whose flag in `reverse` is set are read from
    /// the end, outputs whose flag in `out_reverse` is set are written from the end. ONNX Scan.
    Scan = "scan" (args: variadic) {
        body: SymbolRef, states: usize, axes: Vec<usize>, reverse: Vec<bool>,
        out_axes: Vec<usize>, out_reverse: Vec<bool>, results: Vec<Type>,
    }
}

impl OpDef for Loop {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        if let Some(trip) = args.get(0) {
            expect_single(trip, "trip")?;
        }
        if let Some(cond) = args.get(1) {
            expect_condition(cond)?;
        }
        let given: Vec<_> = args.from(2).cloned().collect();
        let signature = signature(module, &self.body)?;
        let own = vec![Type::scalar(Elem::I64), Type::scalar(Elem::Bool)];
        let what = format!("parameters of `@{}`", self.body.0);
        expect_kinds(&signature.params, &[own, given].concat(), &what)?;
        let Some((cond, rest)) = signature.results.split_first() else { bail!("the body returns nothing") };
        expect_condition(cond)?;
        if self.states > rest.len() || args.from(2).count() < self.states {
            bail!("{} states for {} operands and {} results", self.states, args.from(2).count(), rest.len());
        }
        let (states, outputs) = rest.split_at(self.states);
        let what = format!("results of `@{}`", self.body.0);
        expect_kinds(
            &[states.to_vec(), stacked(outputs, &vec![0; outputs.len()])?].concat(),
            &self.results,
            &what,
        )?;
        Ok(self.results.clone())
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let trip = args.get(0).map(single).transpose()?;
        let mut go = args.get(1).map_or(Ok(true), condition)?;
        let mut states: Vec<_> = args.from(2).take(self.states).cloned().collect();
        let mut stacks = Stacks::new(self.results.len() - self.states);
        for i in 0.. {
            if !go || trip.is_some_and(|n| i as i64 >= n) {
                break;
            }
            if i == MAX_ITERATIONS {
                bail!("no end after {MAX_ITERATIONS} iterations");
            }
            let mut inputs = vec![Tensor::scalar(i as i64), Tensor::from_bools(vec![], [true])?];
            inputs.append(&mut states);
            inputs.extend(args.from(2).skip(self.states).cloned());
            let mut results = cx.call(&self.body.0, inputs)?;
            go = condition(&results.remove(0))?;
            stacks.push(results.split_off(self.states))?;
            states = results;
        }
        let axes = vec![0; stacks.0.len()];
        states.extend(stacks.join(&self.results[self.states..], &axes, cx.dims())?);
        Ok(states)
    }
}

impl OpDef for Scan {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let outputs = self.out_axes.len();
        if self.reverse.len() != self.axes.len() || self.out_reverse.len() != outputs {
            bail!("an axis without direction");
        }
        let given: Vec<_> = args.from(0).cloned().collect();
        if self.axes.is_empty() || given.len() < self.states.saturating_add(self.axes.len()) {
            bail!("{} operands for {} states and {} sequences", given.len(), self.states, self.axes.len());
        }
        let mut expected = given;
        let mut length: Option<Dim> = None;
        for (sequence, axis) in expected[self.states..].iter_mut().zip(&self.axes) {
            expect_axis(sequence, *axis)?;
            let n = sequence.dims.remove(*axis);
            length = Some(length.map_or(Ok(n.clone()), |l| agree(&l, &n, module))?);
        }
        let signature = signature(module, &self.body)?;
        expect_kinds(&signature.params, &expected, &format!("parameters of `@{}`", self.body.0))?;
        if signature.results.len() != self.states + outputs {
            bail!("{} results for {} states and {outputs} outputs", signature.results.len(), self.states);
        }
        let (states, per_step) = signature.results.split_at(self.states);
        let what = format!("results of `@{}`", self.body.0);
        expect_kinds(&[states.to_vec(), stacked(per_step, &self.out_axes)?].concat(), &self.results, &what)?;
        for (result, axis) in self.results[self.states..].iter().zip(&self.out_axes) {
            length.as_ref().map_or(Ok(Dim::constant(0)), |l| agree(l, &result.dims[*axis], module))?;
        }
        Ok(self.results.clone())
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let given: Vec<_> = args.from(0).collect();
        let (states, rest) = given.split_at(self.states);
        let (sequences, captures) = rest.split_at(self.axes.len());
        let mut states: Vec<_> = states.iter().map(|t| (*t).clone()).collect();
        let lengths: Vec<_> = sequences.iter().zip(&self.axes).map(|(s, a)| s.dims()[*a]).collect();
        let length = lengths[0];
        if lengths.iter().any(|l| *l != length) {
            bail!("sequences of {lengths:?} elements");
        }
        if length > MAX_ITERATIONS {
            bail!("{length} iterations, at most {MAX_ITERATIONS} are run");
        }
        let mut stacks = Stacks::new(self.out_axes.len());
        for i in 0..length {
            for ((sequence, axis), reverse) in sequences.iter().zip(&self.axes).zip(&self.reverse) {
                states.push(element(sequence, *axis, if *reverse { length - 1 - i } else { i })?);
            }
            states.extend(captures.iter().map(|t| (*t).clone()));
            let mut results = cx.call(&self.body.0, states)?;
            stacks.push(results.split_off(self.states))?;
            states = results;
        }
        for (stack, reverse) in stacks.0.iter_mut().zip(&self.out_reverse) {
            if *reverse {
                stack.reverse();
            }
        }
        states.extend(stacks.join(&self.results[self.states..], &self.out_axes, cx.dims())?);
        Ok(states)
    }
}

/// Checks element types and ranks alone: shapes may change from run to run.
fn expect_kinds(expected: &[Type], given: &[Type], what: &str) -> OpResult<()> {
    let kind =
        |t: &Type| Type { elem: t.elem, dims: (0..t.rank()).map(|i| Dim::symbol(format!("d{i}"))).collect() };
    expect_alike(&expected.iter().map(kind).collect::<Vec<_>>(), given, what)
}

/// The types of what one run returns when those of all runs are stacked along `axes`.
fn stacked(outputs: &[Type], axes: &[usize]) -> OpResult<Vec<Type>> {
    let with_axis = |(ty, axis): (&Type, &usize)| {
        let mut dims = ty.dims.clone();
        if *axis > dims.len() {
            bail!("no axis {axis} to stack {ty} along");
        }
        dims.insert(*axis, Dim::symbol("length"));
        Ok(Type { elem: ty.elem, dims })
    };
    outputs.iter().zip(axes).map(with_axis).collect()
}

/// What a sequence holds at `i`.
fn element(sequence: &Tensor, axis: usize, i: usize) -> OpResult<Tensor> {
    let mut dims = sequence.dims().to_vec();
    dims.remove(axis);
    Ok(slice(sequence, &[(axis, i as i64, i as i64 + 1, 1)])?.reshape(dims)?)
}

/// Scan outputs of all runs so far.
struct Stacks(Vec<Vec<Tensor>>, usize);

impl Stacks {
    fn new(outputs: usize) -> Stacks {
        Stacks(vec![vec![]; outputs], 0)
    }

    fn push(&mut self, outputs: Vec<Tensor>) -> OpResult<()> {
        for (stack, output) in self.0.iter_mut().zip(outputs) {
            self.1 += output.bytes().len();
            stack.push(output);
        }
        if self.1 > MAX_RESULT_BYTES {
            bail!("the scan outputs are too large");
        }
        Ok(())
    }

    /// Each stack as one tensor. One of no runs is of `types`, and empty.
    fn join(self, types: &[Type], axes: &[usize], env: &DimEnv) -> OpResult<Vec<Tensor>> {
        let join = |((stack, ty), axis): ((Vec<Tensor>, &Type), &usize)| {
            if stack.is_empty() {
                let mut dims: Vec<_> = ty.dims.iter().map(|d| d.eval(env).unwrap_or(0)).collect();
                dims[*axis] = 0;
                let bytes = ty.elem.bytes(result_count(ty.elem, &dims)?).unwrap_or(0);
                return Ok(Tensor::new(ty.elem, dims, vec![0; bytes].into())?);
            }
            let with_axis = |t: &Tensor| {
                let mut dims = t.dims().to_vec();
                dims.insert(*axis, 1);
                t.reshape(dims)
            };
            let parts: Vec<_> = stack.iter().map(with_axis).collect::<Result<_, _>>()?;
            concat(&parts.iter().collect::<Vec<_>>(), *axis)
        };
        self.0.into_iter().zip(types).zip(axes).map(join).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eval::run, text, verify};

    const GROW: &str = "\
graph @main(%trip: i64[], %go: bool[], %x: f32[1], %y: f32[2]) -> (%end: f32[n], %sums: f32[runs,2]) {
  %end, %sums = loop %trip, %go, %x, %y {body=@grow,states=1,results=[f32[n],f32[runs,2]]} : f32[n], f32[runs,2]
}

graph @grow(%i: i64[], %go: bool[], %s: f32[m], %y: f32[2]) -> (%go: bool[], %more: f32[m+2], %twice: f32[2]) {
  %more = concat %s, %y {axis=0} : f32[m+2]
  %twice = add %y, %y : f32[2]
}
";

    #[test]
    fn states_may_grow_and_outputs_stack() {
        let module = text::parse(GROW).unwrap();
        verify(&module).unwrap();
        let ask = |trip: i64| {
            let x = Tensor::vector(vec![1.0f32]);
            let y = Tensor::vector(vec![2.0f32, 3.0]);
            let go = Tensor::from_bools(vec![], [true]).unwrap();
            run(&module, vec![Tensor::scalar(trip), go, x, y])
        };
        let results = ask(2).unwrap();
        assert_eq!(&*results[0].values::<f32>().unwrap(), &[1.0, 2.0, 3.0, 2.0, 3.0]);
        assert_eq!(results[1].dims(), &[2, 2]);
        assert_eq!(ask(0).unwrap()[1].dims(), &[0, 2]);
    }

    #[test]
    fn loops_without_end_are_an_error() {
        let source = "\
graph @main(%x: i64[]) -> (%y: i64[]) {
  %y = loop _, _, %x {body=@same,states=1,results=[i64[]]} : i64[]
}

graph @same(%i: i64[], %go: bool[], %x: i64[]) -> (%go: bool[], %x: i64[]) {
}
";
        let module = text::parse(source).unwrap();
        verify(&module).unwrap();
        let error = run(&module, vec![Tensor::scalar(1i64)]).unwrap_err().to_string();
        assert!(error.ends_with("no end after 1000000 iterations"), "{error}");
    }

    #[test]
    fn scans_run_both_ways() {
        let source = "\
graph @main(%s: i64[], %x: i64[3]) -> (%end: i64[], %all: i64[3]) {
  %end, %all = scan %s, %x {body=@step,states=1,axes=[0],reverse=[true],out_axes=[0],out_reverse=[true],results=[i64[],i64[3]]} : i64[], i64[3]
}

graph @step(%s: i64[], %x: i64[]) -> (%t: i64[], %t: i64[]) {
  %t = sub %x, %s : i64[]
}
";
        let module = text::parse(source).unwrap();
        verify(&module).unwrap();
        let results = run(&module, vec![Tensor::scalar(0i64), Tensor::vector(vec![1i64, 10, 100])]).unwrap();
        assert_eq!(&*results[1].values::<i64>().unwrap(), &[91, -90, 100]);
        assert_eq!(&*results[0].values::<i64>().unwrap(), &[91]);
    }
}
