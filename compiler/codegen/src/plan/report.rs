//! What was planned, for the reader.

use trine_ir::Op;

use super::Kernels;
use crate::choice::Why;

/// A kernel, and what it calls.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelReport {
    pub name: String,
    /// How often `@main` calls it.
    pub calls: usize,
    /// What sums a quantized layer, by name, and why.
    pub sums: Option<(&'static str, Why)>,
    /// The names of all microkernels that it calls.
    pub microkernels: Vec<&'static str>,
}

/// All kernels, in the order in which they are first called.
pub fn report(kernels: &Kernels) -> Vec<KernelReport> {
    let calls = |name: &str| {
        let graph = kernels.module.main().map(|main| &main.graph);
        let calls = graph.into_iter().flat_map(|g| g.order().into_iter().filter_map(|node| g.op(node)));
        calls.filter(|op| matches!(op, Op::Call(call) if call.f.0 == name)).count()
    };
    let of = kernels.iter().map(|(name, planned)| KernelReport {
        name: name.into(),
        calls: calls(name),
        sums: planned.kernel.sums(),
        microkernels: planned.kernel.microkernels().into_iter().map(|m| m.name()).collect(),
    });
    of.collect()
}
