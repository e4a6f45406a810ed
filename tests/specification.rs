//! What ONNX says of a model as a whole: functions and what a call of one leaves out, inputs that have a value unless they
//! are fed, types that are declared, and where tensors outside of the file may lie.

use trine::import::import_bytes;
use trine::import::proto::{
    AttributeProto, FunctionProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
};
use trine::{Options, Session, SessionOptions};
use trine_ir::{Tensor, eval};

use crate::onnx;
use crate::onnx::*;

fn vector(values: &[f32]) -> Tensor {
    Tensor::vector(values.to_vec())
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.values::<f32>().unwrap().to_vec()
}

/// What the model gives for one input of two elements.
fn run(model: &ModelProto, x: &[f32]) -> Vec<Vec<f32>> {
    let module = import_bytes(encode(model), None).unwrap_or_else(|e| panic!("{e}"));
    eval::run(&module, vec![vector(x)]).unwrap().iter().map(floats).collect()
}

fn refused(model: &ModelProto) -> String {
    import_bytes(encode(model), None).map(drop).expect_err("the model is bad").to_string()
}

/// `y` of `x` by nodes and functions of domain `f`.
fn with_functions(functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> ModelProto {
    let mut model = model(graph(&["x"], nodes, &["y"]));
    model.opset_import.push(opset("f", 1));
    model.graph.as_mut().unwrap().initializer.push(scalar("half", 0.5));
    model.functions = functions;
    model
}

fn scalar(name: &str, value: f32) -> TensorProto {
    tensor(name, FLOAT, &[], &value.to_le_bytes())
}

/// An attribute of a node in a function, which is the call's.
fn of_call(name: &str, of: &str, like: AttributeProto) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ref_attr_name: Some(of.into()), i: None, ..like }
}

#[test]
fn a_call_may_leave_out_inputs() {
    let clip =
        || function("Clip3", &["a", "lo", "hi"], vec![node("Clip", &["a", "lo", "hi"], &["b"])], &["b"]);
    let outer =
        function("Outer", &["a", "lo", "hi"], vec![call("Clip3", &["a", "lo", "hi"], &["b"])], &["b"]);
    for (name, inputs, want) in [
        ("Clip3", &["x", "", "half"][..], [-2.0, 0.5]),
        ("Clip3", &["x", "half"], [0.5, 3.0]),
        ("Clip3", &["x", "half", ""], [0.5, 3.0]),
        ("Clip3", &["x"], [-2.0, 3.0]),
        ("Outer", &["x", "", "half"], [-2.0, 0.5]),
        ("Outer", &["x"], [-2.0, 3.0]),
        ("Outer", &["x", "", "", ""], [-2.0, 3.0]),
    ] {
        let model = with_functions(vec![clip(), outer.clone()], vec![call(name, inputs, &["y"])]);
        assert_eq!(run(&model, &[-2.0, 3.0]), [want], "{name} {inputs:?}");
    }
    // A branch in the function sees what is absent around it, too.
    let branch = |name: &str| graph(&[], vec![node("Clip", &["a", "lo", "hi"], &[name])], &[name]);
    let mut chosen = node("If", &["c"], &["b"]);
    chosen.attribute = vec![subgraph("then_branch", branch("t")), subgraph("else_branch", branch("e"))];
    let nodes = vec![node("Greater", &["one", "zero"], &["c"]), chosen];
    let function = onnx::function("Chosen", &["a", "lo", "hi", "one", "zero"], nodes, &["b"]);
    let mut model =
        with_functions(vec![function], vec![call("Chosen", &["x", "", "half", "s", "half"], &["y"])]);
    let graph = model.graph.as_mut().unwrap();
    graph.node.insert(0, node("ReduceSum", &["x"], &["sum"]));
    graph.node[0].attribute = vec![int("keepdims", 0)];
    graph.node.insert(1, node("Identity", &["sum"], &["s"]));
    assert_eq!(run(&model, &[-2.0, 3.0]), [[-2.0, 0.5]]);

    let missing = onnx::function("Sum2", &["a", "b"], vec![node("Add", &["a", "b"], &["c"])], &["c"]);
    let model = with_functions(vec![missing], vec![call("Sum2", &["x"], &["y"])]);
    assert_eq!(refused(&model), "node `n_y/n_c` (Add): input 1 is missing");
}

#[test]
fn a_call_may_leave_out_outputs() {
    let both = || {
        function("Both", &["a"], vec![node("Relu", &["a"], &["r"]), node("Neg", &["a"], &["n"])], &["r", "n"])
    };
    let of = |outputs: &[&str]| with_functions(vec![both()], vec![call("Both", &["x"], outputs)]);
    assert_eq!(run(&of(&["", "y"]), &[-2.0, 3.0]), [[2.0, -3.0]]);
    assert_eq!(run(&of(&["y"]), &[-2.0, 3.0]), [[0.0, 3.0]]);
    assert_eq!(refused(&of(&["y", "z", "w"])), "node `n_y` (Both): there is no output 2");
}

#[test]
fn attributes_of_a_call_have_defaults_or_none() {
    let mut sum = node("ReduceSum", &["a"], &["b"]);
    sum.attribute = vec![of_call("keepdims", "keep", int("keepdims", 0))];
    let mut plain = function("Sum", &["a"], vec![sum], &["b"]);
    plain.attribute = vec!["keep".into()];
    let mut defaulted = plain.clone();
    defaulted.attribute.clear();
    defaulted.attribute_proto = vec![int("keep", 0)];
    let dims = |function: &FunctionProto, keep: Option<i64>| {
        let mut node = call("Sum", &["x"], &["y"]);
        node.attribute.extend(keep.map(|keep| int("keep", keep)));
        let mut model = with_functions(vec![function.clone()], vec![node]);
        model.graph.as_mut().unwrap().output[0].r#type = None;
        let module = import_bytes(encode(&model), None).unwrap();
        eval::run(&module, vec![vector(&[1.0, 2.0])]).unwrap()[0].dims().to_vec()
    };
    assert_eq!(dims(&plain, None), [1]);
    assert_eq!(dims(&plain, Some(0)), [0usize; 0]);
    assert_eq!(dims(&defaulted, None), [0usize; 0]);
    assert_eq!(dims(&defaulted, Some(1)), [1]);
    let mut node = call("Sum", &["x"], &["y"]);
    node.attribute = vec![int("axis", 0)];
    let model = with_functions(vec![plain], vec![node]);
    assert_eq!(refused(&model), "node `n_y` (Sum): attribute `axis` is not one of the function");
}

#[test]
fn a_function_is_of_its_own_opset() {
    // Bounds are attributes before opset 11.
    let mut clip = node("Clip", &["a"], &["b"]);
    clip.attribute = vec![AttributeProto { f: Some(1.0), r#type: Some(1), i: None, ..int("max", 0) }];
    let mut old = function("Old", &["a"], vec![clip], &["b"]);
    let both = with_functions(vec![old.clone()], vec![call("Old", &["x"], &["y"])]);
    assert_eq!(refused(&both), "node `n_y/n_b` (Clip): attribute `max` is not one of Clip of opset 21");
    old.opset_import[0].version = Some(10);
    assert_eq!(
        run(&with_functions(vec![old], vec![call("Old", &["x"], &["y"])]), &[-2.0, 3.0]),
        [[-2.0, 1.0]]
    );
}

/// `y = x + w`, where `w` is an input that has a value.
fn with_default() -> ModelProto {
    let mut graph = graph(&["x", "w"], vec![node("Add", &["x", "w"], &["y"])], &["y"]);
    let weights: Vec<u8> = [10f32, 20.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    graph.initializer.push(tensor("w", FLOAT, &[2], &weights));
    model(graph)
}

#[test]
fn an_initializer_that_is_an_input_may_be_fed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, encode(&with_default())).unwrap();
    assert_eq!(trine::import::defaults(&path).unwrap(), ["w"]);
    let outputs = |fed: &[&str], inputs: &[Tensor]| {
        let options = Options { fed: fed.iter().map(|n| n.to_string()).collect(), ..Options::default() };
        let program = trine::compile(&path, &options)?;
        let mut session = Session::new(program.into(), &SessionOptions::default());
        Ok::<_, trine::Error>(floats(&session.run(inputs).unwrap()[0]))
    };
    let (x, w) = (vector(&[1.0, 2.0]), vector(&[-1.0, 1.0]));
    assert_eq!(outputs(&[], std::slice::from_ref(&x)).unwrap(), [11.0, 22.0]);
    assert_eq!(outputs(&["w"], &[x.clone(), w]).unwrap(), [0.0, 3.0]);
    for name in ["x", "v"] {
        let message = outputs(&[name], &[]).unwrap_err().to_string();
        assert!(
            message.ends_with(&format!("the model has no input `{name}` with an initializer")),
            "{message}"
        );
    }
}

#[test]
fn an_input_that_is_an_output_is_both_under_its_name() {
    let model = model(graph(&["x"], vec![node("Relu", &["x"], &["y"])], &["y", "x"]));
    let module = import_bytes(encode(&model), None).unwrap();
    let program = trine::build_program(module, &Options::default()).unwrap();
    let names: Vec<&str> = program.outputs.iter().chain(&program.inputs).map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["y", "x", "x"]);
    let mut session = Session::new(program.into(), &SessionOptions::default());
    for x in [[-1.0, 1.0], [2.0, -2.0]] {
        let outputs: Vec<_> = session.run(&[vector(&x)]).unwrap().iter().map(floats).collect();
        assert_eq!(outputs, [x.map(|v| v.max(0.0)), x]);
    }
}

#[test]
fn declared_types_must_hold() {
    let with = |change: &dyn Fn(&mut ModelProto)| {
        let nodes = vec![node("Neg", &["x"], &["h"]), node("Relu", &["h"], &["y"])];
        let mut model = model(graph(&["x"], nodes, &["y"]));
        change(&mut model);
        model
    };
    let info = |model: &mut ModelProto, v| model.graph.as_mut().unwrap().value_info.push(v);
    for (change, message) in [
        (
            &(|m: &mut ModelProto| m.graph.as_mut().unwrap().output[0] = value("y", 7, &[2]))
                as &dyn Fn(&mut ModelProto),
            "node `n_y` (Relu): output `y` is declared as a tensor of i64, and is f32[2]",
        ),
        (
            &|m| info(m, value("h", FLOAT, &[3])),
            "node `n_h` (Neg): output `h` is declared as f32[3], and is f32[2]",
        ),
        (
            &|m| info(m, value("h", FLOAT, &[1, 2])),
            "node `n_h` (Neg): output `h` is declared as f32[1,2], and is f32[2]",
        ),
    ] {
        assert_eq!(refused(&with(change)), message);
    }
    for harmless in
        [value("h", FLOAT, &[-1]), value("h", 0, &[7]), value("gone", 7, &[3]), Default::default()]
    {
        assert_eq!(run(&with(&|m| info(m, harmless.clone())), &[1.0, -1.0]), [[0.0, 1.0]]);
    }
    let mut model = with_default();
    model.graph.as_mut().unwrap().input[1] = value("w", 7, &[2]);
    assert_eq!(refused(&model), "graph `g`: `w` is declared as a tensor of i64, and is f32[2]");
}

#[test]
fn what_an_op_does_not_have_is_refused() {
    let mut reduce = node("ReduceMax", &["x"], &["y"]);
    reduce.attribute = vec![int("noop", 1)];
    let message = refused(&model(graph(&["x"], vec![reduce], &["y"])));
    assert_eq!(message, "node `n_y` (ReduceMax): attribute `noop` is not one of ReduceMax of opset 21");
    let message = refused(&model(graph(&["x"], vec![node("Relu", &["x", "x"], &["y"])], &["y"])));
    assert_eq!(message, "node `n_y` (Relu): has 2 inputs, and Relu of opset 21 has at most 1");
    assert_eq!(
        run(&model(graph(&["x"], vec![node("Relu", &["x", "", ""], &["y"])], &["y"])), &[1.0, -1.0]),
        [[1.0, 0.0]]
    );
}

/// In the cache of a model hub a model and its tensors are links into a folder of blobs beside the snapshots.
#[cfg(unix)]
#[test]
fn the_cache_of_a_hub_is_followed_into_its_blobs() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("models--a--b");
    let snapshot = cache.join("snapshots/0a1b");
    for sub in ["blobs/deeper", "snapshots/0a1b/onnx", "refs"] {
        std::fs::create_dir_all(cache.join(sub)).unwrap();
    }
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let tensor = TensorProto {
        raw_data: None,
        data_location: Some(1),
        external_data: vec![entry("location", "model.onnx_data")],
        ..tensor("w", FLOAT, &[2], &[])
    };
    let mut model = with_default();
    model.graph.as_mut().unwrap().initializer[0] = tensor;
    std::fs::write(cache.join("blobs/m1"), encode(&model)).unwrap();
    for place in ["blobs/d1", "blobs/deeper/d1", "refs/d1", "../d1"] {
        std::fs::write(cache.join(place), [0; 8]).unwrap();
    }
    let load = |folder: &str, target: &str| {
        let folder = snapshot.join(folder);
        let (file, data) = (folder.join("model.onnx"), folder.join("model.onnx_data"));
        let _ = (std::fs::remove_file(&file), std::fs::remove_file(&data));
        symlink(cache.join("blobs/m1"), &file).unwrap();
        symlink(target, &data).unwrap();
        trine::load(&file).map(drop).map_err(|e| e.to_string())
    };
    load("", "../../blobs/d1").unwrap();
    load("onnx", "../../../blobs/d1").unwrap();
    for target in ["../../blobs/deeper/d1", "../../refs/d1", "../../../d1"] {
        let message = load("", target).unwrap_err();
        assert!(message.ends_with("the location leads out of the model's folder"), "{target}: {message}");
    }
    // Where there are no links, git writes where they lead.
    let text = |model: &str, data: &str| {
        let (file, link) = (snapshot.join("model.onnx"), snapshot.join("model.onnx_data"));
        let _ = (std::fs::remove_file(&file), std::fs::remove_file(&link));
        std::fs::write(&file, model).unwrap();
        std::fs::write(&link, data).unwrap();
        trine::load(&file).map(drop).map_err(|e| e.to_string())
    };
    text("../../blobs/m1", "../../blobs/d1\n").unwrap();
    assert!(text("../../blobs/m1", "../../refs/d1").unwrap_err().contains("takes 8 bytes, not 13"));
    assert!(text("../../refs/d1", "../../blobs/d1").unwrap_err().contains("not an ONNX model"));
}

/// A tensor whose bytes 31 bits do not count, at an offset that 32 do not. The file has holes, and takes no room.
#[cfg(unix)]
#[test]
fn tensors_beyond_two_gigabytes_are_found_at_their_offsets() {
    use std::os::unix::fs::FileExt;
    const ROWS: usize = 530_000;
    const OFFSET: u64 = 5 << 30;
    let folder = tempfile::tempdir().unwrap();
    let data = std::fs::File::create(folder.path().join("weights")).unwrap();
    data.set_len(OFFSET + (ROWS * 4096) as u64).unwrap();
    for (row, value) in [(0, 1.5f32), (ROWS - 1, -2.5)] {
        data.write_all_at(&value.to_le_bytes(), OFFSET + (row * 4096) as u64).unwrap();
    }
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    let table = TensorProto {
        raw_data: None,
        data_location: Some(1),
        external_data: vec![entry("location", "weights".into()), entry("offset", OFFSET.to_string())],
        ..tensor("table", FLOAT, &[ROWS as i64, 1024], &[])
    };
    let mut graph = graph(&[], vec![node("Gather", &["table", "rows"], &["y"])], &["y"]);
    graph.input = vec![value("rows", 7, &[2])];
    graph.output = vec![value("y", FLOAT, &[2, 1024])];
    graph.initializer = vec![table];
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, encode(&model(graph))).unwrap();
    let rows = Tensor::vector(vec![ROWS as i64 - 1, 0]);
    let program = trine::compile(&path, &Options::default()).unwrap();
    // What is only looked up is not packed.
    assert!(program.consts.iter().all(|c| matches!(c, trine_runtime::Constant::Tensor(_))));
    let results =
        Session::new(std::sync::Arc::new(program), &SessionOptions::default()).run(&[rows]).unwrap();
    let y = floats(&results[0]);
    assert_eq!((y[0], y[1], y[1024]), (-2.5, 0.0, 1.5));
}
