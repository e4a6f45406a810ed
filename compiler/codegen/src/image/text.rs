//! Kernels as text, for those who read them.

use std::sync::Arc;

use trine_ir::{MAIN, Module, text};

use super::functions::Functions;
use super::run;
use crate::emit::{Symbols, translate};
use crate::error::{BuildError, CodegenError};
use crate::plan::Kernels;

/// A language that kernels are shown in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// Trine's own.
    Ir,
    /// Graphviz's.
    Dot,
    /// Cranelift's.
    Clif,
    /// The instructions of the target.
    Assembly,
}

/// The kernel `name`, or all there are and, in languages of graphs, what calls them.
pub fn show(kernels: &Kernels, language: Language, name: Option<&str>) -> Result<String, BuildError> {
    let module = kernels.module;
    if let Some(name) = name.filter(|name| kernels.get(name).is_none()) {
        let known = kernels.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Err(BuildError::UnknownKernel { name: name.into(), known });
    }
    let names = || kernels.iter().map(|(name, _)| name).filter(|n| name.is_none_or(|name| *n == name));
    let each = |show: fn(&Kernels, &Symbols, &str) -> Result<String, CodegenError>| {
        let symbols = symbols(module);
        let shown = names().map(|n| Ok(format!("kernel @{n}\n{}\n", show(kernels, &symbols, n)?)));
        shown.collect::<Result<String, BuildError>>()
    };
    match language {
        Language::Ir => Ok(match name {
            Some(name) => {
                let mut alone = Module { stage: module.stage, ..Module::default() };
                alone.functions.insert(name.into(), module.functions[name].clone());
                text::print(&alone)
            }
            None => text::print(module),
        }),
        Language::Dot => {
            let main = module.functions.get_key_value(MAIN).filter(|_| name.is_none());
            let main = main.map(|(name, function)| text::dot(name, function));
            Ok(main.into_iter().chain(names().map(|n| text::dot(n, &module.functions[n]))).collect())
        }
        Language::Clif => each(clif),
        Language::Assembly => each(assembly),
    }
}

/// The symbols of a module in the order in which a program of it numbers them.
fn symbols(module: &Module) -> Vec<Arc<str>> {
    run::symbols(module).0
}

/// The kernel `name` in Cranelift's own language.
pub fn clif(kernels: &Kernels, symbols: &Symbols, name: &str) -> Result<String, CodegenError> {
    Ok(context(kernels, symbols, name)?.func.display().to_string())
}

/// The kernel `name` in the instructions of the target.
pub fn assembly(kernels: &Kernels, symbols: &Symbols, name: &str) -> Result<String, CodegenError> {
    let fail = |e: &dyn std::fmt::Debug| CodegenError::bug(name, e);
    let mut context = context(kernels, symbols, name)?;
    context.set_disasm(true);
    let code = context.compile(&*kernels.target.isa, &mut Default::default()).map_err(|e| fail(&e))?;
    code.vcode.clone().ok_or_else(|| fail(&"no disassembly"))
}

fn context(
    kernels: &Kernels,
    symbols: &Symbols,
    name: &str,
) -> Result<cranelift_codegen::Context, CodegenError> {
    let planned = kernels.get(name).ok_or(CodegenError::malformed("a name"))?;
    let mut functions = Functions::new(&kernels.target.isa);
    let (_, context) = translate(&mut functions, symbols, name, planned.body, &*planned.kernel)?;
    Ok(context)
}
