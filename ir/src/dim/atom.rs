//! Functions of dimensions that are not polynomials, each kept in one canonical form.
//!
//! Ceilings and remainders are written by `floordiv`: `ceildiv(p,q) = floordiv(p+q-1,q)` and
//! `mod(p,q) = p-q*floordiv(p,q)`, so that a size has one form whichever way it was computed.

use std::fmt;
use std::sync::Arc;

use super::{Dim, DimEnv, Factor};

/// Larger expressions are an overflow.
const MAX_SIZE: usize = 512;

/// The function of an atom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum AtomOp {
    /// The quotient of two, rounded down; the divisor is positive.
    FloorDiv,
    Min,
    Max,
    /// The size to which all of these sizes broadcast: the one that is not 1. It has no value where two differ.
    Broadcast,
}

/// An operation on dimensions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Atom {
    op: AtomOp,
    args: Vec<Dim>,
}

impl AtomOp {
    pub const ALL: [AtomOp; 4] = [AtomOp::FloorDiv, AtomOp::Min, AtomOp::Max, AtomOp::Broadcast];

    pub fn name(self) -> &'static str {
        match self {
            AtomOp::FloorDiv => "floordiv",
            AtomOp::Min => "min",
            AtomOp::Max => "max",
            AtomOp::Broadcast => "broadcast",
        }
    }

    /// The value on numbers; `None` where it, or one of them, has none.
    pub fn apply(self, args: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
        let mut args = args.into_iter();
        let first = args.next()??;
        args.try_fold(first, |all, arg| match (self, all, arg?) {
            (AtomOp::FloorDiv, p, q) => (q > 0).then(|| p.div_euclid(q)),
            (AtomOp::Min, a, b) => Some(a.min(b)),
            (AtomOp::Max, a, b) => Some(a.max(b)),
            (AtomOp::Broadcast, a, b) if a == b || b == 1 => Some(a),
            (AtomOp::Broadcast, 1, b) => Some(b),
            (AtomOp::Broadcast, ..) => None,
        })
    }
}

impl Atom {
    pub fn op(&self) -> AtomOp {
        self.op
    }

    /// In canonical order.
    pub fn args(&self) -> &[Dim] {
        &self.args
    }

    pub(super) fn size(&self) -> usize {
        1 + self.args.iter().map(Dim::size).sum::<usize>()
    }

    pub(super) fn eval(&self, env: &DimEnv) -> Option<i64> {
        self.op.apply(self.args.iter().map(|d| d.eval_integer(env)))
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let args: Vec<_> = self.args.iter().map(Dim::to_string).collect();
        write!(f, "{}({})", self.op.name(), args.join(","))
    }
}

impl Dim {
    /// `op` of dimensions; `None` where it has no value for any values of the symbols, or is too large.
    pub fn atom(op: AtomOp, args: Vec<Dim>) -> Option<Dim> {
        match op {
            AtomOp::FloorDiv => match args.as_slice() {
                [p, q] => p.floordiv(q),
                _ => None,
            },
            AtomOp::Min => args.into_iter().try_fold(None, |least: Option<Dim>, d| {
                Some(Some(match least {
                    Some(l) => l.min_of(&d)?,
                    None => d,
                }))
            })?,
            AtomOp::Max => args.into_iter().try_fold(None, |most: Option<Dim>, d| {
                Some(Some(match most {
                    Some(m) => m.max_of(&d)?,
                    None => d,
                }))
            })?,
            AtomOp::Broadcast => Dim::broadcast(args),
        }
    }

    /// `self / other`, rounded down. The divisor has to be positive when it is known; `None` if it is not, or on
    /// overflow.
    pub fn floordiv(&self, other: &Dim) -> Option<Dim> {
        match other.as_integer() {
            Some(q) if q <= 0 => return None,
            Some(q) => return self.floordiv_by(q),
            None => {}
        }
        match self.div_exact(other) {
            // A quotient whose divisor may be 0 has no value there; one that is simplified has.
            Some(quotient) => Some(quotient),
            None => Dim::from_atom(AtomOp::FloorDiv, vec![self.clone(), other.clone()]),
        }
    }

    /// `self / other`, rounded up.
    pub fn ceildiv(&self, other: &Dim) -> Option<Dim> {
        self.add(other)?.sub(&Dim::constant(1))?.floordiv(other)
    }

    /// What is left of `self` after `floordiv`.
    pub fn modulo(&self, other: &Dim) -> Option<Dim> {
        self.sub(&self.floordiv(other)?.mul(other)?)
    }

    /// The smaller of two.
    pub fn min_of(&self, other: &Dim) -> Option<Dim> {
        match (self.is_at_least(other), other.is_at_least(self)) {
            (true, _) => Some(other.clone()),
            (_, true) => Some(self.clone()),
            _ => extreme(AtomOp::Min, [self, other]),
        }
    }

    /// The larger of two.
    pub fn max_of(&self, other: &Dim) -> Option<Dim> {
        match (self.is_at_least(other), other.is_at_least(self)) {
            (true, _) => Some(self.clone()),
            (_, true) => Some(other.clone()),
            _ => extreme(AtomOp::Max, [self, other]),
        }
    }

    /// The size to which `dims` broadcast; `None` where two differ for all values of the symbols.
    pub fn broadcast(dims: impl IntoIterator<Item = Dim>) -> Option<Dim> {
        let dims: Vec<Dim> = dims.into_iter().collect();
        let mut args = flattened(AtomOp::Broadcast, &dims);
        args.retain(|d| d.as_integer() != Some(1));
        let constants = args.iter().filter(|d| d.as_integer().is_some()).count();
        match args.as_slice() {
            [] => Some(Dim::constant(1)),
            [only] => Some(only.clone()),
            _ if constants > 1 => None,
            _ => Dim::from_atom(AtomOp::Broadcast, args),
        }
    }

    fn from_atom(op: AtomOp, args: Vec<Dim>) -> Option<Dim> {
        let atom = Atom { op, args };
        let fits = atom.size() <= MAX_SIZE;
        fits.then(|| Dim::collect([(vec![Factor::Atom(Arc::new(atom))], 1)]))
    }

    fn floordiv_by(&self, q: i64) -> Option<Dim> {
        // Multiples of the divisor come out: floordiv(q·a+b, q) = a+floordiv(b, q).
        let (mut whole, mut rest) = (Dim::constant(0), Dim::constant(0));
        for (monomial, c) in &self.terms {
            let term = |c: i64| Dim::collect([(monomial.clone(), c)]);
            whole = whole.add(&term(c.div_euclid(q)))?;
            rest = rest.add(&term(c.rem_euclid(q)))?;
        }
        if q == 1 {
            return Some(whole);
        }
        let constant = rest.terms.iter().find(|(m, _)| m.is_empty()).map_or(0, |(_, c)| *c);
        let symbolic = rest.sub(&Dim::integer(constant))?;
        if symbolic.terms.is_empty() {
            return Some(whole);
        }
        // A divisor of all terms and of q comes out: floordiv(g·x+c, g·q) = floordiv(x+floordiv(c, g), q).
        let g = symbolic.terms.iter().fold(q, |g, (_, c)| gcd(g, *c));
        let symbolic = symbolic.div_exact(&Dim::integer(g))?;
        let (constant, q) = (constant.div_euclid(g), q / g);
        if q == 1 {
            return whole.add(&symbolic)?.add(&Dim::integer(constant));
        }
        // A quotient of a quotient is one: floordiv(floordiv(p, a)+c, q) = floordiv(p+a·c, a·q).
        if let Some(inner) = symbolic.as_atom().filter(|a| a.op == AtomOp::FloorDiv)
            && let [p, a] = inner.args.as_slice()
            && let Some(a) = a.as_integer()
        {
            let p = p.add(&Dim::integer(constant.checked_mul(a)?))?;
            return whole.add(&p.floordiv_by(a.checked_mul(q)?)?);
        }
        let p = symbolic.add(&Dim::integer(constant))?;
        whole.add(&Dim::from_atom(AtomOp::FloorDiv, vec![p, Dim::integer(q)])?)
    }
}

/// The smallest or largest of dimensions, without those of which another is known to be as small or as large.
fn extreme(op: AtomOp, dims: [&Dim; 2]) -> Option<Dim> {
    let loses = |a: &Dim, b: &Dim| match op {
        AtomOp::Min => a.is_at_least(b),
        _ => b.is_at_least(a),
    };
    let mut kept: Vec<Dim> = vec![];
    for dim in flattened(op, dims) {
        if !kept.iter().any(|other| loses(&dim, other)) {
            kept.retain(|other| !loses(other, &dim));
            kept.push(dim);
        }
    }
    match kept.as_slice() {
        [only] => Some(only.clone()),
        _ => Dim::from_atom(op, kept),
    }
}

/// The arguments of an op that may be regrouped, sorted and without repeats.
fn flattened<'a>(op: AtomOp, dims: impl IntoIterator<Item = &'a Dim>) -> Vec<Dim> {
    let mut all = vec![];
    for dim in dims {
        match dim.as_atom().filter(|a| a.op == op) {
            Some(atom) => all.extend(atom.args.iter().cloned()),
            None => all.push(dim.clone()),
        }
    }
    all.sort();
    all.dedup();
    all
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    // The divisor of the caller is positive, and so is what divides it.
    i64::try_from(a).unwrap_or(1)
}
