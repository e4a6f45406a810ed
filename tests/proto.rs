//! The messages that the importer reads: the committed code is what ONNX's own schema gives, and an
//! independent parser reads the same from the same files.

use std::path::{Path, PathBuf};

use prost::Message;
use protobuf::Message as _;
use trine::import::proto::ModelProto;

use crate::{fetch, outside};

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compiler/formats/src/import/proto/onnx.rs");

#[test]
fn generated_code_is_that_of_the_schema() {
    if !outside::asked("generated code is that of ONNX's schema") {
        return;
    }
    let wheel = fetch::unpacked("onnx", "1.22.0", "onnx/onnx.proto").unwrap();
    let schema = protox::compile(["onnx/onnx.proto"], [wheel]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut config = prost_build::Config::new();
    config.bytes(["."]).disable_comments(["."]).out_dir(out.path()).compile_fds(schema).unwrap();
    same(&out.path().join("onnx.rs"), Path::new(GENERATED));
}

/// What a `.trine` file holds, of which the schema is ours.
#[test]
fn generated_code_of_files_is_that_of_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/src/artefact/proto");
    let schema = protox::compile(["plan.proto"], [&folder]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut config = prost_build::Config::new();
    config.btree_map(["."]).disable_comments(["."]).out_dir(out.path()).compile_fds(schema).unwrap();
    same(&out.path().join("trine.rs"), &folder.join("trine.rs"));
}

/// The file that was made is the one that is committed, which `BLESS=1` writes.
fn same(made: &Path, committed: &Path) {
    let made = std::fs::read_to_string(made).unwrap();
    if std::env::var_os("BLESS").is_some_and(|v| v == "1") {
        std::fs::write(committed, &made).unwrap();
    }
    let is = std::fs::read_to_string(committed).unwrap();
    assert!(made == is, "run with TRINE_OUTSIDE=1 BLESS=1 to write {}", committed.display());
}

#[test]
fn two_parsers_read_the_same() {
    let models = models(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models")));
    assert!(!models.is_empty());
    for path in models {
        let bytes = std::fs::read(&path).unwrap();
        let ours = ModelProto::decode(bytes.as_slice()).unwrap();
        let theirs = onnx_protobuf::ModelProto::parse_from_bytes(&bytes).unwrap();
        let name = path.display();

        let graph = ours.graph.as_ref().unwrap();
        let ops: Vec<_> = graph.node.iter().map(|n| (n.op_type(), &n.input, &n.output)).collect();
        let their_ops: Vec<_> =
            theirs.graph.node.iter().map(|n| (n.op_type.as_str(), &n.input, &n.output)).collect();
        assert_eq!(ops, their_ops, "{name}");
        let weights =
            graph.initializer.iter().map(|t| (t.name(), &t.dims, t.raw_data.as_deref().unwrap_or_default()));
        let their_weights =
            theirs.graph.initializer.iter().map(|t| (t.name.as_str(), &t.dims, t.raw_data.as_slice()));
        assert!(weights.eq(their_weights), "{name}: initializers differ");

        // Nothing is lost or changed in what we read, as the other parser sees it.
        let back = onnx_protobuf::ModelProto::parse_from_bytes(&ours.encode_to_vec()).unwrap();
        assert!(back == theirs, "{name}: read by the other parser, ours is otherwise");
    }
}

/// The models in a folder and those under it.
fn models(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(models(&path));
        } else if path.extension().is_some_and(|e| e == "onnx") {
            found.push(path);
        }
    }
    found.sort();
    found
}
