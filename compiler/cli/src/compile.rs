//! `trine compile`: a model as an object file, for programs that are not in Rust and machines without Trine; or its kernels
//! as text, for those who want to know what they are.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use trine::codegen::image::text::Language;
use trine::codegen::{BuildError, Target};
use trine::{Backend, Compiler};

use super::Out;
use super::args::{CompileArgs, DimArgs, suggest};
use super::failure::{Failure, Outcome};
use super::model::{Notes, load, say, warn_of_losses};
use super::progress::Spinner;

const EXAMPLES: &str = "\
Examples:
  trine compile model.onnx --emit obj -o build                 build/model.o and build/model.h
  trine compile model.onnx -o build --target x86-64-v3         for any CPU with AVX2
  trine compile model.onnx -o build --target native            for this machine, with all that it can do
  trine compile model.onnx -o build --name net && cc main.c build/net.o libtrine_ukernel.a -lm
  trine compile model.onnx --emit asm --target native --kernel add_rms_norm_64

The object holds code and weights. The header declares
  int64_t NAME_arena_size(const int64_t *dims);
  int64_t NAME_run(const void *const *inputs, void *const *outputs, const int64_t *dims, void *arena);
and says which dimensions, inputs and outputs there are. Objects that call microkernels link with an archive:
  cargo rustc -p trine-ukernel --lib --release --crate-type staticlib -- --cfg trine_archive -C panic=abort";

/// Compile a model to an object file for C, or show its kernels
///
/// Writes NAME.o, which holds code and weights, and NAME.h. There is no interpreter in it: a model with ops that
/// no kernel is made for is refused, with all of them by name. Kernels are shown on standard output.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model: .onnx or .ir
    model: PathBuf,

    /// What to make: an object file and its C header, or kernels as text
    #[arg(long, value_name = "KIND", default_value = "obj")]
    emit: Emit,

    /// The folder to write an object file to; it is made where there is none
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Show this kernel alone
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,

    /// What files and functions are called [default: as the model's file is]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,

    /// Which machines it is for: a CPU such as x86-64-v3, `native` for this one, or the baseline of a triple such
    /// as aarch64-unknown-linux-gnu [default: the baseline of this architecture]
    #[arg(long, value_name = "CPU|TRIPLE", value_parser = parse_target)]
    target: Option<String>,

    #[command(flatten)]
    dims: DimArgs,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Emit {
    /// NAME.o and NAME.h
    Obj,
    /// Trine's IR: the model as calls of kernels, and the kernels
    Ir,
    /// The same as graphs for Graphviz
    Dot,
    /// Kernels in the language of Cranelift
    Clif,
    /// Kernels in the instructions of the target
    Asm,
}

impl Emit {
    /// The language that kernels are shown in.
    fn language(self) -> Option<Language> {
        match self {
            Emit::Obj => None,
            Emit::Ir => Some(Language::Ir),
            Emit::Dot => Some(Language::Dot),
            Emit::Clif => Some(Language::Clif),
            Emit::Asm => Some(Language::Assembly),
        }
    }
}

pub fn run(args: Args, out: &mut Out) -> Outcome {
    let options = args.compile.options();
    if options.backend == Backend::Interpret {
        return Err(Failure::usage("there is no interpreter in an object file", "leave out --backend"));
    }
    let folder = match (args.emit.language(), args.output) {
        (None, None) => {
            return Err(Failure::usage("an object file needs a folder", "--output FOLDER names it"));
        }
        (_, folder) => folder.unwrap_or_default(),
    };
    if args.kernel.is_some() && args.emit.language().is_none() {
        return Err(Failure::usage("an object file holds all kernels", "--emit clif shows one"));
    }
    let target = match &args.target {
        Some(name) => Target::named(name),
        None => Target::baseline(),
    };
    let target = target.map_err(BuildError::from)?;
    let name = args.name.unwrap_or_else(|| identifier(&args.model));
    let (mut module, sources) = load(&args.model, &args.dims.dims)?;
    let progress = Spinner::new(format!("compiling {}", args.model.display()));
    let mut notes = vec![];
    let mut compiler = Compiler::for_target(target, options)?.with_observer(Notes(&mut notes));
    warn_of_losses(&compiler.optimize(&mut module)?);
    if let Some(language) = args.emit.language() {
        let text = compiler.show(module, language, args.kernel.as_deref())?;
        drop(progress);
        return Ok(out.write_all(text.as_bytes())?);
    }
    let object = compiler.object(module, &name)?;
    drop(compiler);
    sources.check()?;
    std::fs::create_dir_all(&folder)
        .map_err(|e| Failure::input(format!("there can be no folder `{}`: {e}", folder.display()), ""))?;
    let paths = ["o", "h"].map(|extension| folder.join(format!("{name}.{extension}")));
    for (path, bytes) in paths.iter().zip([&object.bytes[..], object.header.as_bytes()]) {
        trine::write_atomically(path, |file| file.write_all(bytes))?;
    }
    drop(progress);
    say(&notes);
    for path in paths {
        writeln!(out, "{}", path.display())?;
    }
    if object.needs_archive() {
        writeln!(out, "link with libtrine_ukernel.a, which `trine compile --help` says how to make")?;
    }
    Ok(())
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
    if Target::named(text).is_ok() {
        return Ok(text.into());
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
        for good in ["native", "x86_64-unknown-linux-gnu"] {
            assert!(parse_target(good).is_ok(), "{good}");
        }
        let message = parse_target("zx81").unwrap_err();
        assert!(message.contains("`zx81` is not a target"), "{message}");
        if cfg!(target_arch = "x86_64") {
            let message = parse_target("x86-64-v33").unwrap_err();
            assert!(message.contains("did you mean `x86-64-v3`?"), "{message}");
        }
    }
}
