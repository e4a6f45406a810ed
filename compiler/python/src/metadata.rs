//! What a model says of itself, by onnxruntime's names.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use trine::import::Metadata;

/// What onnxruntime takes for the version of a model that gives none.
const NO_VERSION: i64 = i64::MAX;

/// What a model says of itself.
#[pyclass(frozen, get_all, module = "trine._trine")]
pub struct ModelMetadata {
    producer_name: String,
    graph_name: String,
    domain: String,
    description: String,
    graph_description: String,
    version: i64,
    custom_metadata_map: BTreeMap<String, String>,
}

impl ModelMetadata {
    pub fn new(metadata: &Metadata) -> ModelMetadata {
        let Metadata { producer_name, domain, version, description, graph_name, graph_description, custom } =
            metadata.clone();
        ModelMetadata {
            producer_name,
            graph_name,
            domain,
            description,
            graph_description,
            version: version.unwrap_or(NO_VERSION),
            custom_metadata_map: custom,
        }
    }
}
