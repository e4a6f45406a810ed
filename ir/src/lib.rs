//! What a Trine program is: types, tensors, ops, graphs, text, the verifier and the interpreter.
//!
//! The language is one SSA form. A [`Module`] is constants and functions; a function is a [`Graph`] of
//! [`Op`]s over [`Tensor`]s whose [`Type`]s may have symbolic dimensions. Its text form:
//!
//! ```text
//! module   = ["stage" word] {require} {const | function}
//! require  = "require" dim ["==" dim] [loc]           sizes that are equal in every run, or one that has a value
//! const    = "const" @name ":" type ["=" "[" element {"," element} "]"]
//! function = ("graph" | "kernel") @name "(" [param {"," param}] ")" "->" "(" result {"," result} ")"
//!            "{" {statement} "}"
//! param    = ["const"] %name ":" type               const: every call passes a constant
//! result   = operand ":" type
//! statement= %name {"," %name} "=" mnemonic [operand {"," operand}] [attrs] ":" type {"," type} [loc]
//! operand  = %name | @name | literal | "_"
//! attrs    = "{" name "=" value {"," name "=" value} "}"
//! type     = element "[" [dim {"," dim}] "]"          dim = sums of products: 2*batch*seq+past-1, floordiv(w-1,2)+1
//! literal  = 1.0 | 1e-5 | 2.0f64 | 3i64 | 3i32 | true
//! loc      = "loc" "(" string "," string ")"
//! ```
//!
//! Names with other characters than letters, digits, `_`, `.` and `/` stand in quotes: `%"a b"`.
//! `//` starts a comment. Weights are not in the text but in a file beside it, see [`sidecar`].

pub mod attr;
pub mod dim;
pub mod domain;
pub mod error;
pub mod eval;
pub mod fault;
pub mod graph;
pub mod literal;
pub mod math;
pub mod memory;
pub mod module;
pub mod op;
pub mod ops;
pub mod random;
pub mod requirement;
pub mod sidecar;
pub mod small_float;
pub mod tensor;
pub mod text;
pub mod trit;
pub mod ty;
pub mod verify;

pub use dim::{Dim, DimEnv};
pub use error::{Error, Place};
pub use fault::Fault;
pub use graph::{Def, Graph, Loc, NodeId, Value};
pub use literal::Literal;
pub use module::{Function, FunctionKind, MAIN, Module};
pub use op::{OpDef, OpError, OpResult, Stage};
pub use ops::{Kind, Op};
pub use requirement::Requirement;
pub use tensor::{Element, Tensor, TensorError};
pub use ty::{Elem, Type};
pub use verify::verify;
