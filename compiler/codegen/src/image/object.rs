//! From a module to an object file and its C header: the model as functions, without a runtime.
//!
//! The object holds the kernels, the microkernels that they call, and the packed weights unless these go to a file of their
//! own. It calls nothing but `memcpy`, `memset` and, for a CPU that cannot round, the C library's math. What needs more
//! than that, an interpreter or memory whose size depends on data, is refused by name.

mod header;

use cranelift_module::{FuncId, Module};
use rustc_hash::FxHashSet;
use trine_ir::Op;
use trine_runtime::{Place, Plan, Size, Step, StepKind, code};

use super::constants::Pieces;
use super::entry::{self, Consts, Parts, Ways};
use super::{Image, object_file};
use crate::error::{BuildError, CodegenError, ObjectError};
use crate::plan::Kernels;

/// What `cc` takes.
#[derive(Clone, Debug)]
pub struct Object {
    /// The object file, in the format of the target.
    pub bytes: Vec<u8>,
    /// Declarations of its functions, in C.
    pub header: String,
    /// Packed weights, where they are not in the object.
    pub weights: Option<Vec<u8>>,
    /// Whether it calls the C library's math, which is linked by `-lm`.
    pub needs_math: bool,
}

/// Where the weights of an object are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Weights {
    /// In the object.
    #[default]
    Embed,
    /// In a file of their own, which the caller reads or maps.
    File,
}

/// Writes the kernels of a module into an object file, with functions that begin with `name`, a C identifier.
pub fn object(kernels: &Kernels, name: &str, weights: Weights) -> Result<Object, ObjectError> {
    if !is_identifier(name) {
        return Err(ObjectError::Name { name: name.into() });
    }
    let mut image = Image::new(kernels)?;
    refuse_interpreted(&image.plan)?;
    refuse_data_dependent(&image.plan)?;
    let (consts, bytes) = match weights {
        Weights::Embed => (declare_consts(&mut image)?, None),
        Weights::File => packed(&image)?,
    };
    let parts = Parts { plan: &image.plan, consts: &consts };
    let functions = &mut image.functions;
    let named = |function: &str| format!("{name}_{function}");
    let [check, arena, arena_parts, inputs, outputs, run, run_part] =
        ["check_cpu", "arena_size", "arena_size_parts", "input_bytes", "output_bytes", "run", "run_part"]
            .map(named);
    let holds_states = !image.plan.states.is_empty();
    let mut exported = vec![
        (entry::define_check_cpu(functions, &check, kernels.target.features)?, check),
        (entry::define_arena_size(functions, &arena, &parts, false)?, arena),
        (entry::define_arena_size(functions, &arena_parts, &parts, true)?, arena_parts),
        (entry::define_bytes(functions, &inputs, &parts, &image.plan.inputs)?, inputs),
        (entry::define_bytes(functions, &outputs, &parts, &image.plan.outputs)?, outputs),
        (entry::define_run(functions, &run, &parts, Ways::default())?, run),
        (entry::define_run(functions, &run_part, &parts, Ways { holds_states, has_parts: true })?, run_part),
    ];
    if holds_states {
        let [bytes, held] = ["state_bytes", "run_held"].map(named);
        exported.push((entry::define_state_bytes(functions, &bytes, &parts)?, bytes));
        exported.push((
            entry::define_run(functions, &held, &parts, Ways { holds_states, has_parts: false })?,
            held,
        ));
    }
    let code = image.functions.link()?;
    refuse_unknown_symbols(&code.imports)?;
    let needs_math = code.imports.iter().any(|name| code::is_math(name));
    let file = object_file::write(name, &image, &code, weights, &exported)?;
    let header = header::write(name, &image, bytes.as_ref().map(Vec::len));
    Ok(Object { bytes: file, header, weights: bytes, needs_math })
}

/// The constants one after the other, and where each is.
fn packed(image: &Image) -> Result<(Consts, Option<Vec<u8>>), BuildError> {
    let pieces = Pieces::new(&image.consts)?;
    let mut bytes = Vec::with_capacity(pieces.total);
    pieces.stream(|piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), BuildError>(())
    })?;
    let starts = image.consts.iter().map(|wanted| {
        let place = pieces.place(wanted).ok_or(CodegenError::malformed("a constant"))?;
        Ok(place.start)
    });
    Ok((Consts::Outside(starts.collect::<Result<_, BuildError>>()?), Some(bytes)))
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
    let is_known = |name: &String| name.starts_with("trine_") || name == "memcpy" || code::is_math(name);
    let unknown = imports.iter().filter(|name| !is_known(name));
    let symbols: Vec<_> = unknown.map(|s| format!("`{s}`")).collect();
    if symbols.is_empty() { Ok(()) } else { Err(ObjectError::Symbols { symbols }) }
}

/// Names the image's constants in code, in their order.
fn declare_consts(image: &mut Image) -> Result<Consts, CodegenError> {
    let declare = |_| image.functions.declare_anonymous_data(false, false);
    let consts = (0..image.consts.len()).map(declare).collect::<Result<_, _>>();
    Ok(Consts::Inside(consts.map_err(|e| CodegenError::bug("a constant", e))?))
}
