//! Calls of the model's own functions: the body of the function takes the place of the node.
//!
//! Inputs that the call leaves out are absent in the body, too, and so are attributes that it leaves out and that have no
//! default; outputs that it leaves out need no value.

use rustc_hash::FxHashMap;
use trine_ir::Value;

use super::declared::Declared;
use super::error::ImportError;
use super::lower::{Failure, Importer, Named, Scope};
use super::model::LocalFunction;
use super::proto::{FunctionProto, NodeProto};
use super::schema;

/// How deep calls of the model's functions may nest.
const MAX_CALLS: usize = 64;

impl<'m> Importer<'m> {
    /// Puts the body of one of the model's functions where a node calls it. Outputs that the node leaves out have no value.
    pub(super) fn call(
        &mut self,
        node: &'m NodeProto,
        function: &'m LocalFunction<'m>,
        inputs: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Failure> {
        let calls = self.scopes.iter().filter_map(|s| s.function);
        if calls.clone().any(|f| std::ptr::eq(f, function)) {
            return Err(self.node_error(node, "the function calls itself".into()).into());
        }
        if calls.count() >= MAX_CALLS {
            return Err(ImportError::Limit(format!("function calls nest deeper than {MAX_CALLS}")).into());
        }
        let proto = function.proto;
        let given = inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if given > proto.input.len() {
            let message = format!("the function takes {} inputs, got {given}", proto.input.len());
            return Err(self.node_error(node, message).into());
        }
        check_attributes(node, proto).map_err(|e| self.node_error(node, e))?;
        let mut attributes: FxHashMap<_, _> = proto.attribute_proto.iter().map(|a| (a.name(), a)).collect();
        for attribute in &node.attribute {
            if let Some(resolved) = self.attribute(attribute) {
                attributes.insert(attribute.name(), resolved);
            }
        }
        let given = inputs.into_iter().map(|v| v.map_or(Named::Absent, Named::Value));
        let given = given.chain(std::iter::repeat(Named::Absent));
        let names = proto.input.iter().map(String::as_str).zip(given);
        let scope = Scope {
            level: self.levels.len() - 1,
            names: names.collect(),
            declared: Declared::of_function(proto),
            closed: true,
            attributes,
            opsets: &function.opsets,
            prefix: format!("{}/", self.node_name(node)).into(),
            function: Some(function),
        };
        self.scopes.push(scope);
        let wanted = node.output.iter().map(|name| !name.is_empty()).chain(std::iter::repeat(false));
        let outputs = self.nodes(&proto.node, proto.name()).and_then(|()| {
            let outputs = proto.output.iter().zip(wanted);
            outputs
                .map(|(name, wanted)| wanted.then(|| self.output(proto.name(), name)).transpose())
                .collect()
        });
        self.scopes.pop();
        outputs
    }
}

/// Says which attribute of a call the function does not have.
fn check_attributes(node: &NodeProto, function: &FunctionProto) -> Result<(), String> {
    schema::attributes_once(node)?;
    let has = |name: &str| {
        function.attribute.iter().any(|a| a == name)
            || function.attribute_proto.iter().any(|a| a.name() == name)
    };
    let unknown = |name: &&str| !has(name) && !schema::is_internal(name);
    match node.attribute.iter().map(|a| a.name()).find(unknown) {
        Some(name) => Err(format!("attribute `{}` is not one of the function", name.escape_debug())),
        None => Ok(()),
    }
}
