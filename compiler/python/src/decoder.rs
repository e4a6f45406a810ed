//! A language model that is fed token by token.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::PyArray1;
use pyo3::prelude::*;
use trine::generate::{Names, Sampler};

use crate::fault::{Raised, caught};
use crate::options::workers;
use crate::source::Program;

/// A language model and what it has read.
#[pyclass(frozen, subclass, module = "trine._trine")]
pub struct Decoder(Mutex<trine::generate::Decoder>);

#[pymethods]
impl Decoder {
    /// A decoder that reads up to `capacity` tokens, of a program whose inputs and outputs have the names that the text
    /// `genai_config` says, or those that exporters use.
    #[new]
    #[pyo3(signature = (program, threads, capacity, genai_config=None))]
    fn new(
        py: Python<'_>,
        program: &Program,
        threads: usize,
        capacity: usize,
        genai_config: Option<&str>,
    ) -> PyResult<Decoder> {
        let threads = workers(threads);
        let program = program.program.clone();
        let made = py.detach(|| {
            caught(|| {
                let names = genai_config.map_or(Ok(Names::default()), Names::of_genai_config)?;
                Ok(trine::generate::Decoder::with_names(program, threads, capacity, &names)?)
            })
        });
        Ok(Decoder(Mutex::new(made?)))
    }

    /// Reads tokens, and returns the logits of what comes next.
    fn feed<'py>(&self, py: Python<'py>, tokens: Vec<u32>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let logits = py.detach(|| caught(|| Ok(self.lock().feed(&tokens)?.to_vec())))?;
        Ok(PyArray1::from_vec(py, logits))
    }

    /// Reads tokens, and draws the next one.
    fn next(
        &self,
        py: Python<'_>,
        tokens: Vec<u32>,
        temperature: f32,
        top_p: f32,
        seed: u64,
        step: u64,
    ) -> PyResult<u32> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Raised::argument("`temperature` is a number from 0 up").into());
        }
        if !(0.0..=1.0).contains(&top_p) {
            return Err(Raised::argument("`top_p` is a number from 0 to 1").into());
        }
        let sampler = Sampler { temperature, top_p, seed };
        let drawn = py.detach(|| caught(|| Ok(sampler.pick(self.lock().feed(&tokens)?, step))))?;
        Ok(drawn.ok_or_else(|| Raised::input("the model's logits are not numbers"))?)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().len())
    }

    /// Forgets all that was read.
    fn reset(&self, py: Python<'_>) {
        py.detach(|| self.lock().reset());
    }
}

impl Decoder {
    /// A run that failed leaves the decoder as it was.
    fn lock(&self) -> MutexGuard<'_, trine::generate::Decoder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
