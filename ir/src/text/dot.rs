//! A function as a picture for Graphviz: ops, and the values that flow between them.

use std::fmt::Write;

use rustc_hash::FxHashMap;

use crate::attr::{Attr, quote};
use crate::{Def, Function, NodeId, Value};

/// The function in the language of `dot`: parameters and constants in boxes, an edge for each use of a value, labelled with
/// its type.
pub fn dot(name: &str, function: &Function) -> String {
    let graph = &function.graph;
    let order = graph.order();
    let ids: FxHashMap<NodeId, usize> = order.iter().enumerate().map(|(i, node)| (*node, i)).collect();
    let mut out = format!("digraph {} {{\n  node [shape=ellipse];\n", quote(name));
    let mut line = |text: std::fmt::Arguments| {
        writeln!(out, "  {text}").expect("strings take everything");
    };
    for node in order {
        let value = graph.name(Value { node, result: 0 });
        let (label, shape) = match graph.def(node) {
            Def::Param { .. } => (format!("%{value}"), "box"),
            Def::Const(key) => (format!("@{key}"), "box"),
            Def::Literal(literal) => (literal.print(), "box"),
            Def::Op(op) => (op.kind().mnemonic().to_string(), "ellipse"),
        };
        line(format_args!("{} [label={}, shape={shape}];", ids[&node], quote(&label)));
        for operand in graph.operands(node).into_iter().flatten() {
            let ty = graph.ty(operand).to_string();
            line(format_args!("{} -> {} [label={}];", ids[&operand.node], ids[&node], quote(&ty)));
        }
    }
    for (i, output) in graph.outputs().iter().enumerate() {
        let ty = graph.ty(*output).to_string();
        line(format_args!("out{i} [label={}, shape=box];", quote(&format!("%{}", graph.name(*output)))));
        line(format_args!("{} -> out{i} [label={}];", ids[&output.node], quote(&ty)));
    }
    out + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAIN, text};

    #[test]
    fn every_use_is_an_edge() {
        let source = "graph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %y = mul %x, %x : f32[n]\n}\n";
        let module = text::parse(source).unwrap();
        let want = "digraph \"main\" {\n  node [shape=ellipse];\n  0 [label=\"%x\", shape=box];\n  \
                    1 [label=\"mul\", shape=ellipse];\n  0 -> 1 [label=\"f32[n]\"];\n  0 -> 1 [label=\"f32[n]\"];\n  \
                    out0 [label=\"%y\", shape=box];\n  1 -> out0 [label=\"f32[n]\"];\n}\n";
        assert_eq!(dot(MAIN, &module.functions[MAIN]), want);
    }
}
