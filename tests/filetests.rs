//! Tests that are programs: `ir/{text,verify,passes,clif,run}/*.ir`, each an input, `---`, and the whole text
//! that must come out. `BLESS=1 cargo test --test filetests` rewrites what stands after the `---`.
//!
//! Comments at the head of an input steer it:
//!
//! ```text
//! // passes: simplify,ternarize{method=twn}    the pipeline (in `passes/`)
//! // tolerance: 0.05                           where the model itself leaves room (in `passes/`)
//! // target: x86-64-v3                         the CPU that kernels are for (in `clif/`)
//! // kernel: signsum_i8_cranelift_2bit_8      a microkernel to take instead of the best (in `clif/`)
//! // fill @w: ternary 0.5 32                   what a constant without data holds, see `filetests/fill.rs`
//! // const @x: f32[2] = [1.0,2.0]              an input of `@main` (in `run/`)
//! ```
//!
//! In `passes/` every function is also run before and after on random inputs, and on special ones, and the results must
//! agree as far as the passes promise: to the bit or to rounding. What lossy passes give must be, to the bit, what the
//! module of the same name in `by_hand/` gives, which rounds in ordinary ops. Passes keep what they promise on modules drawn
//! at random too, on which each pass must fire.

#[path = "filetests/by_hand.rs"]
mod by_hand;
#[path = "filetests/clif.rs"]
mod clif;
#[path = "filetests/compare.rs"]
mod compare;
#[path = "filetests/compiled.rs"]
mod compiled;
#[path = "filetests/fill.rs"]
mod fill;
#[path = "filetests/random.rs"]
mod random;
#[path = "filetests/show.rs"]
mod show;

use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use trine::codegen::Target;
use trine::codegen::plan::form::form;
use trine::pass::{Driver, Exactness, Pipeline};
use trine::passes::PASSES;
use trine_ir::{Error, Module, eval, text, verify};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir");
    let mut trials = vec![];
    trials.push(Trial::test("by_hand/every_lossy_pass", by_hand::every_lossy_pass_has_one));
    for (folder, run) in [
        ("text", text_test as fn(&Input) -> Result<String, Failed>),
        ("verify", verify_test),
        ("passes", passes_test),
        ("kernels", kernels_test),
        ("clif", clif_test),
        ("run", run_test),
    ] {
        let mut files: Vec<_> = fs::read_dir(root.join(folder))
            .map(|entries| entries.filter_map(|e| Some(e.ok()?.path())).collect())
            .unwrap_or_default();
        files.retain(|f| f.extension().is_some_and(|e| e == "ir"));
        files.sort();
        for file in files {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            trials.push(Trial::test(format!("{folder}/{stem}"), move || check(&file, &stem, run)));
        }
    }
    for pass in PASSES {
        trials.push(Trial::test(format!("random/{}", pass.name), || random::pass_keeps_meaning(pass)));
    }
    trials.push(Trial::test("random/kernels", random::forming_keeps_meaning));
    trials.push(Trial::test("random/text", random::text_reads_back));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The part of a file above the `---`.
struct Input<'a> {
    /// Of the file, without folder and extension.
    name: &'a str,
    text: &'a str,
}

impl Input<'_> {
    /// What stands after `// key:` or `// key ` in the comments at the head, each time it does.
    fn header<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.lines().map_while(|l| l.strip_prefix("//")).map(str::trim);
        lines.filter_map(move |l| l.strip_prefix(key).map(|l| l.trim_start_matches(':').trim()))
    }

    fn module(&self) -> Result<Module, Error> {
        self.parse(self.text)
    }

    /// A module whose constants hold what those of this one do.
    fn parse(&self, text: &str) -> Result<Module, Error> {
        let fills: Vec<_> = self.header("fill").collect();
        text::parse_with(text, &|name, ty| fill::fill(&fills, name, ty))
    }
}

fn check(file: &Path, name: &str, run: fn(&Input) -> Result<String, Failed>) -> Result<(), Failed> {
    let all = fs::read_to_string(file)?;
    let (text, expected) = all.split_once("---\n").unwrap_or((&all, ""));
    let got = run(&Input { name, text })?;
    if got == expected {
        return Ok(());
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, format!("{text}---\n{got}"))?;
        return Ok(());
    }
    let diff = show::diff(expected, &got);
    Err(format!("{}: not as expected (BLESS=1 rewrites):\n{diff}", file.display()).into())
}

/// Parsing and printing: what is printed parses back to itself.
fn text_test(input: &Input) -> Result<String, Failed> {
    let module = match input.module() {
        Ok(module) => module,
        Err(error) => return Ok(format!("error: {error}\n")),
    };
    let printed = text::print_styled(&module, text::Style { locs: true });
    let again = input.parse(&printed)?;
    if text::print_styled(&again, text::Style { locs: true }) != printed {
        return Err(format!("does not print as it parses:\n{printed}").into());
    }
    Ok(printed)
}

fn verify_test(input: &Input) -> Result<String, Failed> {
    Ok(match verify(&input.module()?) {
        Ok(()) => "ok\n".into(),
        Err(error) => format!("error: {error}\n"),
    })
}

/// The module after the pipeline; then what was found, and what nearly was.
fn passes_test(input: &Input) -> Result<String, Failed> {
    let pipeline: Pipeline = input.header("passes").next().ok_or("no `// passes:` at the head")?.parse()?;
    let tolerance = input.header("tolerance").next().map(str::parse).transpose()?;
    run_passes(input, &pipeline, tolerance)
}

/// The module after its kernels are formed for this machine, which changes no bit.
fn kernels_test(input: &Input) -> Result<String, Failed> {
    let before = input.module()?;
    verify(&before)?;
    let mut after = before.clone();
    form(&mut after, &Target::host()?);
    verify(&after)?;
    compare::same_meaning(&before, &after, Exactness::Exact, None)?;
    Ok(text::print(&after))
}

/// The kernels of the module as Cranelift's text.
fn clif_test(input: &Input) -> Result<String, Failed> {
    let cpu = input.header("target").next().ok_or("no `// target:` at the head")?;
    let forced = input.header("kernel").map(String::from).collect();
    clif::kernels(input.module()?, cpu, forced)
}

fn run_passes(input: &Input, pipeline: &Pipeline, tolerance: Option<f64>) -> Result<String, Failed> {
    let before = input.module()?;
    let mut after = before.clone();
    let report = match Driver::new().run(pipeline, &mut after) {
        Ok(report) => report,
        Err(error) => return Ok(format!("error: {error}\n")),
    };
    let mut out = text::print(&after);
    for step in &report.steps {
        for layer in &step.layers {
            out += &format!("// {}: {layer}\n", step.pass);
        }
        for note in &step.notes {
            out += &format!("// {}: {note}\n", step.pass);
        }
        for miss in &step.near_misses {
            out += &format!("// {} refused at {}: {}\n", miss.rule, miss.place, miss.reason);
        }
    }
    let changed = report.steps.iter().any(|step| step.rewrites > 0);
    match (pipeline.exactness(), changed) {
        (Exactness::Lossy, true) => by_hand::same_rounding(input, &after)?,
        (Exactness::Lossy, false) => compare::same_meaning(&before, &after, Exactness::Exact, None)?,
        (exactness, _) => compare::same_meaning(&before, &after, exactness, tolerance)?,
    }
    Ok(out)
}

/// The outputs of `@main` on the constants at the head, which are those of the compiled module.
fn run_test(input: &Input) -> Result<String, Failed> {
    let lines: Vec<_> = input.header("const").map(|l| format!("const {l}\n")).collect();
    let inputs = text::parse(&lines.concat())?.consts;
    let module = input.module()?;
    verify(&module)?;
    let main = &module.main().ok_or("no `@main`")?.graph;
    let mut args = vec![];
    for param in main.params() {
        let name = main.name(*param);
        args.push(inputs.get(name).ok_or(format!("no `// const @{name}`"))?.clone());
    }
    Ok(match eval::run(&module, args.clone()) {
        Ok(outputs) => {
            compiled::same_outputs(module.clone(), &args, &outputs)?;
            let named = main.outputs().iter().zip(&outputs);
            named.map(|(v, t)| format!("@{}: {}\n", main.name(*v), show::tensor(t))).collect()
        }
        Err(error) => format!("error: {error}\n"),
    })
}
