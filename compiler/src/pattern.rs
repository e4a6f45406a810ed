//! Patterns over graphs, written as the equations they match.
//!
//! A pattern is built with Rust's operators, `&x * sigmoid(&x)`, and is its own key: the same pattern
//! twice means the same value, and `m[&x]` is what it matched. Whether operands may be swapped is known
//! from the op. A [`Rule`] joins a pattern with what replaces its root. Only the root is ever replaced:
//! values inside a match that others use stay as they are, so a rule cannot break its neighbours.

mod known;
mod rule;
mod solve;
mod vocabulary;

pub use rule::{NearMiss, Refusal, Rewrite, Rule, apply, refuse, rule};
pub use solve::{Match, Scope};
pub use vocabulary::*;

use std::rc::Rc;

use half::{bf16, f16};
use trine_ir::{Elem, Kind, Op, Value};

/// What a value must be.
#[derive(Clone)]
pub struct Pat(Rc<Form>);

enum Form {
    /// A value, whatever it is.
    Any,
    /// A constant of the module or a literal.
    Constant,
    /// A literal or a constant of one element.
    Scalar,
    /// No value: an optional operand that is absent.
    Absent,
    /// The first result of an op whose operands match one by one.
    Op(Kind, Vec<Pat>),
    /// Another result of the node that the pattern matches.
    Result(Pat, u32),
    /// The first of these that fits with the rest of the match.
    AnyOf(Vec<Pat>),
    /// A value that also passes a test.
    Where(Pat, Test),
}

type Test = Box<dyn Fn(&Scope, Value) -> bool>;

/// Any value.
pub fn any() -> Pat {
    Pat(Rc::new(Form::Any))
}

/// A constant of the module or a literal.
pub fn constant() -> Pat {
    Pat(Rc::new(Form::Constant))
}

/// A literal, or a constant of one element, of any number type.
pub fn scalar() -> Pat {
    Pat(Rc::new(Form::Scalar))
}

/// The scalar `value`, which its type holds.
pub fn number(value: f64) -> Pat {
    scalar().filter(move |scope, v| scope.scalar(v) == Some(value))
}

/// The scalar that is nearest to `value`, which its type does not hold, or next to that: where a model computes the
/// constant by itself, the last bit is a matter of rounding. f16 and bf16 have no such bits to spare.
pub fn nearest(value: f64) -> Pat {
    scalar().filter(move |scope, v| {
        let Some(s) = scope.scalar(v) else { return false };
        match scope.graph.ty(v).elem {
            Elem::F64 => value.to_bits().abs_diff(s.to_bits()) <= 1,
            Elem::F32 => (value as f32).to_bits().abs_diff((s as f32).to_bits()) <= 1,
            Elem::F16 => f16::from_f64(value).to_f64() == s,
            Elem::Bf16 => bf16::from_f64(value).to_f64() == s,
            _ => false,
        }
    })
}

/// An optional operand that is not there.
pub fn absent() -> Pat {
    Pat(Rc::new(Form::Absent))
}

/// An optional operand: `m.get` tells what it is.
pub fn maybe(pat: &Pat) -> Pat {
    any_of([pat.clone(), absent()])
}

/// The first result of an op. Operands that the op has beyond these must be absent.
pub fn op(kind: Kind, operands: impl IntoIterator<Item = impl Into<Pat>>) -> Pat {
    Pat(Rc::new(Form::Op(kind, operands.into_iter().map(Into::into).collect())))
}

/// Whichever of the alternatives fits, tried in order.
pub fn any_of(alternatives: impl IntoIterator<Item = impl Into<Pat>>) -> Pat {
    Pat(Rc::new(Form::AnyOf(alternatives.into_iter().map(Into::into).collect())))
}

impl Pat {
    /// The same pattern where `test` holds for the value. Better a rule that refuses with a reason than a
    /// test that fails without one, unless what fails it is not a near miss.
    pub fn filter(self, test: impl Fn(&Scope, Value) -> bool + 'static) -> Pat {
        Pat(Rc::new(Form::Where(self, Box::new(test))))
    }

    /// The same pattern where `test` holds for the op and its attributes.
    pub fn with(self, test: impl Fn(&Op) -> bool + 'static) -> Pat {
        self.filter(move |scope, v| scope.graph.op(v.node).is_some_and(&test))
    }

    /// Result `index` of the node whose first result this pattern matches.
    pub fn result(&self, index: u32) -> Pat {
        Pat(Rc::new(Form::Result(self.clone(), index)))
    }

    fn key(&self) -> *const Form {
        Rc::as_ptr(&self.0)
    }

    /// The kinds of op that the pattern can match; `None` for any value at all.
    fn kinds(&self) -> Option<Vec<Kind>> {
        match &*self.0 {
            Form::Op(kind, _) => Some(vec![*kind]),
            Form::Result(pat, _) | Form::Where(pat, _) => pat.kinds(),
            Form::AnyOf(pats) => {
                let kinds: Option<Vec<_>> = pats.iter().map(Pat::kinds).collect();
                kinds.map(|k| k.concat())
            }
            Form::Any | Form::Constant | Form::Scalar | Form::Absent => None,
        }
    }
}

impl From<&Pat> for Pat {
    fn from(pat: &Pat) -> Pat {
        pat.clone()
    }
}

/// A number in an equation is a scalar of that value.
impl From<f64> for Pat {
    fn from(value: f64) -> Pat {
        number(value)
    }
}
