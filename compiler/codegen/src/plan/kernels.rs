//! The kernels of a module, each planned once.

use indexmap::IndexMap;
use rustc_hash::FxHashSet;
use trine_ir::{FunctionKind, Graph, Module, Op, verify};

use crate::Target;
use crate::choice::Choices;
use crate::emit::{self, ArgLayout, Kernel, Table};
use crate::error::BuildError;

/// All kernels of a module by name, in its order, for one target.
pub struct Kernels<'m> {
    /// The module whose kernels they are.
    pub module: &'m Module,
    /// What they are planned for.
    pub target: &'m Target,
    planned: IndexMap<&'m str, Planned<'m>>,
}

/// A kernel's body, and what an emitter says of it.
pub struct Planned<'m> {
    /// The graph that it computes.
    pub body: &'m Graph,
    /// The emitter that has taken it.
    pub kernel: Box<dyn Kernel + 'm>,
}

impl<'m> Kernels<'m> {
    /// Plans the kernels of a module, which is verified first: code trusts its types.
    pub fn plan(module: &'m Module, choices: &Choices<'m>) -> Result<Kernels<'m>, BuildError> {
        verify(module).map_err(|e| BuildError::Malformed(e.to_string()))?;
        let functions = module.functions.iter().filter(|(_, f)| f.kind == FunctionKind::Kernel);
        let planned = functions.map(|(name, function)| {
            let body = &function.graph;
            let kernel = emit::plan(body, choices).ok_or_else(|| BuildError::NoKernel(name.clone()))?;
            Ok((name.as_str(), Planned { body, kernel }))
        });
        let planned = planned.collect::<Result<_, BuildError>>()?;
        let mut kernels = Kernels { module, target: choices.target, planned };
        kernels.share_tables();
        kernels.tell();
        Ok(kernels)
    }

    /// Tells who listens which microkernels sum the layers.
    fn tell(&self) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let mut chosen: IndexMap<_, usize> = IndexMap::new();
        for (name, planned) in &self.planned {
            let Some((microkernel, why)) = planned.kernel.sums() else { continue };
            tracing::debug!(kernel = name, microkernel, "{why}");
            *chosen.entry((microkernel, why.to_string())).or_default() += 1;
        }
        for ((microkernel, why), kernels) in chosen {
            tracing::info!(microkernel, kernels, "chose a microkernel, {why}");
        }
    }

    /// The kernel called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Planned<'m>> {
        self.planned.get(name)
    }

    /// All kernels with their names, in the order of the module.
    pub fn iter(&self) -> impl Iterator<Item = (&'m str, &Planned<'m>)> {
        self.planned.iter().map(|(name, planned)| (*name, planned))
    }

    /// Has kernels that gather rows of what is a product's weights too, as where a model ties its embedding and its head,
    /// read what the product reads, so that it is in memory once.
    fn share_tables(&mut self) {
        let (mut gathered, mut multiplied) = (vec![], FxHashSet::default());
        for graph in self.module.main().iter().map(|main| &main.graph) {
            for node in graph.order() {
                let Some(Op::Call(call)) = graph.op(node) else { continue };
                let Some((name, planned)) = self.planned.get_key_value(call.f.0.as_str()) else { continue };
                let table = planned.kernel.table();
                for (arg, value) in graph.operands(node).into_iter().enumerate() {
                    let Some(key) = value.and_then(|v| graph.const_key(v)) else { continue };
                    match (planned.kernel.layout(arg), &table) {
                        (ArgLayout::Panels(panels), _) => _ = multiplied.insert((key, panels)),
                        (_, Some(Table { arg: of, panels: Some(panels) })) if *of == arg => {
                            gathered.push((*name, key, *panels));
                        }
                        _ => {}
                    }
                }
            }
        }
        for (name, key, panels) in gathered {
            if multiplied.contains(&(key, panels)) {
                self.planned[name].kernel.read_panels(panels);
            }
        }
    }
}
