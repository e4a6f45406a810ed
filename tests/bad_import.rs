//! What no model should be: each is refused with an error that says what is wrong, in bounded time and memory.

use bytes::Bytes;
use trine::import::proto::{
    AttributeProto, GraphProto, ModelProto, SparseTensorProto, StringStringEntryProto, TensorProto,
};
use trine::import::{ImportError, import, import_bytes};
use trine_ir::{Module, Tensor, eval, text};

use crate::onnx::*;

/// What importing the model says.
fn refused(model: &ModelProto) -> String {
    error(import_bytes(encode(model), None))
}

fn error(result: Result<Module, ImportError>) -> String {
    result.map(|module| text::print(&module)).expect_err("the model is bad").to_string()
}

fn accepted(model: &ModelProto) -> Module {
    import_bytes(encode(model), None).unwrap()
}

/// `y = x + x`, with a change.
fn changed(change: impl FnOnce(&mut ModelProto)) -> ModelProto {
    let mut model = model(graph(&["x"], vec![node("Add", &["x", "x"], &["y"])], &["y"]));
    change(&mut model);
    model
}

/// `y = x + t` for an initializer `t`.
fn with_tensor(tensor: TensorProto) -> ModelProto {
    let mut graph = graph(&["x"], vec![node("Add", &["x", "t"], &["y"])], &["y"]);
    graph.initializer.push(tensor);
    model(graph)
}

fn with_graph(graph: GraphProto) -> ModelProto {
    model(graph)
}

#[test]
fn container() {
    assert_eq!(error(import_bytes(Bytes::new(), None)), "IR version 0 is not supported, 3 to 14 are");
    let noise = error(import_bytes(Bytes::from_static(b"\xff\xfe not a model \x00"), None));
    assert!(noise.starts_with("not an ONNX model: "), "{noise}");
    for (change, message) in [
        (
            &(|m: &mut ModelProto| m.ir_version = None) as &dyn Fn(&mut ModelProto),
            "IR version 0 is not supported, 3 to 14 are",
        ),
        (&|m| m.ir_version = Some(99), "IR version 99 is not supported, 3 to 14 are"),
        (&|m| m.opset_import.clear(), "the model does not say which operator sets it is written in"),
        (&|m| m.opset_import = vec![opset("", 0)], "opset 0 is not supported, 1 to 28 are"),
        (
            &|m| m.opset_import = vec![opset("ai.onnx", i64::MAX)],
            "opset 9223372036854775807 is not supported, 1 to 28 are",
        ),
        (&|m| m.opset_import.push(opset("ai.onnx", 20)), "operator set `` has two versions"),
        (
            &|m| m.opset_import = vec![opset("f", 1)],
            "node `n_y` (Add): the model does not say which opset of `` it uses",
        ),
        (&|m| m.graph = None, "graph ``: there are no outputs"),
        (&|m| m.functions = vec![function("F", &[], vec![], &[]); 2], "function `F` is defined twice"),
    ] {
        assert_eq!(refused(&changed(change)), message);
    }
    accepted(&changed(|m| m.opset_import.push(opset("", 21))));
}

#[test]
fn every_truncation_and_many_bit_flips_are_survived() {
    let bytes = encode(&changed(|m| {
        let graph = m.graph.as_mut().unwrap();
        graph.initializer.push(tensor("t", FLOAT, &[2], &[0; 8]));
        graph.node.push(node("Mul", &["y", "t"], &["z"]));
    }));
    for end in 0..bytes.len() {
        // Most cuts are errors; some only lose what nothing needs. None may panic.
        let _ = import_bytes(bytes.slice(..end), None);
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = import_bytes(flipped.into(), None);
    }
}

#[test]
fn unknown_ops_are_listed_all_at_once() {
    let nodes = vec![
        node("Add", &["x", "x"], &["a"]),
        node("SequenceConstruct", &["a", ""], &["b"]),
        node("Add", &["b", "x"], &["c"]),
        call("Gone", &["c", "x"], &["y"]),
    ];
    assert_eq!(
        refused(&model(graph(&["x"], nodes, &["y"]))),
        "2 nodes are not supported:\n  \
         node `n_b`: ai.onnx.SequenceConstruct of opset 21 on (f32[2], _); sequences and optionals are not supported; \
         export with plain tensors\n  \
         node `n_y`: f.Gone of opset 0 on (?, f32[2]); no function of the model defines it; export with its \
         function body included"
    );
}

#[test]
fn names() {
    let of = |nodes, outputs: &[&str]| refused(&model(graph(&["x"], nodes, outputs)));
    let add = |a: &str, b: &str, y: &str| node("Add", &[a, b], &[y]);
    assert_eq!(
        of(vec![add("x", "y", "z"), add("z", "x", "y")], &["y"]),
        "graph `g`: value `z` depends on itself"
    );
    assert_eq!(of(vec![add("x", "y", "y")], &["y"]), "graph `g`: value `y` depends on itself");
    assert_eq!(of(vec![add("x", "a", "y")], &["y"]), "node `n_y` (Add): input `a` is not defined");
    assert_eq!(of(vec![add("x", "x", "a")], &["y"]), "graph `g`: output `y` is not defined");
    assert_eq!(
        of(vec![add("x", "x", "y"), add("x", "x", "y")], &["y"]),
        "graph `g`: value `y` is produced twice"
    );
    assert_eq!(of(vec![add("x", "x", "x")], &["x"]), "graph `g`: value `x` depends on itself");
    assert_eq!(
        of(vec![node("Constant", &[], &["x"])], &["x"]),
        "node `n_x` (Constant): has no value that is a tensor of numbers"
    );
    assert_eq!(of(vec![add("x", "x", "y")], &["y", "y"]), "graph `g`: output `y` is listed twice");
    assert_eq!(of(vec![add("x", "x", "y")], &[]), "graph `g`: there are no outputs");
    assert_eq!(of(vec![node("Add", &["x"], &["y"])], &["y"]), "node `n_y` (Add): input 1 is missing");
    assert_eq!(
        of(vec![node("Add", &["x", "x"], &["y", "z"])], &["y"]),
        "node `n_y` (Add): has 2 outputs, and Add of opset 21 has at most 1"
    );
    let twice = changed(|m| m.graph.as_mut().unwrap().input.push(value("x", FLOAT, &[2])));
    assert_eq!(refused(&twice), "graph `g`: value `x` is defined twice");
}

#[test]
fn order_and_names_of_nodes_are_free() {
    let unsorted = vec![node("Mul", &["a", "x"], &["y"]), node("Add", &["x", "x"], &["a"])];
    let mut same = unsorted.clone();
    same.iter_mut().for_each(|n| n.name = Some("same".into()));
    for nodes in [unsorted, same] {
        let module = accepted(&model(graph(&["x"], nodes, &["y"])));
        let y = eval::run(&module, vec![Tensor::vector(vec![3f32, -1.0])]).unwrap();
        assert_eq!(&*y[0].values::<f32>().unwrap(), &[18.0, 2.0]);
    }
}

#[test]
fn outputs_have_their_names_whatever_they_are() {
    let nodes = vec![
        node("Add", &["x", "x"], &["mul"]),
        node("Mul", &["mul", "x"], &["t"]),
        node("Identity", &["t"], &["add"]),
    ];
    let mut g = graph(&["x"], nodes, &["add", "t", "x", "c"]);
    g.initializer.push(tensor("c", FLOAT, &[2], &[0; 8]));
    let module = accepted(&model(g));
    let main = &module.main().unwrap().graph;
    let names: Vec<_> = main.outputs().iter().map(|o| main.name(*o)).collect();
    assert_eq!(names, ["add", "t", "x", "c"]);
}

#[test]
fn names_cannot_inject() {
    let odd = ["a\"b", "n\nl", "nul\0", "%x = evil", "}", "☃"];
    let mut nodes: Vec<_> = odd.windows(2).map(|pair| node("Add", &[pair[0], "\\"], &[pair[1]])).collect();
    nodes[2].name = Some("q\"\n)".into());
    let module = accepted(&model(graph(&[odd[0], "\\"], nodes, &["☃"])));
    let printed = text::print(&module);
    assert_eq!(text::print(&text::parse(&printed).unwrap()), printed);
}

#[test]
fn chains_of_100_000_nodes() {
    let nodes = (0..100_000).map(|i| {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        node("Add", &[from.as_str(), "v0"], &[to.as_str()])
    });
    // In reverse, so that they must be sorted too.
    let module = accepted(&model(graph(&["v0"], nodes.rev().collect(), &["v100000"])));
    assert_eq!(module.main().unwrap().graph.node_count(), 100_001);
}

#[test]
fn functions() {
    let with = |functions, nodes| {
        let mut model = model(graph(&["x"], nodes, &["y"]));
        model.opset_import.push(opset("f", 1));
        model.functions = functions;
        model
    };
    let itself = function("F", &["a"], vec![call("F", &["a"], &["b"])], &["b"]);
    let recursive = with(vec![itself], vec![call("F", &["x"], &["y"])]);
    assert_eq!(refused(&recursive), "node `n_y/n_b` (F): the function calls itself");

    // 2^40 nodes, if they were all inlined.
    let mut functions = vec![function("F0", &["a"], vec![node("Add", &["a", "a"], &["b"])], &["b"])];
    for i in 1..=40 {
        let callee = format!("F{}", i - 1);
        let nodes = vec![call(&callee, &["a"], &["m"]), call(&callee, &["m"], &["b"])];
        functions.push(function(&format!("F{i}"), &["a"], nodes, &["b"]));
    }
    let nested = with(functions.clone(), vec![call("F40", &["x"], &["y"])]);
    assert_eq!(refused(&nested), "the model is too large: more than 262144 nodes");

    for i in 41..=90 {
        let nodes = vec![call(&format!("F{}", i - 1), &["a"], &["b"])];
        functions.push(function(&format!("F{i}"), &["a"], nodes, &["b"]));
    }
    let deep = with(functions, vec![call("F90", &["x"], &["y"])]);
    assert_eq!(refused(&deep), "the model is too large: function calls nest deeper than 64");

    let broken = function("F", &["a"], vec![node("Add", &["a", "x"], &["b"])], &["b"]);
    let outside = with(vec![broken], vec![call("F", &["x"], &["y"])]);
    assert_eq!(refused(&outside), "node `n_y/n_b` (Add): input `x` is not defined");
    let few = with(vec![function("F", &[], vec![], &["b"])], vec![call("F", &["x"], &["y"])]);
    assert_eq!(refused(&few), "node `n_y` (F): the function takes 0 inputs, got 1");
    let none = with(vec![function("F", &["a"], vec![], &["b"])], vec![call("F", &["x"], &["y"])]);
    assert_eq!(refused(&none), "graph `F`: output `b` is not defined");
}

#[test]
fn inputs() {
    let with = |change: &dyn Fn(&mut GraphProto)| changed(|m| change(m.graph.as_mut().unwrap()));
    for (change, message) in [
        (
            &(|g: &mut GraphProto| g.input[0].r#type = None) as &dyn Fn(&mut GraphProto),
            "graph `g`: input `x` has no type",
        ),
        (&|g| g.input[0] = value("x", FLOAT, &[-7]), "graph `g`: input `x` has a negative dimension -7"),
        (
            &|g| g.input[0] = value("x", FLOAT, &[1; 300]),
            "graph `g`: input `x` has 300 axes, which are more than 64",
        ),
        (
            &|g| g.input[0] = value("x", 8, &[2]),
            "graph `g`: input `x` has a bad type: elements of type STRING are not supported",
        ),
        (
            &|g| g.input[0] = value("x", 77, &[2]),
            "graph `g`: input `x` has a bad type: 77 is not a data type of ONNX",
        ),
    ] {
        assert_eq!(refused(&with(change)), message);
    }
    accepted(&with(&|g| {
        (g.input[0], g.output[0]) = (value("x", FLOAT, &[0, 3]), value("y", FLOAT, &[0, 3]));
    }));
}

#[test]
fn tensors() {
    for (tensor, message) in [
        (tensor("t", FLOAT, &[2], &[0; 7]), "tensor `t`: a tensor f32[2] takes 8 bytes, not 7"),
        (tensor("t", FLOAT, &[-2], &[0; 8]), "tensor `t`: dimension -2 is negative"),
        (tensor("t", FLOAT, &[1; 300], &[0; 4]), "tensor `t`: 300 axes are more than 64"),
        (tensor("t", 8, &[2], &[]), "tensor `t`: elements of type STRING are not supported"),
        (tensor("t", 0, &[2], &[]), "tensor `t`: elements of type UNDEFINED are not supported"),
        (tensor("t", -1, &[2], &[]), "tensor `t`: -1 is not a data type of ONNX"),
        (
            tensor("t", FLOAT, &[i64::MAX, 3], &[]),
            "tensor `t`: a tensor f32[9223372036854775807, 3] is too large",
        ),
        (
            TensorProto { float_data: vec![1.0], raw_data: None, ..tensor("t", FLOAT, &[2], &[]) },
            "tensor `t`: a tensor f32[2] takes 8 bytes, not 4",
        ),
        (
            TensorProto { int32_data: vec![1, 300], raw_data: None, ..tensor("t", 2, &[2], &[]) },
            "tensor `t`: element 300 is out of range",
        ),
        (
            TensorProto { segment: Some(Default::default()), ..tensor("t", FLOAT, &[2], &[0; 8]) },
            "tensor `t`: segments are not supported",
        ),
    ] {
        assert_eq!(refused(&with_tensor(tensor)), message);
    }
}

#[test]
fn sparse_tensors() {
    let with = |dims: &[i64], indices: &[i64]| {
        let mut graph = graph(&["x"], vec![node("Add", &["x", "t"], &["y"])], &["y"]);
        let raw: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
        graph.sparse_initializer.push(SparseTensorProto {
            values: Some(tensor("t", FLOAT, &[2], &[0; 8])),
            indices: Some(tensor("", 7, &[indices.len() as i64], &raw)),
            dims: dims.to_vec(),
        });
        with_graph(graph)
    };
    accepted(&with(&[2], &[0, 1]));
    assert_eq!(refused(&with(&[2], &[0, 2])), "tensor `t`: sparse index [2] lies outside of [2]");
    assert_eq!(refused(&with(&[2], &[-1, 0])), "tensor `t`: sparse index [-1] lies outside of [2]");
    assert_eq!(
        refused(&with(&[2], &[0])),
        "tensor `t`: sparse indices of shape [1] do not fit 2 values of rank 1"
    );
    assert_eq!(refused(&with(&[1 << 40], &[0, 1])), "tensor `t`: sparse shape [1099511627776] is too large");
}

#[test]
fn attributes_of_the_wrong_type() {
    let mut bad = node("Constant", &[], &["y"]);
    bad.attribute = vec![int("value_floats", 3)];
    let model = with_graph(graph(&["x"], vec![bad], &["y"]));
    assert_eq!(refused(&model), "node `n_y` (Constant): attribute `value_floats` is of type int, not floats");
    let mut untyped = node("Constant", &[], &["y"]);
    untyped.attribute =
        vec![AttributeProto { name: Some("value_float".into()), f: Some(2.0), ..Default::default() }];
    let mut graph = graph(&["x"], vec![untyped], &["y"]);
    graph.output[0] = value("y", FLOAT, &[]);
    accepted(&with_graph(graph));
}

#[test]
fn norms_computed_in_other_types() {
    for (stash_type, refusal) in [(1, None), (10, Some("f16")), (11, Some("f64"))] {
        let mut norm = node("LayerNormalization", &["x", "x"], &["y"]);
        norm.attribute = vec![int("stash_type", stash_type)];
        let model = with_graph(graph(&["x"], vec![norm], &["y"]));
        match refusal {
            None => drop(accepted(&model)),
            Some(elem) => assert_eq!(
                refused(&model),
                format!(
                    "node `n_y` (LayerNormalization): computes in f32, not in the {elem} of `stash_type`"
                )
            ),
        }
    }
}

#[test]
fn subgraphs_nested_without_end() {
    let deep = |depth: usize| {
        let mut body = graph(&[], vec![node("Add", &["x", "x"], &["y0"])], &["y0"]);
        for i in 1..=depth {
            let y = format!("y{i}");
            let mut branch = node("If", &["c"], &[y.as_str()]);
            branch.attribute = vec![subgraph("then_branch", body.clone()), subgraph("else_branch", body)];
            body = graph(&[], vec![branch], &[y.as_str()]);
            // The other branch would double the size at each level.
            body.node[0].attribute[1] = subgraph("else_branch", graph(&[], vec![], &["x"]));
        }
        body.input = vec![value("x", FLOAT, &[2]), value("c", 9, &[])];
        with_graph(body)
    };
    accepted(&deep(20));
    let message = refused(&deep(200));
    assert!(message.starts_with("not an ONNX model: ") && message.contains("recursion"), "{message}");
}

/// A change between reading and compiling is an error; one after compiling changes nothing.
#[test]
fn files_that_change_after_they_were_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, data) = (folder.path().join("model.onnx"), folder.path().join("data"));
    let location = StringStringEntryProto { key: Some("location".into()), value: Some("data".into()) };
    let external = TensorProto {
        raw_data: None,
        data_location: Some(1),
        external_data: vec![location],
        ..tensor("t", FLOAT, &[2], &[])
    };
    std::fs::write(&path, encode(&with_tensor(external))).unwrap();
    let weights: Vec<u8> = [3f32, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    std::fs::write(&data, &weights).unwrap();

    let (_module, sources) = trine::load_with_sources(&path).unwrap();
    sources.check().unwrap();
    std::fs::write(&data, [&weights[..], &weights].concat()).unwrap();
    let message = sources.check().unwrap_err().to_string();
    assert!(message.ends_with("data` changed while it was read"), "{message}");

    std::fs::write(&data, &weights).unwrap();
    let program = trine::compile(&path, &trine::Options::default()).unwrap();
    std::fs::write(&data, []).unwrap();
    let mut session = trine::Session::new(program.into(), &trine::SessionOptions::default());
    let outputs = session.run(&[Tensor::from_vec(vec![2], vec![1f32, 2.0]).unwrap()]).unwrap();
    assert_eq!(outputs[0].values::<f32>().unwrap().as_ref(), [4.0, 6.0]);
}

#[cfg(unix)]
#[test]
fn external_data() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("model"), folder.path().join("secret"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(inside.join("sub")).unwrap();
    std::fs::write(&outside, [0; 64]).unwrap();
    std::fs::write(inside.join("data"), [0; 16]).unwrap();
    std::fs::write(inside.join("sub/data"), [0; 8]).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    std::os::unix::fs::symlink("data", inside.join("alias")).unwrap();
    // A file of the folder under one more name: package managers make them.
    std::fs::hard_link(inside.join("data"), inside.join("hard")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", inside.join("zero")).unwrap();
    let load = |entries: &[(&str, &str)]| {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some(key.to_string()),
            value: Some(value.to_string()),
        };
        let tensor = TensorProto {
            raw_data: None,
            data_location: Some(1),
            external_data: entries.iter().map(entry).collect(),
            ..tensor("t", FLOAT, &[2], &[])
        };
        let path = inside.join("model.onnx");
        std::fs::write(&path, encode(&with_tensor(tensor))).unwrap();
        import(&path)
    };
    let long = outside.to_str().unwrap();
    let at = |location: &str| load(&[("location", location), ("offset", "8"), ("length", "8")]);
    for good in ["data", "./data", "alias", "hard"] {
        at(good).unwrap();
    }
    load(&[("location", "sub/data")]).unwrap();
    for (location, message) in [
        ("", "the location is missing"),
        ("../secret", "the location must be a path inside the model's folder"),
        ("sub/../data", "the location must be a path inside the model's folder"),
        (long, "the location must be a path inside the model's folder"),
        ("link", "the location leads out of the model's folder"),
        ("zero", "the location leads out of the model's folder"),
        ("sub", "not a regular file"),
        ("none", "No such file or directory (os error 2)"),
        ("nul\0", "file name contained an unexpected NUL byte"),
    ] {
        let expected = format!("tensor `t`, external data `{}`: {message}", location.escape_debug());
        assert_eq!(error(at(location)), expected);
    }
    for (offset, length, message) in [
        ("12", "8", "8 bytes at offset 12 lie outside of the file's 16 bytes"),
        ("99", "0", "0 bytes at offset 99 lie outside of the file's 16 bytes"),
        (
            "8",
            "18446744073709551615",
            "18446744073709551615 bytes at offset 8 lie outside of the file's 16 bytes",
        ),
        ("-8", "8", "offset `-8` is not a number of bytes"),
        ("0", "eight", "length `eight` is not a number of bytes"),
    ] {
        let loaded = load(&[("location", "data"), ("offset", offset), ("length", length)]);
        assert_eq!(error(loaded), format!("tensor `t`, external data `data`: {message}"));
    }
    let short = load(&[("location", "data"), ("length", "4")]);
    assert_eq!(error(short), "tensor `t`: a tensor f32[2] takes 8 bytes, not 4");
    let memory = TensorProto { data_location: Some(1), ..tensor("t", FLOAT, &[2], &[]) };
    let memory = refused(&with_tensor(memory));
    assert_eq!(memory, "tensor `t`, external data ``: the model has no folder to look in");
    let gone = error(import(inside.join("gone.onnx")));
    assert!(gone.ends_with("gone.onnx`: No such file or directory (os error 2)"), "{gone}");
    assert!(error(import(&inside)).ends_with("not a regular file"));
}
