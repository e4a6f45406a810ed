//! The inputs of the model as parameters: element types, and shapes whose open dimensions are symbols.

use rustc_hash::FxHashSet;
use trine_ir::dim::{Factor, Symbol};
use trine_ir::{Dim, DimEnv, Type};

use super::dims::Symbols;
use super::proto::tensor_shape_proto::dimension;
use super::proto::type_proto;
use super::proto::{GraphProto, SparseTensorProto, TypeProto, ValueInfoProto};
use super::tensor::{MAX_RANK, elem};

/// The names of the inputs that are not also initializers, which give them their values, and those that are `fed` all
/// the same.
pub(super) fn open_inputs<'m>(graph: &'m GraphProto, fed: &[String]) -> Vec<&'m str> {
    let given = initialized(graph);
    let open = |name: &&str| !given.contains(name) || fed.iter().any(|n| n == name);
    graph.input.iter().map(|i| i.name()).filter(open).collect()
}

/// The names of the initializers of a graph.
pub(super) fn initialized(graph: &GraphProto) -> FxHashSet<&str> {
    let dense = graph.initializer.iter().map(|i| i.name());
    dense.chain(graph.sparse_initializer.iter().map(sparse_name)).collect()
}

pub(super) fn sparse_name(proto: &SparseTensorProto) -> &str {
    proto.values.as_ref().map_or("", |values| values.name())
}

/// What is written for one dimension of an input.
enum Spec {
    Known(Dim),
    /// A `dim_param` that reads as an expression, and its text.
    Expression(Dim, String),
    Open,
}

/// The types of inputs, in order. The message names the input that has none.
pub(super) fn types(inputs: &[&ValueInfoProto], symbols: &mut Symbols) -> Result<Vec<Type>, String> {
    let mut rows = vec![];
    for input in inputs {
        let row = spec(input.r#type.as_ref(), symbols);
        rows.push(row.map_err(|e| format!("input `{}` {e}", input.name().escape_debug()))?);
    }
    solve(&mut rows, symbols);
    let open = |symbols: &mut Symbols, name: &str, axis: usize| {
        let dim = symbols.fresh(&format!("{name}_{axis}"));
        symbols.resolved(dim)
    };
    Ok(rows
        .into_iter()
        .zip(inputs)
        .map(|((elem, specs), input)| {
            let dims = specs.into_iter().enumerate().map(|(axis, spec)| match spec {
                Spec::Known(dim) | Spec::Expression(dim, _) => dim,
                Spec::Open => open(symbols, input.name(), axis),
            });
            Type { elem, dims: dims.collect() }
        })
        .collect())
}

fn spec(ty: Option<&TypeProto>, symbols: &mut Symbols) -> Result<(trine_ir::Elem, Vec<Spec>), String> {
    let tensor = match ty.and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor,
        Some(_) => return Err("is not a tensor; only tensors are supported".into()),
        None => return Err("has no type".into()),
    };
    let elem = elem(tensor.elem_type()).map_err(|e| format!("has a bad type: {e}"))?;
    let shape = tensor.shape.as_ref().ok_or("has no shape; its rank must be known")?;
    if shape.dim.len() > MAX_RANK {
        return Err(format!("has {} axes, which are more than {MAX_RANK}", shape.dim.len()));
    }
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(dimension::Value::DimValue(n)) => match usize::try_from(*n) {
            Ok(n) => Ok(Spec::Known(Dim::constant(n))),
            // Some exporters write -1 where they know nothing.
            Err(_) if *n == -1 => Ok(Spec::Open),
            Err(_) => Err(format!("has a negative dimension {n}")),
        },
        // Names that say that there is none.
        Some(dimension::Value::DimParam(text)) if matches!(text.trim(), "" | "?" | "-1" | "None") => {
            Ok(Spec::Open)
        }
        Some(dimension::Value::DimParam(text)) => Ok(match symbols.expression(text) {
            Some(dim) => Spec::Expression(dim, text.clone()),
            None => {
                let own = symbols.opaque(text);
                Spec::Known(symbols.resolved(own))
            }
        }),
        None => Ok(Spec::Open),
    });
    Ok((elem, dims.collect::<Result<_, _>>()?))
}

/// Replaces expressions that no run could solve for their symbols by symbols of their own: those whose
/// symbols `eval::bind` would not find in its two rounds over the inputs.
fn solve(rows: &mut [(trine_ir::Elem, Vec<Spec>)], symbols: &mut Symbols) {
    let mut known = DimEnv::default();
    for round in 0..2 {
        for spec in rows.iter_mut().flat_map(|(_, specs)| specs) {
            let Spec::Expression(dim, text) = spec else { continue };
            let open: Vec<_> = dim.symbols().into_iter().filter(|s| known.get(s).is_none()).collect();
            match open.as_slice() {
                [] => {}
                [symbol] if is_linear(dim, symbol) => known.set(symbol.clone(), 1),
                _ if round == 0 => {}
                _ => {
                    let own = symbols.opaque(text);
                    *spec = Spec::Known(symbols.resolved(own));
                }
            }
        }
    }
}

/// Whether the symbol is found from a value of the dimension.
fn is_linear(dim: &Dim, symbol: &Symbol) -> bool {
    let is = |f: &Factor| matches!(f, Factor::Symbol(s) if s == symbol);
    dim.terms().all(|(m, _)| m.iter().filter(|f| is(f)).count() <= 1 && !m.iter().any(|f| f.hides(symbol)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::proto::TensorShapeProto;
    use crate::import::proto::tensor_shape_proto::Dimension;

    fn input(name: &str, dims: &[&str]) -> ValueInfoProto {
        let dim = |text: &&str| {
            let value = text.parse().map(dimension::Value::DimValue);
            let value = value.unwrap_or_else(|_| dimension::Value::DimParam(text.to_string()));
            Dimension { value: Some(value), ..Default::default() }
        };
        let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type: Some(1), shape };
        let r#type =
            Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
        ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
    }

    fn read(inputs: &[ValueInfoProto]) -> Vec<String> {
        let all: Vec<_> = inputs.iter().collect();
        let types = types(&all, &mut Symbols::default()).unwrap();
        types.iter().map(Type::to_string).collect()
    }

    #[test]
    fn expressions_stay_where_inputs_solve_them() {
        let ids = input("ids", &["batch_size", "sequence_length"]);
        let mask = input("mask", &["batch_size", "past_sequence_length + sequence_length"]);
        assert_eq!(
            read(&[mask, ids]),
            [
                "i64".replace("i64", "f32[batch_size,past_sequence_length+sequence_length]"),
                "f32[batch_size,sequence_length]".into()
            ]
        );
        assert_eq!(read(&[input("x", &["h*w", "floor(h / 2)", "h*w"])]), ["f32[h_w,floor_h___2_,h_w]"]);
    }

    #[test]
    fn open_dimensions_get_symbols_of_their_own() {
        assert_eq!(read(&[input("x:0", &["", "-1", "x_0_0"])]), ["f32[x_0_0_1,x_0_1,x_0_0]"]);
    }
}
