//! Small groups of random ops over operands that broadcast in every way: what is compiled gives what is interpreted.
//!
//! A kernel computes over one domain, and an op whose values are narrower than that is easily computed over elements
//! that it does not have. So the ops of a case meet values of mixed shapes, inside of groups and as results. Cases are
//! drawn from a fixed seed; `TRINE_CASES` says how many.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use trine::codegen::Target;
use trine::codegen::image::program::build;
use trine::codegen::plan::form::form;
use trine_ir::attr::Flag;
use trine_ir::ops::*;
use trine_ir::{
    Def, Dim, DimEnv, Elem, Function, FunctionKind, Graph, Literal, MAIN, Module, Op, OpResult, Stage,
    Tensor, Type, Value, eval, text, verify,
};
use trine_runtime::{Session, SessionOptions};

/// What the symbols of a case are.
const BINDINGS: [[(&str, usize); 2]; 3] = [[("m", 2), ("n", 3)], [("m", 1), ("n", 1)], [("m", 5), ("n", 1)]];

/// Of the largest magnitude, where a product of floats sums in another order than the interpreter.
const TOLERANCE: f32 = 2e-3;

/// A fragment, the values it meets, and its spelling.
type Choice = (usize, usize, usize, usize);

#[derive(Clone, Debug)]
struct Case {
    /// The dimensions that inputs have or broadcast to.
    base: [usize; 3],
    /// Of each input, its rank and which of its dimensions are 1.
    inputs: Vec<(usize, usize)>,
    choices: Vec<Choice>,
    /// Which values are results besides the last.
    results: usize,
}

#[test]
fn groups_give_what_is_interpreted() {
    let cases = std::env::var("TRINE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let case = (
        [0..6usize, 0..6, 0..5],
        prop::collection::vec((0..4usize, 0..8usize), 2..5),
        prop::collection::vec((0..FRAGMENTS.len(), 0..64usize, 0..64usize, 0..64usize), 1..7),
        0..64usize,
    );
    let case = case.prop_map(|(base, inputs, choices, results)| Case { base, inputs, choices, results });
    let mut runner = TestRunner::new_with_rng(
        Config { cases, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let target = Target::host().unwrap();
    let outcome = runner.run(&case, |case| {
        // Where nothing fits there is nothing to compare.
        let Ok(module) = module(&case) else { return Ok(()) };
        compare(&module, &target).map_err(TestCaseError::fail)
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

/// Compares results on one thread and on two, to the bit where sums have one order.
fn compare(module: &Module, target: &Target) -> Result<(), String> {
    let source = text::print(module);
    verify(module).map_err(|e| format!("{e}\n{source}"))?;
    let main = &module.main().ok_or("no main")?.graph;
    let exact = !main.order().iter().any(|n| matches!(main.op(*n), Some(Op::Matmul(_))));
    let mut formed = module.clone();
    form(&mut formed, target);
    let dump = text::print(&formed);
    verify(&formed).map_err(|e| format!("{e}\n{source}\n{dump}"))?;
    let program = Arc::new(build(formed, target).map_err(|e| format!("{e}\n{dump}"))?);
    for binding in BINDINGS {
        let mut env = DimEnv::default();
        binding.iter().for_each(|(symbol, size)| env.set((*symbol).into(), *size));
        let types = main.params().iter().map(|p| main.ty(*p));
        let inputs: Vec<Tensor> = types
            .enumerate()
            .map(|(i, ty)| Ok(numbers(ty.elem, ty.eval_dims(&env)?, i as u64 + 1)))
            .collect::<Result<_, Dim>>()
            .map_err(|d| format!("no size for `{d}`"))?;
        // Sizes that do not broadcast are an error either way.
        let want = eval::run(module, inputs.clone());
        for threads in [1, 2] {
            let mut session =
                Session::new(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
            let (got, want) = match (session.run(&inputs), &want) {
                (Ok(got), Ok(want)) => (got, want),
                (Err(_), Err(_)) => continue,
                (got, want) => return Err(format!("{got:?}\n{want:?}\n{source}\n{dump}")),
            };
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                if got.ty() != want.ty() || !same(got, want, exact) {
                    let what = format!("result {i}, {threads} threads, {binding:?}");
                    return Err(format!("{what}\n{got:?}\n{want:?}\n{source}\n{dump}"));
                }
            }
        }
    }
    Ok(())
}

fn same(got: &Tensor, want: &Tensor, exact: bool) -> bool {
    let (Ok(g), Ok(w)) = (got.values::<f32>(), want.values::<f32>()) else { return got == want };
    let largest = w.iter().filter(|v| v.is_finite()).fold(1f32, |m, v| m.max(v.abs()));
    let close = |g: f32, w: f32| !exact && (g - w).abs() <= TOLERANCE * largest;
    g.iter().zip(w.iter()).all(|(g, w)| {
        g.to_bits() == w.to_bits() || g.is_nan() && w.is_nan() || *g == *w && !exact || close(*g, *w)
    })
}

/// Multiples of 1/8 in [-2, 2], whose products and small sums are exact; trits; codes.
fn numbers(elem: Elem, dims: Vec<usize>, seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % below
    };
    let count: usize = dims.iter().product();
    match elem {
        Elem::F32 => {
            Tensor::from_vec(dims, (0..count).map(|_| (next(33) as f32 - 16.0) / 8.0).collect::<Vec<f32>>())
        }
        Elem::U8 => Tensor::from_vec(dims, (0..count).map(|_| next(256) as u8).collect::<Vec<u8>>()),
        elem => {
            let trits: Vec<u8> = (0..count).map(|_| (next(3) as u8).wrapping_sub(1)).collect();
            Tensor::pack(elem, dims, &trits)
        }
    }
    .unwrap()
}

fn module(case: &Case) -> OpResult<Module> {
    let outer = |symbol: &str, i: usize| match i {
        0 | 1 => Dim::symbol(symbol),
        i => Dim::constant(i - 1),
    };
    let last = Dim::constant([1, 4, 8, 20, 32][case.base[2]]);
    let base = [outer("m", case.base[0]), outer("n", case.base[1]), last];
    let module = Module { stage: Stage::Lowered, ..Module::default() };
    let mut b = Builder { graph: Graph::default(), module, values: vec![] };
    // One of all dimensions binds the symbols.
    let inputs = std::iter::once((3, 0)).chain(case.inputs.iter().copied());
    for (i, (rank, ones)) in inputs.enumerate() {
        let dims = (3 - rank..3).map(|axis| match ones >> axis & 1 {
            1 => Dim::constant(1),
            _ => base[axis].clone(),
        });
        let value = b.graph.param(&format!("x{i}"), Type { elem: Elem::F32, dims: dims.collect() });
        b.values.push(value);
    }
    for (fragment, i, j, spelling) in &case.choices {
        let (x, z) = (b.values[i % b.values.len()], b.values[j % b.values.len()]);
        // What does not fit is left out.
        if let Ok(value) = FRAGMENTS[*fragment](&mut b, x, z, *spelling) {
            b.values.push(value);
        }
    }
    let computed: Vec<Value> =
        b.values.iter().copied().filter(|v| matches!(b.graph.def(v.node), Def::Op(_))).collect();
    let (last, rest) = computed.split_last().ok_or("nothing is computed")?;
    let mut outputs = vec![*last];
    outputs
        .extend(rest.iter().rev().enumerate().filter(|(i, _)| case.results >> i & 1 == 1).map(|(_, v)| *v));
    let mut seen = vec![];
    outputs.retain(|v| {
        !seen.contains(v) && {
            seen.push(*v);
            true
        }
    });
    b.graph.set_outputs(outputs);
    b.module.functions.insert(MAIN.into(), Function { kind: FunctionKind::Graph, graph: b.graph });
    b.module.sweep();
    Ok(b.module)
}

struct Builder {
    graph: Graph,
    module: Module,
    values: Vec<Value>,
}

impl Builder {
    fn add(&mut self, op: impl Into<Op>, args: &[Value]) -> OpResult<Value> {
        self.graph.add(op, args)
    }

    fn node(&mut self, op: impl Into<Op>, args: &[Value]) -> OpResult<[Value; 2]> {
        let args: Vec<_> = args.iter().copied().map(Some).collect();
        let node = self.graph.add_node(op, &args, &())?;
        Ok([0, 1].map(|result| Value { node, result }))
    }

    fn constant(&mut self, elem: Elem, dims: &[usize]) -> Value {
        let name = format!("c{}", self.module.consts.len());
        let seed = self.module.consts.len() as u64 + 100;
        self.module.consts.insert(name.clone(), numbers(elem, dims.to_vec(), seed));
        self.graph.constant(&name, Type::new(elem, dims.iter().copied()))
    }

    /// The length of the last axis, if it is known.
    fn width(&self, x: Value) -> OpResult<usize> {
        Ok(self.graph.ty(x).back(0).and_then(Dim::as_const).ok_or("no width")?)
    }
}

type Fragment = fn(&mut Builder, Value, Value, usize) -> OpResult<Value>;

/// Elementwise ops are there more than once, as in models.
const FRAGMENTS: &[Fragment] = &[
    binary, binary, binary, unary, unary, chosen, reduced, reduced, normalized, dense, batched, blocks,
    ternary, gated, quantized, moved, number,
];

fn unary(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    match spelling % 6 {
        0 => b.add(Relu {}, &[x]),
        1 => b.add(Tanh {}, &[x]),
        2 => b.add(Sigmoid {}, &[x]),
        3 => b.add(Neg {}, &[x]),
        _ => b.add(Silu {}, &[x]),
    }
}

fn binary(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    match spelling % 5 {
        0 => b.add(Mul {}, &[x, z]),
        1 => b.add(Sub {}, &[x, z]),
        2 => b.add(Max {}, &[x, z]),
        _ => b.add(Add {}, &[x, z]),
    }
}

fn chosen(b: &mut Builder, x: Value, z: Value, _: usize) -> OpResult<Value> {
    let less = b.add(Less {}, &[x, z])?;
    b.add(Where {}, &[less, z, x])
}

/// A reduction of the last axis, which stays, or does not.
fn reduced(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let last = b.graph.ty(x).rank().checked_sub(1).ok_or("no axis")?;
    let (axes, keepdims) = (vec![last], spelling & 8 == 0);
    match spelling % 8 {
        0 => b.add(ReduceSumSquare { axes, keepdims }, &[x]),
        1 => b.add(ReduceMax { axes, keepdims }, &[x]),
        2 => b.add(ReduceL2 { axes, keepdims }, &[x]),
        3 => b.add(ReduceLogSumExp { axes, keepdims }, &[x]),
        4 | 5 => b.add(ReduceMean { axes, keepdims }, &[x]),
        _ => b.add(ReduceSum { axes, keepdims }, &[x]),
    }
}

fn normalized(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let last = b.graph.ty(x).rank().checked_sub(1).ok_or("no axis")?;
    match spelling % 3 {
        0 => b.add(Softmax { axis: last }, &[x]),
        1 => b.add(LayerNorm { eps: 0.01 }, &[x]),
        _ => {
            let width = b.width(x)?;
            let gain = b.constant(Elem::F32, &[width]);
            b.add(RmsNorm { eps: 0.01 }, &[x, gain])
        }
    }
}

/// Outputs of a layer.
fn outputs(spelling: usize) -> usize {
    [1, 4, 8, 20, 32][spelling / 2 % 5]
}

fn dense(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let (k, n, trans_b) = (b.width(x)?, outputs(spelling), spelling & 1 == 1);
    let w = b.constant(Elem::F32, &if trans_b { [n, k] } else { [k, n] });
    b.add(Matmul { trans_b }, &[x, w])
}

fn batched(b: &mut Builder, x: Value, z: Value, _: usize) -> OpResult<Value> {
    b.add(Matmul { trans_b: true }, &[x, z])
}

fn blocks(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let (k, n, bits) = (b.width(x)?, outputs(spelling), [2, 4, 8][spelling % 3]);
    let (block, blocks) = (16, k.div_ceil(16));
    let q = b.constant(Elem::U8, &[n, blocks, block * bits / 8]);
    let scale = b.constant(Elem::F32, &[n, blocks]);
    let w = b.add(DequantizeBlocks { bits, block, k, int8: false }, &[q, scale])?;
    b.add(Matmul { trans_b: true }, &[x, w])
}

/// A ternary layer on f32 or on int8, in one group or in several, as it is when it is lowered.
fn ternary(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let (k, n) = (b.width(x)?, outputs(spelling));
    let group = if spelling & 1 == 1 { 16.min(k) } else { k };
    let w = b.constant(Elem::Trit, &[n, k]);
    let scale = b.constant(Elem::F32, &[n, k.div_ceil(group)]);
    let mut rows = [x, scale, scale];
    if spelling & 32 == 32 {
        let [q, s] = b.node(QuantizeRows { floor: None, reciprocal: Flag(false) }, &[x])?;
        rows = [q, scale, s];
    }
    let signed = b.add(SignSelect {}, &[rows[0], w])?;
    let sums = b.add(GroupSum { group }, &[signed])?;
    let operands = if spelling & 32 == 32 { 3 } else { 2 };
    b.add(Rescale {}, &[sums, rows[1], rows[2]][..operands])
}

/// The halves of the last axis, one of which opens for the other.
fn gated(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let (width, axis) = (b.width(x)?, b.graph.ty(x).rank() - 1);
    if !width.is_multiple_of(2) {
        return Err("no halves".into());
    }
    let half = Dim::constant(width / 2);
    let [u, v] = b.node(Split { axis, sizes: vec![half.clone(), half] }, &[x])?;
    let gate = b.add(Silu {}, &[u])?;
    let product = b.add(Mul {}, &[gate, v])?;
    if spelling & 1 == 1 { b.add(Add {}, &[product, z]) } else { Ok(product) }
}

/// What is left of a row that was rounded to int8.
fn quantized(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    // Products of floats differ in the last bits, which can round to another integer.
    if b.graph.order().iter().any(|n| matches!(b.graph.op(*n), Some(Op::Matmul(_)))) {
        return Err("no bits".into());
    }
    let floor = (spelling & 2 == 2).then_some(0.75);
    let [_, scale] = b.node(QuantizeRows { floor, reciprocal: Flag(spelling & 4 == 4) }, &[x])?;
    if spelling & 1 == 1 { b.add(Mul {}, &[scale, z]) } else { Ok(scale) }
}

fn moved(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let ty = b.graph.ty(x).clone();
    match spelling % 3 {
        0 if ty.rank() >= 2 => {
            let mut perm: Vec<usize> = (0..ty.rank()).collect();
            perm.swap(ty.rank() - 1, ty.rank() - 2);
            b.add(Transpose { perm }, &[x])
        }
        1 => {
            let shape = b.graph.ty(z).dims.clone();
            b.add(Expand { shape }, &[x])
        }
        _ => {
            let mut shape = ty.dims;
            shape.insert(spelling / 3 % (shape.len() + 1), Dim::constant(1));
            b.add(Reshape { shape }, &[x])
        }
    }
}

fn number(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let number = b.graph.literal(Literal::F32(0.5));
    if spelling & 1 == 1 { b.add(Mul {}, &[number, x]) } else { b.add(Add {}, &[x, number]) }
}
