//! Random modules: every pass keeps their meaning, and their text reads back.
//!
//! A module is drawn as a list of choices; each choice adds a fragment, mostly one that some pass looks
//! for, over values that are there. Values stay of moderate size, so that rounding elsewhere shows as
//! rounding and not as overflow. How often a pass fired is counted: one that never did was not tried.

use std::cell::Cell;

use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use trine::codegen::Target;
use trine::codegen::plan::form::form;
use trine::pass::{Driver, Exactness, Pass, Pipeline, Step};
use trine_ir::ops::*;
use trine_ir::{
    Def, Dim, Elem, Function, FunctionKind, Graph, Literal, MAIN, Module, Op, OpResult, Type, Value, text,
    verify,
};

use crate::{compare, fill};

/// The last axis of all values.
const WIDTH: usize = 8;

/// What a choice adds, between which values, and in which spelling.
type Choice = (usize, usize, usize, usize);

/// Forming kernels keeps every bit of random modules.
pub fn forming_keeps_meaning() -> Result<(), Failed> {
    let target = Target::host()?;
    let formed = Cell::new(0);
    check(FRAGMENTS.len() - 1, |before| {
        let mut after = before.clone();
        formed.set(formed.get() + form(&mut after, &target));
        verify(&after).map_err(|e| format!("{e}\n{}", text::print(&after)))?;
        compare::same_meaning(before, &after, Exactness::Exact, None).map_err(|e| {
            format!("{}\n{}{}", e.message().unwrap_or_default(), text::print(before), text::print(&after))
        })
    })?;
    if formed.get() == 0 { Err("no kernel was formed".into()) } else { Ok(()) }
}

/// The pass keeps the meaning of random modules, on top of the passes that come before it.
pub fn pass_keeps_meaning(pass: &'static Pass) -> Result<(), Failed> {
    let pipeline = Pipeline(vec![Step { pass, options: Default::default() }]);
    let fired = Cell::new(0);
    // Slices, sums and halves are for those passes that are about them: others would see less of what they are about.
    let fragments = match pass.name {
        "widen" | "widen-halves" => FRAGMENTS.len(),
        "lower-reductions" | "lower-slices" => FRAGMENTS.len() - 1,
        _ => FRAGMENTS.len() - 3,
    };
    check(fragments, |before| {
        let mut after = before.clone();
        // What is lowered must be found first.
        let first = match pass.name {
            "quantize-activations" | "fuse-siblings" | "lower-ternary" => "detect-ternary,detect-integers",
            "unroll-scans" => "open-recurrent",
            _ => "",
        };
        let first: Pipeline = first.parse::<Pipeline>().map_err(|e| e.to_string())?;
        Driver::new().run(&first, &mut after).map_err(|e| e.to_string())?;
        let before = after.clone();
        let report = Driver::new().run(&pipeline, &mut after).map_err(|e| e.to_string())?;
        fired.set(fired.get() + report.steps.iter().map(|step| step.rewrites).sum::<usize>());
        let tolerance = match pass.name {
            // Features and states that become -1, 0 and 1 are other numbers; `by_hand` says which.
            "ternarize-features" | "ternarize-states" => return Ok(()),
            // The model itself leaves room.
            "detect-integers" => Some(0.1),
            // What is not finite makes its whole row NaN in a norm, and in a product with a rotation.
            "norm-inputs" | "rotate-residual" => Some(2e-5),
            _ => None,
        };
        compare::same_meaning(&before, &after, pass.exactness, tolerance).map_err(|e| {
            format!("{}\n{}{}", e.message().unwrap_or_default(), text::print(&before), text::print(&after))
        })
    })?;
    // It takes a whole residual stream, from the embedding to the last norm, which `compiler/cli/tests/rotation.rs` has.
    let needs_a_stream = pass.name == "rotate-residual";
    match fired.get() {
        0 if !needs_a_stream => Err("the pass never fired".into()),
        _ => Ok(()),
    }
}

/// Printing, reading back and printing again gives the same text, and a module that verifies.
pub fn text_reads_back() -> Result<(), Failed> {
    check(FRAGMENTS.len(), |module| {
        let printed = text::print(module);
        let again = text::parse_with(&printed, &|name, _| module.consts.get(name).cloned())
            .map_err(|e| format!("{e}\n{printed}"))?;
        verify(&again).map_err(|e| format!("{e}\n{printed}"))?;
        let twice = text::print(&again);
        if twice == printed { Ok(()) } else { Err(format!("{printed}\nbecame\n{twice}")) }
    })
}

/// Tries modules of the first so many fragments.
fn check(fragments: usize, test: impl Fn(&Module) -> Result<(), String>) -> Result<(), Failed> {
    let choices = prop::collection::vec((0..fragments, 0..64usize, 0..64usize, 0..64usize), 1..14);
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 96, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let outcome = runner.run(&choices, |choices| {
        let module = build(&choices).map_err(|e| TestCaseError::fail(e.0))?;
        test(&module).map_err(TestCaseError::fail)
    });
    outcome.map_err(|e| e.to_string().into())
}

fn build(choices: &[Choice]) -> OpResult<Module> {
    let mut b = Builder { graph: Graph::default(), module: Module::default(), values: vec![] };
    for name in ["x", "z"] {
        let ty = Type {
            elem: Elem::F32,
            dims: vec![Dim::symbol("batch"), Dim::symbol("seq"), Dim::constant(WIDTH)],
        };
        let param = b.graph.param(name, ty);
        b.values.push(param);
    }
    for (fragment, i, j, spelling) in choices {
        let (x, z) = (b.values[i % b.values.len()], b.values[j % b.values.len()]);
        let value = FRAGMENTS[*fragment](&mut b, x, z, *spelling)?;
        b.values.push(value);
    }
    let last = b.values.len() - 1;
    let mut outputs = vec![b.values[last]];
    let middle = b.values[last / 2];
    if matches!(b.graph.def(middle.node), Def::Op(_)) && middle != outputs[0] {
        outputs.push(middle);
    }
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

    fn number(&mut self, value: f32) -> Value {
        self.graph.literal(Literal::F32(value))
    }

    fn constant(&mut self, rule: &str, dims: &[usize]) -> OpResult<Value> {
        let name = format!("c{}", self.module.consts.len());
        let ty = Type::new(Elem::F32, dims.iter().copied());
        let tensor = fill::fill(&[&format!("@{name}: {rule}")], &name, &ty).ok_or("no such data")?;
        self.module.consts.insert(name.clone(), tensor);
        Ok(self.graph.constant(&name, ty))
    }
}

type Fragment = fn(&mut Builder, Value, Value, usize) -> OpResult<Value>;

/// Slices, sums and halves come last.
const FRAGMENTS: &[Fragment] = &[
    mean_of, norm, activation, ternary, dense, nothing, moved, parts, constants, attention, rounded,
    integers, recurrent, turned, siblings, cut, summed, halves,
];

fn mean_of(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let sum = if spelling.is_multiple_of(2) { b.add(Add {}, &[x, z])? } else { b.add(Sub {}, &[x, z])? };
    let half = b.number(0.5);
    b.add(Mul {}, &[sum, half])
}

/// `x / √(mean(x²) + eps)`, centred or not, with a gain or without.
fn norm(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let mean = || ReduceMean { axes: vec![2], keepdims: true };
    let mut x = x;
    if spelling & 1 == 1 {
        let centre = b.add(mean(), &[x])?;
        x = b.add(Sub {}, &[x, centre])?;
    }
    let two = b.number(2.0);
    let square = if spelling & 2 == 2 { b.add(Pow {}, &[x, two])? } else { b.add(Mul {}, &[x, x])? };
    let (mean, eps) = (b.add(mean(), &[square])?, b.number(0.01));
    let variance = b.add(Add {}, &[mean, eps])?;
    let y = match spelling >> 2 & 3 {
        0 => {
            let root = b.add(Sqrt {}, &[variance])?;
            b.add(Div {}, &[x, root])?
        }
        1 => {
            let inverse = b.add(Rsqrt {}, &[variance])?;
            b.add(Mul {}, &[inverse, x])?
        }
        2 => {
            let root = b.add(Sqrt {}, &[variance])?;
            let inverse = b.add(Reciprocal {}, &[root])?;
            b.add(Mul {}, &[x, inverse])?
        }
        _ => {
            let power = b.number(-0.5);
            let inverse = b.add(Pow {}, &[variance, power])?;
            b.add(Mul {}, &[x, inverse])?
        }
    };
    if spelling & 16 == 16 {
        return Ok(y);
    }
    let gain = b.constant("gaussian", &[WIDTH])?;
    b.add(Mul {}, &[gain, y])
}

fn activation(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let gate = match spelling % 3 {
        0 => b.add(Sigmoid {}, &[x])?,
        1 => b.add(Tanh {}, &[x])?,
        _ => {
            let (root, one) = (b.number(std::f32::consts::FRAC_1_SQRT_2), b.number(1.0));
            let bend = b.add(Mul {}, &[x, root])?;
            let bend = b.add(Erf {}, &[bend])?;
            let bend = b.add(Add {}, &[one, bend])?;
            let half = b.number(0.5);
            b.add(Mul {}, &[half, bend])?
        }
    };
    let other = if spelling & 4 == 4 { x } else { z };
    let gated = b.add(Mul {}, &[other, gate])?;
    b.add(Tanh {}, &[gated])
}

/// A matmul whose weights are ternary, by row, with a bias or without.
fn ternary(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let w = b.constant("ternary 0.25", &[WIDTH, WIDTH])?;
    let y = b.add(Matmul { trans_b: spelling & 1 == 1 }, &[x, w])?;
    if spelling & 2 == 2 {
        return Ok(y);
    }
    let bias = b.constant("gaussian", &[WIDTH])?;
    b.add(Add {}, &[y, bias])
}

/// Two linear layers that read the same.
fn siblings(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let first = ternary(b, x, z, spelling)?;
    let second = ternary(b, x, z, spelling >> 2)?;
    mean_of(b, first, second, spelling >> 4)
}

/// Two slices of the last axis in the other order.
fn cut(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let at = 1 + spelling % (WIDTH - 1);
    let mut part = |from: usize, to: usize| {
        let [starts, ends] = [from, to].map(|n| vec![Dim::constant(n)]);
        b.graph.add(Slice { axes: vec![2], starts, ends, steps: vec![1], sizes: None }, &[x])
    };
    let (high, low) = (part(at, WIDTH)?, part(0, at)?);
    b.add(Concat { axis: 2 }, &[high, low])
}

/// Sums over the last axes, kept or dropped, beside what is summed.
fn summed(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let axes = if spelling & 1 == 1 { vec![1, 2] } else { vec![2] };
    let mut dims = b.graph.ty(x).dims.clone();
    axes.iter().for_each(|axis| dims[*axis] = Dim::constant(1));
    let keepdims = spelling & 2 == 2;
    let sum = match spelling >> 2 & 3 {
        0 => b.add(ReduceSum { axes, keepdims }, &[x])?,
        1 => b.add(ReduceSumSquare { axes, keepdims }, &[x])?,
        _ => b.add(ReduceMean { axes, keepdims }, &[x])?,
    };
    let sum = b.add(Tanh {}, &[sum])?;
    let sum = b.add(Reshape { shape: dims }, &[sum])?;
    b.add(Add {}, &[x, sum])
}

fn dense(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let mut w = b.constant("gaussian", &[WIDTH, WIDTH])?;
    if spelling & 1 == 1 {
        w = b.add(Transpose { perm: vec![1, 0] }, &[w])?;
    }
    let y = b.add(Matmul { trans_b: false }, &[x, w])?;
    b.add(Tanh {}, &[y])
}

/// A layer of f16 or bf16, ternary or not, between ops of the same.
fn halves(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let to = if spelling & 1 == 1 { Elem::F16 } else { Elem::Bf16 };
    let w = b.constant(if spelling & 2 == 2 { "ternary 0.25" } else { "gaussian" }, &[WIDTH, WIDTH])?;
    let [x, z, w] = [b.add(Cast { to }, &[x])?, b.add(Cast { to }, &[z])?, b.add(Cast { to }, &[w])?];
    let sum = b.add(Add {}, &[x, z])?;
    let y = b.add(Matmul { trans_b: spelling & 4 == 4 }, &[sum, w])?;
    let y = b.add(Tanh {}, &[y])?;
    b.add(Cast { to: Elem::F32 }, &[y])
}

/// What simplifies away, or nearly does.
fn nothing(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let (zero, minus_zero, one) = (b.number(0.0), b.number(-0.0), b.number(1.0));
    match spelling % 7 {
        0 => b.add(Identity {}, &[x]),
        1 => b.add(Mul {}, &[one, x]),
        2 => b.add(Add {}, &[x, zero]),
        3 => b.add(Add {}, &[x, minus_zero]),
        4 => b.add(Sub {}, &[x, zero]),
        5 => b.add(Cast { to: Elem::F32 }, &[x]),
        _ => b.add(Div {}, &[x, one]),
    }
}

/// There and back again, or around once.
fn moved(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let shape = b.graph.ty(x).dims.clone();
    if spelling & 1 == 1 {
        let count = shape[0].mul(&shape[1]).ok_or("too large")?;
        let flat = b.add(Reshape { shape: vec![count, shape[2].clone()] }, &[x])?;
        return b.add(Reshape { shape }, &[flat]);
    }
    let turned = b.add(Transpose { perm: vec![1, 0, 2] }, &[x])?;
    let gate = b.add(Sigmoid {}, &[turned])?;
    let turned = b.add(Mul {}, &[turned, gate])?;
    b.add(Transpose { perm: vec![1, 0, 2] }, &[turned])
}

/// Halves that are turned as by a rotary embedding.
fn parts(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let half = Dim::constant(WIDTH / 2);
    let split = Split { axis: 2, sizes: vec![half.clone(), half] };
    let node = b.graph.add_node(split, &[Some(x)], &())?;
    let (low, high) = (Value { node, result: 0 }, Value { node, result: 1 });
    let turned = if spelling & 1 == 1 { b.add(Neg {}, &[high])? } else { b.add(Tanh {}, &[high])? };
    b.add(Concat { axis: 2 }, &[turned, low])
}

/// A sum with what is known when the model is compiled.
fn constants(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let (p, q) = (b.constant("gaussian", &[WIDTH])?, b.constant("gaussian", &[1, WIDTH])?);
    let known = if spelling & 1 == 1 { b.add(Mul {}, &[p, q])? } else { b.add(Add {}, &[p, q])? };
    let sum = b.add(Add {}, &[x, known])?;
    b.add(Tanh {}, &[sum])
}

/// Attention over the heads `x`, with keys and values from `z`.
fn attention(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let dims = b.graph.ty(x).dims.clone();
    let (heads, width) = (Dim::constant(2), Dim::constant(WIDTH / 2));
    let apart = vec![dims[0].clone(), dims[1].clone(), heads, width];
    let mut parts = vec![];
    for v in [x, z, z] {
        let split = b.add(Reshape { shape: apart.clone() }, &[v])?;
        parts.push(b.add(Transpose { perm: vec![0, 2, 1, 3] }, &[split])?);
    }
    let scores = if spelling & 1 == 1 {
        b.add(Matmul { trans_b: true }, &[parts[0], parts[1]])?
    } else {
        let keys = b.add(Transpose { perm: vec![0, 1, 3, 2] }, &[parts[1]])?;
        b.add(Matmul { trans_b: false }, &[parts[0], keys])?
    };
    let factor = b.number(if spelling & 2 == 2 { 0.5 } else { 2.0 });
    let mut scores =
        if spelling & 2 == 2 { b.add(Mul {}, &[scores, factor])? } else { b.add(Div {}, &[scores, factor])? };
    if spelling & 12 == 12 {
        let cap = b.number(-1.5);
        let scaled = b.add(Div {}, &[scores, cap])?;
        let bent = b.add(Tanh {}, &[scaled])?;
        scores = b.add(Mul {}, &[bent, cap])?;
    }
    if spelling & 16 == 16 {
        let bound = b.number(-0.25);
        let hidden = b.number([f32::NEG_INFINITY, f32::MIN, -1e4, 0.25][spelling & 3]);
        let seen = b.add(Less {}, &[bound, scores])?;
        scores = b.add(Where {}, &[seen, scores, hidden])?;
    }
    let weights = b.add(Softmax { axis: 3 }, &[scores])?;
    let mixed = b.add(Matmul { trans_b: false }, &[weights, parts[2]])?;
    let joined = b.add(Transpose { perm: vec![0, 2, 1, 3] }, &[mixed])?;
    b.add(Reshape { shape: dims }, &[joined])
}

/// A ternary layer whose input the model rounds to int8 by rows, or by other bounds.
fn rounded(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let (floor, range) = (b.number(0.25), b.number(127.0));
    let magnitude = b.add(Abs {}, &[x])?;
    let largest = b.add(ReduceMax { axes: vec![2], keepdims: true }, &[magnitude])?;
    let largest = match spelling % 3 {
        0 => b.add(Max {}, &[largest, floor])?,
        1 => b
            .graph
            .add_node(Clip {}, &[Some(largest), Some(floor)], &())
            .map(|node| Value { node, result: 0 })?,
        _ => largest,
    };
    let up = b.add(Div {}, &[range, largest])?;
    let scaled = b.add(Mul {}, &[x, up])?;
    let mut q = b.add(Round {}, &[scaled])?;
    if spelling & 4 == 4 {
        let (low, high) = (b.number(if spelling & 8 == 8 { -128.0 } else { 0.0 }), b.number(127.0));
        q = b.add(Clip {}, &[q, low, high])?;
    }
    let back = if spelling & 16 == 16 {
        b.add(Div {}, &[q, up])?
    } else {
        let down = b.add(Div {}, &[largest, range])?;
        b.add(Mul {}, &[q, down])?
    };
    ternary(b, back, x, spelling)
}

/// Weights of 4 bits or 8, which the model lets meet activations of int8, or does not.
fn integers(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let bits = if spelling & 1 == 1 { 4 } else { 8 };
    let name = format!("c{}", b.module.consts.len());
    let ty = Type::new(Elem::U8, [WIDTH, 1, WIDTH * bits / 8]);
    let codes = fill::fill(&[&format!("@{name}: range")], &name, &ty).ok_or("no such data")?;
    b.module.consts.insert(name.clone(), codes);
    let codes = b.graph.constant(&name, ty);
    let scale = b.constant("ternary 0.01", &[WIDTH, 1])?;
    let layout = DequantizeBlocks { bits, block: WIDTH, k: WIDTH, int8: spelling & 6 == 6 };
    let w = b.add(layout, &[codes, scale])?;
    b.add(Matmul { trans_b: true }, &[x, w])
}

/// The last state of two steps over the halves of the last axis.
fn recurrent(b: &mut Builder, x: Value, _: Value, spelling: usize) -> OpResult<Value> {
    let dims = b.graph.ty(x).dims.clone();
    let (two, half) = (Dim::constant(2), Dim::constant(WIDTH / 2));
    let apart = vec![dims[0].clone(), dims[1].clone(), two.clone(), half.clone()];
    let apart = b.add(Reshape { shape: apart }, &[x])?;
    let steps = b.add(Transpose { perm: vec![2, 0, 1, 3] }, &[apart])?;
    let batch = dims[0].mul(&dims[1]).ok_or("too large")?;
    let steps = b.add(Reshape { shape: vec![two, batch, half] }, &[steps])?;
    let gates = [1, 3, 4][spelling % 3];
    let w = b.constant("gaussian", &[1, gates * WIDTH, WIDTH / 2])?;
    let r = b.constant("gaussian", &[1, gates * WIDTH, WIDTH])?;
    let (direction, clip) = (Direction::Forward, None);
    let (sigmoid, tanh) = (Activation::Sigmoid, Activation::Tanh);
    let op: Op = match gates {
        1 => Rnn { direction, activations: vec![tanh], clip }.into(),
        3 => Gru { direction, activations: vec![sigmoid, tanh], clip, linear_before_reset: true }.into(),
        _ => {
            let activations = vec![sigmoid, tanh, tanh];
            Lstm { direction, activations, clip, input_forget: false }.into()
        }
    };
    let node = b.graph.add_node(op, &[Some(steps), Some(w), Some(r)], &())?;
    b.add(Reshape { shape: dims }, &[Value { node, result: 1 }])
}

/// Heads that a rotary embedding turns, by its halves or by half rotation, or that something else does.
fn turned(b: &mut Builder, x: Value, z: Value, spelling: usize) -> OpResult<Value> {
    let dims = b.graph.ty(x).dims.clone();
    let heads = vec![dims[0].clone(), Dim::constant(1), dims[1].clone(), Dim::constant(WIDTH)];
    let (x, table) = (b.add(Reshape { shape: heads.clone() }, &[x])?, b.add(Reshape { shape: heads }, &[z])?);
    let half = Dim::constant(WIDTH / 2);
    let halves = |b: &mut Builder, x: Value| {
        let split = Split { axis: 3, sizes: vec![half.clone(), half.clone()] };
        let node = b.graph.add_node(split, &[Some(x)], &())?;
        OpResult::Ok([0, 1].map(|result| Value { node, result }))
    };
    let [low, high] = halves(b, x)?;
    let [angle, other] = halves(b, table)?;
    let (cos, sin) =
        (b.add(Tanh {}, &[angle])?, b.add(Sin {}, &[if spelling & 2 == 2 { other } else { angle }])?);
    let y = if spelling & 1 == 1 {
        let products = [(low, cos), (high, sin), (low, sin), (high, cos)];
        let [a, c, d, e] = products.map(|(x, table)| b.add(Mul {}, &[x, table]));
        let (first, second) = (b.add(Sub {}, &[a?, c?])?, b.add(Add {}, &[d?, e?])?);
        b.add(Concat { axis: 3 }, &[first, second])?
    } else {
        let back = b.add(Neg {}, &[high])?;
        let turned = b.add(Concat { axis: 3 }, &[back, low])?;
        let tables = [[cos, cos], [sin, sin]].map(|halves| b.add(Concat { axis: 3 }, &halves));
        let [cos, sin] = tables;
        let (straight, across) = (b.add(Mul {}, &[x, cos?])?, b.add(Mul {}, &[turned, sin?])?);
        b.add(Add {}, &[straight, across])?
    };
    b.add(Reshape { shape: dims }, &[y])
}
