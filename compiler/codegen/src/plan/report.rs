//! What was planned, for the reader.

use std::fmt;

use serde::Serialize;
use trine_ir::Op;

use super::Kernels;
use crate::choice::Why;

/// A kernel, and what it calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelReport {
    /// The kernel's name in the module, without `@`.
    pub name: String,
    /// How often `@main` calls it.
    pub calls: usize,
    /// What sums a quantized layer.
    pub sums: Option<Sums>,
    /// The names of all microkernels that it calls.
    pub microkernels: Vec<&'static str>,
}

/// A microkernel by name, and why it was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sums {
    /// Its name, as it is asked for.
    pub microkernel: &'static str,
    /// Why the layer gets it.
    pub why: Why,
}

/// A line: the sums with the reason for them, then the other microkernels.
impl fmt::Display for KernelReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} times `@{}`", self.calls, self.name.escape_debug())?;
        if let Some(Sums { microkernel, why }) = &self.sums {
            write!(f, ": `{microkernel}`, {why}")?;
        }
        let is_other = |name: &&&str| self.sums.is_none_or(|sums| sums.microkernel != **name);
        for (i, name) in self.microkernels.iter().filter(is_other).enumerate() {
            let before = match i {
                0 if self.sums.is_some() => "; beside it ",
                0 => ": ",
                _ => ", ",
            };
            write!(f, "{before}`{name}`")?;
        }
        Ok(())
    }
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
        sums: planned.kernel.sums().map(|(microkernel, why)| Sums { microkernel, why }),
        microkernels: planned.kernel.microkernels().into_iter().map(|m| m.name()).collect(),
    });
    of.collect()
}
