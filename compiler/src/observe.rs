//! What is told while work goes on.

use crate::pass::Dump;

/// Watches a compilation, a calibration or an evaluation. What is not written is not listened to.
///
/// ```
/// use trine::{Compiler, Observer, Options, Progress};
///
/// struct Passes<'p>(&'p mut Vec<String>);
///
/// impl Observer for Passes<'_> {
///     fn pass(&mut self, dump: &trine::pass::Dump) {
///         self.0.push(dump.report.pass.into());
///     }
/// }
///
/// let mut passes = vec![];
/// let mut module = trine::parse("graph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %y = neg %x : f32[n]\n}\n", &[])?;
/// Compiler::new(Options::default())?.with_observer(Passes(&mut passes)).optimize(&mut module)?;
/// assert!(passes.contains(&"simplify".to_string()));
/// # Ok::<(), trine::Error>(())
/// ```
pub trait Observer {
    /// A sentence that a user may want to read.
    fn note(&mut self, _sentence: String) {}

    /// What a pass made of the module.
    fn pass(&mut self, _dump: &Dump) {}

    /// How far something is that takes long.
    fn progress(&mut self, _progress: Progress) {}
}

/// Watches nothing.
impl Observer for () {}

/// How far something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is done, in the words of "rounding".
    pub doing: &'static str,
    /// How much of it, of how much, and what is counted, in the words of "layers".
    pub done: usize,
    pub total: usize,
    pub unit: &'static str,
}
