//! The process that graphs run in: it says which seed is next, and how each went, a line each.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trine_ir::eval;

use crate::caught::caught;
use crate::dump;
use crate::graphs::check::{Plan, Tried, Verdict, check, try_module};
use crate::graphs::choices::Choices;
use crate::graphs::{build::Case, generate};
use crate::parent::{EXPLAIN, PATIENCE, SEEDS, TRY};
use crate::shrink::{Failing, shrink};

/// Where models are written for other runtimes.
pub const OUT: &str = "TRINE_GRAPHS_OUT";

/// Tries the seeds from `first` on, to before `end`.
pub fn run(first: u64, end: u64) {
    let out = std::env::var_os(OUT).map(PathBuf::from);
    for seed in first..end {
        say(&format!("begin {seed}"));
        let line = match caught(|| one(seed, out.as_deref())) {
            Ok(line) => line,
            Err(panic) => format!("failed {panic}"),
        };
        say(&format!("end {seed} {}", line.replace('\n', "\\n")));
    }
}

fn one(seed: u64, out: Option<&Path>) -> Result<String, String> {
    let Some((case, plan)) = graph(seed, usize::MAX, out.is_some()) else { return Ok("empty".into()) };
    if let Some(folder) = out {
        return written(&case, &folder.join(seed.to_string()));
    }
    Ok(match check(&case, &plan) {
        Verdict::Passed(passes) => format!("passed {}", passes.join(",")),
        Verdict::Refused(why) => format!("refused {why}"),
        Verdict::Idle(why) => format!("idle {why}"),
        Verdict::Failed(message, _) => format!("failed {message}"),
    })
}

/// The model and what the interpreter makes of it, as files.
fn written(case: &Case, folder: &Path) -> Result<String, String> {
    use prost::Message;
    let module = match trine::import::import_bytes(case.model.encode_to_vec().into(), None) {
        Ok(module) => module,
        Err(error) => return Ok(format!("refused {error}")),
    };
    let outputs: Result<Vec<_>, _> =
        case.runs.iter().map(|inputs| eval::run(&module, inputs.clone())).collect();
    match outputs {
        Ok(outputs) => dump::model(folder, case, &outputs).map(|()| "passed ".into()),
        Err(error) => Ok(format!("idle {error}")),
    }
}

/// The graph of a seed, and what is tried of it.
pub fn graph(seed: u64, limit: usize, all: bool) -> Option<(Case, Plan)> {
    let mut choices = Choices::of_seed(seed);
    let plan = Plan::of(&mut choices);
    Some((generate(&mut choices, limit, all)?, plan))
}

/// Says all there is to say of a seed that fails: the model, and the smallest module that fails too.
pub fn explain(seed: u64, crashes: bool) {
    // The fewest steps that do it.
    let fails = |limit: usize| -> Option<(Case, Plan, String, Option<Failing>)> {
        let (case, plan) = graph(seed, limit, false)?;
        if crashes {
            let failing = imported(&case)?;
            let why = crash(&failing, &plan)?;
            return Some((case, plan, why, Some(failing)));
        }
        let verdict = caught(|| Ok(check(&case, &plan)));
        let (message, module) = match verdict {
            Ok(Verdict::Failed(message, module)) => (message, module),
            Ok(_) => return None,
            Err(panic) => (panic, None),
        };
        let runs = case.runs.clone();
        let failing = module.map(|module| Failing { module, runs }).or_else(|| imported(&case));
        Some((case, plan, message, failing))
    };
    let Some((case, plan, message, failing)) = (1..12).find_map(fails).or_else(|| fails(usize::MAX)) else {
        println!("seed {seed} does not fail");
        return;
    };
    println!("seed {seed}: {message}");
    if let Some(graph) = &case.model.graph {
        println!("{}", dump::nodes(graph));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/graphs/{seed}"));
    match dump::model(&folder, &case, &[]) {
        Ok(()) => println!("in {}", folder.display()),
        Err(error) => println!("not written: {error}"),
    }
    let Some(failing) = failing else { return };
    let plan = &plainer(plan, |plan| {
        if crashes { crash(&failing, plan) } else { failure(&failing, plan) }.is_some()
    });
    let kind = |message: &str| message.chars().filter(|c| !c.is_ascii_digit()).take(24).collect::<String>();
    let wanted = kind(&message);
    let small = shrink(failing, &mut |f| {
        let message = if crashes { crash(f, plan) } else { failure(f, plan) };
        message.is_some_and(|m| kind(&m) == wanted)
    });
    let left = if crashes { crash(&small, plan) } else { failure(&small, plan) };
    println!("{}\n{plan:?}\n{}", left.unwrap_or_default(), dump::shown(&small));
    if let Err(error) = dump::module(&folder, &small) {
        println!("the small one is not written: {error}");
    }
}

/// One level, one thread and one order of runs where these do.
fn plainer(mut plan: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    for level in plan.levels.clone() {
        let less = Plan { levels: vec![level], ..plan.clone() };
        if fails(&less) {
            plan = less;
            break;
        }
    }
    let less = Plan { threads: 1, ..plan.clone() };
    if fails(&less) { less } else { plan }
}

fn imported(case: &Case) -> Option<Failing> {
    use prost::Message;
    let module = caught(|| {
        trine::import::import_bytes(case.model.encode_to_vec().into(), None).map_err(|e| e.to_string())
    });
    Some(Failing { module: module.ok()?, runs: case.runs.clone() })
}

fn failure(f: &Failing, plan: &Plan) -> Option<String> {
    caught(|| try_module(&f.module, &f.runs, plan).map(|_| ())).err()
}

/// How another process that tries the module ends, if not well.
fn crash(f: &Failing, plan: &Plan) -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    dump::module(folder.path(), f).ok()?;
    let mut child = std::process::Command::new(std::env::current_exe().ok()?)
        .env_remove(SEEDS)
        .env_remove(EXPLAIN)
        .env(TRY, folder.path())
        .env("TRINE_GRAPHS_THREADS", plan.threads.to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .ok()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Some("it does not end".into());
            }
        }
    };
    (!status.success()).then(|| format!("the process died: {status}"))
}

/// Tries a module that lies in a folder.
pub fn try_folder(folder: &Path) {
    let failing = dump::read(folder).expect("a module that this test wrote");
    let mut plan = Plan::of(&mut Choices::of_seed(0));
    plan.threads = std::env::var("TRINE_GRAPHS_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(1);
    match caught(|| try_module(&failing.module, &failing.runs, &plan)) {
        Ok(Tried::Ran(passes)) => println!("passed {}", passes.join(",")),
        Ok(Tried::Idle(why)) => println!("idle {why}"),
        Err(message) => println!("failed {message}"),
    }
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}
