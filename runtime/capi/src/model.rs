//! Models: files that are opened, and what they take and give.

use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use trine_runtime::artefact::{Artefact, ArtefactError, OpenOptions, Weights};
use trine_runtime::{Port, Program, Size};

use crate::arguments::{Options, array, options, path};
use crate::elem;
use crate::status::{ErrorOut, FILE, Failure, Out, answer, clear, given};

/// `trine_model`: what sessions of it share.
pub struct Model {
    pub shared: Arc<Shared>,
}

/// A program, with its names as C has them.
pub struct Shared {
    pub program: Arc<Program>,
    pub inputs: Vec<Signature>,
    pub outputs: Vec<Signature>,
}

/// `trine_port`.
#[repr(C)]
pub struct TrinePort {
    pub name: *const c_char,
    pub elem: i32,
    pub rank: usize,
    pub dims: *const i64,
    pub dim_texts: *const *const c_char,
    pub state: i64,
    pub position_axis: i64,
}

/// A `trine_port`, and what it points to.
pub struct Signature {
    pub port: TrinePort,
    pub name: CString,
    _dims: Vec<i64>,
    _texts: Vec<CString>,
    _pointers: Vec<*const c_char>,
}

// SAFETY: its pointers are into memory that it owns, which nothing changes.
unsafe impl Send for Signature {}
// SAFETY: as above.
unsafe impl Sync for Signature {}

/// `trine_open_options`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrineOpenOptions {
    pub size: usize,
    pub weights: i32,
    pub skip_weight_check: i32,
}

// SAFETY: it is integers without padding.
unsafe impl Options for TrineOpenOptions {
    const DEFAULT: TrineOpenOptions = TrineOpenOptions { size: 0, weights: 0, skip_weight_check: 0 };
}

/// A file in memory of the caller's.
struct Lent {
    start: *const u8,
    len: usize,
}

// SAFETY: the memory is only ever read.
unsafe impl Send for Lent {}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the header says that the bytes stay as long as the model and its sessions where weights are not copied.
        // Where they are, nothing refers to the bytes once the model is open.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl TrineOpenOptions {
    /// As the runtime has them; `default` is where weights are if the caller does not say.
    fn known(self, default: Weights) -> Result<OpenOptions, Failure> {
        let weights = match self.weights {
            0 => default,
            1 => Weights::Map,
            2 => Weights::Copy,
            other => return Err(Failure::argument(format!("`options` has weights {other}: 0, 1 or 2 is"))),
        };
        match self.skip_weight_check {
            0 | 1 => Ok(OpenOptions { weights, check_weights: self.skip_weight_check == 0 }),
            other => Err(Failure::argument(format!("`options` has skip_weight_check {other}: 0 or 1 is"))),
        }
    }
}

impl Model {
    fn open(artefact: Result<Artefact, ArtefactError>) -> Result<Model, Failure> {
        // SAFETY: the header says that whoever opens a file wants its code run.
        Model::new(unsafe { artefact?.program() }?)
    }

    pub fn new(program: Program) -> Result<Model, Failure> {
        let axis = |axis: Option<usize>| axis.map_or(-1, |axis| axis as i64);
        let input = |(i, port): (usize, &Port)| {
            let state = program.states.iter().find(|state| state.input == i);
            let output = state.map_or(-1, |state| state.output as i64);
            Signature::new(port, output, axis(state.and_then(|state| state.axis)))
        };
        let output = |(i, port): (usize, &Port)| {
            let state = program.states.iter().find(|state| state.output == i);
            let input = state.map_or(-1, |state| state.input as i64);
            Signature::new(port, input, axis(state.and_then(|state| state.axis)))
        };
        let inputs = program.inputs.iter().enumerate().map(input).collect::<Result<_, _>>()?;
        let outputs = program.outputs.iter().enumerate().map(output).collect::<Result<_, _>>()?;
        Ok(Model { shared: Arc::new(Shared { program: Arc::new(program), inputs, outputs }) })
    }
}

impl Signature {
    fn new(port: &Port, state: i64, position_axis: i64) -> Result<Signature, Failure> {
        let text = |text: String| {
            let name = text.escape_debug().to_string();
            CString::new(text).map_err(|_| Failure::new(FILE, format!("the name `{name}` has a zero byte")))
        };
        let name = text(port.name.clone())?;
        let fixed = |size: &Size| match size.symbols().next() {
            None => size.eval_integer(&[]).unwrap_or(-1),
            Some(_) => -1,
        };
        let dims: Vec<i64> = port.shape.iter().map(fixed).collect();
        let texts = port.ty.dims.iter().map(|dim| text(dim.to_string())).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let port = TrinePort {
            name: name.as_ptr(),
            elem: elem::code(port.ty.elem),
            rank: dims.len(),
            dims: dims.as_ptr(),
            dim_texts: pointers.as_ptr(),
            state,
            position_axis,
        };
        Ok(Signature { port, name, _dims: dims, _texts: texts, _pointers: pointers })
    }
}

/// # Safety
/// As the header says, which holds for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_model_open(
    file: *const c_char,
    open_options: *const TrineOpenOptions,
    mut model: Out<Option<Box<Model>>>,
    error: ErrorOut,
) -> i32 {
    clear(&mut model, None);
    answer(error, || {
        let model = given(model, "model")?;
        // SAFETY: the caller's.
        let (file, open_options) = unsafe { (path(file, "path")?, options(open_options)?) };
        let opened = Artefact::open(file, &open_options.known(Weights::Map)?);
        model.write(Some(Box::new(Model::open(opened)?)));
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_model_open_memory(
    bytes: *const u8,
    size: usize,
    open_options: *const TrineOpenOptions,
    mut model: Out<Option<Box<Model>>>,
    error: ErrorOut,
) -> i32 {
    clear(&mut model, None);
    answer(error, || {
        let model = given(model, "model")?;
        // SAFETY: the caller's.
        let open_options = unsafe { options(open_options) }?.known(Weights::Copy)?;
        given((!bytes.is_null()).then_some(()), "bytes")?;
        // SAFETY: the caller's.
        let file = unsafe { array(bytes, size, "bytes") }?;
        let file = Bytes::from_owner(Lent { start: file.as_ptr(), len: file.len() });
        model.write(Some(Box::new(Model::open(Artefact::from_bytes(file, &open_options))?)));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_model_close(model: Option<Box<Model>>) {
    close(model);
}

/// Drops a handle. A panic ends here: nothing can be told of it.
pub fn close<T>(handle: Option<Box<T>>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(handle))));
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_model_input_count(model: Option<&Model>) -> usize {
    model.map_or(0, |model| model.shared.inputs.len())
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_model_output_count(model: Option<&Model>) -> usize {
    model.map_or(0, |model| model.shared.outputs.len())
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_model_input(
    model: Option<&Model>,
    index: usize,
    mut port: Out<*const TrinePort>,
    error: ErrorOut,
) -> i32 {
    clear(&mut port, ptr::null());
    answer(error, || signature(&given(model, "model")?.shared.inputs, "inputs", index, port))
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_model_output(
    model: Option<&Model>,
    index: usize,
    mut port: Out<*const TrinePort>,
    error: ErrorOut,
) -> i32 {
    clear(&mut port, ptr::null());
    answer(error, || signature(&given(model, "model")?.shared.outputs, "outputs", index, port))
}

fn signature(
    all: &[Signature],
    what: &str,
    index: usize,
    port: Out<*const TrinePort>,
) -> Result<(), Failure> {
    let port = given(port, "port")?;
    let none = || Failure::argument(format!("`index` is {index}, and there are {} {what}", all.len()));
    port.write(&all.get(index).ok_or_else(none)?.port);
    Ok(())
}
