//! Ops of the newest operator sets, and corners of older ones, against the same thing written in plain ops.

use prost::Message;
use trine_ir::{Tensor, eval};

use crate::model;
use crate::model::{Named, noise, proto};
use crate::numbers::distance;

const NEWEST: i64 = 28;

fn run(inputs: &[Named], lines: &str) -> Vec<Tensor> {
    let mut model = proto(inputs, &[], lines);
    model.ir_version = Some(14);
    model.opset_import[0].version = Some(NEWEST);
    let module = trine::import::import_bytes(model.encode_to_vec().into(), None);
    let module = module.unwrap_or_else(|e| panic!("{e}\n{lines}"));
    let tensors = inputs.iter().map(|(_, t)| t.clone()).collect();
    eval::run(&module, tensors).unwrap_or_else(|e| panic!("{e}\n{lines}"))
}

/// Both give the same, but for rounding.
fn same(inputs: &[Named], a: &str, b: &str) {
    let (x, y) = (run(inputs, a), run(inputs, b));
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter().zip(&y) {
        assert_eq!(x.ty(), y.ty(), "{a}");
        let off = distance(&x.values::<f32>().unwrap(), &y.values::<f32>().unwrap());
        assert!(off <= 1e-5, "{a}: {off} off");
    }
}

fn bools(dims: &[usize], seen: impl IntoIterator<Item = bool>) -> Tensor {
    Tensor::from_bools(dims.to_vec(), seen).unwrap()
}

#[test]
fn reductions_without_axes_reduce_each_element() {
    let positive = Tensor::from_vec(vec![2, 2], vec![0.25f32, 1.0, 7.0, 1e-6]).unwrap();
    let none = Tensor::from_vec(vec![0], Vec::<i64>::new()).unwrap();
    let inputs = [("x", noise(&[2, 3], 1)), ("p", positive), ("none", none)];
    for (op, x, plain) in [
        ("ReduceSum", "x", "y = Identity(x)"),
        ("ReduceMean", "x", "y = Identity(x)"),
        ("ReduceMax", "x", "y = Identity(x)"),
        ("ReduceMin", "x", "y = Identity(x)"),
        ("ReduceProd", "x", "y = Identity(x)"),
        ("ReduceLogSumExp", "x", "y = Identity(x)"),
        ("ReduceL1", "x", "y = Abs(x)"),
        ("ReduceL2", "x", "y = Abs(x)"),
        ("ReduceLogSum", "p", "y = Log(p)"),
        ("ReduceSumSquare", "x", "y = Mul(x, x)"),
    ] {
        for axes in ["", ", none"] {
            let reduced = format!("y = {op}({x}{axes}) {{noop_with_empty_axes: 1}}\n-> y");
            same(&inputs, &reduced, &format!("{plain}\n-> y"));
        }
    }
}

/// `q` of three queries against five keys.
fn attention() -> [Named<'static>; 3] {
    [("q", noise(&[2, 2, 3, 4], 1)), ("k", noise(&[2, 2, 5, 4], 2)), ("v", noise(&[2, 2, 5, 4], 3))]
}

#[test]
fn queries_stand_at_the_end_of_the_valid_keys() {
    // The first sequence has fewer keys than queries: its first query sees none, and gives 0.
    let lengths = [2i64, 5];
    let sees = |b: usize, i: usize, j: usize, left: usize, right: usize| {
        let at = lengths[b] + i as i64 - 3;
        let j = j as i64;
        j < lengths[b] && j >= at - left as i64 && j <= at + right as i64
    };
    let places = |left, right| {
        let all = (0..30).map(|n| (n / 15, n / 5 % 3, n % 5));
        bools(&[2, 1, 3, 5], all.map(|(b, i, j)| sees(b, i, j, left, right)).collect::<Vec<_>>())
    };
    for (attributes, left, right) in [
        ("is_causal: 1", 9, 0),
        ("is_causal: 0", 9, 9),
        ("is_causal: 1, left_window_size: 1", 1, 0),
        ("left_window_size: 0, right_window_size: 1", 0, 1),
        ("right_window_size: 0", 9, 0),
        ("is_causal: 1, right_window_size: 2", 9, 0),
    ] {
        let [q, k, v] = attention();
        let inputs = [q, k, v, ("lengths", Tensor::vector(lengths.to_vec())), ("seen", places(left, right))];
        let by_length = format!("y = Attention(q, k, v, _, _, _, lengths) {{{attributes}}}\n-> y");
        same(&inputs, &by_length, "y = Attention(q, k, v, seen)\n-> y");
        let weights = |node: &str| format!("y, _, _, w = {node}\n-> y, w");
        let a = weights(&format!(
            "Attention(q, k, v, _, _, _, lengths) {{{attributes}, qk_matmul_output_mode: 3}}"
        ));
        same(&inputs, &a, &weights("Attention(q, k, v, seen) {qk_matmul_output_mode: 3}"));
        let first = run(&inputs, &a)[0].values::<f32>().unwrap()[..4].to_vec();
        assert_eq!(first == [0.0; 4], right == 0, "{attributes}");
    }
}

#[test]
fn windows_move_with_the_past() {
    let sees = |i: usize, j: usize| j + 2 >= i + 2 && j <= i + 2 + 1;
    let places = (0..15).map(|n| sees(n / 5, n % 5)).collect::<Vec<_>>();
    let [q, ..] = attention();
    let inputs = [
        q,
        ("k", noise(&[2, 2, 3, 4], 2)),
        ("v", noise(&[2, 2, 3, 4], 3)),
        ("pk", noise(&[2, 2, 2, 4], 4)),
        ("pv", noise(&[2, 2, 2, 4], 5)),
        ("seen", bools(&[3, 5], places)),
        ("bias", noise(&[3, 5], 6)),
    ];
    let windows = "left_window_size: 2, right_window_size: 1";
    let windowed = format!("y, a, b = Attention(q, k, v, _, pk, pv) {{{windows}}}\n-> y, a, b");
    same(&inputs, &windowed, "y, a, b = Attention(q, k, v, seen, pk, pv)\n-> y, a, b");
    let biased = format!("y, a, b = Attention(q, k, v, bias, pk, pv) {{{windows}, is_causal: 1}}\n-> y");
    let plain = "never = Log(zero)\nm = Where(seen, bias, never)
        y, a, b = Attention(q, k, v, m, pk, pv) {is_causal: 1}\n-> y";
    let zero = [&inputs[..], &[("zero", Tensor::scalar(0f32))]].concat();
    same(&zero, &biased, plain);
}

#[test]
fn bits_move_as_they_do_in_the_machine() {
    let ints = |values: &[i32]| Tensor::vector(values.to_vec());
    let inputs = [("x", ints(&[-8, 12, -1, 1])), ("by", ints(&[1, 2, 40, -1]))];
    let y = run(
        &inputs,
        "y = BitShift(x, by) {direction: RIGHT}\nz = BitShift(x, by) {direction: LEFT}\n-> y, z",
    );
    assert_eq!(y[0].values::<i32>().unwrap()[..], [-4, 3, -1, 0]);
    assert_eq!(y[1].values::<i32>().unwrap()[..], [-16, 48, 0, 0]);
    let y = run(
        &inputs,
        "a = BitwiseAnd(x, by)\no = BitwiseOr(x, by)\nb = BitwiseXor(a, o)\nc = BitwiseNot(b)\n-> c",
    );
    let want: Vec<i32> =
        [(-8, 1), (12, 2), (-1, 40), (1, -1)].iter().map(|(x, y): &(i32, i32)| !(x ^ y)).collect();
    assert_eq!(y[0].values::<i32>().unwrap()[..], want);
    let y = run(&[("x", Tensor::vector(vec![1f32, -0.0]))], "y = BitCast(x) {to: 12}\n-> y");
    assert_eq!(y[0].values::<u32>().unwrap()[..], [0x3f80_0000, 0x8000_0000]);
}

#[test]
fn gates_and_blocks() {
    let inputs = [("a", noise(&[2, 3], 1)), ("b", noise(&[2, 3], 2))];
    same(&inputs, "y = SwiGLU(a, b) {alpha: 1.5}\n-> y", "s = Swish(a) {alpha: 1.5}\ny = Mul(s, b)\n-> y");
    let image = [("x", noise(&[2, 3, 4, 6], 3))];
    for mode in ["DCR", "CRD"] {
        let there = format!("s = SpaceToDepth(x) {{blocksize: 2, mode: {mode}}}");
        let back = format!("{there}\ny = DepthToSpace(s) {{blocksize: 2, mode: {mode}}}\n-> y");
        same(&image, &back, "y = Identity(x)\n-> y");
    }
}

#[test]
fn frames_of_a_signal_are_transformed_under_a_window() {
    let scalar = |n: i64| Tensor::scalar(n);
    let inputs = [
        ("x", noise(&[2, 11, 1], 1)),
        ("step", scalar(3)),
        ("length", scalar(5)),
        ("window", noise(&[5], 2)),
        ("axis", scalar(2)),
        ("starts", Tensor::from_vec(vec![3, 1], vec![0i64, 3, 6]).unwrap()),
        ("places", Tensor::from_vec(vec![5], vec![0i64, 1, 2, 3, 4]).unwrap()),
        ("last", Tensor::vector(vec![1i64])),
    ];
    let plain = "at = Add(starts, places)
        f = Gather(x, at) {axis: 1}
        w = Unsqueeze(window, last)
        g = Mul(f, w)
        y = DFT(g, _, axis) {onesided: 1}
        -> y";
    same(&inputs, "y = STFT(x, step, window, length)\n-> y", plain);
    same(&inputs, "y = STFT(x, step, window)\n-> y", plain);
    let back = "s = DFT(x, _, last) {onesided: 1}
        n = Shape(x) {start: 1, end: 2}
        y = DFT(s, n, last) {onesided: 1, inverse: 1}
        -> y";
    same(&inputs, back, "y = Identity(x)\n-> y");
}

#[test]
fn numbers_are_drawn_as_the_seed_says() {
    let chances = [("p", Tensor::from_vec(vec![4000], vec![0.25f32; 4000]).unwrap())];
    let draw = |node: &str| model::run(&chances, &[], &format!("y = {node}\n-> y")).remove(0);
    let moments = |t: &Tensor| {
        let v = t.values::<f32>().unwrap();
        let mean = v.iter().sum::<f32>() / v.len() as f32;
        (mean, (v.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / v.len() as f32).sqrt())
    };
    for (node, mean, deviation) in [
        ("RandomUniform() {shape: [40 100], low: -1.0, high: 3.0, seed: 1.0}", 1.0, 4.0 / 12f32.sqrt()),
        ("RandomNormal() {shape: [4000], mean: 2.0, scale: 0.5, seed: 1.0}", 2.0, 0.5),
        ("RandomNormalLike(p)", 0.0, 1.0),
        ("Bernoulli(p) {seed: 1.0}", 0.25, (0.25f32 * 0.75).sqrt()),
    ] {
        let y = draw(node);
        let (m, d) = moments(&y);
        assert!((m - mean).abs() < 0.1 && (d - deviation).abs() < 0.05, "{node}: {m} ± {d}");
        assert_eq!(y, draw(node));
        assert_ne!(
            y,
            draw(&node.replace("seed: 1.0", "seed: 2.0").replace("Like(p)", "Like(p) {seed: 1.0}"))
        );
    }
    let classes =
        [("x", Tensor::from_vec(vec![1, 3], vec![0.5f32.ln(), f32::NEG_INFINITY, 0.5f32.ln()]).unwrap())];
    let y = run(&classes, "y = Multinomial(x) {sample_size: 1000, seed: 1.0}\n-> y").remove(0);
    let of = |class: i32| y.values::<i32>().unwrap().iter().filter(|c| **c == class).count();
    assert!(of(1) == 0 && of(0) + of(2) == 1000 && of(0).abs_diff(500) < 80, "{}", of(0));
}
