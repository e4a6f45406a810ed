//! What holds of a dimension whatever values its symbols have.

use super::{AtomOp, Dim, Factor};

/// How often a proof may replace an atom by what bounds it.
const MAX_STEPS: usize = 6;

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

    /// Whether the dimension is never negative when symbols are not.
    fn is_proven(&self, steps: usize) -> bool {
        let bad = |(m, c): &&(Vec<Factor>, i64)| *c < 0 || !m.iter().all(|f| f.is_nonnegative(steps));
        let Some((m, c)) = self.terms.iter().find(bad) else { return true };
        let (Some(steps), Some(atom)) = (steps.checked_sub(1), m.iter().find_map(Factor::as_atom)) else {
            return false;
        };
        // Other factors must not turn the sign of what is proven.
        let [Factor::Atom(_)] = m.as_slice() else { return false };
        let Some(rest) = self.sub(&Dim { terms: vec![(m.clone(), *c)] }) else { return false };
        let with = |d: &Dim| d.mul(&Dim::integer(*c)).and_then(|d| rest.add(&d));
        match (atom.op(), *c < 0) {
            // -c·floordiv(p, q) >= -c·p/q, and what is more than -1 is not negative.
            (AtomOp::FloorDiv, true) => {
                let [p, q] = atom.args() else { return false };
                let Some(q) = q.as_integer() else { return false };
                let scaled = rest.mul(&Dim::integer(q));
                let sum = p.mul(&Dim::integer(*c)).zip(scaled).and_then(|(p, rest)| rest.add(&p));
                sum.and_then(|d| d.add(&Dim::integer(q - 1))).is_some_and(|d| d.is_proven(steps))
            }
            // floordiv(p, q) >= (p-q+1)/q.
            (AtomOp::FloorDiv, false) => {
                let [p, q] = atom.args() else { return false };
                let Some(q) = q.as_integer() else { return false };
                let low = p.sub(&Dim::integer(q - 1)).and_then(|p| p.mul(&Dim::integer(*c)));
                let sum = low.zip(rest.mul(&Dim::integer(q))).and_then(|(low, rest)| rest.add(&low));
                sum.is_some_and(|d| d.is_proven(steps))
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
    fn as_atom(&self) -> Option<&super::Atom> {
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
