//! A session as onnxruntime has it: runs by the names of inputs and outputs, on arrays of numpy's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use trine::import::Metadata;
use trine::{RunError, SessionOptions, View};
use trine_ir::Dim;
use trine_runtime::Port;

use crate::arrays::{Given, Made};
use crate::dtypes::{dtype, onnx_name};
use crate::fault::{Raised, caught};
use crate::metadata::ModelMetadata;
use crate::options::workers;
use crate::source::Program;

/// An input or an output.
#[pyclass(frozen, module = "trine._trine")]
pub struct NodeArg {
    #[pyo3(get)]
    name: String,
    #[pyo3(get, name = "type")]
    ty: &'static str,
    dims: Vec<Dim>,
}

#[pymethods]
impl NodeArg {
    /// Its sizes: numbers, and open ones as text.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let dims = self.dims.iter().map(|dim| match dim.as_const() {
            Some(size) => size.into_pyobject(py).map(Bound::into_any).map_err(PyErr::from),
            None => Ok(PyString::new(py, &dim.to_string()).into_any()),
        });
        PyList::new(py, dims.collect::<PyResult<Vec<_>>>()?)
    }

    fn __repr__(&self) -> String {
        let dims: Vec<String> = self.dims.iter().map(Dim::to_string).collect();
        format!("NodeArg(name='{}', type='{}', shape=[{}])", self.name, self.ty, dims.join(", "))
    }
}

/// An input or output with what numpy calls its type, or why it has none.
struct Socket {
    port: Port,
    dtype: Result<Py<PyArrayDescr>, String>,
    name: Py<PyString>,
    /// Whether the session holds it as state.
    is_held: bool,
}

impl Socket {
    fn new(py: Python<'_>, port: &Port, is_held: bool) -> Socket {
        let dtype = dtype(py, port.ty.elem).map(Bound::unbind);
        Socket { name: PyString::new(py, &port.name).unbind(), port: port.clone(), dtype, is_held }
    }

    fn dtype<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArrayDescr>, Raised> {
        let found = self.dtype.as_ref().map(|dtype| dtype.bind(py).clone());
        found.map_err(|why| Raised::argument(format!("`{}` is {}: {why}", self.port.name, self.port.ty)))
    }

    fn described(&self) -> NodeArg {
        let Port { name, ty, .. } = &self.port;
        NodeArg { name: name.clone(), ty: onnx_name(ty.elem), dims: ty.dims.clone() }
    }
}

/// A running instance of a program.
#[pyclass(frozen, subclass, module = "trine._trine")]
pub struct Session {
    session: Mutex<trine::Session>,
    metadata: Metadata,
    inputs: Vec<Socket>,
    outputs: Vec<Socket>,
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (program, threads, state_capacity=None))]
    fn new(
        py: Python<'_>,
        program: &Program,
        threads: usize,
        state_capacity: Option<usize>,
    ) -> PyResult<Session> {
        let Program { program, metadata } = program;
        let threads = workers(threads);
        if state_capacity.is_some() && program.states.is_empty() {
            let message = "`state_capacity` is for models with caches or states, and this one has none";
            return Err(Raised::argument(message).into());
        }
        let options = SessionOptions { threads, state_capacity, max_bytes: None };
        let session = py.detach(|| caught(|| Ok(trine::Session::new(program.clone(), &options))))?;
        let is_held = |i: &usize| session.holds_states() && program.states.iter().any(|s| s.output == *i);
        let inputs = program.inputs.iter().enumerate();
        let inputs = inputs.map(|(i, port)| Socket::new(py, port, session.is_state(i))).collect();
        let outputs = program.outputs.iter().enumerate();
        let outputs = outputs.map(|(i, port)| Socket::new(py, port, is_held(&i))).collect();
        Ok(Session { session: Mutex::new(session), metadata: metadata.clone(), inputs, outputs })
    }

    /// Runs on inputs by name, and returns the outputs that are named, or all.
    ///
    /// Arrays that are contiguous, in row-major order and of the input's type are read where they lie, and must not be
    /// written to meanwhile; others are made so first. Types are never converted, but for lists of plain numbers. The arrays
    /// that are returned are new ones.
    #[pyo3(signature = (output_names, input_feed, run_options=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        output_names: Option<&Bound<'py, PyAny>>,
        input_feed: &Bound<'py, PyAny>,
        run_options: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        if run_options.is_some() {
            return Err(Raised::argument("there are no run options here: `run_options` is None").into());
        }
        let wanted = self.wanted(output_names)?;
        let given = match input_feed.cast::<PyDict>() {
            Ok(feed) => self.given(py, feed)?,
            Err(_) => self.given(py, py.get_type::<PyDict>().call1((input_feed,))?.cast()?)?,
        };
        let views: Vec<View> = given.iter().map(Given::view).collect();
        let made = py.detach(|| caught(|| self.execute(&views, &wanted)))?;
        PyList::new(py, made)
    }

    /// What `run` takes, without what the session holds.
    fn get_inputs(&self) -> Vec<NodeArg> {
        free(&self.inputs).map(Socket::described).collect()
    }

    /// What `run` gives, without what the session holds.
    fn get_outputs(&self) -> Vec<NodeArg> {
        free(&self.outputs).map(Socket::described).collect()
    }

    /// What the model says of itself.
    fn get_modelmeta(&self) -> ModelMetadata {
        ModelMetadata::new(&self.metadata)
    }

    /// How many positions the states hold.
    #[getter]
    fn filled(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().filled())
    }

    /// Forgets the positions from `filled` on.
    fn truncate(&self, py: Python<'_>, filled: usize) {
        py.detach(|| self.lock().truncate(filled));
    }

    /// Forgets all that the states hold.
    fn reset(&self, py: Python<'_>) {
        py.detach(|| self.lock().reset());
    }

    /// How many threads share each kernel.
    #[getter]
    fn threads(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().threads())
    }
}

impl Session {
    /// Runs, and copies outputs by number. Nothing here holds the interpreter's lock, but for making their arrays.
    fn execute(&self, views: &[View], wanted: &[usize]) -> Result<Vec<Py<PyUntypedArray>>, Raised> {
        let mut session = self.lock();
        session.execute(views)?;
        let make = |py: Python<'_>, i: usize| {
            let made = Made::new(py, session.output(i).dims, self.outputs[i].dtype(py)?);
            made.map_err(|e| Raised::input(format!("`{}`: {e}", self.outputs[i].port.name)))
        };
        let mut made =
            Python::attach(|py| wanted.iter().map(|i| make(py, *i)).collect::<Result<Vec<Made>, Raised>>())?;
        for (made, i) in made.iter_mut().zip(wanted) {
            made.fill(&session.output(*i))?;
        }
        Ok(made.into_iter().map(|made| made.array).collect())
    }

    /// A run that panicked has left a session that binds everything again.
    fn lock(&self) -> MutexGuard<'_, trine::Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arrays of a feed, in the order of the inputs.
    fn given<'py>(&self, py: Python<'py>, feed: &Bound<'py, PyDict>) -> PyResult<Vec<Given<'py>>> {
        let mut given = vec![];
        for socket in free(&self.inputs) {
            let name = &socket.port.name;
            let Some(value) = feed.get_item(&socket.name)? else {
                let missing = RunError::InputMissing { name: name.clone() };
                return Err(Raised::from(self.unknown(feed)?.unwrap_or(missing)).into());
            };
            given.push(Given::new(&value, name, &socket.port.ty, &socket.dtype(py)?)?);
        }
        if given.len() != feed.len()
            && let Some(error) = self.unknown(feed)?
        {
            return Err(Raised::from(error).into());
        }
        Ok(given)
    }

    /// An error about the first name of a feed that no input has.
    fn unknown(&self, feed: &Bound<'_, PyDict>) -> PyResult<Option<RunError>> {
        for key in feed.keys() {
            let name: String = key.extract()?;
            if !free(&self.inputs).any(|socket| socket.port.name == name) {
                return Ok(Some(RunError::NoInput { name, names: listed(&self.inputs) }));
            }
        }
        Ok(None)
    }

    /// The numbers of the outputs that are asked for.
    fn wanted(&self, names: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<usize>> {
        let Some(names) = names else {
            return Ok((0..self.outputs.len()).filter(|i| !self.outputs[*i].is_held).collect());
        };
        if names.is_instance_of::<PyString>() {
            return Err(Raised::argument("`output_names` is a list of names, not text").into());
        }
        let find = |name: PyResult<Bound<'_, PyAny>>| {
            let name: String = name?.extract()?;
            let found = self.outputs.iter().position(|s| s.port.name == name && !s.is_held);
            let none = || {
                let (name, names) = (name.escape_debug(), listed(&self.outputs));
                Raised::argument(format!("no output `{name}`; there are {names}"))
            };
            Ok(found.ok_or_else(none)?)
        };
        names.try_iter()?.map(find).collect()
    }
}

fn free(sockets: &[Socket]) -> impl Iterator<Item = &Socket> {
    sockets.iter().filter(|socket| !socket.is_held)
}

fn listed(sockets: &[Socket]) -> String {
    free(sockets).map(|socket| format!("`{}`", socket.port.name)).collect::<Vec<_>>().join(", ")
}
