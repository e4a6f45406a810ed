//! Images in a file that the runtime loads, one for each machine that it is for. How the file is laid out says
//! [`trine_runtime::artefact`].

mod file;

use std::io::{Seek, Write};

use indexmap::IndexMap;
use prost::Message;
use rustc_hash::FxBuildHasher;
use trine_ir::{MAIN, Module, text};
use trine_runtime::artefact::{Kind, plan, proto};
use trine_runtime::{Plan, StepKind};

use self::file::{Content, File};
use super::Image;
use super::constants::{Key, Pieces, Wanted, read_by_functions};
use crate::emit::ArgLayout;
use crate::error::{BuildError, CodegenError, WriteError};

/// An image for one of the machines of a file.
pub struct Variant {
    target: proto::Target,
    plan: Plan<usize>,
    code: Vec<u8>,
    module: Module,
    consts: Vec<Wanted>,
    /// Constants that functions of the module read, by name, and their place among `consts`.
    named: Vec<(String, usize)>,
}

impl Image {
    /// The image, for the machines that `cpu` names, with the module that it was made of.
    pub fn variant(self, cpu: &str, module: Module) -> Result<Variant, BuildError> {
        let Image { target, plan, functions, mut consts } = self;
        let mut code = functions.link()?;
        code.resolve()?;
        let plan = plan.with_code(|function| {
            let place = code.places.get(&function).ok_or(CodegenError::malformed("a kernel"))?;
            Ok::<_, CodegenError>(place.start)
        })?;
        let mut named = vec![];
        if plan.steps.iter().any(|step| matches!(step.kind, StepKind::Interpret(_))) {
            let mut keys: Vec<_> = read_by_functions(&module).into_iter().collect();
            keys.sort();
            for key in keys {
                if let Some(tensor) = module.consts.get(&key) {
                    named.push((key.clone(), consts.len()));
                    consts.push(Wanted { name: key, tensor: tensor.clone(), layout: ArgLayout::Dense });
                }
            }
        }
        let target = proto::Target {
            triple: target.isa.triple().to_string(),
            cpu: cpu.into(),
            features: target.extensions(),
            imports: code.imports,
            ..Default::default()
        };
        Ok(Variant { target, plan, code: code.bytes, module, consts, named })
    }
}

/// Writes a file with code for all of the variants. What they have in common is in it once.
pub fn write(variants: &[Variant], out: &mut (impl Write + Seek)) -> Result<(), WriteError> {
    let mut file = File::default();
    let targets: Vec<u32> = variants.iter().map(|_| file.reserve(Kind::Target)).collect();
    let mut messages: Vec<proto::Target> = variants.iter().map(|variant| variant.target.clone()).collect();
    for (variant, message) in variants.iter().zip(&mut messages) {
        message.module = file.add(Kind::Module, text::print(&variant.module).into_bytes());
        message.code = file.add(Kind::Code, variant.code.clone());
    }
    let groups = groups(variants)?;
    let plans: Vec<u32> = variants.iter().map(|_| file.reserve(Kind::Plan)).collect();
    let first = file.sections() as u32;
    for (v, (variant, message)) in variants.iter().zip(&mut messages).enumerate() {
        let own = || groups.iter().enumerate().filter(|(_, group)| group.users[v]);
        message.weights = own().map(|(g, _)| first + g as u32).collect();
        let constants = variant.consts.iter().map(|wanted| {
            let mut places =
                own().enumerate().filter_map(|(g, (_, group))| Some((g, group.pieces.place(wanted)?)));
            let (section, place) = places.next().ok_or(CodegenError::malformed("a constant"))?;
            let dense = wanted.layout == ArgLayout::Dense;
            let [start, length] = [place.start, place.len()].map(|n| n as u64);
            let constant = proto::Constant {
                section: section as u32,
                start,
                length,
                r#type: None,
                name: wanted.name.clone(),
                layout: wanted.layout.to_string(),
            };
            Ok((constant, dense.then(|| wanted.tensor.ty())))
        });
        let constants = constants.collect::<Result<Vec<_>, BuildError>>()?;
        let main = &variant.module.functions.get(MAIN).ok_or(BuildError::NoMain)?.graph;
        let named = variant.named.iter().map(|(name, constant)| (name.clone(), *constant as u32)).collect();
        message.plan = plans[v];
        file.set(plans[v], plan::to_message(&variant.plan, main, constants, named).encode_to_vec());
        file.set(targets[v], message.encode_to_vec());
    }
    for group in groups {
        file.push(Kind::Weights, Content::Weights(group.pieces));
    }
    file.write(out)
}

/// Constants that the same variants read, which are a section.
struct Group<'v> {
    /// Whether each variant reads them.
    users: Vec<bool>,
    pieces: Pieces<'v>,
}

fn groups(variants: &[Variant]) -> Result<Vec<Group<'_>>, BuildError> {
    let mut users: IndexMap<Key, (&Wanted, Vec<bool>), FxBuildHasher> = IndexMap::default();
    for (v, variant) in variants.iter().enumerate() {
        for wanted in &variant.consts {
            let (_, users) =
                users.entry(wanted.key()).or_insert_with(|| (wanted, vec![false; variants.len()]));
            users[v] = true;
        }
    }
    let mut groups: IndexMap<Vec<bool>, Vec<&Wanted>, FxBuildHasher> = IndexMap::default();
    for (wanted, users) in users.into_values() {
        groups.entry(users).or_default().push(wanted);
    }
    groups.into_iter().map(|(users, wanted)| Ok(Group { users, pieces: Pieces::new(wanted)? })).collect()
}
