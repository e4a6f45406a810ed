//! Running a pipeline: what is common to all passes.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use serde::Serialize;
use trine_ir::fault::message;
use trine_ir::{Module, text, verify};

use super::{Cx, Options, PassError, Pipeline, Step};
use crate::pattern::NearMiss;
use crate::serialize::as_seconds;
use trine_ternarize::Layer;

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

impl PrintAfter {
    /// Whether the module is shown after the pass that did this.
    pub fn wants(&self, report: &StepReport) -> bool {
        match self {
            PrintAfter::None => false,
            PrintAfter::All => true,
            PrintAfter::Changed => report.rewrites > 0,
            PrintAfter::Pass(name) => name == report.pass,
        }
    }
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
    pub before: &'a Module,
    pub module: &'a Module,
}

impl Dump<'_> {
    /// The module as a reader of the dumps wants it: a comment that says where it stands, then the text.
    pub fn text(&self) -> String {
        format!("// after {}: {} rewrites\n{}", self.step, self.report.rewrites, text::print(self.module))
    }
}

/// What one pass did.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    pub pass: &'static str,
    pub options: Options,
    pub rewrites: usize,
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub time: Duration,
    pub near_misses: Vec<NearMiss>,
    pub notes: Vec<String>,
    pub layers: Vec<Layer>,
}

/// What each pass did, in order.
#[derive(Clone, Debug, Default, Serialize)]
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

/// A line a pass, and how many rules nearly matched.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.steps.iter().map(|s| s.pass.len()).max().unwrap_or(0);
        for StepReport { pass, rewrites, time, .. } in &self.steps {
            writeln!(f, "{pass:width$}  {rewrites:>6} rewrites  {:>9.1} ms", time.as_secs_f64() * 1e3)?;
        }
        match self.near_misses().count() {
            0 => Ok(()),
            n => writeln!(f, "{n} near misses of rules: `trine explain` tells them"),
        }
    }
}

type Sink<'a> = Box<dyn FnMut(Dump) + 'a>;

/// Runs pipelines.
#[derive(Default)]
pub struct Driver<'a> {
    print_after: PrintAfter,
    sink: Option<Sink<'a>>,
    stop_after: Option<StopAfter>,
}

/// Where a pipeline ends early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopAfter {
    /// So many passes.
    Count(usize),
    /// The first pass of this name.
    Pass(String),
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

    /// Leaves out all passes after some, to find the one at fault.
    pub fn stop_after(mut self, last: StopAfter) -> Self {
        self.stop_after = Some(last);
        self
    }

    /// Runs the passes on a module that must verify, and verifies after each.
    pub fn run(&mut self, pipeline: &Pipeline, module: &mut Module) -> Result<Report, PassError> {
        verify(module).map_err(|e| PassError::Input(Box::new(e)))?;
        let mut report = Report::default();
        for (i, step) in pipeline.0.iter().enumerate() {
            if self.stop_after == Some(StopAfter::Count(i)) {
                break;
            }
            report.steps.push(self.step(step, module)?);
            if matches!(&self.stop_after, Some(StopAfter::Pass(name)) if name == step.pass.name) {
                break;
            }
        }
        Ok(report)
    }

    fn step(&mut self, step: &Step, module: &mut Module) -> Result<StepReport, PassError> {
        // Constants are shared, so this copies nothing but the graphs.
        let before = module.clone();
        let start = Instant::now();
        let mut cx = Cx { options: step.options.clone(), ..Cx::default() };
        let run = || {
            let rewrites = (step.pass.run)(module, &mut cx)?;
            module.sweep();
            Ok::<_, PassError>(rewrites)
        };
        let rewrites = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(rewrites) => rewrites?,
            Err(panic) => {
                let (pass, message) = (step.to_string(), message(&*panic));
                return Err(PassError::Panicked { pass, message, before: Box::new(before) });
            }
        };
        let time = start.elapsed();
        if let Err(error) = verify(module) {
            let (pass, error) = (step.to_string(), Box::new(error));
            return Err(PassError::Broke { pass, error, before: Box::new(before) });
        }
        let report = StepReport {
            pass: step.pass.name,
            options: cx.options,
            rewrites,
            time,
            near_misses: cx.near_misses,
            notes: cx.notes,
            layers: cx.layers,
        };
        tracing::info!(pass = %step, rewrites, ms = %format_args!("{:.1}", time.as_secs_f64() * 1e3), "ran a pass");
        for miss in &report.near_misses {
            tracing::debug!(rule = miss.rule, place = %miss.place, reason = %miss.reason, "a rule nearly matched");
        }
        for note in &report.notes {
            tracing::debug!(pass = step.pass.name, "{note}");
        }
        if let Some(sink) = self.sink.as_mut().filter(|_| self.print_after.wants(&report)) {
            sink(Dump { step: &step.to_string(), report: &report, before: &before, module });
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::{Exactness, Pass};
    use trine_ir::Fault;

    static PANICS: Pass = Pass {
        name: "panics",
        about: "Panic after half of the work",
        exactness: Exactness::Exact,
        options: &[],
        run: |module, _| {
            module.functions.clear();
            panic!("half done")
        },
    };

    #[test]
    fn a_pass_that_panics_leaves_what_it_panicked_on() {
        let source = "graph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %y = neg %x : f32[n]\n}\n";
        let mut module = text::parse(source).unwrap();
        let pipeline = Pipeline(vec![Step { pass: &PANICS, options: Options::default() }]);
        let error = Driver::new().run(&pipeline, &mut module).unwrap_err();
        assert_eq!(
            (error.fault(), error.to_string().as_str()),
            (Fault::Trine, "pass `panics` panicked: half done")
        );
        let PassError::Panicked { pass, before, .. } = error else { panic!("{error}") };
        assert_eq!((pass.as_str(), text::print(&before).as_str()), ("panics", source));
    }
}
