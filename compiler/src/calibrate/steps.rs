//! Linear layers within the steps of loops, such as those of recurrent layers on their states.
//!
//! Calibration sees values of `@main` alone. So each input of such layers gets a probe, a copy of the loop that also
//! gives that input at every step. Nothing but calibration reads it.

use trine_ir::attr::SymbolRef;
use trine_ir::ops::{Matmul, Scan};
use trine_ir::{Kind, MAIN, Module, NodeId, Op, Type, Value};

use super::CalibrateError;
use crate::pattern::Scope;

/// An input of layers in a loop, as a value of `@main`.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The loop.
    pub site: NodeId,
    /// The function that is its step, and the copy of that which the probe runs.
    pub body: String,
    pub copy: String,
    /// The input, in either.
    pub input: Value,
    /// The input at all steps, in `@main`.
    pub seen: Value,
}

/// The module with probes, which are outputs of it so that they stay. Nodes keep their ids.
pub fn probed(module: &Module) -> Result<(Module, Vec<Probe>), CalibrateError> {
    let (mut module, mut probes) = (module.clone(), vec![]);
    let graph = &module.main().ok_or(CalibrateError::NoLayers)?.graph;
    let loops: Vec<(NodeId, Scan)> = graph
        .order()
        .into_iter()
        .filter_map(|node| match graph.op(node) {
            Some(Op::Scan(scan)) if calls(&module, &scan.body.0) == 1 => Some((node, scan.clone())),
            _ => None,
        })
        .collect();
    for (site, scan) in loops {
        for input in inputs(&module, &scan.body.0) {
            probes.extend(probe(&mut module, site, &scan, input)?);
        }
    }
    Ok((module, probes))
}

/// The matmuls with known weights in a function, in order.
pub fn products(module: &Module, function: &str) -> Vec<NodeId> {
    let Some(function) = module.functions.get(function) else { return vec![] };
    let scope = Scope { graph: &function.graph, consts: &module.consts };
    let is_linear = |node: &NodeId| match (scope.graph.kind(*node), &scope.graph.operands(*node)[..]) {
        (Some(Kind::Matmul), &[Some(x), Some(w)]) => scope.is_known(w) && !scope.is_known(x),
        _ => false,
    };
    scope.graph.order().into_iter().filter(is_linear).collect()
}

fn inputs(module: &Module, body: &str) -> Vec<Value> {
    let Some(function) = module.functions.get(body) else { return vec![] };
    let mut inputs = vec![];
    for x in products(module, body).into_iter().filter_map(|node| function.graph.operand(node, Matmul::a)) {
        if !inputs.contains(&x) {
            inputs.push(x);
        }
    }
    inputs
}

/// How often ops of the module name a function.
fn calls(module: &Module, function: &str) -> usize {
    let graphs = module.functions.values().map(|f| &f.graph);
    let ops = graphs.flat_map(|g| g.order().into_iter().filter_map(|node| g.op(node)));
    ops.flat_map(|op| op.callees()).filter(|callee| *callee == function).count()
}

/// A probe of one input; none if its type says nothing in `@main`.
fn probe(
    module: &mut Module,
    site: NodeId,
    scan: &Scan,
    input: Value,
) -> Result<Option<Probe>, CalibrateError> {
    let main = &module.main().ok_or(CalibrateError::NoLayers)?.graph;
    let operands = main.operands(site);
    let Some(mut body) = module.functions.get(&scan.body.0).cloned() else { return Ok(None) };
    let given = operands.iter().flatten().flat_map(|v| &main.ty(*v).dims);
    let known: Vec<_> = given.flat_map(|d| d.symbols()).collect();
    let Type { elem, mut dims } = body.graph.ty(input).clone();
    if dims.iter().flat_map(|d| d.symbols()).any(|s| !known.contains(&s)) {
        return Ok(None);
    }
    let sequence = operands.get(scan.states).copied().flatten();
    let Some(length) = sequence.zip(scan.axes.first()).and_then(|(v, a)| main.ty(v).dims.get(*a)) else {
        return Ok(None);
    };
    dims.insert(0, length.clone());
    let outputs = [body.graph.outputs(), &[input]].concat();
    body.graph.set_outputs(outputs);
    let copy = module.add_function(&format!("{}_probe", scan.body.0), body);
    let mut wider = Scan { body: SymbolRef(copy.clone()), ..scan.clone() };
    wider.out_axes.push(0);
    wider.out_reverse.push(false);
    wider.results.push(Type { elem, dims });
    let mut graph = std::mem::take(&mut module.functions[MAIN].graph);
    let added = graph.add_node(wider, &operands, module);
    let seen = added.map(|node| Value { node, result: scan.results.len() as u32 });
    if let Ok(seen) = seen {
        let outputs = [graph.outputs(), &[seen]].concat();
        graph.set_outputs(outputs);
    }
    module.functions[MAIN].graph = graph;
    let seen = seen.map_err(|e| CalibrateError::Inputs(e.0))?;
    Ok(Some(Probe { site, body: scan.body.0.clone(), copy, input, seen }))
}
