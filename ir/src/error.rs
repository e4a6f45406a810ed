//! The errors of this crate, each saying where and whose fault it is.

use std::fmt;

use crate::graph::{Graph, Loc, NodeId};
use crate::op::OpError;
use crate::ops::Kind;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The text is not IR. Lines and columns count from 1.
    #[error("line {line}, column {column}: {message}")]
    Parse { line: usize, column: usize, message: String },
    /// The module breaks a rule of the language.
    #[error("{place}: {message}")]
    Verify { place: Place, message: String },
    /// The op cannot be evaluated on these values.
    #[error("{place}: {message}")]
    Eval { place: Place, message: String },
    /// The caller's inputs do not fit the signature.
    #[error("{0}")]
    Input(String),
    /// The weights do not fit the text.
    #[error("weights: {0}")]
    Sidecar(String),
}

/// A node of a function, as errors name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub function: String,
    pub value: String,
    pub op: Option<Kind>,
    pub loc: Option<Loc>,
}

impl Place {
    pub fn new(function: &str, graph: &Graph, node: NodeId) -> Place {
        let value = graph.results(node).next().map_or(String::new(), |v| graph.name(v).into());
        Place { function: function.into(), value, op: graph.kind(node), loc: graph.loc(node).cloned() }
    }

    pub fn verify(self, error: impl Into<OpError>) -> Error {
        Error::Verify { place: self, message: error.into().0 }
    }

    pub fn eval(self, error: impl Into<OpError>) -> Error {
        Error::Eval { place: self, message: error.into().0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.value.is_empty() && self.op.is_none() {
            return write!(f, "`@{}`", self.function.escape_debug());
        }
        write!(f, "`%{}`", self.value.escape_debug())?;
        if let Some(op) = self.op {
            write!(f, " (`{}`)", op.mnemonic())?;
        }
        write!(f, " in `@{}`", self.function.escape_debug())?;
        if let Some(loc) = &self.loc {
            write!(f, ", from {loc}")?;
        }
        Ok(())
    }
}
