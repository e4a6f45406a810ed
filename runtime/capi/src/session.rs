//! Sessions: inputs by name, runs, outputs by name.

use std::ffi::c_char;
use std::mem::replace;
use std::ptr;
use std::sync::Arc;

use trine_runtime::{Elem, Port, RunError, Session, SessionOptions, View};

use crate::arguments::{Options, array, copy_to, options, text};
use crate::elem;
use crate::model::{Model, Shared, close};
use crate::status::{ErrorOut, Failure, INPUT, INTERNAL, Out, answer, clear, given};

/// `trine_session`.
pub struct Handle {
    pub session: Session,
    pub shared: Arc<Shared>,
    /// By input of the program: what it is in the next run.
    given: Vec<Given>,
    /// By output; of the last run if that went well.
    tensors: Vec<TrineTensor>,
    /// What the tensors point to.
    dims: Vec<Vec<i64>>,
    has_outputs: bool,
    /// A call is under way, or ended in a panic, after which there is no telling what is half done.
    is_busy: bool,
}

/// An input: memory of the caller's, where it was given.
#[derive(Default)]
struct Given {
    dims: Vec<usize>,
    data: Option<Lent>,
}

/// Bytes that the caller keeps until the next run is done.
struct Lent {
    start: *const u8,
    len: usize,
}

/// `trine_tensor`.
#[repr(C)]
pub struct TrineTensor {
    pub name: *const c_char,
    pub elem: i32,
    pub rank: usize,
    pub dims: *const i64,
    pub data: *const u8,
    pub size: usize,
}

/// `trine_session_options`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrineSessionOptions {
    pub size: usize,
    pub threads: usize,
    pub state_capacity: usize,
}

// SAFETY: it is integers without padding.
unsafe impl Options for TrineSessionOptions {
    const DEFAULT: TrineSessionOptions = TrineSessionOptions { size: 0, threads: 0, state_capacity: 0 };
}

impl Handle {
    pub fn new(session: Session, shared: Arc<Shared>) -> Handle {
        let tensor = |port: &Port| TrineTensor {
            name: ptr::null(),
            elem: elem::code(port.ty.elem),
            rank: port.shape.len(),
            dims: ptr::null(),
            data: ptr::null(),
            size: 0,
        };
        let program = &shared.program;
        Handle {
            session,
            given: program.inputs.iter().map(|_| Given::default()).collect(),
            tensors: program.outputs.iter().map(tensor).collect(),
            dims: program.outputs.iter().map(|port| vec![0; port.shape.len()]).collect(),
            has_outputs: false,
            is_busy: false,
            shared,
        }
    }

    /// The number of an input that is not a state that the session holds.
    fn input(&self, name: &str) -> Result<usize, RunError> {
        let inputs = &self.shared.program.inputs;
        let free = || (0..inputs.len()).filter(|i| !self.session.is_state(*i));
        free().find(|i| inputs[*i].name == name).ok_or_else(|| {
            let names: Vec<String> = free().map(|i| format!("`{}`", inputs[i].name)).collect();
            RunError::NoInput { name: name.into(), names: names.join(", ") }
        })
    }

    fn set_input(&mut self, name: &str, elem: Elem, dims: &[i64], data: &[u8]) -> Result<(), Failure> {
        let i = self.input(name)?;
        let port = &self.shared.program.inputs[i];
        let given = &mut self.given[i];
        given.data = None;
        let wrong = |actual: String| {
            let expected = port.ty.to_string();
            Failure::from(RunError::InputType { name: name.into(), expected, actual })
        };
        if (elem, dims.len()) != (port.ty.elem, port.ty.rank()) {
            return Err(wrong(format!("{elem} of rank {}", dims.len())));
        }
        given.dims.clear();
        for (axis, dim) in dims.iter().enumerate() {
            let size = usize::try_from(*dim);
            let negative = || Failure::new(INPUT, format!("input `{name}`: axis {axis} has {dim} elements"));
            given.dims.push(size.map_err(|_| negative())?);
        }
        let count = given.dims.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
        // A size of zero makes it empty, whatever the others are.
        let count = if given.dims.contains(&0) { Some(0) } else { count };
        if count.and_then(|count| elem.bytes(count)) != Some(data.len()) {
            return Err(wrong(format!("{elem}{:?} of {} bytes", given.dims, data.len())));
        }
        given.data = Some(Lent { start: data.as_ptr(), len: data.len() });
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        self.has_outputs = false;
        let done = self.execute();
        self.given.iter_mut().for_each(|given| given.data = None);
        done?;
        for (i, tensor) in self.tensors.iter_mut().enumerate() {
            let view = self.session.output(i);
            for (to, from) in self.dims[i].iter_mut().zip(view.dims) {
                // What there is memory for fits.
                *to = *from as i64;
            }
            tensor.name = self.shared.outputs[i].name.as_ptr();
            (tensor.dims, tensor.data, tensor.size) =
                (self.dims[i].as_ptr(), view.data.as_ptr(), view.data.len());
        }
        self.has_outputs = true;
        Ok(())
    }

    fn execute(&mut self) -> Result<(), RunError> {
        let program = &self.shared.program;
        let mut views = vec![];
        for (i, given) in self.given.iter().enumerate().filter(|(i, _)| !self.session.is_state(*i)) {
            let port = &program.inputs[i];
            let missing = || RunError::InputMissing { name: port.name.clone() };
            let lent = given.data.as_ref().ok_or_else(missing)?;
            // SAFETY: the header says that the data stay until the run is done, and each run forgets them.
            let data = unsafe { std::slice::from_raw_parts(lent.start, lent.len) };
            views.push(View { elem: port.ty.elem, dims: &given.dims, data });
        }
        self.session.execute(&views)
    }

    fn output(&self, name: &str) -> Result<&TrineTensor, Failure> {
        let outputs = &self.shared.program.outputs;
        let held = |i: &usize| {
            self.session.holds_states() && self.shared.program.states.iter().any(|s| s.output == *i)
        };
        let free = || (0..outputs.len()).filter(|i| !held(i));
        let found = free().find(|i| outputs[*i].name == name).ok_or_else(|| {
            let names: Vec<String> = free().map(|i| format!("`{}`", outputs[i].name)).collect();
            Failure::argument(format!("no output `{name}`; there are {}", names.join(", ")))
        })?;
        if !self.has_outputs {
            return Err(Failure::argument("there are no outputs: the last run failed, or there was none"));
        }
        Ok(&self.tensors[found])
    }
}

/// Does what a function does to its session.
pub fn with(
    session: Option<&mut Handle>,
    error: ErrorOut,
    work: impl FnOnce(&mut Handle) -> Result<(), Failure>,
) -> i32 {
    answer(error, || {
        let handle = given(session, "session")?;
        if replace(&mut handle.is_busy, true) {
            let text = "a call of this session ended in a defect of Trine; the session can only be closed";
            return Err(Failure::new(INTERNAL, text));
        }
        let done = work(handle);
        handle.is_busy = false;
        done
    })
}

/// # Safety
/// As the header says, which holds for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_session_open(
    model: Option<&Model>,
    session_options: *const TrineSessionOptions,
    mut session: Out<Option<Box<Handle>>>,
    error: ErrorOut,
) -> i32 {
    clear(&mut session, None);
    answer(error, || {
        let session = given(session, "session")?;
        let shared = given(model, "model")?.shared.clone();
        // SAFETY: the caller's.
        let known = unsafe { options(session_options) }?;
        let state_capacity = Some(known.state_capacity).filter(|capacity| *capacity > 0);
        let made_of = SessionOptions { threads: known.threads, state_capacity, max_bytes: None };
        let made = Session::new(shared.program.clone(), &made_of);
        session.write(Some(Box::new(Handle::new(made, shared))));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_session_close(session: Option<Box<Handle>>) {
    close(session);
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_session_set_input(
    session: Option<&mut Handle>,
    name: *const c_char,
    elem: i32,
    dims: *const i64,
    rank: usize,
    data: *const u8,
    size: usize,
    error: ErrorOut,
) -> i32 {
    with(session, error, |handle| {
        // SAFETY: the caller's.
        let (name, dims) = unsafe { (text(name, "name")?, array(dims, rank, "dims")?) };
        let known = elem::from_code(elem);
        let elem =
            known.ok_or_else(|| Failure::argument(format!("`elem` is {elem}, which is not a type")))?;
        // SAFETY: the caller's.
        handle.set_input(name, elem, dims, unsafe { array(data, size, "data") }?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_session_run(session: Option<&mut Handle>, error: ErrorOut) -> i32 {
    with(session, error, Handle::run)
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_session_output(
    session: Option<&mut Handle>,
    name: *const c_char,
    mut tensor: Out<*const TrineTensor>,
    error: ErrorOut,
) -> i32 {
    clear(&mut tensor, ptr::null());
    with(session, error, |handle| {
        let tensor = given(tensor, "tensor")?;
        // SAFETY: the caller's.
        tensor.write(handle.output(unsafe { text(name, "name") }?)?);
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_session_copy_output(
    session: Option<&mut Handle>,
    name: *const c_char,
    buffer: *mut u8,
    capacity: usize,
    size: Out<usize>,
    error: ErrorOut,
) -> i32 {
    with(session, error, |handle| {
        // SAFETY: the caller's.
        let tensor = handle.output(unsafe { text(name, "name") }?)?;
        if let Some(size) = size {
            size.write(tensor.size);
        }
        // SAFETY: the memory is the session's, which does not run.
        let bytes = unsafe { array(tensor.data, tensor.size, "data") }?;
        // SAFETY: the caller's.
        unsafe { copy_to(buffer, capacity, bytes) }
    })
}
