//! What every op says about itself, and the macros that collect it.
//!
//! `op!` declares the op: mnemonic, operands, attributes; printing, parsing and arity follow from it.
//! `OpDef` is the rest, written beside it: type inference, which is also the verifier of the op, and
//! `eval`, which is the op's meaning. `op_set!` lists all ops; adding one is a file and a line.

use std::cell::RefCell;
use std::fmt;
use std::ops::Index;

use crate::dim::{Dim, DimEnv};
use crate::tensor::{Tensor, TensorError};
use crate::ty::Type;

/// How many operands a name in `op!` stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    Required,
    /// May be absent, `_` in text.
    Optional,
    /// None or more; only the last.
    Variadic,
}

/// A named operand of an op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    pub name: &'static str,
    pub slot: Slot,
}

/// How far a module has been lowered; each op says where it is legal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Stage {
    #[default]
    Tensor,
    Ternary,
    Lowered,
    Kernel,
}

impl Stage {
    pub const ALL: [Stage; 4] = [Stage::Tensor, Stage::Ternary, Stage::Lowered, Stage::Kernel];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Tensor => "tensor",
            Stage::Ternary => "ternary",
            Stage::Lowered => "lowered",
            Stage::Kernel => "kernel",
        }
    }

    pub fn parse(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// Why an op cannot be typed or evaluated: a sentence without the op's name, which the caller knows.
#[derive(Clone, PartialEq, Debug)]
pub struct OpError(pub String);

pub type OpResult<T> = Result<T, OpError>;

/// Fails with a formatted `OpError`.
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => { return Err($crate::op::OpError(format!($($arg)*))) };
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl From<String> for OpError {
    fn from(message: String) -> OpError {
        OpError(message)
    }
}
impl From<&str> for OpError {
    fn from(message: &str) -> OpError {
        OpError(message.into())
    }
}
impl From<TensorError> for OpError {
    fn from(error: TensorError) -> OpError {
        OpError(error.to_string())
    }
}

/// Operands of an op as types or as tensors. Indexing is for required ones, whose presence the arity
/// check has shown; `get` is for the others.
#[derive(Clone, Copy)]
pub struct Args<'a, T>(&'a [Option<&'a T>]);

impl<'a, T> Args<'a, T> {
    pub fn new(slots: &'a [Option<&'a T>]) -> Args<'a, T> {
        Args(slots)
    }
    pub fn get(&self, i: usize) -> Option<&'a T> {
        self.0.get(i).copied().flatten()
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The present operands from `start` on.
    pub fn from(&self, start: usize) -> impl Iterator<Item = &'a T> + Clone + use<'a, T> {
        self.0.iter().skip(start).copied().flatten()
    }
}

impl<T> Index<usize> for Args<'_, T> {
    type Output = T;
    fn index(&self, i: usize) -> &T {
        self.0[i].expect("required operands are present, checked by arity")
    }
}

/// Parameter and result types of a function.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    pub params: Vec<Type>,
    pub results: Vec<Type>,
}

/// What inference may ask about the module around the op.
pub trait Signatures {
    fn signature(&self, function: &str) -> Option<Signature>;

    /// Told of two dimensions that have to be equal, and are not for all values of the symbols: whoever runs the op
    /// has to see that they are. A dimension required to equal itself has to have a value.
    fn require(&self, _: &Dim, _: &Dim) {}
}

/// A module that is asked for signatures, and what inference required of dimensions.
pub struct Demands<'a> {
    module: &'a dyn Signatures,
    pairs: RefCell<Vec<(Dim, Dim)>>,
}

impl<'a> Demands<'a> {
    pub fn new(module: &'a dyn Signatures) -> Demands<'a> {
        Demands { module, pairs: RefCell::default() }
    }

    /// What was required, in order.
    pub fn into_pairs(self) -> Vec<(Dim, Dim)> {
        self.pairs.into_inner()
    }
}

impl Signatures for Demands<'_> {
    fn signature(&self, function: &str) -> Option<Signature> {
        self.module.signature(function)
    }
    fn require(&self, a: &Dim, b: &Dim) {
        self.pairs.borrow_mut().push((a.clone(), b.clone()));
    }
}

/// No module: ops that name functions cannot be typed.
impl Signatures for () {
    fn signature(&self, _: &str) -> Option<Signature> {
        None
    }
}

/// What evaluation may ask about the run around the op.
pub trait Context {
    /// Values of the symbols in the op's attributes.
    fn dims(&self) -> &DimEnv;
    /// Runs a function of the module.
    fn call(&self, function: &str, args: Vec<Tensor>) -> OpResult<Vec<Tensor>>;
}

/// Symbols without functions: enough for ops that call none.
impl Context for DimEnv {
    fn dims(&self) -> &DimEnv {
        self
    }
    fn call(&self, function: &str, _: Vec<Tensor>) -> OpResult<Vec<Tensor>> {
        bail!("no function `@{function}` here")
    }
}

/// What symbols in the attributes of an op are to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sizes {
    /// Names for sizes that it finds.
    Found,
    /// Sizes that it has to be told.
    Read,
    /// Sizes that it has to be told, or names for those that it finds.
    Either,
}

/// The behaviour of one op; `op!` supplies the declarative half.
pub trait OpDef {
    /// Whether the first two operands may be swapped.
    const COMMUTES: bool = false;
    /// What symbols in its attributes are to it.
    const SIZES: Sizes = Sizes::Found;
    /// The first and the last stage in which the op is legal.
    const STAGES: (Stage, Stage) = (Stage::Tensor, Stage::Kernel);

    /// Result types from operand types. Data-dependent dimensions are named by attributes, so that this
    /// is a function of op and operands alone: verifying is inferring again.
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>>;

    /// Result tensors from operand tensors, whose types `infer` accepted.
    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>>;
}

/// What a function body needs to know of any op: the table row of `op_set!`.
pub fn check_arity(operands: &[Operand], present: &[bool]) -> OpResult<()> {
    let variadic = operands.last().is_some_and(|o| o.slot == Slot::Variadic);
    if present.len() > operands.len() && !variadic {
        bail!("takes at most {} operands, got {}", operands.len(), present.len());
    }
    for (i, operand) in operands.iter().enumerate() {
        if operand.slot == Slot::Required && !present.get(i).is_some_and(|p| *p) {
            bail!("operand `{}` is missing", operand.name);
        }
    }
    if variadic && present.iter().skip(operands.len() - 1).any(|p| !p) {
        bail!("operands `{}` have a gap", operands[operands.len() - 1].name);
    }
    Ok(())
}

/// Declares an op. Operands are `name`, `name: optional` or, last, `name: variadic`. Each name is also a constant, the slot
/// of the operand, as in `Matmul::b`.
#[macro_export]
macro_rules! op {
    ($(#[$meta:meta])* $name:ident = $mnemonic:literal
     ($($arg:ident $(: $slot:ident)?),* $(,)?) { $($(#[$ameta:meta])* $attr:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$ameta])* pub $attr: $ty),* }
        impl $name {
            pub const MNEMONIC: &str = $mnemonic;
            pub const OPERANDS: &[$crate::op::Operand] = &[$($crate::op::Operand {
                name: stringify!($arg),
                slot: $crate::op_slot!($($slot)?),
            }),*];
            pub const ATTRS: &[&str] = &[$(stringify!($attr)),*];
            $crate::op_slots!(0; $($arg)*);

            /// The attributes that are present, by name, as text.
            pub fn print_attrs(&self) -> Vec<(&'static str, String)> {
                let all: &[Option<(&'static str, String)>] = &[$($crate::attr::present(
                    stringify!($attr),
                    &self.$attr,
                )),*];
                all.iter().flatten().cloned().collect()
            }
            /// The functions that the attributes name.
            pub fn callees(&self) -> Vec<String> {
                let all: &[Option<String>] = &[$($crate::attr::Attr::callee(&self.$attr)),*];
                all.iter().flatten().cloned().collect()
            }
            /// Replaces every dimension in the attributes.
            pub fn map_dims(&mut self, _with: &dyn Fn(&$crate::dim::Dim) -> $crate::dim::Dim) {
                $($crate::attr::Attr::map_dims(&mut self.$attr, _with);)*
            }
            /// Shows every dimension in the attributes.
            pub fn each_dim(&self, _see: &mut dyn FnMut(&$crate::dim::Dim)) {
                $($crate::attr::Attr::each_dim(&self.$attr, _see);)*
            }
            /// The op with the attributes that `get` finds; the message says which is missing or bad.
            pub fn parse_attrs(_get: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
                Ok($name { $($attr: match _get(stringify!($attr)) {
                    Some(text) => <$ty as $crate::attr::Attr>::parse(&text)
                        .map_err(|e| format!("attribute `{}`: {e}", stringify!($attr)))?,
                    None => <$ty as $crate::attr::Attr>::absent()
                        .ok_or(concat!("attribute `", stringify!($attr), "` is missing"))?,
                }),* })
            }
        }
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! op_slot {
    () => {
        $crate::op::Slot::Required
    };
    (optional) => {
        $crate::op::Slot::Optional
    };
    (variadic) => {
        $crate::op::Slot::Variadic
    };
}

/// Constants for operands: `$slot` for the first, one more for each after it.
#[macro_export]
#[doc(hidden)]
macro_rules! op_slots {
    ($slot:expr;) => {};
    ($slot:expr; $arg:ident $($rest:ident)*) => {
        /// The slot of the operand of this name.
        #[allow(non_upper_case_globals)]
        pub const $arg: usize = $slot;
        $crate::op_slots!($slot + 1; $($rest)*);
    };
}

/// The closed set of ops, one line an op.
#[macro_export]
macro_rules! op_set {
    ($($name:ident),* $(,)?) => {
        /// Any op of the language.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op { $($name($name)),* }

        /// An op without its attributes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($name),* }

        $(impl From<$name> for Op { fn from(op: $name) -> Op { Op::$name(op) } })*

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$name),*];
            pub fn mnemonic(self) -> &'static str { match self { $(Kind::$name => $name::MNEMONIC),* } }
            pub fn operands(self) -> &'static [$crate::op::Operand] {
                match self { $(Kind::$name => $name::OPERANDS),* }
            }
            pub fn attrs(self) -> &'static [&'static str] { match self { $(Kind::$name => $name::ATTRS),* } }
            pub fn commutes(self) -> bool { match self { $(Kind::$name => <$name as OpDef>::COMMUTES),* } }
            pub fn sizes(self) -> Sizes { match self { $(Kind::$name => <$name as OpDef>::SIZES),* } }
            pub fn stages(self) -> (Stage, Stage) { match self { $(Kind::$name => <$name as OpDef>::STAGES),* } }
            pub fn parse(mnemonic: &str) -> Option<Kind> {
                match mnemonic { $($name::MNEMONIC => Some(Kind::$name),)* _ => None }
            }
            /// The op of this kind with the attributes that `get` finds.
            pub fn with_attrs(self, get: &dyn Fn(&str) -> Option<String>) -> Result<Op, String> {
                match self { $(Kind::$name => $name::parse_attrs(get).map(Op::from)),* }
            }
        }

        impl Op {
            pub fn kind(&self) -> Kind { match self { $(Op::$name(_) => Kind::$name),* } }
            pub fn print_attrs(&self) -> Vec<(&'static str, String)> {
                match self { $(Op::$name(op) => op.print_attrs()),* }
            }
            /// The functions that the attributes name.
            pub fn callees(&self) -> Vec<String> { match self { $(Op::$name(op) => op.callees()),* } }
            /// Replaces every dimension in the attributes.
            pub fn map_dims(&mut self, with: &dyn Fn(&$crate::dim::Dim) -> $crate::dim::Dim) {
                match self { $(Op::$name(op) => op.map_dims(with)),* }
            }
            /// Shows every dimension in the attributes.
            pub fn each_dim(&self, see: &mut dyn FnMut(&$crate::dim::Dim)) {
                match self { $(Op::$name(op) => op.each_dim(see)),* }
            }
            /// Result types, after a check of the number of operands.
            pub fn infer(&self, args: &[Option<&Type>], module: &dyn Signatures) -> OpResult<Vec<Type>> {
                let present: Vec<bool> = args.iter().map(|a| a.is_some()).collect();
                $crate::op::check_arity(self.kind().operands(), &present)?;
                match self { $(Op::$name(op) => op.infer(Args::new(args), module)),* }
            }
            /// Result tensors; the operands must be of types that `infer` accepts.
            pub fn eval(&self, args: &[Option<&Tensor>], cx: &dyn Context) -> OpResult<Vec<Tensor>> {
                match self { $(Op::$name(op) => op.eval(Args::new(args), cx)),* }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::ops::{Attention, CachedAttention, Gru, Lstm, Rnn};

    #[test]
    fn slots_are_of_the_operands_with_their_names() {
        let name = |slot: usize| CachedAttention::OPERANDS[slot].name;
        assert_eq!(name(CachedAttention::q), "q");
        assert_eq!(name(CachedAttention::past_v), "past_v");
        assert_eq!(name(CachedAttention::sink), "sink");
    }

    #[test]
    fn ops_of_a_family_have_the_same_slots() {
        assert!(CachedAttention::OPERANDS.starts_with(Attention::OPERANDS));
        assert!(Lstm::OPERANDS.starts_with(Rnn::OPERANDS));
        assert!(Lstm::OPERANDS.starts_with(Gru::OPERANDS));
    }
}
