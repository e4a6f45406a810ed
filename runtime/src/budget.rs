//! What a session may have of memory, and what it is that wants more.

use std::fmt;

use crate::error::RunError;
use crate::program::{Constant, Parts, Place};

/// The bytes that a session may have, its weights among them.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    allowed: Option<usize>,
    weights: usize,
}

impl Budget {
    pub fn new(program: &Parts, allowed: Option<usize>) -> Budget {
        let weights = program.consts.iter().map(Constant::bytes).map(|bytes| bytes.len());
        Budget { allowed, weights: weights.fold(0, usize::saturating_add) }
    }

    pub fn allowed(&self) -> Option<usize> {
        self.allowed
    }

    /// Refuses a session that is to have so many bytes besides its weights. `wanted` says which part of them is the largest,
    /// and how large that is.
    pub fn check(&self, bytes: usize, wanted: impl FnOnce() -> (String, usize)) -> Result<(), RunError> {
        let needed = bytes.saturating_add(self.weights);
        let Some(allowed) = self.allowed.filter(|allowed| needed > *allowed) else { return Ok(()) };
        let (what, bytes) = match wanted() {
            (_, bytes) if bytes <= self.weights => ("the weight data".into(), self.weights),
            other => other,
        };
        Err(RunError::MemoryLimit { what, bytes, needed, allowed })
    }
}

impl RunError {
    /// Memory that cannot be had for something that nobody has named yet.
    pub fn memory(bytes: usize) -> RunError {
        RunError::Memory { what: "a value".into(), bytes }
    }

    /// Of memory that cannot be had: says what wanted it, and how much.
    pub(crate) fn wanted_by(self, wanted: impl FnOnce() -> (String, usize)) -> RunError {
        match self {
            RunError::Memory { bytes, .. } => {
                let (what, known) = wanted();
                RunError::Memory { what, bytes: if bytes == usize::MAX { bytes } else { known } }
            }
            other => other,
        }
    }
}

/// What the states of a program are called, which have room for so many positions.
pub fn states(program: &Parts, positions: usize) -> String {
    let first = program.states.iter().find(|state| state.axis.is_some());
    let Some(state) = first.or(program.states.first()) else { return "no state".into() };
    let name = program.inputs[state.input].name.escape_debug();
    let others = match program.states.len() - 1 {
        0 => String::new(),
        n => format!(", with {n} more,"),
    };
    match state.axis {
        Some(_) => format!("the cache `{name}`{others} for {} positions", Grouped(positions)),
        None => format!("the state `{name}`{others}"),
    }
}

/// What a buffer is called: what gives it, or else its type.
pub fn buffer(program: &Parts, buffer: usize) -> String {
    let ty = &program.buffers[buffer].ty;
    match program.steps.iter().find(|step| step.results.contains(&Place::Buffer(buffer))) {
        Some(step) => format!("{ty}, which {} gives,", step.place),
        None => format!("a value {ty}"),
    }
}

/// A count of bytes as people read it.
pub struct Bytes(pub usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        if self.0 == usize::MAX {
            return f.write_str("more bytes than there are addresses");
        }
        let power = (0..UNITS.len()).rev().find(|p| self.0 >> (10 * p) > 0).unwrap_or(0);
        let value = self.0 as f64 / (1u64 << (10 * power)) as f64;
        let digits = if value < 10.0 && value.fract() > 0.0 { 1 } else { 0 };
        write!(f, "{value:.digits$} {}", UNITS[power])
    }
}

/// A number with its digits in threes.
struct Grouped(usize);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_people_read_them() {
        let told = [0, 1023, 1024, 1536, 191 << 30, usize::MAX].map(|bytes| Bytes(bytes).to_string());
        let wanted =
            ["0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "191 GiB", "more bytes than there are addresses"];
        assert_eq!(told, wanted);
        let grouped = [7, 999, 1000, 100_000_004].map(|n| Grouped(n).to_string());
        assert_eq!(grouped, ["7", "999", "1,000", "100,000,004"]);
    }
}
