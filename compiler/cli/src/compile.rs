//! `trine compile`: a model as a file that is loaded without a compiler, or as an object file, for programs that are not in
//! Rust and machines without Trine; or its kernels as text, for those who want to know what they are.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use trine::codegen::image::object::{Object, Weights};
use trine::codegen::image::text::Language;
use trine::codegen::{BuildError, Target};
use trine::{Backend, Compiler};

use super::Out;
use super::args::{CompileArgs, DimArgs, suggest};
use super::failure::{Failure, Outcome};
use super::model::{Notes, is_artefact, load, say, warn_of_losses};
use super::progress::Spinner;

const EXAMPLES: &str = "\
Examples:
  trine compile model.onnx -o model.trine                      compiled for this machine; every command takes it
  trine compile model.onnx -o model.trine --cpu v2,v3,v4       one file for three kinds of CPU, with the weights once
  trine compile model.onnx -o model.trine --cpu aarch64+dotprod    for another machine: an architecture, and what it has
  trine compile model.onnx -o build                            build/model.o and build/model.h
  trine compile model.onnx -o build --cpu v3                   for any CPU with AVX2
  trine compile model.onnx -o build --cpu native               for this machine, with all that it can do
  trine compile model.onnx -o build --name net && cc main.c build/net.o
  trine compile model.onnx -o build --emit shared --weights file    build/model.so and build/model.weights, for dlopen
  trine compile model.onnx --emit asm --cpu native --kernel add_rms_norm_64

A .trine file is code: load only what you trust. Where a model is for several CPUs, the best that a machine has is run.

An object holds code, microkernels and weights; whatever links it needs nothing of Trine. The header says in code what
inputs, outputs and open sizes there are, and declares
  int64_t NAME_check_cpu(void);
  int64_t NAME_arena_size(const int64_t *dims);
  int64_t NAME_run(const void *const *inputs, void *const *outputs, const int64_t *dims, void *arena);
and, where there are caches, NAME_state_bytes and NAME_run_held, which keeps them in place.";

/// Compile a model to a file that is loaded at once, or to an object file for C, or show its kernels
///
/// Writes a .trine file, which every command takes in place of a model, and programs with the runtime alone; or NAME.o,
/// which holds code and weights, and NAME.h. There is no interpreter in an object: a model with ops that no kernel is made
/// for is refused, with all of them by name. Kernels are shown on standard output.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx or .ir
    model: PathBuf,

    /// What to make [default: what --output is called says: a .trine file, or an object file in a folder]
    #[arg(long, value_name = "KIND")]
    emit: Option<Emit>,

    /// The .trine file to write, or the folder for an object file, which is made where there is none
    #[arg(short, long, value_name = "FILE|FOLDER")]
    output: Option<PathBuf>,

    /// Where the weights of an object are: in it, or in NAME.weights, which the caller maps
    #[arg(long, value_name = "WHERE", default_value = "embed")]
    weights: WeightsArg,

    /// Show this kernel alone
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,

    /// What files and functions are called [default: as the model's file is]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,

    /// Which machines it is for: a CPU such as x86-64-v3 (or v3), `native` for this one, or the baseline of a triple such
    /// as aarch64-unknown-linux-gnu; of a .trine file several, with commas between [default: native for a .trine file, the
    /// baseline of this architecture for an object]
    #[arg(long, visible_alias = "target", value_name = "CPU|TRIPLE", value_delimiter = ',', value_parser = parse_target)]
    cpu: Vec<String>,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Emit {
    /// A file that the runtime loads
    Trine,
    /// NAME.o and NAME.h
    Obj,
    /// NAME.so and NAME.h, which the C compiler links
    Shared,
    /// Trine's IR: the model as calls of kernels, and the kernels
    Ir,
    /// The same as graphs for Graphviz
    Dot,
    /// Kernels in the language of Cranelift
    Clif,
    /// Kernels in the instructions of the target
    Asm,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum WeightsArg {
    Embed,
    File,
}

impl Emit {
    /// The language that kernels are shown in.
    fn language(self) -> Option<Language> {
        match self {
            Emit::Trine | Emit::Obj | Emit::Shared => None,
            Emit::Ir => Some(Language::Ir),
            Emit::Dot => Some(Language::Dot),
            Emit::Clif => Some(Language::Clif),
            Emit::Asm => Some(Language::Assembly),
        }
    }
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let options = args.compile.options();
    let emit = args.emit.unwrap_or(match args.output.as_deref() {
        Some(path) if is_artefact(path) => Emit::Trine,
        _ => Emit::Obj,
    });
    if args.kernel.is_some() && emit.language().is_none() {
        return Err(Failure::usage("a file holds all kernels", "--emit clif shows one"));
    }
    let default = if matches!(emit, Emit::Trine) { "native" } else { "baseline" };
    let cpus = if args.cpu.is_empty() { vec![default.to_string()] } else { args.cpu };
    let targets = cpus.iter().map(|cpu| Target::named(cpu)).collect::<Result<Vec<_>, _>>();
    let targets = targets.map_err(BuildError::from)?;
    if targets.len() > 1 && !matches!(emit, Emit::Trine) {
        return Err(Failure::usage(
            "only a .trine file is for several CPUs",
            "--output FILE.trine names one",
        ));
    }
    let make = match (emit, args.output) {
        (Emit::Trine, Some(path)) => Make::Artefact(path),
        (Emit::Trine, None) => {
            return Err(Failure::usage("a .trine file needs a name", "--output FILE.trine gives one"));
        }
        (Emit::Obj | Emit::Shared, None) => {
            return Err(Failure::usage("an object file needs a folder", "--output FOLDER names it"));
        }
        (Emit::Obj | Emit::Shared, Some(_)) if options.backend == Backend::Interpret => {
            return Err(Failure::usage("there is no interpreter in an object file", "leave out --backend"));
        }
        (Emit::Obj | Emit::Shared, Some(folder)) => {
            Make::Object { folder, is_shared: matches!(emit, Emit::Shared) }
        }
        (Emit::Ir | Emit::Dot | Emit::Clif | Emit::Asm, _) => {
            Make::Text(emit.language().unwrap_or(Language::Ir))
        }
    };
    let (mut module, sources) = load(&args.model, &args.dims.dims)?;
    let progress = Spinner::new(format!("compiling {}", args.model.display()));
    let mut notes = vec![];
    let compiler = |target: &Target| Compiler::for_target(target.clone(), options.clone());
    let others = targets[1..].iter().map(compiler).collect::<Result<Vec<_>, _>>()?;
    let mut compiler = compiler(&targets[0])?.with_observer(Notes(&mut notes));
    warn_of_losses(&compiler.optimize(&mut module)?);
    let written = match make {
        Make::Text(language) => {
            let text = compiler.show(module, language, args.kernel.as_deref())?;
            drop(progress);
            return Ok(out.write_all(text.as_bytes())?);
        }
        Make::Artefact(path) => {
            let mut variants = vec![compiler.variant(module.clone(), &cpus[0])?];
            for (mut compiler, cpu) in others.into_iter().zip(&cpus[1..]) {
                variants.push(compiler.variant(module.clone(), cpu)?);
            }
            trine::save_artefact(&variants, &path)?;
            format!("{}\n", path.display())
        }
        Make::Object { folder, is_shared } => {
            let name = args.name.unwrap_or_else(|| identifier(&args.model));
            let weights = match args.weights {
                WeightsArg::Embed => Weights::Embed,
                WeightsArg::File => Weights::File,
            };
            let object = compiler.object(module, &name, weights)?;
            write_object(&object, &folder, &name, is_shared)?
        }
    };
    drop(compiler);
    sources.check()?;
    drop(progress);
    say(&notes);
    Ok(out.write_all(written.as_bytes())?)
}

/// What is made, and where it goes.
enum Make {
    Artefact(PathBuf),
    Object { folder: PathBuf, is_shared: bool },
    Text(Language),
}

/// Writes an object, or a library of it, and what belongs to it, and says what there is now and how it is linked.
fn write_object(object: &Object, folder: &Path, name: &str, is_shared: bool) -> Result<String, Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Failure::input(format!("there can be no folder `{}`: {e}", folder.display()), ""))?;
    let path = |extension: &str| folder.join(format!("{name}.{extension}"));
    let math = if object.needs_math { " -lm" } else { "" };
    let code = path(if is_shared { "so" } else { "o" });
    match is_shared {
        true => link(&object.bytes, folder, &code)?,
        false => trine::write_atomically(&code, |file| file.write_all(&object.bytes))?,
    }
    let mut said = format!("{}\n", code.display());
    let others = [("h", Some(object.header.as_bytes())), ("weights", object.weights.as_deref())];
    for (extension, bytes) in others {
        if let Some(bytes) = bytes {
            trine::write_atomically(&path(extension), |file| file.write_all(bytes))?;
            said += &format!("{}\n", path(extension).display());
        }
    }
    if !is_shared {
        said += &format!("cc main.c {}{math}\n", code.display());
    }
    Ok(said)
}

/// Has the C compiler make a shared library of an object. It depends on no other library.
fn link(object: &[u8], folder: &Path, library: &Path) -> Outcome {
    let fail =
        |what: String| Failure::input(what, "--emit obj needs no linker; the variable CC names another one");
    let given = tempfile::Builder::new().suffix(".o").tempfile_in(folder);
    let given = given.map_err(|e| fail(format!("cannot write to `{}`: {e}", folder.display())))?;
    std::fs::write(given.path(), object)?;
    let made = tempfile::Builder::new().suffix(".so").tempfile_in(folder)?.into_temp_path();
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&cc);
    command.args(["-shared", "-nostdlib", "-o"]).arg(&made).arg(given.path());
    let linked = command.output().map_err(|e| fail(format!("cannot start `{}`: {e}", cc.display())))?;
    if !linked.status.success() {
        return Err(fail(format!("`{}` failed: {}", cc.display(), String::from_utf8_lossy(&linked.stderr))));
    }
    let bytes = std::fs::read(&made)?;
    Ok(trine::write_atomically(library, |file| file.write_all(&bytes))?)
}

/// The stem of a file as a C identifier.
fn identifier(path: &Path) -> String {
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let mut name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, '_');
    }
    name
}

fn parse_name(text: &str) -> Result<String, String> {
    match trine::codegen::image::object::is_identifier(text) {
        true => Ok(text.into()),
        false => Err(format!("`{}` is not a C identifier", text.escape_debug())),
    }
}

/// Checks the target while the command line is read, so that a wrong one is an error of the command line.
fn parse_target(text: &str) -> Result<String, String> {
    let error = match Target::named(text) {
        Ok(_) => return Ok(text.into()),
        Err(error) => error,
    };
    if text.contains('+') {
        return Err(error.to_string());
    }
    let cpus = Target::cpus();
    let tip = suggest(text, &cpus).map_or(String::new(), |s| format!(" (did you mean `{s}`?)"));
    let text = text.escape_debug();
    Err(format!("`{text}` is not a target that there is code for{tip}; CPUs are {}", cpus.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_give_identifiers() {
        let names = ["net.onnx", "a/my-net.v2.onnx", "7b.ir", "größe.onnx"].map(|p| identifier(Path::new(p)));
        assert_eq!(names, ["net", "my_net_v2", "_7b", "gr__e"]);
        assert!(names.iter().all(|n| parse_name(n).is_ok()));
        assert!(parse_name("a-b").is_err());
    }

    #[test]
    fn wrong_targets_are_answered_with_the_nearest() {
        for good in ["native", "x86_64-unknown-linux-gnu", "aarch64", "aarch64+dotprod", "v3+avxvnni"] {
            assert!(parse_target(good).is_ok(), "{good}");
        }
        let message = parse_target("zx81").unwrap_err();
        assert!(message.contains("`zx81` is not a target"), "{message}");
        let message = parse_target("x86-64-v33").unwrap_err();
        assert!(message.contains("did you mean `x86-64-v3`?"), "{message}");
        let message = parse_target("aarch64+avx2").unwrap_err();
        assert!(message.contains("has no extension `avx2`"), "{message}");
    }
}
