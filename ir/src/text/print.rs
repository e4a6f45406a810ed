//! Printing. The order is the graph's own, so equal graphs print alike however they were built.

use std::fmt::Write;

use rustc_hash::FxHashSet;

use super::{inline, name};
use crate::attr::{Attr, quote};
use crate::graph::{Def, Graph, Loc, NodeId, Value};
use crate::module::{Function, FunctionKind, Module};
use crate::op::Stage;

/// What the text shows besides the program.
#[derive(Clone, Copy, Default, Debug)]
pub struct Style {
    /// Where each op came from, as `loc("node", "OpType")`.
    pub locs: bool,
}

pub fn print(module: &Module) -> String {
    print_styled(module, Style::default())
}

/// Only the statements that `keep` says, with `...` for those between, and only functions that have one. For readers: it does
/// not parse.
pub fn print_some(module: &Module, style: Style, keep: impl Fn(&Graph, NodeId) -> bool) -> String {
    let mut out = String::new();
    for (symbol, f) in &module.functions {
        let graph = &f.graph;
        let statements: Vec<_> = graph.order().into_iter().filter(|node| graph.op(*node).is_some()).collect();
        if !statements.iter().any(|node| keep(graph, *node)) {
            continue;
        }
        writeln!(out, "{}:", name('@', symbol)).expect("strings take everything");
        let mut left_out = false;
        for node in statements {
            if keep(graph, node) {
                statement(&mut out, graph, node, style);
            } else if !left_out {
                out.push_str("  ...\n");
            }
            left_out = !keep(graph, node);
        }
    }
    out
}

pub fn print_styled(module: &Module, style: Style) -> String {
    let mut out = String::new();
    if module.stage != Stage::Tensor {
        writeln!(out, "stage {}\n", module.stage.name()).expect("strings take everything");
    }
    for requirement in &module.requires {
        write!(out, "require {requirement}").expect("strings take everything");
        location(&mut out, requirement.loc.as_ref());
        out.push('\n');
    }
    if !module.requires.is_empty() {
        out.push('\n');
    }
    let mut seen = FxHashSet::default();
    for function in module.functions.values() {
        for node in function.graph.order() {
            if let Def::Const(key) = function.graph.def(node)
                && seen.insert(key.clone())
            {
                constant(&mut out, module, key);
            }
        }
    }
    for (i, (symbol, f)) in module.functions.iter().enumerate() {
        if i > 0 || !seen.is_empty() {
            out.push('\n');
        }
        function(&mut out, symbol, f, style);
    }
    out
}

fn constant(out: &mut String, module: &Module, key: &str) {
    let Some(tensor) = module.consts.get(key) else { return };
    write!(out, "const {}: {}", name('@', key), tensor.ty()).expect("strings take everything");
    if let Some(data) = inline::print(tensor) {
        write!(out, " = {data}").expect("strings take everything");
    }
    out.push('\n');
}

fn function(out: &mut String, symbol: &str, f: &Function, style: Style) {
    let g = &f.graph;
    let word = match f.kind {
        FunctionKind::Graph => "graph",
        FunctionKind::Kernel => "kernel",
    };
    let list = |values: &[Value]| {
        values.iter().map(|v| format!("{}: {}", operand(g, *v), g.ty(*v))).collect::<Vec<_>>()
    };
    let mut params = list(g.params());
    for (text, param) in params.iter_mut().zip(g.params()) {
        if g.is_constant_param(*param) {
            text.insert_str(0, "const ");
        }
    }
    let (params, outputs) = (params.join(", "), list(g.outputs()).join(", "));
    writeln!(out, "{word} {}({params}) -> ({outputs}) {{", name('@', symbol))
        .expect("strings take everything");
    for node in g.order() {
        if g.op(node).is_some() {
            statement(out, g, node, style);
        }
    }
    out.push_str("}\n");
}

fn statement(out: &mut String, g: &Graph, node: NodeId, style: Style) {
    let op = g.op(node).expect("the caller asked");
    let results: Vec<_> = g.results(node).map(|v| operand(g, v)).collect();
    let types: Vec<_> = g.results(node).map(|v| g.ty(v).to_string()).collect();
    let args: Vec<_> = g.operands(node).iter().map(|o| o.map_or("_".into(), |v| operand(g, v))).collect();
    let attrs: Vec<_> = op.print_attrs().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    write!(out, "  {} = {}", results.join(", "), op.kind().mnemonic()).expect("strings take everything");
    if !args.is_empty() {
        write!(out, " {}", args.join(", ")).expect("strings take everything");
    }
    if !attrs.is_empty() {
        write!(out, " {{{}}}", attrs.join(", ")).expect("strings take everything");
    }
    write!(out, " : {}", types.join(", ")).expect("strings take everything");
    location(out, g.loc(node).filter(|_| style.locs));
    out.push('\n');
}

fn location(out: &mut String, loc: Option<&Loc>) {
    if let Some(loc) = loc {
        write!(out, " loc({}, {})", quote(&loc.node), quote(&loc.op_type)).expect("strings take everything");
    }
}

fn operand(g: &Graph, v: Value) -> String {
    match g.def(v.node) {
        Def::Const(key) => name('@', key),
        Def::Literal(l) => l.print(),
        Def::Param { .. } | Def::Op(_) => name('%', g.name(v)),
    }
}
