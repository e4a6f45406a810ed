//! How a command fails: a report for the reader, and an exit code for scripts.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity,
};
use trine::calibrate::CalibrateError;
use trine::codegen::{BuildError, CodegenError, ObjectError};
use trine::evaluate::EvaluateError;
use trine::export::ExportError;
use trine::generate::DecoderError;
use trine::npz::ArrayError;
use trine::pass::PassError;
use trine::{Error, Fault, FileError, Module, RunError};

pub type Outcome = Result<(), Failure>;

/// What to do about a bug.
pub const BUG: &str = "this is a bug in Trine, not in your model; please report it with this message, what \
`trine --version --verbose` prints, the command and, if you can, the model (RUST_BACKTRACE=1 adds where it happened)";

/// Why a command failed.
pub enum Failure {
    Error {
        fault: Fault,
        report: Box<Report>,
    },
    /// The reader of our output has gone, as `head` does: nobody is left to be told.
    BrokenPipe,
}

impl Failure {
    /// What the user did wrong, and what to do about it.
    pub fn new(fault: Fault, message: impl Into<String>, help: impl Into<String>) -> Failure {
        let mut diagnostic = MietteDiagnostic::new(message);
        let help = help.into();
        if !help.is_empty() {
            diagnostic = diagnostic.with_help(help);
        }
        Failure::Error { fault, report: Box::new(diagnostic.into()) }
    }

    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure::new(Fault::Usage, message, help)
    }

    pub fn input(message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure::new(Fault::Input, message, help)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let fault = error.fault();
        match &error {
            Error::Ir { path, error: trine_ir::Error::Parse { line, column, message } } => {
                match in_source(path, *line, *column, message) {
                    Some(report) => Failure::Error { fault, report: Box::new(report) },
                    None => Failure::new(fault, error.to_string(), ""),
                }
            }
            Error::Format { .. } => {
                Failure::new(fault, error.to_string(), "give an ONNX model, or IR that `trine opt -o` wrote")
            }
            Error::Build(BuildError::Codegen(CodegenError::Differs(_)))
            | Error::Object(ObjectError::Build(BuildError::Codegen(CodegenError::Differs(_)))) => {
                let help = format!("TRINE_UKERNEL=NAME picks another of `trine list kernels`; {BUG}");
                Failure::new(fault, error.to_string(), help)
            }
            Error::Pass(PassError::Broke { pass, before, .. } | PassError::Panicked { pass, before, .. }) => {
                let again =
                    reproducer(&error, before, &format!("// passes: {pass}\n"), |path| format!("opt {path}"));
                Failure::new(fault, error.to_string(), format!("{again}{BUG}"))
            }
            Error::Build(BuildError::Panicked { before, .. })
            | Error::Object(ObjectError::Build(BuildError::Panicked { before, .. })) => {
                let again = |path: &str| format!("compile {path} -O0 --emit asm --target native");
                let again = reproducer(&error, before, "", again);
                Failure::new(fault, error.to_string(), format!("{again}{BUG}"))
            }
            _ if fault == Fault::Trine => Failure::new(fault, error.to_string(), BUG),
            _ => Failure::new(fault, error.to_string(), ""),
        }
    }
}

/// Errors of rooms of the library, which are all errors of the library.
macro_rules! failures {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Error::from(error).into()
            }
        }
    )*};
}

failures!(
    ArrayError,
    BuildError,
    CalibrateError,
    DecoderError,
    EvaluateError,
    ExportError,
    FileError,
    ObjectError,
    PassError,
    RunError
);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::input(format!("cannot write the result: {error}"), ""),
        }
    }
}

/// Writes the module that a bug was met on to a file, after `head`, and says which command meets it again.
fn reproducer(error: &Error, module: &Module, head: &str, again: impl Fn(&str) -> String) -> String {
    let path = std::env::temp_dir().join(format!("trine-bug-{}.ir", std::process::id()));
    let told = error.to_string().replace('\n', " ");
    let text = trine_ir::text::print(module);
    let text = format!("{head}// trine {}: {told}\n{text}", env!("CARGO_PKG_VERSION"));
    let written = trine::save(module, &path).and_then(|()| Ok(trine::write_text(&path, &text)?));
    match written {
        Ok(()) => {
            let again = again(&path.display().to_string());
            format!("`trine {again}` fails as this did, which helps who mends it; ")
        }
        Err(error) => format!("there is no file to run again ({error}); "),
    }
}

/// Reports a failure and says what the process ends with.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Error { fault, report }) => {
            print(&report);
            ExitCode::from(match fault {
                Fault::Input => 1,
                Fault::Usage => 2,
                Fault::Trine => 3,
            })
        }
    }
}

/// A sentence that the user should know and that stops nothing.
pub fn warn(message: impl Into<String>) {
    print(&MietteDiagnostic::new(message).with_severity(Severity::Warning).into());
}

fn print(report: &Report) {
    let mut theme = match io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    theme.characters.error = "error:".into();
    theme.characters.warning = "warning:".into();
    if report.labels().is_none() {
        // The bar is for source text; further lines of a message need none.
        theme.characters.vbar = ' ';
    }
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .without_cause_chain()
        .with_wrap_lines(false);
    let mut text = String::new();
    let rendered = handler.render_report(&mut text, report.as_ref());
    // Flush left, as the errors of the command line are.
    let lines = text.split_inclusive('\n').map(|line| line.strip_prefix("  ").unwrap_or(line));
    let text: String = lines.map(shortened).collect();
    // Nobody can be told that standard error is closed.
    let _ = match rendered {
        Ok(()) => write!(io::stderr(), "{text}"),
        Err(_) => writeln!(io::stderr(), "error: {report}"),
    };
}

/// A line without its middle where it is long: a model may give its nodes names of a megabyte.
fn shortened(line: &str) -> Cow<'_, str> {
    const KEPT: usize = 1000;
    let count = line.chars().count();
    if count <= 2 * KEPT {
        return line.into();
    }
    let byte = |i| line.char_indices().nth(i).map_or(line.len(), |(at, _)| at);
    let (head, tail) = (&line[..byte(KEPT)], &line[byte(count - KEPT)..]);
    format!("{head} … {} characters are left out … {tail}", count - 2 * KEPT).into()
}

/// The report of a parse error with the line it is about.
fn in_source(path: &Path, line: usize, column: usize, message: &str) -> Option<Report> {
    let source = std::fs::read_to_string(path).ok()?;
    let start: usize = source.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let rest = source.get(start..)?;
    let at = start + rest.char_indices().nth(column.checked_sub(1)?).map_or(rest.len(), |(i, _)| i);
    let label = LabeledSpan::at(at..at, "here");
    let name = path.display().to_string();
    let diagnostic = MietteDiagnostic::new(format!("`{name}`, line {line}, column {column}: {message}"));
    Some(Report::new(diagnostic.with_label(label)).with_source_code(NamedSource::new(name, source)))
}
