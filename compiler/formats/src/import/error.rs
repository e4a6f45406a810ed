//! Why a model cannot be imported: each variant says what part of the file is at fault.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use trine_ir::Fault;

/// Why no module came out of a model.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The model's file cannot be opened, read or mapped.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The model, as the caller named it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not a protobuf message of ONNX.
    #[error("not an ONNX model: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The envelope: IR version, opsets, functions.
    #[error("{0}")]
    Container(String),
    /// The names of a graph's values do not make a graph.
    #[error("graph `{}`: {message}", graph.escape_debug())]
    Graph {
        /// The graph's name in the file.
        graph: String,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor's type, shape and data do not fit each other, or are not supported.
    #[error("tensor `{}`: {message}", tensor.escape_debug())]
    Tensor {
        /// The tensor's name in the file; of a sparse one, that of its values.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
    /// The file that a tensor's data lies in is not there, not allowed or too short.
    #[error("tensor `{}`, external data `{}`: {message}", tensor.escape_debug(), location.escape_debug())]
    External {
        /// The tensor's name in the file.
        tensor: String,
        /// Where the tensor says that its data lies, relative to the model; empty where it does not.
        location: String,
        /// What is wrong with that.
        message: String,
    },
    /// Every op of the model that there is no mapping for.
    #[error("{} not supported:{}", count(.0.len()), lines(.0))]
    Unsupported(Vec<Unsupported>),
    /// A node's inputs or attributes are not what its op takes, or not supported.
    #[error("node `{}` ({op_type}): {message}", node.escape_debug())]
    Node {
        /// The node's name, or that of its first output, after those of the calls and modules that it is in.
        node: String,
        /// The node's op, without its domain.
        op_type: String,
        /// What is wrong with it.
        message: String,
    },
    /// The caller fixes a size that no input has.
    #[error("no input has a dimension `{}`; the inputs are {inputs}", name.escape_debug())]
    NoDim {
        /// The dimension that the caller named.
        name: String,
        /// The inputs that there are, with their types.
        inputs: String,
    },
    /// The caller feeds what is not an input, or one that has to be fed anyway.
    #[error("the model has no input `{}` with an initializer", name.escape_debug())]
    NoDefault {
        /// The input that the caller named.
        name: String,
    },
    /// There are more nodes, or calls within calls, than the importer reads.
    #[error("the model is too large: {0}")]
    Limit(String),
    /// A file has another length or time than when it was mapped.
    #[error("`{}` changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The importer made a module that breaks the rules: a bug of ours, or a model that no mapping foresaw.
    #[error("{0}")]
    Verify(#[from] trine_ir::Error),
}

impl ImportError {
    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        match self {
            // The importer is there to refuse such models by name before it makes a module of them.
            ImportError::Verify(_) => Fault::Trine,
            ImportError::Io { .. }
            | ImportError::Decode(_)
            | ImportError::Container(_)
            | ImportError::Graph { .. }
            | ImportError::Tensor { .. }
            | ImportError::External { .. }
            | ImportError::Unsupported(_)
            | ImportError::Node { .. }
            | ImportError::NoDim { .. }
            | ImportError::NoDefault { .. }
            | ImportError::Limit(_)
            | ImportError::Changed(_) => Fault::Input,
        }
    }
}

/// What is said of an error of the model at `path`, which the importer names only where it could not be opened.
pub fn message(path: &Path, error: &ImportError) -> String {
    match error {
        ImportError::Io { .. } | ImportError::Changed(_) => error.to_string(),
        _ => format!("`{}`: {error}", path.display()),
    }
}

/// A node whose op has no mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node's name, or that of its first output, after those of the calls and modules that it is in.
    pub node: String,
    /// The domain of its op; empty for ONNX's own.
    pub domain: String,
    /// Its op, without the domain.
    pub op_type: String,
    /// Version of the operator set of `domain` that the model asks for.
    pub opset: i64,
    /// Types of the inputs; `?` where they follow from another unsupported op.
    pub inputs: Vec<String>,
}

impl Unsupported {
    /// What the user can do about it.
    fn hint(&self) -> &'static str {
        match (self.domain.as_str(), self.op_type.as_str()) {
            ("", op) if op.contains("Sequence") || op.starts_with("Optional") => {
                "sequences and optionals are not supported; export with plain tensors"
            }
            ("", op) if op.contains("String") || op.contains("Regex") => {
                "strings are not supported; do the text processing outside of the model"
            }
            ("", _) => "simplify the model or export it so that other ops express this one",
            ("ai.onnx.ml" | "ai.onnx.preview.training" | "ai.onnx.training", _) => {
                "only neural network inference is supported"
            }
            ("com.microsoft", _) => "export the model without onnxruntime's own fusions",
            _ => "no function of the model defines it; export with its function body included",
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let domain = if self.domain.is_empty() { "ai.onnx" } else { &self.domain };
        write!(
            f,
            "node `{}`: {}.{} of opset {} on ({}); {}",
            self.node.escape_debug(),
            domain.escape_debug(),
            self.op_type.escape_debug(),
            self.opset,
            self.inputs.join(", "),
            self.hint()
        )
    }
}

fn count(n: usize) -> String {
    if n == 1 { "1 node is".into() } else { format!("{n} nodes are") }
}

fn lines(nodes: &[Unsupported]) -> String {
    nodes.iter().map(|n| format!("\n  {n}")).collect()
}
