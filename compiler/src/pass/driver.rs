//! Running a pipeline: what is common to all passes.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use trine_ir::{Module, text, verify};

use super::{Cx, Options, PassError, Pipeline, Step};
use crate::pattern::NearMiss;
use crate::ternarize::Layer;

/// After which passes the module is dumped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrintAfter {
    #[default]
    None,
    All,
    /// Those that rewrote something.
    Changed,
    /// The pass of this name.
    Pass(String),
}

impl From<&str> for PrintAfter {
    fn from(word: &str) -> PrintAfter {
        match word {
            "all" => PrintAfter::All,
            "changed" => PrintAfter::Changed,
            name => PrintAfter::Pass(name.into()),
        }
    }
}

/// The module after a pass, as text on request.
pub struct Dump<'a> {
    /// The pass with its options.
    pub step: &'a str,
    pub report: &'a StepReport,
    pub module: &'a Module,
}

impl Dump<'_> {
    /// The module as a reader of the dumps wants it: a comment that says where it stands, then the text.
    pub fn text(&self) -> String {
        format!("// after {}: {} rewrites\n{}", self.step, self.report.rewrites, text::print(self.module))
    }
}

/// What one pass did.
#[derive(Clone, Debug)]
pub struct StepReport {
    pub pass: &'static str,
    pub options: Options,
    pub rewrites: usize,
    pub time: Duration,
    pub near_misses: Vec<NearMiss>,
    pub notes: Vec<String>,
    pub layers: Vec<Layer>,
}

/// What each pass did, in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub steps: Vec<StepReport>,
}

impl Report {
    /// What nearly matched: each rule at each place once, with the pass that had it.
    pub fn near_misses(&self) -> impl Iterator<Item = (&'static str, &NearMiss)> {
        let mut told = FxHashSet::default();
        let all = self.steps.iter().flat_map(|s| s.near_misses.iter().map(|m| (s.pass, m)));
        all.filter(move |(_, m)| told.insert((m.rule, m.place.function.clone(), m.place.value.clone())))
    }
}

type Sink<'a> = Box<dyn FnMut(Dump) + 'a>;

/// Runs pipelines.
#[derive(Default)]
pub struct Driver<'a> {
    print_after: PrintAfter,
    sink: Option<Sink<'a>>,
    stop_after: Option<usize>,
}

impl<'a> Driver<'a> {
    pub fn new() -> Driver<'a> {
        Driver::default()
    }

    /// Gives the module after the passes that `when` names to `sink`.
    pub fn print_after(mut self, when: impl Into<PrintAfter>, sink: impl FnMut(Dump) + 'a) -> Self {
        self.print_after = when.into();
        self.sink = Some(Box::new(sink));
        self
    }

    /// Leaves out all passes behind the first `count`, to find the one at fault.
    pub fn stop_after(mut self, count: usize) -> Self {
        self.stop_after = Some(count);
        self
    }

    /// Runs the passes on a module that must verify, and verifies after each.
    pub fn run(&mut self, pipeline: &Pipeline, module: &mut Module) -> Result<Report, PassError> {
        verify(module).map_err(|e| PassError::Input(Box::new(e)))?;
        let mut report = Report::default();
        for step in pipeline.0.iter().take(self.stop_after.unwrap_or(usize::MAX)) {
            report.steps.push(self.step(step, module)?);
        }
        Ok(report)
    }

    fn step(&mut self, step: &Step, module: &mut Module) -> Result<StepReport, PassError> {
        // Constants are shared, so this copies nothing but the graphs.
        let before = module.clone();
        let start = Instant::now();
        let mut cx = Cx { options: step.options.clone(), ..Cx::default() };
        let rewrites = (step.pass.run)(module, &mut cx)?;
        module.sweep();
        let time = start.elapsed();
        verify(module).map_err(|error| PassError::Broke {
            pass: step.to_string(),
            reproducer: format!("// passes: {step}\n// {error}\n{}", text::print(&before)),
            error: Box::new(error),
        })?;
        let report = StepReport {
            pass: step.pass.name,
            options: cx.options,
            rewrites,
            time,
            near_misses: cx.near_misses,
            notes: cx.notes,
            layers: cx.layers,
        };
        let wanted = match &self.print_after {
            PrintAfter::None => false,
            PrintAfter::All => true,
            PrintAfter::Changed => rewrites > 0,
            PrintAfter::Pass(name) => name == step.pass.name,
        };
        if let Some(sink) = self.sink.as_mut().filter(|_| wanted) {
            sink(Dump { step: &step.to_string(), report: &report, module });
        }
        Ok(report)
    }
}
