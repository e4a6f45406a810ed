//! `model.trine`: a compiled model in one file, which is mapped and run without a compiler.
//!
//! A file has code for one machine or several, and weights packed as kernels read them. All of it is checked before
//! anything of it is used: where sections lie, their checksums, what they say of one another, and whether this machine has
//! what the code needs. Checksums find damage, not malice: **whoever runs a file runs its code**, so that only files from
//! those one trusts are to be loaded, and [`Artefact::program`] is unsafe.
//!
//! Weights stay in the file and are mapped, so that processes share them; everything else is copied. A file that is
//! overwritten in place while it is mapped changes the weights under the program, and one that is cut short kills the
//! program when it touches what is gone. Whoever writes such a file writes a new one and renames it, as the compiler does;
//! where that cannot be had, [`Weights::Copy`] needs the file no longer.
#![allow(unsafe_code)]

pub mod container;
mod error;
#[cfg(feature = "interpreter")]
mod module;
pub mod plan;
pub mod proto;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

pub use self::container::{Head, Kind, Section};
pub use self::error::ArtefactError;
use crate::arena::{ALIGN, AlignedBytes};
use crate::code::Code;
use crate::cpu;
use crate::kernel::KernelFn;
use crate::program::{Parts, Program};

/// Where weights are while a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Weights {
    /// In the file, mapped: ready at once, and in memory once for all processes.
    #[default]
    Map,
    /// In memory of the process, in huge pages where the system has them.
    Copy,
}

/// How to open a file.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub weights: Weights,
    /// Whether checksums of weights are checked, which reads all of them: 25 ms for 600 MB that the system has in memory.
    pub check_weights: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions { weights: Weights::Map, check_weights: true }
    }
}

/// A file that was checked and not run yet.
pub struct Artefact {
    head: Head,
    /// What each section holds.
    sections: Vec<Bytes>,
    targets: Vec<proto::Target>,
}

/// Opens the file at `path` and makes its program for this machine.
///
/// # Safety
/// As for [`Artefact::program`].
pub unsafe fn load(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Program, ArtefactError> {
    // SAFETY: the caller's promise.
    unsafe { Artefact::open(path, options)?.program() }
}

impl Artefact {
    /// Opens the file at `path` and checks it. Nothing of it is run.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Artefact, ArtefactError> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a regular file").into());
        }
        // SAFETY: the map is private and only ever read. That nobody changes the file meanwhile cannot be known; the
        // module's comment says what becomes of weights then, and whatever else is used is copied before it is checked.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Artefact::from_bytes(Bytes::from_owner(map), options)
    }

    /// Checks a file in memory. Weights stay there if they are aligned to cache lines.
    pub fn from_bytes(file: Bytes, options: &OpenOptions) -> Result<Artefact, ArtefactError> {
        let head = Head::read(&file)?;
        let mut sections = vec![];
        for (i, section) in head.sections.iter().enumerate() {
            // The head was checked: they are within the file.
            let bytes = file.slice(section.start as usize..(section.start + section.len) as usize);
            let is_weights = section.kind == Kind::Weights;
            let held = match is_weights {
                true => weights(bytes, options.weights)?,
                false => Bytes::copy_from_slice(&bytes),
            };
            let is_checked = !is_weights || options.check_weights;
            if is_checked && container::checksum(&held) != section.checksum {
                return Err(ArtefactError::section(
                    i,
                    section.kind,
                    "it is not what was written: its checksum differs",
                ));
            }
            sections.push(held);
        }
        let targets = head.sections.iter().zip(&sections).enumerate();
        let targets =
            targets.filter(|(_, (section, _))| section.kind == Kind::Target).map(|(i, (_, bytes))| {
                let target = proto::Target::decode(&**bytes);
                target.map_err(|e| ArtefactError::section(i, Kind::Target, e.to_string()))
            });
        let targets = targets.collect::<Result<_, _>>()?;
        Ok(Artefact { head, sections, targets })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The machines that there is code for.
    pub fn targets(&self) -> &[proto::Target] {
        &self.targets
    }

    /// The best of the targets that run here: that which uses the most.
    pub fn target(&self) -> Result<&proto::Target, ArtefactError> {
        let fits = |target: &&proto::Target| lacks(target).is_none();
        // `max_by_key` takes the last of equals, which is the first of the file.
        let best = self.targets.iter().rev().filter(fits).max_by_key(|target| target.features.len());
        let each =
            |target: &proto::Target| Some(format!("`{}` {}", target.cpu.escape_debug(), lacks(target)?));
        best.ok_or_else(|| ArtefactError::Target(self.targets.iter().filter_map(each).collect()))
    }

    /// What a run does on a target.
    pub fn plan(&self, target: &proto::Target) -> Result<proto::Plan, ArtefactError> {
        let bytes = self.section(target.plan, Kind::Plan)?;
        proto::Plan::decode(&**bytes).map_err(|e| self.wrong(target.plan, e.to_string()))
    }

    /// The compiled module of a target, as IR text. Constants that are packed have no data in it.
    pub fn module(&self, target: &proto::Target) -> Result<&str, ArtefactError> {
        let bytes = self.section(target.module, Kind::Module)?;
        std::str::from_utf8(bytes).map_err(|e| self.wrong(target.module, e.to_string()))
    }

    /// The program for this machine.
    ///
    /// # Safety
    /// The file was written by Trine's compiler, for whoever runs it; its code runs with the rights of this process.
    pub unsafe fn program(&self) -> Result<Program, ArtefactError> {
        let target = self.target()?;
        let message = self.plan(target)?;
        let fail = |e: String| self.wrong(target.plan, e);
        let weights = target.weights.iter().map(|section| self.section(*section, Kind::Weights).cloned());
        let consts = plan::constants(&message, &weights.collect::<Result<Vec<_>, _>>()?).map_err(fail)?;
        let module = match plan::interpreted(&message) {
            None => trine_ir::Module::default(),
            #[cfg(feature = "interpreter")]
            Some(_) => module::parse(self.module(target)?, &message, &consts)
                .map_err(|e| self.wrong(target.module, e.to_string()))?,
            #[cfg(not(feature = "interpreter"))]
            Some(step) => return Err(ArtefactError::Interpreter(step.into())),
        };
        let plan = plan::from_message(&message, &module).map_err(fail)?;
        let code =
            Code::load(self.section(target.code, Kind::Code)?, target.imports.iter().map(String::as_str))?;
        let plan = plan.with_code(|start| {
            let address =
                code.address(start).ok_or_else(|| fail("a kernel lies outside of the code".into()))?;
            // SAFETY: the caller says that the compiler wrote the file, which gives each kernel the signature of `KernelFn`
            // and the calling convention of the target, which is this machine's; the code stays as long as the program.
            Ok::<_, ArtefactError>(unsafe { std::mem::transmute::<*const u8, KernelFn>(address) })
        })?;
        let parts = Parts { plan, consts, code, module: Arc::new(module) };
        // SAFETY: the caller says that the compiler wrote the file, and it keeps what `Program::new` asks for.
        Ok(unsafe { Program::new(parts) }?)
    }

    fn section(&self, number: u32, kind: Kind) -> Result<&Bytes, ArtefactError> {
        let found = self.head.sections.get(number as usize).filter(|section| section.kind == kind);
        let none =
            || ArtefactError::Head(format!("a target names section {number}, which is not of kind {kind}"));
        found.map(|_| &self.sections[number as usize]).ok_or_else(none)
    }

    fn wrong(&self, section: u32, message: String) -> ArtefactError {
        match self.head.sections.get(section as usize) {
            Some(found) => ArtefactError::section(section as usize, found.kind, message),
            None => ArtefactError::Head(message),
        }
    }
}

/// Weights as they are asked for. Those that are not aligned as kernels read them are copied too.
fn weights(bytes: Bytes, how: Weights) -> Result<Bytes, ArtefactError> {
    if how == Weights::Map && bytes.as_ptr().addr().is_multiple_of(ALIGN) {
        return Ok(bytes);
    }
    let copy = AlignedBytes::zeroed(bytes.len()).map_err(|_| ArtefactError::Memory { bytes: bytes.len() });
    let mut copy = copy?;
    copy.as_mut_slice().copy_from_slice(&bytes);
    Ok(Bytes::from_owner(copy))
}

/// What this machine lacks for a target; none where it runs here.
pub fn lacks(target: &proto::Target) -> Option<String> {
    let mut machine = target.triple.split('-');
    let architecture = machine.next().unwrap_or_default();
    if architecture != std::env::consts::ARCH {
        return Some(format!("is for {}, not {}", architecture.escape_debug(), std::env::consts::ARCH));
    }
    // How functions are called differs by system.
    let system = machine.nth(1).unwrap_or_default();
    let family = |system: &str| match system {
        "windows" => "windows",
        system if system.starts_with("darwin") || system.starts_with("macos") => "macos",
        _ => "unix",
    };
    if family(system) != family(std::env::consts::OS) {
        return Some(format!("is for {}, not {}", system.escape_debug(), std::env::consts::OS));
    }
    let missing = cpu::lacking(target.features.iter().map(String::as_str))?;
    Some(format!("needs `{}`, which this machine lacks", missing.escape_debug()))
}
