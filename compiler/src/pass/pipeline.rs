//! Passes in order, which print as `fold-constants,simplify,ternarize{method=twn,group=128}`.

use std::fmt;

use super::{Exactness, Options, Pass};

/// Passes in order, with their options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pipeline(pub Vec<Step>);

/// One pass of a pipeline.
#[derive(Clone, Debug)]
pub struct Step {
    pub pass: &'static Pass,
    pub options: Options,
}

impl PartialEq for Step {
    fn eq(&self, other: &Step) -> bool {
        self.pass.name == other.pass.name && self.options == other.options
    }
}

impl Pipeline {
    /// The pipeline without the pass of this name.
    pub fn without(mut self, pass: &str) -> Pipeline {
        self.0.retain(|step| step.pass.name != pass);
        self
    }

    /// The loosest of the passes: how far results may move.
    pub fn exactness(&self) -> Exactness {
        self.0.iter().map(|s| s.pass.exactness).max().unwrap_or(Exactness::Exact)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.pass.name)?;
        if self.options.is_empty() {
            return Ok(());
        }
        let options: Vec<_> = self.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        write!(f, "{{{}}}", options.join(","))
    }
}
