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
    Target {
        /// What is wrong with it.
        message: String,
    },
    /// Code needs a size that the program does not work out.
    #[error("kernel code has no value for `{symbol}`")]
    Symbol {
        /// The size: a symbol, or a derived size as it prints.
        symbol: String,
    },
    /// A size of the model's.
    #[error("{what} overflows")]
    Overflow {
        /// The size, such as `the number of rows`.
        what: String,
    },
    /// An emitter or a linker meets what the plan ruled out.
    #[error("{what} is not what its plan says")]
    Malformed {
        /// The part of the code or of the kernel.
        what: &'static str,
    },
    /// Cranelift, or what else code is made with, refuses what it was given.
    #[error("{what}: {message}")]
    Cranelift {
        /// What was being made, such as a kernel by its name.
        what: String,
        /// The library's error, as it prints for debugging.
        message: String,
    },
    /// A microkernel that was chosen gives other bits than its oracle.
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
    /// The microkernel's name, as `trine list kernels` calls it.
    pub name: &'static str,
    /// Rows of activations in the call that went wrong.
    pub rows: usize,
    /// Outputs of a row.
    pub n: usize,
    /// Inputs of a row.
    pub k: usize,
    /// Inputs that share a sum.
    pub group: usize,
    /// The row of the first wrong output, among those of the call.
    pub row: usize,
    /// The group that it is the sum of.
    pub in_group: usize,
    /// Which of the `n` outputs it is.
    pub output: usize,
    /// What the microkernel gave there.
    pub got: String,
    /// What its oracle gave there.
    pub want: String,
}

impl CodegenError {
    /// Who can do something about it.
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
    /// There is nothing to write.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system refuses the bytes.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Why a module has no program.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No code came out of a kernel.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// There is no memory for the constants.
    #[error(transparent)]
    Memory(#[from] RunError),
    /// The code cannot be loaded here.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The plan breaks a rule that runs trust, or needs sizes that no inputs have.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// There is no function to run.
    #[error("the module has no `@main`")]
    NoMain,
    /// The model's sizes overflow.
    #[error("{place}: a value of type {ty} is too large")]
    TooLarge {
        /// The op whose result it is.
        place: String,
        /// The result's type, as it prints.
        ty: String,
    },
    /// A `kernel` that the model's text has, and that is none: those that are formed are taken.
    #[error("no emitter takes the kernel `@{}`, or its sizes overflow", .0.escape_debug())]
    NoKernel(String),
    /// The caller wanted nothing but kernels.
    #[error("no kernel for {}", .0.join(", "))]
    Interpreted(Vec<String>),
    /// The caller wants to see a kernel that there is not.
    #[error("no kernel is called `{}`; there are {known}", name.escape_debug())]
    UnknownKernel {
        /// The name that was asked for.
        name: String,
        /// The names that there are, listed.
        known: String,
    },
    /// Code generation panicked on this module.
    #[error("code generation panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
        /// The module as code generation found it.
        before: Box<Module>,
    },
    /// The module breaks a rule that code trusts.
    #[error("{0}")]
    Malformed(String),
}

impl BuildError {
    /// Who can do something about it.
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
    /// There is no code to write.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Functions cannot begin with the name that was asked for.
    #[error("`{name}` is not a C identifier")]
    Name {
        /// That name.
        name: String,
    },
    /// Steps have no kernel, and would run by their meaning.
    #[error("an object file has no interpreter, and there is no kernel for\n{}", .steps.join("\n"))]
    Interpreted {
        /// Where they are in the model.
        steps: Vec<String>,
    },
    /// Sizes are not known before a run.
    #[error("the arena is laid out before a run, and the sizes of results or scratch depend on data of\n{}", .steps.join("\n"))]
    DataDependent {
        /// Where the steps are that have such sizes.
        steps: Vec<String>,
    },
    /// Code calls functions that a C program would not find.
    #[error("kernels call {}, which the C library lacks", .symbols.join(", "))]
    Symbols {
        /// Their names, quoted.
        symbols: Vec<String>,
    },
}

impl ObjectError {
    /// Who can do something about it.
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
