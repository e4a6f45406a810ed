//! Sizes that exporters leave open: two names for one length, no names, lengths that a stride rounds, and sizes that
//! turn out to be 1. All import, run where they are legal, compiled and interpreted, and say what is wrong elsewhere.

use std::sync::Arc;

use prost::Message;
use trine::import::import_bytes;
use trine::import::proto::{
    AttributeProto, ModelProto, attribute_proto::AttributeType, tensor_shape_proto::dimension, type_proto,
};
use trine::{Module, Options, Session, SessionOptions, build_program, optimize};
use trine_ir::{Tensor, eval, text};

use crate::model;
use crate::model::{Named, noise, proto};

/// A model of `lines` whose inputs have the dimensions `dims`; `?` has no name.
struct Model {
    proto: ModelProto,
}

impl Model {
    fn new(inputs: &[(&str, &str)], constants: &[Named], lines: &str) -> Model {
        let named: Vec<Named> = inputs
            .iter()
            .map(|(name, dims)| (*name, noise(&vec![1; dims.split_whitespace().count()], 0)))
            .collect();
        let mut proto = proto(&named, constants, lines);
        for (input, (_, dims)) in proto.graph.as_mut().unwrap().input.iter_mut().zip(inputs) {
            let ty = input.r#type.as_mut().and_then(|t| t.value.as_mut());
            let Some(type_proto::Value::TensorType(ty)) = ty else { unreachable!("inputs are tensors") };
            for (dim, text) in ty.shape.as_mut().unwrap().dim.iter_mut().zip(dims.split_whitespace()) {
                dim.value = Some(match text.parse() {
                    Ok(n) => dimension::Value::DimValue(n),
                    Err(_) => dimension::Value::DimParam(text.into()),
                });
            }
        }
        Model { proto }
    }

    /// Gives the only `If` branches of one node each, on `x` and, to drop an axis, `axes`.
    fn branches(&mut self, then: &str, otherwise: &str) {
        let branch = |name: &str, op: &str| {
            let inputs = if op == "Squeeze" { "x, axes" } else { "x" };
            let body = proto(&[], &[], &format!("{name}_y = {op}({inputs})\n-> {name}_y")).graph;
            let r#type = Some(AttributeType::Graph as i32);
            AttributeProto { name: Some(format!("{name}_branch")), g: body, r#type, ..Default::default() }
        };
        let nodes = &mut self.proto.graph.as_mut().unwrap().node;
        let node = nodes.iter_mut().find(|n| n.op_type() == "If").unwrap();
        node.attribute = vec![branch("then", then), branch("else", otherwise)];
    }

    fn import(&self) -> Result<Module, String> {
        import_bytes(self.proto.encode_to_vec().into(), None).map_err(|e| e.to_string())
    }

    /// The shapes of the outputs on inputs of these shapes; the interpreter and compiled code agree on all.
    fn run(&self, shapes: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        let inputs: Vec<Tensor> = shapes.iter().zip(1..).map(|(shape, seed)| noise(shape, seed)).collect();
        let module = self.import()?;
        let expected = eval::run(&module, inputs.clone()).map_err(|e| e.to_string());
        let mut optimized = module;
        optimize(&mut optimized, &Options::default()).map_err(|e| e.to_string())?;
        let program = Arc::new(build_program(optimized, &Options::default()).map_err(|e| e.to_string())?);
        for threads in [1, 2] {
            let options = SessionOptions { threads, ..SessionOptions::default() };
            let ran = Session::new(program.clone(), &options).run(&inputs);
            match (&expected, &ran) {
                (Ok(expected), Ok(ran)) => {
                    for (a, b) in expected.iter().zip(ran) {
                        assert_eq!(a.dims(), b.dims());
                        let (a, b) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
                        assert!(a.iter().zip(&*b).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0)));
                    }
                }
                (Err(_), Err(_)) => {}
                (a, b) => panic!("{a:?} interpreted, {b:?} compiled\n{}", self.text()),
            }
        }
        expected.map(|tensors| tensors.iter().map(|t| t.dims().to_vec()).collect())
    }

    fn text(&self) -> String {
        text::print(&self.import().unwrap())
    }
}

#[test]
fn two_names_of_one_length_are_one_symbol() {
    let product = Model::new(&[("a", "s0 s1"), ("b", "s2 8")], &[], "y = MatMul(a, b)\n-> y");
    let text = product.text();
    assert!(text.starts_with("require s2 == s1 loc(\"y\", \"MatMul\")\n"), "{text}");
    assert!(text.contains("%b: f32[s1,8]"), "{text}");
    assert_eq!(product.run(&[&[3, 4], &[4, 8]]).unwrap(), [[3, 8]]);
    let error = product.run(&[&[3, 4], &[5, 8]]).unwrap_err();
    assert!(error.contains("input `b`: axis 0 has 5 elements, not `s1`, which is 4 here"), "{error}");
}

#[test]
fn sizes_that_may_broadcast_do_or_are_refused() {
    let sum = Model::new(&[("a", "n 3"), ("b", "m 3")], &[], "y = Add(a, b)\n-> y");
    assert_eq!(sum.run(&[&[2, 3], &[2, 3]]).unwrap(), [[2, 3]]);
    assert_eq!(sum.run(&[&[1, 3], &[2, 3]]).unwrap(), [[2, 3]]);
    assert_eq!(sum.run(&[&[2, 3], &[1, 3]]).unwrap(), [[2, 3]]);
    let error = sum.run(&[&[2, 3], &[4, 3]]).unwrap_err();
    for word in ["`m` is 4 (axis 0 of input `b`)", "`n` is 2 (axis 0 of input `a`)", "`y` (Add)", "--dim"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // Against a number an open size is that or 1.
    let row = Model::new(&[("a", "4 n"), ("b", "4 6")], &[], "y = Mul(a, b)\n-> y");
    assert_eq!(row.run(&[&[4, 1], &[4, 6]]).unwrap(), [[4, 6]]);
    assert_eq!(row.run(&[&[4, 6], &[4, 6]]).unwrap(), [[4, 6]]);
    assert!(row.run(&[&[4, 2], &[4, 6]]).is_err());
}

#[test]
fn names_that_say_nothing_are_different_symbols() {
    let sum = Model::new(&[("a", "? ?"), ("b", "? ?")], &[], "y = Add(a, b)\n-> y");
    assert_eq!(sum.run(&[&[2, 3], &[2, 3]]).unwrap(), [[2, 3]]);
    let product = Model::new(&[("a", "? ?")], &[("w", noise(&[8, 4], 9))], "y = MatMul(a, w)\n-> y");
    assert!(product.text().contains("%a: f32[a_0,8]"));
    assert_eq!(product.run(&[&[5, 8]]).unwrap(), [[5, 4]]);
}

#[test]
fn a_total_length_is_not_taken_for_what_it_may_not_be() {
    let lines = "all = Concat(past, new) {axis: 0}
        open = Add(all, mask)
        y = MatMul(open, w)
        -> y";
    let model = Model::new(
        &[("past", "p 4"), ("new", "s 4"), ("mask", "total 1")],
        &[("w", noise(&[4, 2], 7))],
        lines,
    );
    assert_eq!(model.run(&[&[3, 4], &[2, 4], &[5, 1]]).unwrap(), [[5, 2]]);
    assert_eq!(model.run(&[&[3, 4], &[2, 4], &[1, 1]]).unwrap(), [[5, 2]]);
    assert!(model.run(&[&[3, 4], &[2, 4], &[4, 1]]).is_err());
}

#[test]
fn strides_halves_and_pads_are_formulas() {
    let w = |c: usize| noise(&[3, c, 3, 3], 5);
    let lines = "p = Conv(x, a) {pads: [1 1 1 1], strides: [2 2]}
        q = Conv(p, b) {pads: [1 1 1 1], strides: [2 2]}
        u = Resize(q, _, sc) {mode: nearest, nearest_mode: floor, coordinate_transformation_mode: asymmetric}
        y = Add(u, p)
        -> y";
    let scales = Tensor::vector(vec![1f32, 1.0, 2.0, 2.0]);
    let pyramid = Model::new(&[("x", "1 3 h w")], &[("a", w(3)), ("b", w(3)), ("sc", scales)], lines);
    assert_eq!(pyramid.run(&[&[1, 3, 16, 24]]).unwrap(), [[1, 3, 8, 12]]);
    assert!(pyramid.run(&[&[1, 3, 18, 24]]).is_err(), "9 rows against 10");
    let same = Model::new(
        &[("x", "1 2 h w")],
        &[("w", w(2))],
        "y = Conv(x, w) {auto_pad: SAME_UPPER, strides: [2 2]}\n-> y",
    );
    assert_eq!(same.run(&[&[1, 2, 7, 6]]).unwrap(), [[1, 3, 4, 3]]);
    assert_eq!(same.run(&[&[1, 2, 6, 1]]).unwrap(), [[1, 3, 3, 1]]);
    assert!(same.text().contains("f32[1,3,floordiv(h+1,2),floordiv(w+1,2)]"), "{}", same.text());
    for pool in ["MaxPool", "AveragePool"] {
        let lines = format!("y = {pool}(x) {{kernel_shape: [3], auto_pad: SAME_LOWER, strides: [2]}}\n-> y");
        let open = Model::new(&[("x", "1 2 n")], &[], &lines);
        for n in [5usize, 6, 9] {
            let fixed = model::run(&[("x", noise(&[1, 2, n], 1))], &[], &lines);
            assert_eq!(open.run(&[&[1, 2, n]]).unwrap(), [fixed[0].dims()]);
        }
    }
    let split = Model::new(&[("x", "n 3")], &[], "a, b, c = Split(x) {axis: 0, num_outputs: 3}\n-> a, b, c");
    assert_eq!(split.run(&[&[7, 3]]).unwrap(), [[3, 3], [3, 3], [1, 3]]);
    let halves = "even = Slice(x, zero, end, zero, two)\nodd = Slice(x, one, end, zero, two)\ny = Add(even, odd)\n-> y";
    let number = |n: i64| Tensor::vector(vec![n]);
    let constants = [("zero", number(0)), ("one", number(1)), ("two", number(2)), ("end", number(i64::MAX))];
    let rows = Model::new(&[("x", "n 2")], &constants, halves);
    assert_eq!(rows.run(&[&[6, 2]]).unwrap(), [[3, 2]]);
    assert_eq!(rows.run(&[&[3, 2]]).unwrap(), [[2, 2]], "two rows and one, which broadcasts");
    assert!(rows.run(&[&[5, 2]]).is_err());
}

#[test]
fn attention_reads_no_more_than_there_is() {
    let model = Model::new(
        &[("q", "2 9 4 8"), ("k", "2 3 6 8"), ("v", "b 3 n 8")],
        &[],
        "y = Attention(q, k, v)\n-> y",
    );
    assert_eq!(model.run(&[&[2, 9, 4, 8], &[2, 3, 6, 8], &[2, 3, 6, 8]]).unwrap(), [[2, 9, 4, 8]]);
    let error = model.run(&[&[2, 9, 4, 8], &[2, 3, 6, 8], &[2, 3, 5, 8]]).unwrap_err();
    assert!(error.contains('5') && error.contains('6'), "{error}");
    assert!(model.run(&[&[2, 9, 4, 8], &[2, 3, 6, 8], &[1, 3, 6, 8]]).is_err());
}

#[test]
fn shapes_that_do_not_fit_are_refused_when_bound() {
    let shape = Tensor::vector(vec![-1i64, 6]);
    let model = Model::new(&[("x", "a b")], &[("shape", shape)], "z = Reshape(x, shape)\ny = Relu(z)\n-> y");
    assert_eq!(model.run(&[&[4, 3]]).unwrap(), [[2, 6]]);
    assert!(model.run(&[&[5, 3]]).is_err());
    let lines = "s = Shape(b)\nz = Reshape(a, s)\ny = Relu(z)\n-> y";
    let other = Model::new(&[("a", "n 4"), ("b", "m 8")], &[], lines);
    assert_eq!(other.run(&[&[4, 4], &[2, 8]]).unwrap(), [[2, 8]]);
    assert!(other.run(&[&[4, 4], &[3, 8]]).is_err(), "24 elements of 16");
    let expand =
        Model::new(&[("a", "n 1"), ("b", "m 8")], &[], "s = Shape(b)\nz = Expand(a, s)\ny = Relu(z)\n-> y");
    assert_eq!(expand.run(&[&[2, 1], &[2, 8]]).unwrap(), [[2, 8]]);
    assert_eq!(expand.run(&[&[1, 1], &[2, 8]]).unwrap(), [[2, 8]]);
    assert!(expand.run(&[&[3, 1], &[2, 8]]).is_err());
}

#[test]
fn an_axis_to_drop_is_one_or_refused() {
    let squeeze = Model::new(&[("x", "n 1 3")], &[], "y = Squeeze(x)\n-> y");
    assert_eq!(squeeze.run(&[&[2, 1, 3]]).unwrap(), [[2, 3]]);
    let error = squeeze.run(&[&[1, 1, 3]]).unwrap_err();
    assert!(error.contains("`n` is 1") && error.contains("--dim n="), "{error}");
    let axes = Tensor::vector(vec![0i64]);
    let named = Model::new(&[("x", "n 3")], &[("axes", axes)], "z = Squeeze(x, axes)\ny = Relu(z)\n-> y");
    assert_eq!(named.run(&[&[1, 3]]).unwrap(), [[3]]);
    assert!(named.run(&[&[2, 3]]).is_err());
}

/// PyTorch's `squeeze(1)`: `If(size == 1) { Squeeze } else { Identity }`.
#[test]
fn a_branch_that_drops_an_axis_is_taken_where_it_is_one() {
    let mut model = Model::new(
        &[("x", "b n 3")],
        &[("one", Tensor::scalar(1i64)), ("axes", Tensor::vector(vec![1i64]))],
        "s = Shape(x)\nd = Gather(s, one) {axis: 0}\nc = Equal(d, one)\nz = If(c)\ny = Relu(z)\n-> y",
    );
    model.branches("Squeeze", "Identity");
    assert_eq!(model.run(&[&[2, 1, 3]]).unwrap(), [[2, 3]]);
    let error = model.run(&[&[2, 4, 3]]).unwrap_err();
    assert!(error.contains("`n` and `1` have to be equal") && error.contains("--dim n="), "{error}");
}
