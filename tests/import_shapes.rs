//! Shapes that a model computes become attributes in the symbols of its inputs, and what only a run can
//! tell gets a symbol of its own.

use prost::Message;
use trine::import::import_bytes;
use trine::import::proto::tensor_shape_proto::{Dimension, dimension};
use trine::import::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, type_proto,
};
use trine_ir::{Module, Tensor, eval, text};

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const BOOL: i32 = 9;

#[test]
fn a_computed_shape_is_an_attribute() {
    let module = import(graph(
        &[("x", FLOAT, &["batch", "seq", "64"])],
        vec![
            node("Shape", &["x"], &["shape"], vec![]),
            node("Gather", &["shape", "zero"], &["batch"], vec![]),
            node("Slice", &["shape", "one", "two"], &["seq"], vec![]),
            node("Unsqueeze", &["batch", "zeros"], &["batch_1"], vec![]),
            node("Concat", &["batch_1", "seq", "heads"], &["split"], vec![int("axis", 0)]),
            node("Reshape", &["x", "split"], &["y"], vec![]),
        ],
        &["y"],
        vec![
            scalar("zero", 0),
            vector("zeros", &[0]),
            vector("one", &[1]),
            vector("two", &[2]),
            vector("heads", &[4, -1]),
        ],
    ));
    assert_eq!(body(&module), ["%y = reshape %x {shape=[batch,seq,4,16]} : f32[batch,seq,4,16]"]);
}

#[test]
fn slices_know_their_length_where_it_can_be_known() {
    let slice = |start: i64, end: &str, steps: &[i64]| {
        let module = import(graph(
            &[("x", FLOAT, &["past+seq", "8"]), ("ids", INT64, &["seq"])],
            vec![
                node("Shape", &["ids"], &["seq"], vec![]),
                node("Slice", &["x", "start", end, "axes", "steps"], &["y"], vec![]),
            ],
            &["y"],
            vec![
                vector("start", &[start]),
                vector("end", &[i64::MAX]),
                vector("begin", &[i64::MIN]),
                vector("three", &[3]),
                vector("axes", &[0]),
                vector("steps", steps),
            ],
        ));
        body(&module).concat()
    };
    let attrs = |bounds: &str, len: &str| format!("%y = slice %x {{axes=[0], {bounds}}} : f32[{len},8]");
    let cases = [
        (-1, "end", 1, attrs("starts=[-1], ends=[past+seq], steps=[1]", "1")),
        (1, "end", 1, attrs("starts=[1], ends=[past+seq], steps=[1]", "past+seq-1")),
        (0, "seq", 1, attrs("starts=[0], ends=[seq], steps=[1]", "seq")),
        (-1, "begin", -1, attrs("starts=[-1], ends=[-past-seq-1], steps=[-1]", "past+seq")),
        (0, "three", 1, attrs("starts=[0], ends=[3], steps=[1]", "min(3,past+seq)")),
    ];
    for (start, end, step, want) in cases {
        assert_eq!(slice(start, end, &[step]), want);
    }
}

#[test]
fn a_table_is_cut_to_a_computed_length() {
    let mut graph = graph(
        &[("ids", INT64, &["seq"])],
        vec![
            node("Shape", &["ids"], &["seq"], vec![]),
            node("Slice", &["table", "zero", "seq"], &["y"], vec![]),
        ],
        &["y"],
        vec![vector("zero", &[0])],
    );
    graph
        .initializer
        .push(TensorProto { float_data: (0..8).map(|i| i as f32).collect(), ..tensor("table", FLOAT, &[8]) });
    let module = import(graph);
    let slice = "%y = slice @table {axes=[0], starts=[0], ends=[seq], steps=[1]} : f32[seq]";
    assert_eq!(body(&module), [slice]);
    let ids = |n| vec![Tensor::vector(vec![0i64; n])];
    assert_eq!(eval::run(&module, ids(3)).unwrap()[0].dims(), &[3]);
    // Beyond the table the slice is shorter than it is taken to be: an error, not other numbers.
    let error = eval::run(&module, ids(9)).unwrap_err().to_string();
    let expected = "`min(8,seq)` and `seq` have to be equal by ONNX node `y` (Slice), but `seq` is 9 (axis 0 of input `ids`)";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_shape_that_is_an_input_gets_symbols() {
    let module = import(graph(
        &[("x", FLOAT, &["n"]), ("shape", INT64, &["2"])],
        vec![node("Reshape", &["x", "shape"], &["y"], vec![])],
        &["y"],
        vec![],
    ));
    let reshape = "%y = reshape_dynamic %x, %shape {allow_zero=false, dims=[reshape,reshape_1]} : f32[reshape,reshape_1]";
    assert_eq!(body(&module), [reshape]);
    let x = Tensor::vector(vec![0f32; 6]);
    let results = eval::run(&module, vec![x, Tensor::vector(vec![-1i64, 2])]).unwrap();
    assert_eq!(results[0].dims(), &[3, 2]);
}

/// A loop appends to its state and stacks the sum; `limit` is captured.
#[test]
fn loop_states_may_grow() {
    let step = GraphProto {
        input: vec![value("i", INT64, &[]), value("go", BOOL, &[]), value("list", FLOAT, &["1"])],
        node: vec![
            node("Concat", &["list", "x"], &["longer"], vec![int("axis", 0)]),
            node("Add", &["x", "x"], &["twice"], vec![]),
        ],
        output: vec![value("go", BOOL, &[]), value("longer", FLOAT, &["m"]), value("twice", FLOAT, &["2"])],
        ..Default::default()
    };
    let body = AttributeProto {
        name: Some("body".into()),
        g: Some(step),
        r#type: Some(AttributeType::Graph as i32),
        ..Default::default()
    };
    let module = import(graph(
        &[("x", FLOAT, &["2"]), ("first", FLOAT, &["1"])],
        vec![node("Loop", &["trips", "", "first"], &["list", "sums"], vec![body])],
        &["list", "sums"],
        vec![scalar("trips", 3)],
    ));
    let (x, first) = (Tensor::vector(vec![1f32, 2.0]), Tensor::vector(vec![9f32]));
    let results = eval::run(&module, vec![x, first]).unwrap();
    assert_eq!(&*results[0].values::<f32>().unwrap(), &[9.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    let main = module.main().unwrap();
    let types: Vec<_> = main.signature().results.iter().map(|t| t.to_string()).collect();
    assert_eq!(types, ["f32[loop_1]", "f32[3,2]"]);
    assert_eq!(module.functions.len(), 2, "the body that was too narrow is gone");
}

/// What two lengths broadcast to is each of them, so that they are one.
#[test]
fn lengths_that_are_found_to_be_what_they_broadcast_to_are_one() {
    let module = import(graph(
        &[
            ("x", FLOAT, &["s", "4"]),
            ("k", FLOAT, &["t", "4"]),
            ("scores", FLOAT, &["1", "s"]),
            ("bias", FLOAT, &["1", "t"]),
        ],
        vec![
            node("Add", &["scores", "bias"], &["biased"], vec![]),
            node("MatMul", &["biased", "x"], &["y"], vec![]),
            node("MatMul", &["biased", "k"], &["z"], vec![]),
        ],
        &["y", "z"],
        vec![],
    ));
    let params = module.main().unwrap().signature().params;
    let types: Vec<String> = params.iter().map(|t| t.to_string()).collect();
    assert_eq!(types, ["f32[s,4]", "f32[s,4]", "f32[1,s]", "f32[1,s]"]);
}

/// A length that is found to be what others broadcast to, and then to be one of these, is known by that.
#[test]
fn a_length_is_known_by_the_last_of_what_it_has_to_be() {
    let perm = AttributeProto {
        name: Some("perm".into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: vec![0, 1, 3, 2],
        ..AttributeProto::default()
    };
    let least = TensorProto { float_data: vec![-1.0], ..tensor("least", FLOAT, &[]) };
    let module = import(graph(
        &[
            ("x", FLOAT, &["1", "2", "seq", "4"]),
            ("hidden", BOOL, &["seq", "keys"]),
            ("more", FLOAT, &["a", "b", "p", "q"]),
        ],
        vec![
            node("Transpose", &["x"], &["turned"], vec![perm]),
            node("MatMul", &["x", "turned"], &["scores"], vec![]),
            node("Where", &["hidden", "scores", "least"], &["masked"], vec![]),
            node("Softmax", &["masked"], &["weights"], vec![int("axis", 3)]),
            node("MatMul", &["weights", "x"], &["y"], vec![]),
            node("Concat", &["weights", "more", "scores"], &["z"], vec![int("axis", 0)]),
        ],
        &["y", "z"],
        vec![least],
    ));
    assert_eq!(module.main().unwrap().signature().results[0].to_string(), "f32[1,2,seq,4]");
}

fn import(graph: GraphProto) -> Module {
    let model = ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto { domain: Some("".into()), version: Some(21) }],
        graph: Some(graph),
        ..Default::default()
    };
    import_bytes(model.encode_to_vec().into(), None).unwrap()
}

/// The statements of `@main`.
fn body(module: &Module) -> Vec<String> {
    let lines = text::print(module);
    let main = lines.lines().skip_while(|l| !l.starts_with("graph @main")).skip(1);
    main.take_while(|l| *l != "}").map(|l| l.split(" loc(").next().unwrap_or(l).trim().to_string()).collect()
}

fn graph(
    inputs: &[(&str, i32, &[&str])],
    nodes: Vec<NodeProto>,
    outputs: &[&str],
    initializers: Vec<TensorProto>,
) -> GraphProto {
    GraphProto {
        name: Some("g".into()),
        input: inputs.iter().map(|(name, elem, dims)| value(name, *elem, dims)).collect(),
        node: nodes,
        output: outputs
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.to_string()), ..Default::default() })
            .collect(),
        initializer: initializers,
        ..Default::default()
    }
}

/// An input or output whose dimensions are numbers or expressions.
fn value(name: &str, elem: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| {
        let value = match text.parse() {
            Ok(n) => dimension::Value::DimValue(n),
            Err(_) => dimension::Value::DimParam(text.to_string()),
        };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(elem), shape });
    let r#type = Some(TypeProto { value: Some(tensor), ..Default::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

fn node(op_type: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: outputs.iter().map(|o| o.to_string()).collect(),
        attribute: attributes,
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = Some(AttributeType::Int as i32);
    AttributeProto { name: Some(name.into()), i: Some(value), r#type, ..Default::default() }
}

fn tensor(name: &str, data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        ..Default::default()
    }
}

fn scalar(name: &str, value: i64) -> TensorProto {
    TensorProto { int64_data: vec![value], ..tensor(name, INT64, &[]) }
}

fn vector(name: &str, values: &[i64]) -> TensorProto {
    TensorProto { int64_data: values.to_vec(), ..tensor(name, INT64, &[values.len() as i64]) }
}
