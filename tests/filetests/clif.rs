//! Kernels in Cranelift's text, for a CPU that is named: what the machine at hand can do changes nothing.

use std::fmt::Write;

use libtest_mimic::Failed;
use trine::codegen::choice::Choices;
use trine::codegen::image::text::clif;
use trine::codegen::plan::form::form;
use trine::codegen::{Kernels, Target};
use trine_ir::{Module, verify};

/// The architecture whose CPUs files name.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Every kernel that is formed of `@main`, under its name. Symbols are numbered as `@main` first names them.
pub fn kernels(mut module: Module, cpu: &str, forced: Vec<String>) -> Result<String, Failed> {
    verify(&module)?;
    let mut target = Target::object(TRIPLE, Some(cpu))?;
    target.forced = forced;
    form(&mut module, &target);
    verify(&module)?;
    let mut symbols = vec![];
    let main = &module.main().ok_or("no `@main`")?.graph;
    for symbol in main.params().iter().flat_map(|p| main.ty(*p).dims.iter().flat_map(|d| d.symbols())) {
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    let mut out = String::new();
    let kernels = Kernels::plan(&module, &Choices::new(&target, &module))?;
    for (name, _) in kernels.iter() {
        write!(out, "kernel @{name}\n{}", clif(&kernels, &symbols, name)?)?;
    }
    Ok(out)
}
