//! The types that a graph declares for its values, against those that follow from its ops. Where they contradict, the graph
//! is not what whoever wrote it meant.
//!
//! Names of sizes say nothing here: exporters give one length several. Of a body of control flow only element types
//! are compared, since its shapes may differ from one iteration to the next.

use rustc_hash::FxHashMap;
use trine_ir::Type;

use super::proto::tensor_shape_proto::dimension;
use super::proto::{FunctionProto, GraphProto, TypeProto, ValueInfoProto, type_proto};
use super::tensor::elem;

/// What is declared, by name.
#[derive(Default)]
pub(super) struct Declared<'m> {
    types: FxHashMap<&'m str, &'m TypeProto>,
    shapes: bool,
}

impl<'m> Declared<'m> {
    /// All that a graph declares; `shapes` says whether sizes are compared.
    pub fn new(graph: &'m GraphProto, shapes: bool) -> Declared<'m> {
        let values = graph.value_info.iter().chain(&graph.output).chain(&graph.input);
        Declared { types: types(values), shapes }
    }

    /// What a function declares of the values of its body, which has to hold wherever it is called.
    pub fn of_function(function: &'m FunctionProto) -> Declared<'m> {
        Declared { types: types(function.value_info.iter()), shapes: false }
    }

    /// How what is declared for a name contradicts its type.
    pub fn contradicts(&self, name: &str, ty: &Type) -> Result<(), String> {
        let Some(declared) = self.types.get(name).and_then(|t| t.value.as_ref()) else { return Ok(()) };
        let wrong = |declared: &dyn std::fmt::Display| {
            Err(format!("`{}` is declared as {declared}, and is {ty}", name.escape_debug()))
        };
        let tensor = match declared {
            type_proto::Value::TensorType(tensor) => tensor,
            type_proto::Value::SequenceType(_) => return wrong(&"a sequence"),
            type_proto::Value::MapType(_) => return wrong(&"a map"),
            // What may be absent or sparse is a tensor where it is there and dense.
            type_proto::Value::OptionalType(_) | type_proto::Value::SparseTensorType(_) => return Ok(()),
        };
        match elem(tensor.elem_type()) {
            // Nothing is said.
            _ if tensor.elem_type() == 0 => return Ok(()),
            Ok(elem) if elem == ty.elem => {}
            Ok(elem) => return wrong(&format!("a tensor of {elem}")),
            Err(_) => return wrong(&format!("a tensor of another type of elements, {}", tensor.elem_type())),
        }
        // Exporters write a shape without axes where they know nothing.
        let shape = tensor.shape.as_ref().filter(|shape| self.shapes && !shape.dim.is_empty());
        let Some(shape) = shape else { return Ok(()) };
        let sizes = shape.dim.iter().map(|d| match d.value {
            Some(dimension::Value::DimValue(n)) => usize::try_from(n).ok(),
            _ => None,
        });
        let differ =
            sizes.clone().zip(&ty.dims).any(|(n, d)| n.zip(d.as_const()).is_some_and(|(n, d)| n != d));
        // Exporters that know a size by name alone are wrong even about how many there are.
        let contradicts = match shape.dim.len() == ty.rank() {
            true => differ,
            false => sizes.clone().all(|n| n.is_some()),
        };
        if !contradicts {
            return Ok(());
        }
        let sizes: Vec<_> = sizes.map(|n| n.map_or("?".into(), |n| n.to_string())).collect();
        wrong(&format!("{}[{}]", ty.elem, sizes.join(",")))
    }
}

fn types<'m>(values: impl Iterator<Item = &'m ValueInfoProto>) -> FxHashMap<&'m str, &'m TypeProto> {
    values.filter_map(|v| Some((v.name(), v.r#type.as_ref()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::proto::TensorShapeProto;
    use super::super::proto::tensor_shape_proto::Dimension;
    use super::*;

    fn graph(elem_type: i32, dims: Option<&[&str]>) -> GraphProto {
        let dim = |text: &&str| {
            let value = text.parse().map(dimension::Value::DimValue);
            let value = value.unwrap_or_else(|_| dimension::Value::DimParam(text.to_string()));
            Dimension { value: Some(value), ..Default::default() }
        };
        let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape };
        let value = Some(type_proto::Value::TensorType(tensor));
        let r#type = Some(TypeProto { value, ..Default::default() });
        let output = vec![ValueInfoProto { name: Some("y".into()), r#type, ..Default::default() }];
        GraphProto { output, ..Default::default() }
    }

    #[test]
    fn only_what_cannot_be_contradicts() {
        let ty = Type::parse("f32[n,3]").unwrap();
        let says = |elem, dims| Declared::new(&graph(elem, dims), true).contradicts("y", &ty);
        assert_eq!(says(1, None), Ok(()));
        assert_eq!(says(1, Some(&[])), Ok(()));
        assert_eq!(says(1, Some(&["batch", "m"])), Ok(()));
        assert_eq!(says(1, Some(&["-1", "3"])), Ok(()));
        assert_eq!(says(1, Some(&["1", "m", "k"])), Ok(()));
        assert_eq!(says(7, None).unwrap_err(), "`y` is declared as a tensor of i64, and is f32[n,3]");
        assert_eq!(says(1, Some(&["b", "4"])).unwrap_err(), "`y` is declared as f32[?,4], and is f32[n,3]");
        assert_eq!(says(1, Some(&["3"])).unwrap_err(), "`y` is declared as f32[3], and is f32[n,3]");
        assert!(says(8, None).unwrap_err().starts_with("`y` is declared as a tensor of another type"));
        let inner = graph(1, Some(&["9"]));
        assert_eq!(Declared::new(&inner, false).contradicts("y", &ty), Ok(()));
        assert_eq!(Declared::new(&inner, true).contradicts("z", &ty), Ok(()));
    }
}
