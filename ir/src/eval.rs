//! The reference interpreter: the meaning that every pass and kernel is tested against.

use std::cell::Cell;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::dim::{Dim, DimEnv};
use crate::error::{Error, Place};
use crate::graph::{Def, Graph, NodeId, Operands, Value};
use crate::module::{MAIN, Module};
use crate::op::{Args, Context, OpResult};
use crate::ops::{GroupSum, Op};
use crate::tensor::{Tensor, result_count};
use crate::ty::Type;

/// How deep functions may call functions.
pub const MAX_DEPTH: usize = 64;

/// How many calls of functions a run may make: loops in loops that never end are an error, not a hang.
pub const MAX_CALLS: usize = 1 << 21;

/// Values of fewer elements are made without a look at what memory there is.
const MAX_UNCHECKED: usize = 1 << 20;

/// The calls of a run up to some point in it.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    depth: usize,
    made: Rc<Cell<usize>>,
}

impl Calls {
    /// The calls once `function` is called, too.
    fn with(&self, function: &str) -> Result<Calls, Error> {
        let (depth, made) = (self.depth + 1, self.made.get() + 1);
        if depth > MAX_DEPTH {
            return Err(Error::Input(format!("calls of `@{function}` nest deeper than {MAX_DEPTH}")));
        }
        if made > MAX_CALLS {
            return Err(Error::Input(format!("no end after {MAX_CALLS} calls of functions")));
        }
        self.made.set(made);
        Ok(Calls { depth, made: self.made.clone() })
    }
}

/// Runs `@main` on inputs in the order of its parameters.
pub fn run(module: &Module, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
    if let Some(main) = module.main() {
        let env = bind(&main.graph, &inputs, &DimEnv::default())?;
        if let Some(broken) = module.requires.iter().find(|r| r.is_broken(&env)) {
            return Err(Error::Input(broken.complaint(&env, &|symbol| {
                let params = main.graph.params().iter();
                origin(params.map(|p| (main.graph.name(*p), main.graph.ty(*p))), symbol)
            })));
        }
    }
    run_function(module, MAIN, inputs, &DimEnv::default(), &Calls::default())
}

/// Binds the symbols of `graph`'s parameters to the shapes of `inputs`, and checks the rest. `outer`
/// gives symbols that a body inherits from where it is called.
pub fn bind(graph: &Graph, inputs: &[Tensor], outer: &DimEnv) -> Result<DimEnv, Error> {
    let mut env = outer.clone();
    let params = graph.params();
    if params.len() != inputs.len() {
        return Err(Error::Input(format!("expected {} inputs, got {}", params.len(), inputs.len())));
    }
    // Two rounds: `past+seq` is checked once other inputs have given `past` and `seq`.
    for round in 0..2 {
        for (param, tensor) in params.iter().zip(inputs) {
            let (name, ty) = (graph.name(*param), graph.ty(*param));
            if ty.elem != tensor.elem() || ty.rank() != tensor.rank() {
                return Err(Error::Input(format!("input `{name}` is {ty}, got {}", tensor.ty())));
            }
            for (axis, (dim, actual)) in ty.dims.iter().zip(tensor.dims()).enumerate() {
                match env.unify(dim, *actual) {
                    Ok(true) => {}
                    Ok(false) if round == 0 => {}
                    Ok(false) => {
                        return Err(Error::Input(format!(
                            "input `{name}` does not determine the symbols of `{dim}` (axis {axis})"
                        )));
                    }
                    Err(expected) => {
                        let expected = match expected.filter(|_| dim.as_const().is_none()) {
                            Some(e) => format!(", which is {e} here"),
                            None => String::new(),
                        };
                        return Err(Error::Input(format!(
                            "input `{name}`: axis {axis} has {actual} elements, not `{dim}`{expected}"
                        )));
                    }
                }
            }
        }
    }
    Ok(env)
}

/// Which size of which of the `inputs`, by their names, a symbol is.
pub fn origin<'g>(inputs: impl IntoIterator<Item = (&'g str, &'g Type)>, symbol: &str) -> Option<String> {
    inputs.into_iter().find_map(|(name, ty)| {
        let axis = ty.dims.iter().position(|d| d.as_symbol().is_some_and(|s| &**s == symbol))?;
        Some(format!("axis {axis} of input `{name}`"))
    })
}

/// Runs any function after `calls` of the same run. The values of data-dependent symbols are bound as results
/// appear.
pub fn run_function(
    module: &Module,
    name: &str,
    inputs: Vec<Tensor>,
    outer: &DimEnv,
    calls: &Calls,
) -> Result<Vec<Tensor>, Error> {
    let function =
        module.functions.get(name).ok_or_else(|| Error::Input(format!("no function `@{name}`")))?;
    let graph = &function.graph;
    let dims = bind(graph, &inputs, outer)?;
    let order = graph.order();
    let summed = summed(graph, &order);
    let mut frame = Frame { module, dims, calls: calls.with(name)?, values: FxHashMap::default() };
    for (param, tensor) in graph.params().iter().zip(inputs) {
        frame.values.insert(*param, tensor);
    }
    let last_use = last_uses(graph, &order, &summed);
    for (step, node) in order.iter().enumerate().filter(|(_, node)| !summed.contains(node)) {
        frame.step(name, graph, *node, &summed)?;
        for dead in last_use.get(&step).into_iter().flatten() {
            frame.values.remove(dead);
        }
    }
    Ok(graph.outputs().iter().map(|v| frame.values[v].clone()).collect())
}

struct Frame<'a> {
    module: &'a Module,
    dims: DimEnv,
    calls: Calls,
    values: FxHashMap<Value, Tensor>,
}

impl Frame<'_> {
    fn step(
        &mut self,
        function: &str,
        graph: &Graph,
        node: NodeId,
        summed: &FxHashSet<NodeId>,
    ) -> Result<(), Error> {
        let place = || Place::new(function, graph, node);
        let results = match graph.def(node) {
            Def::Param { .. } => return Ok(()),
            Def::Const(key) => match self.module.consts.get(key) {
                Some(t) => vec![t.clone()],
                None => return Err(Error::Sidecar(format!("no data for `@{key}`"))),
            },
            Def::Literal(l) => vec![l.tensor().map_err(|e| place().eval(e))?],
            Def::Op(op) => {
                let operands = operands(graph, node, summed);
                let args: Vec<_> = operands.iter().map(|o| o.map(|v| &self.values[&v])).collect();
                let largest = args.iter().flatten().map(|t| t.len()).max().unwrap_or(0);
                for v in graph.results(node) {
                    self.fits(graph.ty(v), largest).map_err(|e| place().eval(e))?;
                }
                let products = graph.operand(node, 0).filter(|v| summed.contains(&v.node));
                let sums = match (op, products.and_then(|v| graph.op(v.node))) {
                    (Op::GroupSum(sum), Some(products)) => sum.of(products, Args::new(&args)),
                    _ => None,
                };
                let results = sums.map_or_else(|| op.eval(&args, self), |sums| Ok(vec![sums?]));
                results.map_err(|e| place().eval(e))?
            }
        };
        if results.len() != graph.results(node).len() {
            return Err(place().eval(format!("gave {} results", results.len())));
        }
        for (value, tensor) in graph.results(node).zip(results) {
            let ty = graph.ty(value);
            let fits = ty.elem == tensor.elem()
                && ty.rank() == tensor.rank()
                && ty.dims.iter().zip(tensor.dims()).all(|(d, n)| self.dims.unify(d, *n).is_ok());
            if !fits {
                return Err(place().eval(format!("gave {} where the type is {ty}", tensor.ty())));
            }
            self.values.insert(value, tensor);
        }
        Ok(())
    }
}

impl Frame<'_> {
    /// Whether there is memory for a value that is larger than what it is made of, as far as its size is known before.
    fn fits(&self, ty: &Type, largest: usize) -> OpResult<()> {
        let count = |n: usize, d: &Dim| n.checked_mul(d.eval(&self.dims)?);
        let is_small = |n: usize| n <= largest.max(MAX_UNCHECKED);
        if !ty.dims.iter().try_fold(1, count).is_some_and(is_small)
            && let Ok(dims) = ty.eval_dims(&self.dims)
        {
            result_count(ty.elem, &dims)?;
        }
        Ok(())
    }
}

impl Context for Frame<'_> {
    fn dims(&self) -> &DimEnv {
        &self.dims
    }
    fn call(&self, function: &str, args: Vec<Tensor>) -> OpResult<Vec<Tensor>> {
        run_function(self.module, function, args, &self.dims, &self.calls).map_err(|e| e.to_string().into())
    }
}

/// Products that one sum alone reads: it is evaluated on their operands, and they never are.
fn summed(graph: &Graph, order: &[NodeId]) -> FxHashSet<NodeId> {
    let products = |node: &NodeId| {
        let sums = matches!(graph.op(*node), Some(Op::GroupSum(_)));
        let products = graph.operand(*node, 0).filter(|_| sums)?;
        let is_lowered = graph.op(products.node).is_some_and(GroupSum::is_of);
        (is_lowered && graph.use_count(products) == 1).then_some(products.node)
    };
    order.iter().filter_map(products).collect()
}

/// What is read to evaluate a node.
fn operands(graph: &Graph, node: NodeId, summed: &FxHashSet<NodeId>) -> Operands {
    let operands = graph.operands(node);
    match operands.first().copied().flatten() {
        Some(v) if summed.contains(&v.node) => graph.operands(v.node),
        _ => operands,
    }
}

/// For each step, the values that no later step and no output uses.
fn last_uses(graph: &Graph, order: &[NodeId], summed: &FxHashSet<NodeId>) -> FxHashMap<usize, Vec<Value>> {
    let mut last: FxHashMap<Value, usize> = FxHashMap::default();
    for (step, node) in order.iter().enumerate() {
        for v in graph.results(*node).chain(operands(graph, *node, summed).into_iter().flatten()) {
            last.insert(v, step);
        }
    }
    let mut dead: FxHashMap<usize, Vec<Value>> = FxHashMap::default();
    for (value, step) in last {
        if !graph.is_output(value) {
            dead.entry(step).or_default().push(value);
        }
    }
    dead
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    const SOURCE: &str = "\
const @gain: f32[4] = [1.0,2.0,0.5,1.0]

graph @main(%x: f32[batch,4], %y: f32[batch,1]) -> (%z: f32[batch,4]) {
  %h = rms_norm %x, @gain {eps=1e-5} : f32[batch,4]
  %s = add %h, %y : f32[batch,4]
  %z = call %s {f=@twice} : f32[batch,4]
}

graph @twice(%x: f32[batch,4]) -> (%y: f32[batch,4]) {
  %y = mul %x, 2.0 : f32[batch,4]
}
";

    #[test]
    fn text_verifies_round_trips_and_runs() {
        let module = text::parse(SOURCE).unwrap();
        crate::verify(&module).unwrap();
        assert_eq!(text::print(&module), SOURCE);
        let x = Tensor::from_vec(vec![1, 4], vec![1f32, -1.0, 1.0, -1.0]).unwrap();
        let y = Tensor::from_vec(vec![1, 1], vec![0.5f32]).unwrap();
        let z = run(&module, vec![x, y]).unwrap();
        let want = [1.0f32, -2.0, 0.5, -1.0].map(|g| (g / 1.00001f32.sqrt() + 0.5) * 2.0);
        for (got, want) in z[0].values::<f32>().unwrap().iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }

    #[test]
    fn loops_in_loops_end() {
        // 2^60 iterations, each loop within its own bound.
        let body = |name: &str, next: &str| {
            format!(
                "graph @{name}(%i: i64[], %go: bool[], %s: f32[]) -> (%go: bool[], %t: f32[]) {{\n  \
                 %t = loop 1000000i64, true, %s {{body=@{next}, states=1, results=[f32[]]}} : f32[]\n}}\n"
            )
        };
        let last = "graph @c(%i: i64[], %go: bool[], %s: f32[]) -> (%go: bool[], %s: f32[]) {\n}\n";
        let main = "graph @main(%s: f32[]) -> (%t: f32[]) {\n  \
                    %t = loop 1000000i64, true, %s {body=@a, states=1, results=[f32[]]} : f32[]\n}\n";
        let module = text::parse(&[main, &body("a", "b"), &body("b", "c"), last].concat()).unwrap();
        crate::verify(&module).unwrap();
        let message = run(&module, vec![Tensor::scalar(1f32)]).unwrap_err().to_string();
        assert!(message.ends_with("no end after 2097152 calls of functions"), "{message}");
    }

    #[test]
    fn wrong_inputs_are_named() {
        let module = text::parse(SOURCE).unwrap();
        let x = Tensor::from_vec(vec![2, 4], vec![0f32; 8]).unwrap();
        let y = Tensor::from_vec(vec![1, 1], vec![0.5f32]).unwrap();
        let message = run(&module, vec![x, y]).unwrap_err().to_string();
        assert_eq!(message, "input `y`: axis 0 has 1 elements, not `batch`, which is 2 here");
    }
}
