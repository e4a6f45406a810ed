//! `trine._trine`: what of the Python package `trine` is Rust.
//!
//! The package says what Python's users see; this says how it runs. Errors are classes of `trine.errors`, by whose fault
//! they are. Whatever takes long lets go of the interpreter's lock.

mod arrays;
mod command;
mod compiled;
mod decoder;
mod dtypes;
mod fault;
mod metadata;
mod options;
mod session;
mod source;
mod ternarize;

use pyo3::prelude::*;

#[pymodule]
fn _trine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<source::Program>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<session::NodeArg>()?;
    module.add_class::<metadata::ModelMetadata>()?;
    module.add_class::<compiled::CompiledModel>()?;
    module.add_class::<decoder::Decoder>()?;
    module.add_function(wrap_pyfunction!(command::main, module)?)?;
    module.add_function(wrap_pyfunction!(options::cpus, module)?)?;
    module.add_function(wrap_pyfunction!(ternarize::ternarize, module)?)?;
    Ok(())
}
