//! From a module to an object file and its C header: the model as a function, without a runtime.
//!
//! The object holds the kernels, the packed weights and two functions; it calls nothing but microkernels,
//! `memcpy` and, for a CPU that cannot round, the C library's math. What needs more than that, an interpreter or
//! memory whose size depends on data, is refused by name.

use std::fmt::Write as _;

use rustc_hash::{FxHashMap, FxHashSet};
use trine_ir::Op;
use trine_runtime::{Place, Port, Size, Step, StepKind};

use super::draft::{Draft, draft};
use super::entry::{self, Parts, STATUS_DIMS};
use super::object_file::ObjectFile;
use crate::codegen::emit::define;
use crate::codegen::error::ObjectError;
use crate::codegen::plan::Kernels;

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
    let draft = draft(kernels)?;
    refuse_interpreted(&draft)?;
    refuse_data_dependent(&draft)?;
    let mut file = ObjectFile::new(kernels.target, name)?;
    let mut functions = FxHashMap::default();
    for (kernel, planned) in kernels.iter() {
        let symbol = format!("{name}.{kernel}");
        let id = define(file.module(), &draft.symbols, &symbol, planned.body, &*planned.kernel)?;
        functions.insert(kernel.to_string(), id);
    }
    let mut consts = vec![];
    for (i, constant) in draft.consts.iter().enumerate() {
        consts.push(file.constant(&format!("{name}.const.{i}"), constant.to_bytes()?.as_slice())?);
    }
    let parts = Parts { draft: &draft, kernels: &functions, consts: &consts };
    entry::define_arena_size(file.module(), &format!("{name}_arena_size"), &parts)?;
    entry::define_run(file.module(), &format!("{name}_run"), &parts)?;
    refuse_unknown_symbols(&file)?;
    let imports = file.imports().into_iter().map(String::from).collect();
    Ok(Object { bytes: file.finish()?, header: header(name, &draft), imports })
}

/// Whether C takes it as a name.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn refuse_interpreted(draft: &Draft) -> Result<(), ObjectError> {
    let interpreted = draft.steps.iter().filter(|s| matches!(s.kind, StepKind::Interpret(_)));
    let steps: Vec<_> = interpreted.filter(|s| !is_copy(draft, s)).map(|s| s.place.clone()).collect();
    if steps.is_empty() { Ok(()) } else { Err(ObjectError::Interpreted { steps }) }
}

/// Whether the step moves bytes and nothing else.
fn is_copy(draft: &Draft, step: &Step<String>) -> bool {
    let whole_bytes = |p: &Place| matches!(p, Place::Buffer(b) if draft.buffers[*b].elem().bits() >= 8);
    matches!(step.kind, StepKind::Interpret(Op::Identity(_))) && step.results.iter().all(whole_bytes)
}

/// The arena is laid out before the first kernel runs, by the dimensions of the inputs.
fn refuse_data_dependent(draft: &Draft) -> Result<(), ObjectError> {
    let unplanned = |p: &Place| matches!(p, Place::Buffer(b) if draft.buffers[*b].slot.is_none());
    let shapes = draft.inputs.iter().flat_map(|port| &port.shape);
    let mut given: FxHashSet<u32> = shapes.flat_map(Size::symbols).collect();
    for (symbol, derived) in (draft.symbols.len() - draft.derived.len()..).zip(&draft.derived) {
        if derived.args.iter().flat_map(Size::symbols).all(|s| given.contains(&s)) {
            given.insert(symbol as u32);
        }
    }
    let is_late = |step: &Step<String>| match &step.kind {
        StepKind::Kernel(name) => draft.kernels.get(name).is_some_and(|needs| {
            let mut symbols = needs.scratch_shared.symbols().chain(needs.scratch_part.symbols());
            symbols.any(|symbol| !given.contains(&symbol))
        }),
        StepKind::Interpret(_) => false,
    };
    let dependent = draft.steps.iter().filter(|s| s.results.iter().any(unplanned) || is_late(s));
    let steps: Vec<_> = dependent.map(|s| s.place.clone()).collect();
    if steps.is_empty() { Ok(()) } else { Err(ObjectError::DataDependent { steps }) }
}

fn refuse_unknown_symbols(file: &ObjectFile) -> Result<(), ObjectError> {
    let known: FxHashSet<&str> = trine_ukernel::symbols().map(|(s, _)| s).chain(["memcpy"]).collect();
    let unknown = file.imports().into_iter().filter(|s| !known.contains(s));
    let symbols: Vec<_> = unknown.map(|s| format!("`{s}`")).collect();
    if symbols.is_empty() { Ok(()) } else { Err(ObjectError::Symbols { symbols }) }
}

fn header(name: &str, draft: &Draft) -> String {
    let guard = format!("{}_H", name.to_ascii_uppercase());
    let mut out = format!(
        "/* `{name}`, compiled by Trine. Tensors are dense and row-major. */\n\
         #ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
    );
    let plain = draft.symbols.len() - draft.derived.len();
    let symbols: Vec<String> = draft.symbols[..plain].iter().map(|s| s.to_string()).collect();
    let ports = |ports: &[Port]| ports.iter().map(|p| format!("`{}`: {}", p.name, p.ty)).collect::<Vec<_>>();
    for (what, entries) in
        [("dims", symbols), ("inputs", ports(&draft.inputs)), ("outputs", ports(&draft.outputs))]
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
