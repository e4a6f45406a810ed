//! What an ONNX file says of itself, read without the graph that it is about.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;

use super::error::ImportError;
use super::open;
use super::proto::StringStringEntryProto;

/// What a model says of itself; text is empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What wrote the file.
    pub producer_name: String,
    /// The name space of the model, such as `org.example`.
    pub domain: String,
    /// The version of the model, not of ONNX or of its operator sets.
    pub version: Option<i64>,
    /// What is said of the model.
    pub description: String,
    /// The name of its main graph.
    pub graph_name: String,
    /// What is said of that graph.
    pub graph_description: String,
    /// Whatever else its maker wrote, by name.
    pub custom: BTreeMap<String, String>,
}

/// What the ONNX model at `path` says of itself. Of a file that is mapped, pages of weights are not read.
pub fn metadata(path: impl AsRef<Path>) -> Result<Metadata, ImportError> {
    metadata_bytes(&open(path.as_ref())?.bytes)
}

/// What an ONNX model in memory says of itself.
pub fn metadata_bytes(model: &[u8]) -> Result<Metadata, ImportError> {
    let head = ModelHead::decode(model)?;
    let graph = head.graph.unwrap_or_default();
    let entry = |entry: StringStringEntryProto| (text(entry.key), text(entry.value));
    Ok(Metadata {
        producer_name: text(head.producer_name),
        domain: text(head.domain),
        version: head.model_version,
        description: text(head.doc_string),
        graph_name: text(graph.name),
        graph_description: text(graph.doc_string),
        custom: head.metadata_props.into_iter().map(entry).collect(),
    })
}

fn text(given: Option<String>) -> String {
    given.unwrap_or_default()
}

/// Those fields of `ModelProto` that are wanted here: the decoder skips others without looking into them.
#[derive(Clone, PartialEq, Message)]
struct ModelHead {
    #[prost(string, optional, tag = "2")]
    producer_name: Option<String>,
    #[prost(string, optional, tag = "4")]
    domain: Option<String>,
    #[prost(int64, optional, tag = "5")]
    model_version: Option<i64>,
    #[prost(string, optional, tag = "6")]
    doc_string: Option<String>,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphHead>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

/// Those of `GraphProto`.
#[derive(Clone, PartialEq, Message)]
struct GraphHead {
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(string, optional, tag = "10")]
    doc_string: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::proto::{GraphProto, ModelProto, NodeProto};
    use super::*;

    fn said(text: &str) -> Option<String> {
        Some(text.into())
    }

    #[test]
    fn all_that_a_model_says_is_read() {
        let entry = |key: &str, value: &str| StringStringEntryProto { key: said(key), value: said(value) };
        let model = ModelProto {
            producer_name: said("maker"),
            domain: said("org.example"),
            model_version: Some(7),
            doc_string: said("what it is for"),
            graph: Some(GraphProto {
                name: said("main"),
                doc_string: said("how it is made"),
                node: vec![NodeProto { op_type: said("Neg"), ..NodeProto::default() }],
                ..GraphProto::default()
            }),
            metadata_props: vec![entry("a", "1"), entry("b", "2"), entry("a", "3")],
            ..ModelProto::default()
        };
        let want = Metadata {
            producer_name: "maker".into(),
            domain: "org.example".into(),
            version: Some(7),
            description: "what it is for".into(),
            graph_name: "main".into(),
            graph_description: "how it is made".into(),
            // The last of a name stands.
            custom: [("a", "3"), ("b", "2")].map(|(key, value)| (key.into(), value.into())).into(),
        };
        assert_eq!(metadata_bytes(&model.encode_to_vec()).unwrap(), want);
        let silent = ModelProto::default().encode_to_vec();
        assert_eq!(metadata_bytes(&silent).unwrap(), Metadata::default());
    }

    #[test]
    fn what_is_not_a_model_is_an_error() {
        assert!(matches!(metadata_bytes(&[0xff; 99]), Err(ImportError::Decode(_))));
        assert!(matches!(metadata("none.onnx"), Err(ImportError::Io { .. })));
    }
}
