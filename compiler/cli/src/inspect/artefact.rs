//! What a `.trine` file holds.

use std::fmt::{self, Write};
use std::path::Path;

use serde_json::{Value as Json, json};
use trine::artefact::proto::{Plan, Target, step};
use trine::artefact::{Artefact, ArtefactError, OpenOptions, Section, lacks};

use super::summary::{counted, size, tally, words};
use crate::failure::Failure;

/// A file, and what it does on each of its targets.
pub struct Summary {
    file: Artefact,
    plans: Vec<Plan>,
}

impl Summary {
    pub fn open(path: &Path) -> Result<Summary, Failure> {
        let fail = |source| Failure::from(trine::Error::Artefact { path: path.into(), source });
        let file = Artefact::open(path, &OpenOptions::default()).map_err(fail)?;
        let plans = file.targets().iter().map(|target| file.plan(target)).collect::<Result<_, _>>();
        Ok(Summary { plans: plans.map_err(fail)?, file })
    }

    /// The compiled module of the target that would run here, or of the first.
    pub fn module(&self) -> Result<&str, ArtefactError> {
        let target =
            self.file.target().or(self.file.targets().first().ok_or(ArtefactError::Target(vec![])))?;
        self.file.module(target)
    }

    pub fn json(&self) -> Json {
        let head = self.file.head();
        let section = |s: &Section| json!({ "kind": s.kind.to_string(), "start": s.start, "bytes": s.len, "align": s.align });
        let target = |(target, plan): (&Target, &Plan)| {
            let (kernels, interpreted) = steps(plan);
            json!({
                "cpu": target.cpu,
                "triple": target.triple,
                "features": target.features,
                "runs_here": lacks(target).is_none(),
                "kernels": plan.kernels.len(),
                "steps": { "compiled": kernels, "interpreted": interpreted },
                "code_bytes": self.bytes(target.code),
                "weights_bytes": self.weights(target),
                "layouts": counted(&layouts(plan)),
            })
        };
        json!({
            "made_by": head.made_by,
            "identity": identity(&head.identity),
            "bytes": head.len,
            "targets": self.file.targets().iter().zip(&self.plans).map(target).collect::<Vec<_>>(),
            "sections": head.sections.iter().map(section).collect::<Vec<_>>(),
        })
    }

    pub fn write(&self, f: &mut impl Write, full: bool) -> fmt::Result {
        let head = self.file.head();
        writeln!(f, "compiled by Trine {}, {}", head.made_by.escape_debug(), size(head.len as usize))?;
        writeln!(f, "identity {}", identity(&head.identity))?;
        if let Some(plan) = self.plans.first() {
            for (title, ports) in [("inputs", &plan.inputs), ("outputs", &plan.outputs)] {
                writeln!(f, "{title}")?;
                for port in ports {
                    let ty = plan.types.get(port.r#type as usize).map_or("?", String::as_str);
                    writeln!(f, "  {}: {}", port.name.escape_debug(), ty.escape_debug())?;
                }
            }
        }
        writeln!(f, "targets")?;
        for (target, plan) in self.file.targets().iter().zip(&self.plans) {
            let here =
                lacks(target).map_or("runs here".into(), |lacks| format!("does not run here: {lacks}"));
            writeln!(f, "  {} ({}), {here}", target.cpu.escape_debug(), target.triple.escape_debug())?;
            let (kernels, interpreted) = steps(plan);
            let (code, weights) = (size(self.bytes(target.code)), size(self.weights(target)));
            writeln!(
                f,
                "    {kernels} kernel steps, {interpreted} interpreted; code {code}, weights {weights}"
            )?;
            writeln!(f, "    uses {}", target.features.join(", ").escape_debug())?;
            write!(f, "    constants as kernels read them\n{}", words(&layouts(plan)))?;
            if full {
                for constant in &plan.constants {
                    let name = if constant.name.is_empty() { "(literal)" } else { &constant.name };
                    let (name, layout) = (name.escape_debug(), constant.layout.escape_debug());
                    writeln!(f, "      {name}: {layout}, {}", size(constant.length as usize))?;
                }
            }
        }
        writeln!(f, "sections")?;
        for (i, section) in head.sections.iter().enumerate() {
            writeln!(f, "  {i} {}: {} at {:#x}", section.kind, size(section.len as usize), section.start)?;
        }
        Ok(())
    }

    fn bytes(&self, section: u32) -> usize {
        self.file.head().sections.get(section as usize).map_or(0, |section| section.len as usize)
    }

    fn weights(&self, target: &Target) -> usize {
        target.weights.iter().map(|section| self.bytes(*section)).sum()
    }
}

/// How many steps run compiled, and how many interpreted.
fn steps(plan: &Plan) -> (usize, usize) {
    let kernels = plan.steps.iter().filter(|s| matches!(s.runs, Some(step::Runs::Kernel(_)))).count();
    (kernels, plan.steps.len() - kernels)
}

fn layouts(plan: &Plan) -> Vec<(String, usize)> {
    tally(plan.constants.iter().map(|constant| constant.layout.clone()))
}

fn identity(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
