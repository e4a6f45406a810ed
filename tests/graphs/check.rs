//! What is tried of a graph: every level, compiled beside interpreted, on all runs in one session, and text.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use trine::import::{ImportError, import_bytes};
use trine::pass::{Driver, Exactness};
use trine::passes::PASSES;
use trine::{Level, Options, RunError, Session, SessionOptions, build_program};
use trine_ir::{Module, Tensor, eval, sidecar, text, verify};

use super::build::Case;
use super::choices::Choices;
use super::order::Order;
use super::walk::{self, Noise};
use super::{compare, shipped};

/// What is tried of one graph.
#[derive(Clone, Debug)]
pub struct Plan {
    pub levels: Vec<Level>,
    pub threads: usize,
    /// Which inputs the session gets, one after the other.
    pub order: Vec<usize>,
}

/// How a graph went.
pub enum Verdict {
    Passed(Vec<&'static str>),
    /// The model is refused, with a typed error.
    Refused(String),
    /// It runs on none of the inputs.
    Idle(String),
    Failed(String, Option<Module>),
}

impl Plan {
    pub fn of(choices: &mut Choices) -> Plan {
        let other = choices.pick(&[Level::O0, Level::O1]);
        let threads = choices.between(1, 3) as usize;
        let order = choices.pick(&[[0, 1, 0, 2], [2, 1, 0, 2], [1, 0, 1, 2], [0, 2, 0, 1]]).to_vec();
        Plan { levels: vec![Level::O2, other], threads, order }
    }
}

/// Imports a model and tries it. A panic is the caller's to catch.
pub fn check(case: &Case, plan: &Plan) -> Verdict {
    let bytes: Bytes = case.model.encode_to_vec().into();
    let module = match import_bytes(bytes, None) {
        Ok(module) => module,
        Err(ImportError::Verify(error)) => {
            return Verdict::Failed(format!("import broke the module: {error}"), None);
        }
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    match try_module(&module, &case.runs, plan) {
        Ok(Tried::Ran(passes)) => Verdict::Passed(passes),
        Ok(Tried::Idle(why)) => Verdict::Idle(why),
        Err(message) => Verdict::Failed(message, Some(module)),
    }
}

pub enum Tried {
    /// The passes that changed something.
    Ran(Vec<&'static str>),
    Idle(String),
}

/// Everything that must hold of a module and its inputs.
pub fn try_module(module: &Module, runs: &[Vec<Tensor>], plan: &Plan) -> Result<Tried, String> {
    verify(module).map_err(|e| format!("verify: {e}"))?;
    reads_back(module)?;
    let want: Vec<_> = runs.iter().map(|inputs| eval::run(module, inputs.clone())).collect();
    let mut fired = vec![];
    for level in &plan.levels {
        let options = Options { level: *level, ..Options::default() };
        let mut after = module.clone();
        let pipeline = options.pipeline(module).map_err(|e| e.to_string())?;
        let report = Driver::new().run(&pipeline, &mut after).map_err(|e| format!("{level:?}: {e}"))?;
        let changed: Vec<_> = report.steps.iter().filter(|s| s.rewrites > 0).map(|s| s.pass).collect();
        let exact = changed
            .iter()
            .all(|name| PASSES.iter().any(|p| p.name == *name && p.exactness == Exactness::Exact));
        let passed = passes_keep_meaning(module, &after, runs, &want, exact);
        let meant = passed.map_err(|e| format!("passes of {level:?} ({}): {e}", changed.join(", ")))?;
        fired.extend(changed);
        let program =
            build_program(after.clone(), &options).map_err(|e| format!("build at {level:?}: {e}"))?;
        let how = SessionOptions { threads: plan.threads, ..SessionOptions::default() };
        let mut session = Session::new(Arc::new(program), &how);
        let mut loaded = match level {
            Level::O2 => {
                let program = shipped::file(&after, &options).and_then(shipped::load);
                Some(Session::new(Arc::new(program.map_err(|e| format!("as a file: {e}"))?), &how))
            }
            Level::O0 | Level::O1 => None,
        };
        let order = Order::of(&after);
        for (nth, run) in plan.order.iter().enumerate() {
            let Some(inputs) = runs.get(*run) else { continue };
            let place = format!("compiled at {level:?}, {} threads, run {nth} on inputs {run}", plan.threads);
            let (got, want) = (session.run(inputs), &meant[*run]);
            if let Some(loaded) = &mut loaded {
                same_bits(&got, &loaded.run(inputs))
                    .map_err(|e| format!("{place}, loaded from a file: {e}"))?;
            }
            let (got, want) = match (got, want) {
                (Ok(got), Ok(want)) => (got, want),
                (Err(_), Err(_)) => continue,
                (Ok(_), Err(e)) => return Err(format!("{place}: runs, but interpreted it does not: {e}")),
                (Err(e), Ok(_)) => return Err(format!("{place}: {e}")),
            };
            compare_outputs(&after, inputs, want, &got, &order).map_err(|e| format!("{place}: {e}"))?;
        }
    }
    match want.iter().find_map(|w| w.as_ref().err()) {
        Some(e) if want.iter().all(Result::is_err) => Ok(Tried::Idle(e.to_string())),
        _ => Ok(Tried::Ran(fired)),
    }
}

/// Whether a program and the same from a file did the same.
fn same_bits(
    compiled: &Result<Vec<Tensor>, RunError>,
    loaded: &Result<Vec<Tensor>, RunError>,
) -> Result<(), String> {
    match (compiled, loaded) {
        (Ok(compiled), Ok(loaded)) => {
            let same = |(a, b): (&Tensor, &Tensor)| a.ty() == b.ty() && a.bytes() == b.bytes();
            match compiled.len() == loaded.len() && compiled.iter().zip(loaded).all(same) {
                true => Ok(()),
                false => Err("other bits".into()),
            }
        }
        (Err(compiled), Err(loaded)) if compiled == loaded => Ok(()),
        (Err(e), Ok(_)) => Err(format!("it runs, which fails compiled: {e}")),
        (_, Err(e)) => Err(e.to_string()),
    }
}

type Results = Result<Vec<Tensor>, trine_ir::Error>;

/// What `after` gives on each of the inputs, which is what `before` gave.
fn passes_keep_meaning(
    before: &Module,
    after: &Module,
    runs: &[Vec<Tensor>],
    want: &[Results],
    exact: bool,
) -> Result<Vec<Results>, String> {
    let mut meant = vec![];
    let jumps = Order::of(before).jumps;
    for (run, (inputs, want)) in runs.iter().zip(want).enumerate() {
        let got = eval::run(after, inputs.clone());
        match (&got, want) {
            (Ok(got), Ok(want)) => {
                let mut difference = compare::difference(want, got).filter(|_| !rounds_rows(before));
                if difference.is_some() && !exact {
                    difference = compare::unexplained(want, got, &shaken(before, inputs), &jumps);
                }
                if let Some(difference) = difference {
                    return Err(format!("on inputs {run}: {difference}"));
                }
            }
            (Err(e), Ok(_)) => return Err(format!("on inputs {run}: {e}")),
            // What is not used any more cannot fail any more.
            (_, Err(_)) => {}
        }
        meant.push(got);
    }
    Ok(meant)
}

/// Whether the model lets its products round what they sum to int8 (`accuracy_level` 4), which passes do.
fn rounds_rows(module: &Module) -> bool {
    let rounds = |op: &trine_ir::Op| matches!(op, trine_ir::Op::DequantizeBlocks(d) if d.int8);
    let graphs = module.functions.values().map(|f| &f.graph);
    graphs.into_iter().any(|g| g.order().into_iter().any(|n| g.op(n).is_some_and(rounds)))
}

/// Outputs to the bit, but for those that are summed in another order.
fn compare_outputs(
    module: &Module,
    inputs: &[Tensor],
    want: &[Tensor],
    got: &[Tensor],
    order: &Order,
) -> Result<(), String> {
    for (i, is_loose) in order.loose.iter().enumerate() {
        let (w, g) = (&want[i..=i], &got[i..=i]);
        let Some(difference) = compare::difference(w, g) else { continue };
        if !is_loose {
            return Err(format!("value {i} (to be the same to the bit): {difference}"));
        }
        let runs: Vec<_> = shaken(module, inputs).into_iter().map(|mut r| vec![r.swap_remove(i)]).collect();
        if let Some(difference) = compare::unexplained(w, g, &runs, &order.jumps[i..=i]) {
            return Err(format!("value {i}: {difference}"));
        }
    }
    Ok(())
}

/// The outputs with every number off by a little, a few times, and once with small numbers as 0: what cancels in one
/// order of a sum leaves a little in another.
fn shaken(module: &Module, inputs: &[Tensor]) -> Vec<Vec<Tensor>> {
    let mut random = Choices::of_seed(1);
    let noises = [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0].map(|units| (units, false));
    let outputs = |(units, flush)| walk::outputs(module, inputs, Noise { random: &mut random, units, flush });
    // Sizes that depend on numbers may not fit any more in some.
    let (runs, errors): (Vec<_>, Vec<_>) =
        noises.into_iter().chain([(1.0, true)]).map(outputs).partition(Result::is_ok);
    assert!(!runs.is_empty(), "nothing runs with other last bits: {errors:?}");
    runs.into_iter().flatten().collect()
}

/// Text and weights give the module again.
fn reads_back(module: &Module) -> Result<(), String> {
    let mut weights = vec![];
    sidecar::write(module, &mut weights).map_err(|e| e.to_string())?;
    let printed = text::print(module);
    let again =
        sidecar::parse(&printed, &weights.into()).map_err(|e| format!("the text does not parse: {e}"))?;
    if text::print(&again) == printed { Ok(()) } else { Err("the text does not print as it parses".into()) }
}
