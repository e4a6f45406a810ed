//! From a module to an object file and its C header: the model as a function, without a runtime.
//!
//! The object holds the kernels, the packed weights and two functions; it calls nothing but microkernels,
//! `memcpy` and, for a CPU that cannot round, the C library's math. What needs more than that, an interpreter or
//! memory whose size depends on data, is refused by name.

use std::fmt::Write as _;

use cranelift_module::{DataId, FuncId, Module};
use rustc_hash::FxHashSet;
use trine_ir::Op;
use trine_runtime::{Place, Plan, Port, Size, Step, StepKind};

use super::entry::{self, Parts, STATUS_DIMS};
use super::{Image, object_file};
use crate::error::{CodegenError, ObjectError};
use crate::plan::Kernels;

/// What `cc` takes.
#[derive(Clone, Debug)]
pub struct Object {
    /// The object file, in the format of the target.
    pub bytes: Vec<u8>,
    /// Declarations of its functions, in C.
    pub header: String,
    /// Functions that the linker has to find elsewhere: microkernels, and what the C library has.
    pub imports: Vec<String>,
}

impl Object {
    /// Whether the microkernels' archive is needed to link it.
    pub fn needs_archive(&self) -> bool {
        self.imports.iter().any(|symbol| trine_ukernel::symbols().any(|(known, _)| known == symbol))
    }
}

/// Writes the kernels of a module and the module's constants into an object file, with functions `NAME_run` and
/// `NAME_arena_size`, for a C identifier `name`. It links with the archive of `trine-ukernel`.
pub fn object(kernels: &Kernels, name: &str) -> Result<Object, ObjectError> {
    if !is_identifier(name) {
        return Err(ObjectError::Name { name: name.into() });
    }
    let mut image = Image::new(kernels)?;
    refuse_interpreted(&image.plan)?;
    refuse_data_dependent(&image.plan)?;
    let consts = declare_consts(&mut image)?;
    let parts = Parts { plan: &image.plan, consts: &consts };
    let (arena_size, run) = (format!("{name}_arena_size"), format!("{name}_run"));
    let arena_size_id = entry::define_arena_size(&mut image.functions, &arena_size, &parts)?;
    let run_id = entry::define_run(&mut image.functions, &run, &parts)?;
    let code = image.functions.link()?;
    refuse_unknown_symbols(&code.imports)?;
    let bytes = object_file::write(name, &image, &code, &[(arena_size, arena_size_id), (run, run_id)])?;
    Ok(Object { bytes, header: header(name, &image.plan), imports: code.imports })
}

/// Whether C takes it as a name.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn refuse_interpreted(plan: &Plan<FuncId>) -> Result<(), ObjectError> {
    let interpreted = plan.steps.iter().filter(|s| matches!(s.kind, StepKind::Interpret(_)));
    let steps: Vec<_> = interpreted.filter(|s| !is_copy(plan, s)).map(|s| s.place.clone()).collect();
    if steps.is_empty() { Ok(()) } else { Err(ObjectError::Interpreted { steps }) }
}

/// Whether the step moves bytes and nothing else.
fn is_copy(plan: &Plan<FuncId>, step: &Step) -> bool {
    let whole_bytes = |p: &Place| matches!(p, Place::Buffer(b) if plan.buffers[*b].elem().bits() >= 8);
    matches!(step.kind, StepKind::Interpret(Op::Identity(_))) && step.results.iter().all(whole_bytes)
}

/// The arena is laid out before the first kernel runs, by the dimensions of the inputs.
fn refuse_data_dependent(plan: &Plan<FuncId>) -> Result<(), ObjectError> {
    let unplanned = |p: &Place| matches!(p, Place::Buffer(b) if plan.buffers[*b].slot.is_none());
    let shapes = plan.inputs.iter().flat_map(|port| &port.shape);
    let mut given: FxHashSet<u32> = shapes.flat_map(Size::symbols).collect();
    for (symbol, derived) in (plan.plain_symbols()..).zip(&plan.derived) {
        if derived.args.iter().flat_map(Size::symbols).all(|s| given.contains(&s)) {
            given.insert(symbol as u32);
        }
    }
    let is_late = |step: &Step| {
        plan.kernel(step).is_some_and(|kernel| {
            let mut symbols = kernel.scratch_shared.symbols().chain(kernel.scratch_part.symbols());
            symbols.any(|symbol| !given.contains(&symbol))
        })
    };
    let dependent = plan.steps.iter().filter(|s| s.results.iter().any(unplanned) || is_late(s));
    let steps: Vec<_> = dependent.map(|s| s.place.clone()).collect();
    if steps.is_empty() { Ok(()) } else { Err(ObjectError::DataDependent { steps }) }
}

fn refuse_unknown_symbols(imports: &[String]) -> Result<(), ObjectError> {
    let known: FxHashSet<&str> = trine_ukernel::symbols().map(|(s, _)| s).chain(["memcpy"]).collect();
    let unknown = imports.iter().filter(|s| !known.contains(s.as_str()));
    let symbols: Vec<_> = unknown.map(|s| format!("`{s}`")).collect();
    if symbols.is_empty() { Ok(()) } else { Err(ObjectError::Symbols { symbols }) }
}

/// Names the image's constants in code, in their order.
fn declare_consts(image: &mut Image) -> Result<Vec<DataId>, CodegenError> {
    let declare = |_| image.functions.declare_anonymous_data(false, false);
    let consts = (0..image.consts.len()).map(declare).collect::<Result<_, _>>();
    consts.map_err(|e| CodegenError::bug("a constant", e))
}

fn header(name: &str, plan: &Plan<FuncId>) -> String {
    let guard = format!("{}_H", name.to_ascii_uppercase());
    let mut out = format!(
        "/* `{name}`, compiled by Trine. Tensors are dense and row-major. */\n\
         #ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
    );
    let symbols: Vec<String> = plan.symbols[..plan.plain_symbols()].iter().map(|s| s.to_string()).collect();
    let ports = |ports: &[Port]| ports.iter().map(|p| format!("`{}`: {}", p.name, p.ty)).collect::<Vec<_>>();
    for (what, entries) in
        [("dims", symbols), ("inputs", ports(&plan.inputs)), ("outputs", ports(&plan.outputs))]
    {
        let macro_name = format!("{}_{}", name, what).to_ascii_uppercase();
        let _ = writeln!(out, "#define {macro_name} {}", entries.len());
        for (i, entry) in entries.iter().enumerate() {
            let _ = writeln!(out, "/* {what}[{i}] is {} */", comment(entry));
        }
    }
    let _ = write!(
        out,
        "\n/* Bytes of the arena for these dimensions, {STATUS_DIMS} when a dimension is negative or a size \
         overflows. */\n\
         int64_t {name}_arena_size(const int64_t *dims);\n\n\
         /* Runs the model: 0, {STATUS_DIMS} as above, or the positive status of the kernel that failed. The arena \
         is aligned\n   to 64 bytes and belongs to one run at a time; outputs overlap nothing. */\n\
         int64_t {name}_run(const void *const *inputs, void *const *outputs, const int64_t *dims, void *arena);\n\n\
         #ifdef __cplusplus\n}}\n#endif\n\n#endif\n"
    );
    out
}

/// Text that neither ends the comment it stands in nor looks as if another began.
fn comment(text: &str) -> String {
    text.escape_debug().to_string().replace("*/", "* /").replace("/*", "/ *")
}
