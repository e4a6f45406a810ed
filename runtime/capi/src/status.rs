//! What a call came to, and the one way out of each function that can fail.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use trine_runtime::artefact::ArtefactError;
use trine_runtime::code::CodeError;
use trine_runtime::{RunError, SavedError};

/// Declares the statuses, with the names that the header gives them.
macro_rules! statuses {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        $(pub const $name: i32 = $code;)*

        /// The name of a status.
        fn name(status: i32) -> &'static CStr {
            match status {
                $($code => $text,)*
                _ => c"TRINE_UNKNOWN",
            }
        }
    };
}

statuses! {
    OK = 0, c"TRINE_OK";
    ARGUMENT = 1, c"TRINE_ARGUMENT";
    FILE = 2, c"TRINE_FILE";
    MACHINE = 3, c"TRINE_MACHINE";
    INPUT = 4, c"TRINE_INPUT";
    BUFFER = 5, c"TRINE_BUFFER";
    STATE = 6, c"TRINE_STATE";
    MEMORY = 7, c"TRINE_MEMORY";
    RUN = 8, c"TRINE_RUN";
    INTERNAL = 9, c"TRINE_INTERNAL";
}

/// Bytes of a text, its zero byte among them.
pub const TEXT: usize = 1020;

/// `trine_error`.
#[repr(C)]
pub struct TrineError {
    pub status: i32,
    pub text: [c_char; TEXT],
}

/// The caller's `trine_error`, which holds whatever it holds, or NULL.
pub type ErrorOut<'a> = Option<&'a mut MaybeUninit<TrineError>>;
/// A result of the caller's, which holds whatever it holds, or NULL.
pub type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Why a call failed.
pub struct Failure {
    pub status: i32,
    pub text: String,
}

impl Failure {
    pub fn new(status: i32, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into() }
    }

    pub fn argument(text: impl Into<String>) -> Failure {
        Failure::new(ARGUMENT, text)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        let status = match &error {
            RunError::InputCount { .. }
            | RunError::NoInput { .. }
            | RunError::InputMissing { .. }
            | RunError::InputTwice { .. }
            | RunError::InputType { .. }
            | RunError::InputDim { .. }
            | RunError::Sizes(_)
            | RunError::Unbound { .. }
            | RunError::NoSize { .. } => INPUT,
            RunError::StateFull { .. }
            | RunError::StateDims { .. }
            | RunError::StatesDiffer { .. }
            | RunError::SavedState { .. } => STATE,
            RunError::Eval { .. } => RUN,
            RunError::Memory { .. } | RunError::MemoryLimit { .. } => MEMORY,
            RunError::Overrun { .. } => INTERNAL,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<ArtefactError> for Failure {
    fn from(error: ArtefactError) -> Failure {
        let status = match &error {
            ArtefactError::Target(_) => MACHINE,
            ArtefactError::Memory { .. } | ArtefactError::Code(CodeError::Memory(_)) => MEMORY,
            _ => FILE,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<SavedError> for Failure {
    fn from(error: SavedError) -> Failure {
        Failure::new(STATE, format!("bytes are not restored: {error}"))
    }
}

/// Does the work of a function, and tells C what came of it.
pub fn answer(error: ErrorOut, work: impl FnOnce() -> Result<(), Failure>) -> i32 {
    // What a panic leaves half done is a session, which refuses all further work (`session.rs`).
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(caught(&*panic)));
    let (status, text) = match done {
        Ok(()) => (OK, String::new()),
        Err(failure) => (failure.status, failure.text),
    };
    if let Some(error) = error {
        error.write(TrineError { status, text: fixed(&text) });
    }
    status
}

/// Makes nothing of a result, which is that until it is set.
pub fn clear<T>(out: &mut Out<T>, nothing: T) {
    if let Some(out) = out {
        out.write(nothing);
    }
}

/// An argument that has to be there.
pub fn given<T>(argument: Option<T>, name: &str) -> Result<T, Failure> {
    argument.ok_or_else(|| Failure::argument(format!("`{name}` is NULL")))
}

fn caught(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Failure::new(INTERNAL, format!("a defect of Trine: {}", text.unwrap_or_default()))
}

/// A text of C: what does not fit is cut between characters, and what would end it within is replaced.
fn fixed(text: &str) -> [c_char; TEXT] {
    let text = text.replace('\0', "\u{fffd}");
    let (text, end) = match text.len() < TEXT {
        true => (&text[..], ""),
        false => (&text[..text.floor_char_boundary(TEXT - 4)], "..."),
    };
    let mut fixed = [0; TEXT];
    for (to, from) in fixed.iter_mut().zip(text.bytes().chain(end.bytes())) {
        *to = from as c_char;
    }
    fixed
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_status_name(status: i32) -> *const c_char {
    name(status).as_ptr()
}
