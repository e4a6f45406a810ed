//! What holds of a dimension whatever values its symbols have.

use std::sync::Arc;

use super::{Atom, AtomOp, Dim, Factor};

/// How often a proof may replace an atom by what bounds it.
const MAX_STEPS: usize = 4;

impl Dim {
    /// Whether no values of the symbols from 1 on make the dimension negative, as far as its terms show.
    pub fn is_nonnegative(&self) -> bool {
        let shifted = self.replace(&|factor| match factor {
            // A product of k symbols becomes 2^k terms, which overflow where they are too many.
            Factor::Symbol(s) => Dim::symbol(s.clone()).add(&Dim::constant(1)),
            Factor::Atom(_) => None,
        });
        shifted.is_some_and(|d| d.is_proven(MAX_STEPS))
    }

    /// Whether `self >= other` for all values of the symbols, which are not negative.
    pub fn is_at_least(&self, other: &Dim) -> bool {
        self.sub(other).is_some_and(|d| d.is_proven(MAX_STEPS))
    }

    /// Whether the dimension is never negative when symbols are not: so are all its terms, or those of what bounds it
    /// from below.
    fn is_proven(&self, steps: usize) -> bool {
        if self.terms.iter().all(|(m, c)| *c >= 0 && m.iter().all(|f| f.is_nonnegative(steps))) {
            return true;
        }
        let Some(steps) = steps.checked_sub(1) else { return false };
        self.terms.iter().any(|(m, c)| match m.as_slice() {
            [Factor::Atom(atom)] => self.is_proven_without(atom, *c, steps),
            _ => false,
        })
    }

    /// `is_proven` with a bound in the place of the term of `atom`, whose coefficient is `c`.
    fn is_proven_without(&self, atom: &Atom, c: i64, steps: usize) -> bool {
        let term = Dim { terms: vec![(vec![Factor::Atom(Arc::new(atom.clone()))], c)] };
        let Some(rest) = self.sub(&term) else { return false };
        let with = |d: &Dim| d.mul(&Dim::integer(c)).and_then(|d| rest.add(&d));
        match (atom.op(), c < 0) {
            (AtomOp::FloorDiv, negative) => {
                let [p, q] = atom.args() else { return false };
                let Some(q) = q.as_integer() else { return false };
                // -c·floordiv(p, q) >= -c·p/q, and c·floordiv(p, q) >= c·(p-q+1)/q. A number of which q times is more
                // than -q is not negative.
                let p = if negative { Some(p.clone()) } else { p.sub(&Dim::integer(q - 1)) };
                let sum = p.and_then(|p| p.mul(&Dim::integer(c))?.add(&rest.mul(&Dim::integer(q))?));
                sum.and_then(|d| d.add(&Dim::integer(q - 1))).is_some_and(|d| d.is_proven(steps))
            }
            // The smallest is at most each, the largest at least each.
            (AtomOp::Min, true) | (AtomOp::Max, false) => {
                atom.args().iter().any(|d| with(d).is_some_and(|d| d.is_proven(steps)))
            }
            // The value is one of these.
            _ => atom.args().iter().all(|d| with(d).is_some_and(|d| d.is_proven(steps))),
        }
    }
}

impl Factor {
    fn as_atom(&self) -> Option<&Atom> {
        match self {
            Factor::Symbol(_) => None,
            Factor::Atom(atom) => Some(atom),
        }
    }

    fn is_nonnegative(&self, steps: usize) -> bool {
        let (Some(atom), Some(steps)) = (self.as_atom(), steps.checked_sub(1)) else {
            return self.as_atom().is_none();
        };
        let of = |d: &Dim| d.is_proven(steps);
        match atom.op() {
            // A quotient of what is not negative by what is positive.
            AtomOp::FloorDiv => atom.args().first().is_some_and(of),
            AtomOp::Min | AtomOp::Broadcast => atom.args().iter().all(of),
            AtomOp::Max => atom.args().iter().any(of),
        }
    }
}
