//! Why no code came out of a module, each with whose fault it is.

use trine_ir::Module;
use trine_runtime::code::CodeError;
use trine_runtime::{ProgramError, RunError};
use trine_ukernel::call::CallError;

use trine_ir::Fault;

/// Why there is no code. All but `Target` and `Overflow` are bugs of the compiler.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// What a user names: a triple, a CPU or a microkernel.
    #[error("target: {message}")]
    Target { message: String },
    #[error("kernel code has no value for `{symbol}`")]
    Symbol { symbol: String },
    /// A size of the model's.
    #[error("{what} overflows")]
    Overflow { what: String },
    #[error("{what} is not what its plan says")]
    Malformed { what: &'static str },
    #[error("{what}: {message}")]
    Cranelift { what: String, message: String },
    #[error(transparent)]
    Differs(Box<Difference>),
}

/// A microkernel that gives other bits than its oracle.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "microkernel `{name}` is wrong on this machine: of {rows} rows and {n} outputs of {k} inputs in groups of \
     {group}, output {output} of group {in_group} and row {row} is {got} instead of {want}"
)]
pub struct Difference {
    pub name: &'static str,
    pub rows: usize,
    pub n: usize,
    pub k: usize,
    pub group: usize,
    /// Where the first wrong output is.
    pub row: usize,
    pub in_group: usize,
    pub output: usize,
    pub got: String,
    pub want: String,
}

impl CodegenError {
    pub fn fault(&self) -> Fault {
        match self {
            CodegenError::Target { .. } => Fault::Usage,
            CodegenError::Overflow { .. } => Fault::Input,
            CodegenError::Symbol { .. }
            | CodegenError::Malformed { .. }
            | CodegenError::Cranelift { .. }
            | CodegenError::Differs(_) => Fault::Trine,
        }
    }

    pub(super) fn bug(what: &str, error: impl std::fmt::Debug) -> CodegenError {
        CodegenError::Cranelift { what: what.into(), message: format!("{error:?}") }
    }

    /// A microkernel that this machine cannot run is one of the target that was asked for.
    pub(super) fn refused(error: CallError) -> CodegenError {
        match error {
            CallError::Features(_) => {
                CodegenError::Target { message: format!("its microkernels cannot be tried here: {error}") }
            }
            _ => CodegenError::bug("a microkernel", error),
        }
    }

    pub(super) fn malformed(what: &'static str) -> CodegenError {
        CodegenError::Malformed { what }
    }
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Why a module has no program.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    #[error(transparent)]
    Memory(#[from] RunError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("the module has no `@main`")]
    NoMain,
    /// The model's sizes overflow.
    #[error("{place}: a value of type {ty} is too large")]
    TooLarge { place: String, ty: String },
    /// A `kernel` that the model's text has, and that is none: those that are formed are taken.
    #[error("no emitter takes the kernel `@{}`, or its sizes overflow", .0.escape_debug())]
    NoKernel(String),
    /// The caller wanted nothing but kernels.
    #[error("no kernel for {}", .0.join(", "))]
    Interpreted(Vec<String>),
    /// The caller wants to see a kernel that there is not.
    #[error("no kernel is called `{}`; there are {known}", name.escape_debug())]
    UnknownKernel { name: String, known: String },
    /// Code generation panicked on this module.
    #[error("code generation panicked: {message}")]
    Panicked { message: String, before: Box<Module> },
    #[error("{0}")]
    Malformed(String),
}

impl BuildError {
    pub fn fault(&self) -> Fault {
        match self {
            BuildError::Codegen(error) => error.fault(),
            BuildError::UnknownKernel { .. } => Fault::Usage,
            // Sizes that no inputs determine are the model's.
            BuildError::Program(ProgramError::Unbound { .. }) => Fault::Input,
            BuildError::Program(
                ProgramError::Missing { .. }
                | ProgramError::Unmade { .. }
                | ProgramError::Twice { .. }
                | ProgramError::State { .. },
            )
            | BuildError::Code(CodeError::Import(_))
            | BuildError::Panicked { .. }
            | BuildError::Malformed(_) => Fault::Trine,
            BuildError::Memory(_)
            | BuildError::Code(CodeError::Memory(_))
            | BuildError::NoMain
            | BuildError::TooLarge { .. }
            | BuildError::NoKernel(_)
            | BuildError::Interpreted(_) => Fault::Input,
        }
    }
}

/// Why there is no object file.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("`{name}` is not a C identifier")]
    Name { name: String },
    #[error("an object file has no interpreter, and there is no kernel for\n{}", .steps.join("\n"))]
    Interpreted { steps: Vec<String> },
    #[error("the arena is laid out before a run, and the sizes of results or scratch depend on data of\n{}", .steps.join("\n"))]
    DataDependent { steps: Vec<String> },
    #[error("kernels call {}, which the C library lacks", .symbols.join(", "))]
    Symbols { symbols: Vec<String> },
}

impl ObjectError {
    pub fn fault(&self) -> Fault {
        match self {
            ObjectError::Build(error) => error.fault(),
            ObjectError::Name { .. } => Fault::Usage,
            ObjectError::Interpreted { .. }
            | ObjectError::DataDependent { .. }
            | ObjectError::Symbols { .. } => Fault::Input,
        }
    }
}

impl From<CodegenError> for ObjectError {
    fn from(error: CodegenError) -> ObjectError {
        ObjectError::Build(error.into())
    }
}
