//! Tables that are weights too, as where a model ties its embedding and its head: rows are gathered from what the
//! product reads, so that they are in memory once.

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::{FunctionKind, Module, Op};
use trine_ukernel::matmul::Panels;

use super::{ArgLayout, Plan, Target};

/// The layouts of constants that one kernel of `module` gathers rows of and another reads as panels.
pub fn packed(module: &Module, target: &Target) -> FxHashSet<Panels> {
    let kernels = module.functions.iter().filter(|(_, f)| f.kind == FunctionKind::Kernel);
    let plans: FxHashMap<&str, Plan> =
        kernels.filter_map(|(name, f)| Some((name.as_str(), Plan::new(&f.graph, target)?))).collect();
    let (mut gathered, mut multiplied) = (FxHashSet::default(), vec![]);
    for graph in module.main().iter().map(|main| &main.graph) {
        for node in graph.order() {
            let Some(Op::Call(call)) = graph.op(node) else { continue };
            let Some(plan) = plans.get(call.f.0.as_str()) else { continue };
            for (arg, value) in graph.operands(node).into_iter().enumerate() {
                let Some(key) = value.and_then(|v| graph.const_key(v)) else { continue };
                match plan.layout(arg) {
                    ArgLayout::Panels(panels) => multiplied.push((key, panels)),
                    _ if plan.reads_rows_of(arg) => _ = gathered.insert(key),
                    _ => {}
                }
            }
        }
    }
    multiplied.into_iter().filter(|(key, _)| gathered.contains(key)).map(|(_, panels)| panels).collect()
}
