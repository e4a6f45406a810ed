//! What a program is made of besides the plans of its kernels: machine code, constants as kernels read them, buffers, and
//! the order of steps. It becomes a [program](program) that runs at once, or an [object file](object).

mod buffers;
mod constants;
mod draft;
mod entry;
mod jit;
pub mod object;
mod object_file;
pub mod program;
pub mod text;
