//! What Python's keywords say about a compilation.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use trine::codegen::Target;
use trine::pass::PassError;
use trine::{Activations, Backend, Head, Level, Options};

use crate::fault::Raised;

const NAMES: [&str; 15] = [
    "dims",
    "fed",
    "level",
    "passes",
    "ternarize",
    "states",
    "features",
    "activations",
    "widen",
    "head",
    "backend",
    "microkernels",
    "verify_kernels",
    "autotune",
    "cache",
];

/// The CPUs that `trine.compile` takes as targets by name, besides `native`, `baseline` and architectures.
#[pyfunction]
pub fn cpus() -> Vec<&'static str> {
    Target::cpus()
}

/// Threads as they are asked for: 0 is one a core.
pub fn workers(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        threads => threads,
    }
}

/// Reads options by name; one that is `None` is as by default.
pub fn read(given: &Bound<'_, PyDict>) -> PyResult<Options> {
    let mut options = Options::default();
    for (name, value) in given {
        let name: String = name.extract()?;
        if value.is_none() {
            if NAMES.contains(&&*name) { continue } else { return Err(unknown(&name).into()) }
        }
        match &*name {
            "dims" => options.dims = sizes(&value)?,
            "fed" => options.fed = names(&name, &value)?,
            "level" => options.level = level(&value)?,
            "passes" => options.passes = Some(parsed(&value)?),
            "ternarize" => options.ternarize = Some(parsed(&value)?),
            "states" => options.states = Some(parsed(&value)?),
            "features" => options.features = Some(parsed(&value)?),
            "activations" => options.activations = activations(&value.extract::<String>()?)?,
            "widen" => options.widen = value.extract()?,
            "head" => {
                options.head =
                    one_of(&name, &value, &[("auto", Head::Auto), ("keep", Head::Keep), ("i8", Head::I8)])?
            }
            "backend" => {
                let kinds = [
                    ("auto", Backend::Auto),
                    ("interpret", Backend::Interpret),
                    ("cranelift", Backend::Cranelift),
                ];
                options.backend = one_of(&name, &value, &kinds)?
            }
            "microkernels" => options.microkernels = names(&name, &value)?,
            "verify_kernels" => options.verify_kernels = value.extract()?,
            "autotune" => options.autotune = value.extract()?,
            "cache" => options.cache = Some(value.extract::<PathBuf>()?),
            _ => return Err(unknown(&name).into()),
        }
    }
    Ok(options)
}

fn unknown(name: &str) -> Raised {
    Raised::argument(format!("no option `{}`; there are {}", name.escape_debug(), listed(&NAMES)))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn parsed<T: std::str::FromStr<Err = PassError>>(value: &Bound<'_, PyAny>) -> PyResult<T> {
    let text: String = value.extract()?;
    Ok(text.parse().map_err(|error: PassError| Raised::argument(error.to_string()))?)
}

fn sizes(value: &Bound<'_, PyAny>) -> PyResult<Vec<(String, usize)>> {
    value.cast::<PyDict>()?.iter().map(|(name, size)| Ok((name.extract()?, size.extract()?))).collect()
}

/// A list of names: text would be one of letters.
fn names(option: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() {
        return Err(Raised::argument(format!("`{option}` is a list of names, not text")).into());
    }
    value.try_iter()?.map(|name| name?.extract()).collect()
}

fn level(value: &Bound<'_, PyAny>) -> PyResult<Level> {
    match value.extract::<i64>()? {
        0 => Ok(Level::O0),
        1 => Ok(Level::O1),
        2 => Ok(Level::O2),
        level => Err(Raised::argument(format!("`level` is 0, 1 or 2, not {level}")).into()),
    }
}

fn activations(text: &str) -> Result<Activations, Raised> {
    let block = |text: &str| text.parse().ok().filter(|block| *block > 0);
    Ok(match (text, text.split_once(':')) {
        ("auto", _) => Activations::Auto,
        ("f32", _) => Activations::F32,
        ("i8", _) => Activations::I8,
        ("i8:row", _) => Activations::I8Rows,
        (_, Some(("i8", size))) if let Some(size) = block(size) => Activations::I8Blocks(size),
        _ => {
            let kinds = "`auto`, `f32`, `i8`, `i8:row` or, with a scale a block, such as `i8:32`";
            return Err(Raised::argument(format!("`activations` is {kinds}, not `{}`", text.escape_debug())));
        }
    })
}

fn one_of<T: Copy>(option: &str, value: &Bound<'_, PyAny>, kinds: &[(&str, T)]) -> PyResult<T> {
    let text: String = value.extract()?;
    let found = kinds.iter().find(|(name, _)| *name == text);
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let wrong = || {
        let (names, text) = (listed(&names), text.escape_debug());
        Raised::argument(format!("`{option}` is one of {names}, not `{text}`"))
    };
    Ok(found.map(|(_, kind)| *kind).ok_or_else(wrong)?)
}
