//! Symbolic dimensions: integer polynomials over named symbols and atoms, such as `past+seq` or `floordiv(w-1,2)+1`.
//!
//! A dimension is kept in one canonical form, so equal expressions are equal values and print alike.

mod atom;
mod bounds;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use atom::{Atom, AtomOp};

/// The name of a dimension that is known only at run time.
pub type Symbol = Arc<str>;

/// What a term multiplies: a symbol, or a function of other dimensions that is not a polynomial.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Factor {
    Symbol(Symbol),
    Atom(Arc<Atom>),
}

impl Factor {
    /// Whether the symbol is inside of an atom, which is not solved for it.
    pub fn hides(&self, symbol: &Symbol) -> bool {
        matches!(self, Factor::Atom(atom) if atom.args().iter().any(|d| d.symbols().contains(symbol)))
    }
}

/// A product of factors in sorted order; empty for the constant term.
type Monomial = Vec<Factor>;

/// Dimensions with more terms, or with terms of more factors, are an overflow: their time and memory stay bounded.
const MAX_TERMS: usize = 256;
const MAX_FACTORS: usize = 64;

/// One dimension of a type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Dim {
    /// Coefficients by monomial, without zeros, longest monomials first in print.
    terms: Vec<(Monomial, i64)>,
}

/// Values of symbols at run time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DimEnv {
    values: FxHashMap<Symbol, usize>,
}

impl Dim {
    pub fn constant(value: usize) -> Dim {
        Dim::collect([(vec![], value as i64)])
    }

    /// The product of all, such as how many elements a shape has; `None` on overflow.
    pub fn product<'d>(dims: impl IntoIterator<Item = &'d Dim>) -> Option<Dim> {
        dims.into_iter().try_fold(Dim::constant(1), |product, d| product.mul(d))
    }

    /// A constant that may be negative, as offsets in attributes are; no dimension of a type is.
    pub fn integer(value: i64) -> Dim {
        Dim::collect([(vec![], value)])
    }

    pub fn symbol(name: impl Into<Symbol>) -> Dim {
        Dim::collect([(vec![Factor::Symbol(name.into())], 1)])
    }

    /// The value of a constant dimension. Negative constants (`1-2`) are not dimensions and give `None`.
    pub fn as_const(&self) -> Option<usize> {
        self.as_integer().and_then(|v| usize::try_from(v).ok())
    }

    /// The value of a constant, which may be negative.
    pub fn as_integer(&self) -> Option<i64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [(m, c)] if m.is_empty() => Some(*c),
            _ => None,
        }
    }

    /// The symbol, when the dimension is nothing but one.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match self.terms.as_slice() {
            [(m, 1)] => match m.as_slice() {
                [Factor::Symbol(symbol)] => Some(symbol),
                _ => None,
            },
            _ => None,
        }
    }

    /// The atom, when the dimension is nothing but one.
    pub fn as_atom(&self) -> Option<&Arc<Atom>> {
        match self.terms.as_slice() {
            [(m, 1)] => match m.as_slice() {
                [Factor::Atom(atom)] => Some(atom),
                _ => None,
            },
            _ => None,
        }
    }

    /// Every symbol that occurs, also inside of atoms, in order, without repeats.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut all = vec![];
        for factor in self.factors() {
            match factor {
                Factor::Symbol(symbol) => all.push(symbol.clone()),
                Factor::Atom(atom) => all.extend(atom.args().iter().flat_map(Dim::symbols)),
            }
        }
        all.sort();
        all.dedup();
        all
    }

    /// The factors of all terms; what occurs twice is given twice.
    pub fn factors(&self) -> impl Iterator<Item = &Factor> {
        self.terms.iter().flat_map(|(m, _)| m)
    }

    /// Nodes of the expression.
    fn size(&self) -> usize {
        let factor = |f: &Factor| match f {
            Factor::Symbol(_) => 1,
            Factor::Atom(atom) => atom.size(),
        };
        self.terms.iter().map(|(m, _)| 1 + m.iter().map(factor).sum::<usize>()).sum()
    }

    /// `self + other`; `None` on overflow.
    pub fn add(&self, other: &Dim) -> Option<Dim> {
        Dim::try_collect(self.terms.iter().chain(&other.terms).map(|(m, c)| Some((m.clone(), *c))))
    }

    /// `self - other`; `None` on overflow.
    pub fn sub(&self, other: &Dim) -> Option<Dim> {
        let negated = other.terms.iter().map(|(m, c)| Some((m.clone(), c.checked_neg()?)));
        Dim::try_collect(self.terms.iter().map(|(m, c)| Some((m.clone(), *c))).chain(negated))
    }

    /// `self · other`; `None` on overflow.
    pub fn mul(&self, other: &Dim) -> Option<Dim> {
        if self.terms.len().saturating_mul(other.terms.len()) > 4 * MAX_TERMS {
            return None;
        }
        Dim::try_collect(self.terms.iter().flat_map(|(m, c)| {
            other.terms.iter().map(move |(n, d)| {
                let mut product = [m.as_slice(), n.as_slice()].concat();
                product.sort();
                Some((product, c.checked_mul(*d)?))
            })
        }))
    }

    /// `self / other` where that is exact for every value of the symbols; `other` must be one term.
    pub fn div_exact(&self, other: &Dim) -> Option<Dim> {
        if self == other && !self.terms.is_empty() {
            return Some(Dim::constant(1));
        }
        let [(divisor, d)] = other.terms.as_slice() else { return None };
        Dim::try_collect(self.terms.iter().map(|(m, c)| {
            let mut rest = m.clone();
            for factor in divisor {
                rest.remove(rest.iter().position(|f| f == factor)?);
            }
            (c.checked_rem(*d)? == 0).then_some((rest, c.checked_div(*d)?))
        }))
    }

    /// The value under `env`; `None` when a symbol is unbound or the value is no `usize`.
    pub fn eval(&self, env: &DimEnv) -> Option<usize> {
        self.eval_integer(env).and_then(|v| usize::try_from(v).ok())
    }

    /// The value under `env`, which may be negative; `None` when a symbol is unbound or on overflow.
    pub fn eval_integer(&self, env: &DimEnv) -> Option<i64> {
        self.terms.iter().try_fold(0i64, |sum, (m, c)| {
            let value = |factor: &Factor| match factor {
                Factor::Symbol(symbol) => i64::try_from(env.get(symbol)?).ok(),
                Factor::Atom(atom) => atom.eval(env),
            };
            let product = m.iter().try_fold(*c, |p, f| p.checked_mul(value(f)?))?;
            sum.checked_add(product)
        })
    }

    /// The dimension with `symbol` replaced by `value`; `None` on overflow.
    pub fn substitute(&self, symbol: &str, value: &Dim) -> Option<Dim> {
        self.replace(&|factor| match factor {
            Factor::Symbol(s) if &**s == symbol => Some(value.clone()),
            _ => None,
        })
    }

    /// The dimension with each factor for which `with` has one replaced, also inside of atoms; `None` on overflow.
    pub fn replace(&self, with: &dyn Fn(&Factor) -> Option<Dim>) -> Option<Dim> {
        let mut sum = Dim::constant(0);
        for (m, c) in &self.terms {
            let mut product = Dim::integer(*c);
            for factor in m {
                let value = match (with(factor), factor) {
                    (Some(value), _) => value,
                    (None, Factor::Symbol(s)) => Dim::symbol(s.clone()),
                    (None, Factor::Atom(atom)) => {
                        let args = atom.args().iter().map(|d| d.replace(with));
                        let atom = Dim::atom(atom.op(), args.collect::<Option<_>>()?)?;
                        atom.as_atom().and_then(|a| with(&Factor::Atom(a.clone()))).unwrap_or(atom)
                    }
                };
                product = product.mul(&value)?;
            }
            sum = sum.add(&product)?;
        }
        Some(sum)
    }

    /// Factors and coefficient of each term, in canonical order.
    pub fn terms(&self) -> impl Iterator<Item = (&[Factor], i64)> {
        self.terms.iter().map(|(m, c)| (m.as_slice(), *c))
    }

    fn collect(terms: impl IntoIterator<Item = (Monomial, i64)>) -> Dim {
        Dim { terms: terms.into_iter().filter(|(_, c)| *c != 0).collect() }
    }

    fn try_collect(terms: impl Iterator<Item = Option<(Monomial, i64)>>) -> Option<Dim> {
        let mut sums = BTreeMap::new();
        for term in terms {
            let (m, c) = term?;
            if m.len() > MAX_FACTORS {
                return None;
            }
            let sum: &mut i64 = sums.entry((std::cmp::Reverse(m.len()), m)).or_default();
            *sum = sum.checked_add(c)?;
        }
        let dim = Dim::collect(sums.into_iter().map(|((_, m), c)| (m, c)));
        (dim.terms.len() <= MAX_TERMS).then_some(dim)
    }
}

/// Whether `name` can stand for a symbol in text: a letter or `_`, then letters, digits, `_` and `.`.
pub fn is_symbol(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

impl From<usize> for Dim {
    fn from(value: usize) -> Dim {
        Dim::constant(value)
    }
}

impl From<Arc<Atom>> for Dim {
    fn from(atom: Arc<Atom>) -> Dim {
        Dim::collect([(vec![Factor::Atom(atom)], 1)])
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        for (i, (m, c)) in self.terms.iter().enumerate() {
            match (i, c < &0) {
                (_, true) => f.write_str("-")?,
                (0, false) => {}
                (_, false) => f.write_str("+")?,
            }
            let magnitude = c.unsigned_abs();
            if m.is_empty() {
                write!(f, "{magnitude}")?;
                continue;
            }
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            for (j, factor) in m.iter().enumerate() {
                f.write_str(if j > 0 { "*" } else { "" })?;
                match factor {
                    Factor::Symbol(symbol) => f.write_str(symbol)?,
                    Factor::Atom(atom) => atom.fmt(f)?,
                }
            }
        }
        Ok(())
    }
}

impl DimEnv {
    pub fn get(&self, symbol: &str) -> Option<usize> {
        self.values.get(symbol).copied()
    }

    pub fn set(&mut self, symbol: Symbol, value: usize) {
        self.values.insert(symbol, value);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, usize)> {
        self.values.iter().map(|(s, v)| (s, *v))
    }

    /// Makes `dim` equal `actual`: binds its one unbound symbol, or checks the value. The error is the
    /// value that was expected. `Ok(false)` means that symbols are still unbound which
    /// `actual` does not determine.
    pub fn unify(&mut self, dim: &Dim, actual: usize) -> Result<bool, Option<usize>> {
        if let Some(value) = dim.eval(self) {
            return if value == actual { Ok(true) } else { Err(Some(value)) };
        }
        let mut unbound: Vec<_> = dim.symbols().into_iter().filter(|s| self.get(s).is_none()).collect();
        let Some(symbol) = unbound.pop() else { return Err(None) };
        if !unbound.is_empty() || dim.factors().any(|f| f.hides(&symbol)) {
            return Ok(false);
        }
        let at = |value| {
            let mut env = self.clone();
            env.set(symbol.clone(), value);
            dim.eval_integer(&env)
        };
        // Linear in the symbol: two points give slope and offset; the guess is checked below.
        let (Some(offset), Some(one)) = (at(0), at(1)) else { return Err(None) };
        let slope = one.checked_sub(offset);
        let rise = i64::try_from(actual).ok().and_then(|a| a.checked_sub(offset));
        let guess = slope.zip(rise).and_then(|(slope, rise)| rise.checked_div(slope));
        match guess.and_then(|g| usize::try_from(g).ok()) {
            Some(value) if at(value) == Some(actual as i64) => {
                self.set(symbol, value);
                Ok(true)
            }
            _ => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(text: &str) -> Dim {
        Dim::parse(text).unwrap()
    }

    #[test]
    fn canonical_form_prints_and_parses() {
        for (text, canonical) in [
            ("seq + past", "past+seq"),
            ("2*seq*batch+1", "2*batch*seq+1"),
            ("seq+seq", "2*seq"),
            ("seq-seq", "0"),
            ("seq-1", "seq-1"),
            ("3*4", "12"),
            ("-9223372036854775808*seq+2", "-9223372036854775808*seq+2"),
        ] {
            assert_eq!(dim(text).to_string(), canonical);
            assert_eq!(dim(canonical), dim(text));
        }
        for bad in
            ["", "a b", "1x", "a+", "*", "9223372036854775808", "a**b", "floor(a)", "min(a", "(a", "a//0"]
        {
            assert!(Dim::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn atoms_have_one_form() {
        for (text, canonical) in [
            ("floordiv(2*n+3,2)", "n+1"),
            ("floordiv(floordiv(w-1,2)+1-1,2)+1", "floordiv(w+3,4)"),
            ("ceildiv(w,2)", "floordiv(w+1,2)"),
            ("floordiv(w+3,2)", "floordiv(w+1,2)+1"),
            ("(w+1)//2", "floordiv(w+1,2)"),
            ("floordiv(4*a+2*b+1,6)", "floordiv(2*a+b,3)"),
            ("mod(n,2)", "n-2*floordiv(n,2)"),
            ("n*floordiv(a*b,b)", "a*n"),
            ("min(n,n+1)", "n"),
            ("max(0,n)", "n"),
            ("max(floordiv(n,2),n)", "n"),
            ("min(b,min(a,b))", "min(a,b)"),
            ("broadcast(b,broadcast(a,1))", "broadcast(a,b)"),
            ("broadcast(n,n)", "n"),
            ("2*(a+3)", "2*a+6"),
        ] {
            assert_eq!(dim(text).to_string(), canonical, "{text}");
            assert_eq!(dim(canonical), dim(text));
        }
    }

    #[test]
    fn atoms_evaluate_and_stay_when_replaced() {
        let mut env = DimEnv::default();
        env.set("n".into(), 7);
        env.set("one".into(), 1);
        for (text, value) in [
            ("floordiv(n-1,2)+1", Some(4)),
            ("mod(n,4)", Some(3)),
            ("min(n,one)", Some(1)),
            ("broadcast(n,one)", Some(7)),
            ("broadcast(n,3)", None),
            ("floordiv(n,one-1)", None),
        ] {
            assert_eq!(dim(text).eval_integer(&env), value, "{text}");
        }
        assert_eq!(dim("floordiv(n,2)").substitute("n", &dim("2*m")), Some(dim("m")));
        assert_eq!(dim("broadcast(n,m)").substitute("n", &dim("m")), Some(dim("m")));
        assert_eq!(env.unify(&dim("floordiv(k,2)"), 3), Ok(false));
        assert_eq!(env.unify(&dim("broadcast(n,3)"), 3), Err(None));
    }

    #[test]
    fn division_is_exact_or_nothing() {
        assert_eq!(dim("576*batch*seq").div_exact(&dim("64*batch")), Some(dim("9*seq")));
        assert_eq!(dim("576*batch*seq").div_exact(&dim("5")), None);
        assert_eq!(dim("past+seq").div_exact(&dim("past+seq")), Some(dim("1")));
        assert_eq!(dim("seq").div_exact(&dim("0")), None);
    }

    #[test]
    fn signs_are_proven_from_terms() {
        for (text, nonnegative) in [
            ("0", true),
            ("n-1", true),
            ("n-2", false),
            ("m*n-m", true),
            ("m*n-m-n", false),
            ("-1", false),
            ("n-floordiv(n,2)", true),
            ("n-min(m,n)", true),
            ("2*floordiv(h+1,2)+1-h", true),
            ("floordiv(n-1,2)", true),
            ("floordiv(n,2)-1", false),
        ] {
            assert_eq!(dim(text).is_nonnegative(), nonnegative, "{text}");
        }
        assert_eq!(
            dim("n-3").eval_integer(&DimEnv { values: [("n".into(), 1)].into_iter().collect() }),
            Some(-2)
        );
    }

    #[test]
    fn unify_binds_checks_and_waits() {
        let mut env = DimEnv::default();
        assert_eq!(env.unify(&dim("past+seq"), 7), Ok(false));
        assert_eq!(env.unify(&dim("seq"), 3), Ok(true));
        assert_eq!(env.unify(&dim("past+seq"), 7), Ok(true));
        assert_eq!(env.get("past"), Some(4));
        assert_eq!(env.unify(&dim("2*past"), 9), Err(Some(8)));
        assert_eq!(env.unify(&dim("2*other"), 9), Err(None));
    }
}
