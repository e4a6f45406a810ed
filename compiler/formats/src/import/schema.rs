//! What the operators of each version have: attributes, and so many inputs and outputs. A node that has others is refused,
//! since what they ask for would not happen.
//!
//! The table is written by `tests/peers/schemas.py`. Operators that it does not know are not held to anything.

use std::sync::LazyLock;

use rustc_hash::{FxHashMap, FxHashSet};

use super::model;
use super::proto::NodeProto;

/// A version of an operator.
struct Row {
    since: i64,
    inputs: usize,
    outputs: usize,
    attributes: Vec<&'static str>,
}

/// Versions of operators in order, by domain and name.
type Table = FxHashMap<(&'static str, &'static str), Vec<Row>>;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let (mut table, mut domain) = (Table::default(), "");
    for line in include_str!("schema.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            domain = name.trim_end_matches(']');
            continue;
        }
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        // Any number is `*`.
        let (name, since) = (word(), word().parse().unwrap_or(1));
        let (inputs, outputs) = (word().parse().unwrap_or(usize::MAX), word().parse().unwrap_or(usize::MAX));
        let row = Row { since, inputs, outputs, attributes: words.collect() };
        table.entry((domain, name)).or_default().push(row);
    }
    table
});

/// Says what a node has that its operator, in version `opset` of its domain, has not.
pub(super) fn check(node: &NodeProto, opset: i64) -> Result<(), String> {
    attributes_once(node)?;
    let domain = model::domain(node.domain());
    let Some(rows) = TABLE.get(&(domain, node.op_type())) else { return Ok(()) };
    // An operator that is used before its first version is taken for that.
    let row = rows.iter().rfind(|row| row.since <= opset).or_else(|| rows.first());
    let Some(row) = row else { return Ok(()) };
    let op = || format!("{} of opset {opset}", node.op_type());
    let given = |names: &[String]| names.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1);
    for (what, names, most) in [("inputs", &node.input, row.inputs), ("outputs", &node.output, row.outputs)] {
        let count = given(names);
        if count > most {
            return Err(format!("has {count} {what}, and {} has at most {most}", op()));
        }
    }
    let unknown = |name: &&str| !row.attributes.contains(name) && !is_internal(name);
    match node.attribute.iter().map(|a| a.name()).find(unknown) {
        Some(name) => Err(format!("attribute `{}` is not one of {}", name.escape_debug(), op())),
        None => Ok(()),
    }
}

/// Whether every attribute is there once.
pub(super) fn attributes_once(node: &NodeProto) -> Result<(), String> {
    let mut seen = FxHashSet::default();
    match node.attribute.iter().map(|a| a.name()).find(|name| !seen.insert(*name)) {
        Some(name) => Err(format!("attribute `{}` is there twice", name.escape_debug())),
        None => Ok(()),
    }
}

/// Whether an attribute is a tool's note to itself, which by ONNX's convention no operator knows.
pub(super) fn is_internal(name: &str) -> bool {
    name.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::super::proto::AttributeProto;
    use super::*;

    fn node(op_type: &str, inputs: usize, outputs: usize, attributes: &[&str]) -> NodeProto {
        let names = |count: usize| (0..count).map(|i| format!("v{i}")).collect();
        let attribute = |name: &&str| AttributeProto { name: Some(name.to_string()), ..Default::default() };
        NodeProto {
            op_type: Some(op_type.into()),
            input: names(inputs),
            output: names(outputs),
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn every_line_of_the_table_is_a_version() {
        for rows in TABLE.values() {
            assert!(rows.windows(2).all(|w| w[0].since < w[1].since));
            assert!(rows.iter().all(|row| row.since > 0 && row.outputs > 0));
        }
        assert!(TABLE.len() > 300);
    }

    #[test]
    fn what_an_operator_has_depends_on_its_version() {
        assert_eq!(check(&node("Clip", 1, 1, &["min", "max"]), 10), Ok(()));
        let message = check(&node("Clip", 1, 1, &["min"]), 13).unwrap_err();
        assert_eq!(message, "attribute `min` is not one of Clip of opset 13");
        let message = check(&node("Clip", 3, 1, &[]), 6).unwrap_err();
        assert_eq!(message, "has 3 inputs, and Clip of opset 6 has at most 1");
        let message = check(&node("Relu", 1, 2, &[]), 14).unwrap_err();
        assert_eq!(message, "has 2 outputs, and Relu of opset 14 has at most 1");
        let message = check(&node("Elu", 1, 1, &["alpha", "alpha"]), 6).unwrap_err();
        assert_eq!(message, "attribute `alpha` is there twice");
        let mut left_out = node("Clip", 5, 1, &["__note"]);
        left_out.input[3..].iter_mut().for_each(String::clear);
        assert_eq!(check(&left_out, 28), Ok(()));
        assert_eq!(check(&node("Sum", 99, 1, &[]), 13), Ok(()));
        assert_eq!(check(&node("Gelu", 1, 1, &["approximate"]), 17), Ok(()));
        assert_eq!(check(&node("Nobodys", 9, 9, &["a"]), 1), Ok(()));
    }
}
