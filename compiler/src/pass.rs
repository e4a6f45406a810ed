//! Passes and the driver that runs them.
//!
//! A pass rewrites a module and says how often. Everything else is the driver's: it parses pipelines,
//! verifies after each pass, dumps, times, counts, stops early, and on a failure keeps what reproduces it.

mod driver;
mod pipeline;

pub use driver::{Driver, Dump, PrintAfter, Report, StepReport, StopAfter};
pub use pipeline::{Pipeline, Step};

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use trine_ir::error::Place;
use trine_ir::{Error, Graph, Module, NodeId};

use crate::pattern::{self, NearMiss, Refusal, Rule};
use trine_ir::Fault;
use trine_ternarize::Layer;

/// How a pass changes what the program computes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exactness {
    /// The same bits.
    Exact,
    /// The same real numbers, rounded elsewhere.
    Reassociates,
    /// Other numbers; never runs unless asked for by name.
    Lossy,
}

/// One pass: a line of the registry.
#[derive(Debug)]
pub struct Pass {
    /// The name in pipelines, of its file and of its test.
    pub name: &'static str,
    /// What it does, for `--help`.
    pub about: &'static str,
    pub exactness: Exactness,
    /// Options that it takes, `name=value` in braces after its name.
    pub options: &'static [&'static str],
    /// Rewrites the module and returns how often.
    pub run: fn(&mut Module, &mut Cx) -> Result<usize, PassError>,
}

/// What went wrong in a pipeline.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PassError {
    /// The pipeline's text is at fault.
    #[error("{0}")]
    Pipeline(String),
    /// An option has a value that the pass does not take.
    #[error("pass `{pass}`: {message}")]
    Option { pass: &'static str, message: String },
    /// The module does not allow what the pass was asked to do.
    #[error("pass `{pass}`: {message}")]
    Refused { pass: &'static str, message: String },
    /// A fault of Trine: the pass left a module that does not verify.
    #[error("pass `{pass}` broke the module: {error}")]
    Broke {
        pass: String,
        #[source]
        error: Box<Error>,
        /// The module before the pass.
        before: Box<Module>,
    },
    /// A fault of Trine: the pass panicked.
    #[error("pass `{pass}` panicked: {message}")]
    Panicked { pass: String, message: String, before: Box<Module> },
    /// The module did not verify before any pass ran.
    #[error("the module is broken before any pass: {0}")]
    Input(#[source] Box<Error>),
}

impl PassError {
    pub fn fault(&self) -> Fault {
        match self {
            PassError::Pipeline(_) | PassError::Option { .. } => Fault::Usage,
            PassError::Broke { .. } | PassError::Panicked { .. } => Fault::Trine,
            PassError::Refused { .. } | PassError::Input(_) => Fault::Input,
        }
    }
}

/// Options of one pass in a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Options(BTreeMap<String, String>);

/// What a pass is told and what it tells besides its count.
#[derive(Default)]
pub struct Cx {
    pub options: Options,
    pub near_misses: Vec<NearMiss>,
    /// Facts for the reader of the report, a sentence each.
    pub notes: Vec<String>,
    /// Layers that became ternary.
    pub layers: Vec<Layer>,
}

impl Cx {
    /// Applies rules to the module, keeping the near misses.
    pub fn apply(&mut self, module: &mut Module, rules: &[Rule]) -> usize {
        let (count, misses) = pattern::apply(module, rules);
        self.near_misses.extend(misses);
        count
    }

    /// Records a refusal of a pass that has no rules.
    pub fn miss(
        &mut self,
        rule: &'static str,
        function: &str,
        graph: &Graph,
        node: NodeId,
        refusal: Refusal,
    ) {
        let place = Place::new(function, graph, node);
        self.near_misses.push(NearMiss { rule, place, reason: refusal.0 });
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl Options {
    /// Those of a list such as `method=twn,group=128`, of which `pass` takes each.
    pub fn parse(pass: &Pass, list: &str) -> Result<Options, PassError> {
        let mut options = Options::default();
        for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((name, value)) = part.split_once('=').map(|(n, v)| (n.trim(), v.trim())) else {
                return Err(PassError::Pipeline(format!(
                    "options of `{}` are `name=value`, got `{}`",
                    pass.name,
                    part.escape_debug()
                )));
            };
            if !pass.options.contains(&name) {
                let known = match pass.options {
                    [] => "it has none".into(),
                    names => format!("it has {}", names.join(", ")),
                };
                return Err(PassError::Pipeline(format!(
                    "`{}` has no option `{}`; {known}",
                    pass.name,
                    name.escape_debug()
                )));
            }
            if options.set(name, value).is_some() {
                return Err(PassError::Pipeline(format!(
                    "option `{name}` of `{}` is given twice",
                    pass.name
                )));
            }
        }
        Ok(options)
    }

    /// The text of an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of an option, or `default` if it is not given.
    pub fn value<T: FromStr>(&self, pass: &'static str, name: &str, default: T) -> Result<T, PassError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        text.parse().map_err(|_| PassError::Option {
            pass,
            message: format!("option `{name}` cannot be `{}`", text.escape_debug()),
        })
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> Option<String> {
        self.0.insert(name.into(), value.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
