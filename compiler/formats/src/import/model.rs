//! The envelope of a model: versions and the functions that it brings along.

use rustc_hash::FxHashMap;

use super::error::ImportError;
use super::proto::{FunctionProto, ModelProto, NodeProto, OperatorSetIdProto};

/// Versions of ONNX's own operator set that the mappings know.
const OPSETS: std::ops::RangeInclusive<i64> = 1..=28;

/// Versions of the file format; before 3 there were no operator sets.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;

/// The version of each domain's operator set.
pub(super) type Opsets = FxHashMap<String, i64>;

/// A function of the model, and the operator sets that its body is written in.
pub(super) struct LocalFunction<'m> {
    pub proto: &'m FunctionProto,
    pub opsets: Opsets,
}

/// What a model says beside its graph.
pub(super) struct Model<'m> {
    pub opsets: Opsets,
    functions: FxHashMap<(&'m str, &'m str, &'m str), LocalFunction<'m>>,
}

impl<'m> Model<'m> {
    pub fn new(proto: &'m ModelProto) -> Result<Model<'m>, ImportError> {
        let fail = |message: String| Err(ImportError::Container(message));
        if !IR_VERSIONS.contains(&proto.ir_version()) {
            let (first, last) = IR_VERSIONS.into_inner();
            return fail(format!(
                "IR version {} is not supported, {first} to {last} are",
                proto.ir_version()
            ));
        }
        if proto.opset_import.is_empty() {
            return fail("the model does not say which operator sets it is written in".into());
        }
        let opsets = opsets(&proto.opset_import)?;
        let mut functions = FxHashMap::default();
        for function in &proto.functions {
            let key = (domain(function.domain()), function.name(), function.overload());
            // Functions may leave out what the model says.
            let mut own = opsets.clone();
            own.extend(self::opsets(&function.opset_import)?);
            if functions.insert(key, LocalFunction { proto: function, opsets: own }).is_some() {
                return fail(format!("function `{}` is defined twice", function.name().escape_debug()));
            }
        }
        Ok(Model { opsets, functions })
    }

    /// The function that a node calls, if the model defines one by that name.
    pub fn function(&'m self, node: &'m NodeProto) -> Option<&'m LocalFunction<'m>> {
        self.functions.get(&(domain(node.domain()), node.op_type(), node.overload()))
    }
}

/// The domain by its one name: ONNX's own is empty.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn opsets(imports: &[OperatorSetIdProto]) -> Result<Opsets, ImportError> {
    let mut opsets = Opsets::default();
    for import in imports {
        let (name, version) = (domain(import.domain()), import.version());
        if name.is_empty() && !OPSETS.contains(&version) {
            let (first, last) = OPSETS.into_inner();
            return Err(ImportError::Container(format!(
                "opset {version} is not supported, {first} to {last} are"
            )));
        }
        if opsets.insert(name.into(), version).is_some_and(|old| old != version) {
            let name = name.escape_debug();
            return Err(ImportError::Container(format!("operator set `{name}` has two versions")));
        }
    }
    Ok(opsets)
}

/// The path of the module that an exporter wrote a node for, such as `model.layers.0.mlp`, where its metadata says so.
/// PyTorch writes the names of all scopes as a list in Python's spelling, the outermost first and the operator last.
pub(super) fn module_path(node: &NodeProto) -> Option<&str> {
    let scopes = node.metadata_props.iter().find(|p| p.key() == "pkg.torch.onnx.name_scopes")?.value();
    let names: Vec<&str> = scopes.split('\'').skip(1).step_by(2).collect();
    let (_operator, modules) = names.split_last()?;
    modules.last().copied().filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::proto::StringStringEntryProto;

    #[test]
    fn modules_are_known_by_their_path() {
        let of = |scopes: &str| {
            let entry = StringStringEntryProto {
                key: Some("pkg.torch.onnx.name_scopes".into()),
                value: Some(scopes.into()),
            };
            let node = NodeProto { metadata_props: vec![entry], ..NodeProto::default() };
            module_path(&node).map(String::from)
        };
        assert_eq!(of("['', 'model', 'model.layers.0', 'linear_3']").as_deref(), Some("model.layers.0"));
        assert_eq!(of("['', 'linear']"), None);
        assert_eq!(of("[]"), None);
        assert_eq!(of("'"), None);
        assert_eq!(module_path(&NodeProto::default()), None);
    }
}
