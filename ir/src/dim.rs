//! Symbolic dimensions: integer polynomials over named symbols, such as `past+seq` or `2*batch*seq`.
//!
//! A dimension is kept in one canonical form, so equal expressions are equal values and print alike.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// The name of a dimension that is known only at run time.
pub type Symbol = Arc<str>;

/// Terms of the longest dimension, and symbols in the longest product: a shape whose count has more overflows, as one
/// does whose count is no integer of 64 bits.
const MAX_TERMS: usize = 256;
const MAX_DEGREE: usize = 64;

/// A product of symbols in sorted order; empty for the constant term.
type Monomial = Vec<Symbol>;

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

    /// A constant that may be negative, as offsets in attributes are; no dimension of a type is.
    pub fn integer(value: i64) -> Dim {
        Dim::collect([(vec![], value)])
    }

    pub fn symbol(name: impl Into<Symbol>) -> Dim {
        Dim::collect([(vec![name.into()], 1)])
    }

    /// The value of a constant dimension. Negative constants (`1-2`) are no dimension and give `None`.
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
            [(m, 1)] if m.len() == 1 => Some(&m[0]),
            _ => None,
        }
    }

    /// Every symbol that occurs, in order, without repeats.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut all: Vec<_> = self.terms.iter().flat_map(|(m, _)| m.iter().cloned()).collect();
        all.sort();
        all.dedup();
        all
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
        if self.terms.len() * other.terms.len() > 16 * MAX_TERMS {
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
            for symbol in divisor {
                rest.remove(rest.iter().position(|s| s == symbol)?);
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
            let product = m.iter().try_fold(*c, |p, s| p.checked_mul(i64::try_from(env.get(s)?).ok()?))?;
            sum.checked_add(product)
        })
    }

    /// Whether no values of the symbols from 1 on make the dimension negative, as far as its terms show.
    pub fn is_nonnegative(&self) -> bool {
        // A product of k symbols becomes 2^k terms below.
        if self.terms.iter().any(|(m, _)| m.len() > 8) {
            return false;
        }
        let shifted = self
            .symbols()
            .iter()
            .try_fold(self.clone(), |d, s| d.substitute(s, &Dim::symbol(s.clone()).add(&Dim::constant(1))?));
        shifted.is_some_and(|d| d.terms.iter().all(|(_, c)| *c >= 0))
    }

    /// The dimension with `symbol` replaced by `value`; `None` on overflow.
    pub fn substitute(&self, symbol: &str, value: &Dim) -> Option<Dim> {
        let mut sum = Dim::constant(0);
        for (m, c) in &self.terms {
            let mut product = Dim { terms: vec![(vec![], *c)] };
            for s in m {
                let factor = if &**s == symbol { value.clone() } else { Dim::symbol(s.clone()) };
                product = product.mul(&factor)?;
            }
            sum = sum.add(&product)?;
        }
        Some(sum)
    }

    /// Coefficient and symbols of each term, in canonical order.
    pub fn terms(&self) -> impl Iterator<Item = (&[Symbol], i64)> {
        self.terms.iter().map(|(m, c)| (m.as_slice(), *c))
    }

    /// Reads `2*batch*seq+past-1`; the message says what is wrong.
    pub fn parse(text: &str) -> Result<Dim, String> {
        let mut sum = Dim::constant(0);
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("empty dimension".into());
        }
        if rest.matches(['+', '-']).nth(4 * MAX_TERMS).is_some() {
            return Err("the dimension has too many terms".into());
        }
        let mut sign = 1;
        if let Some(r) = rest.strip_prefix('-') {
            (sign, rest) = (-1, r);
        }
        loop {
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            let factors = || rest[..end].split('*').map(str::trim);
            let is_number = |factor: &str| factor.starts_with(|c: char| c.is_ascii_digit());
            // Each number is read as its negative, of which there is one more.
            let numbers = factors().filter(|f| is_number(f)).count();
            let mut product = Dim::integer(if numbers % 2 == 0 { sign } else { -sign });
            for factor in factors() {
                let factor = if is_number(factor) {
                    let n = format!("-{factor}").parse();
                    Dim::integer(n.map_err(|_| format!("bad number `{factor}` in dimension"))?)
                } else if is_symbol(factor) {
                    Dim::symbol(factor)
                } else {
                    return Err(format!("bad dimension `{}`", factor.escape_debug()));
                };
                product = product.mul(&factor).ok_or("dimension overflows")?;
            }
            sum = sum.add(&product).ok_or("dimension overflows")?;
            if end == rest.len() {
                return Ok(sum);
            }
            sign = if rest[end..].starts_with('-') { -1 } else { 1 };
            rest = &rest[end + 1..];
        }
    }

    fn collect(terms: impl IntoIterator<Item = (Monomial, i64)>) -> Dim {
        Dim { terms: terms.into_iter().filter(|(_, c)| *c != 0).collect() }
    }

    fn try_collect(terms: impl Iterator<Item = Option<(Monomial, i64)>>) -> Option<Dim> {
        let mut sums = BTreeMap::new();
        for term in terms {
            let (m, c) = term?;
            if m.len() > MAX_DEGREE {
                return None;
            }
            let sum: &mut i64 = sums.entry((std::cmp::Reverse(m.len()), m)).or_default();
            *sum = sum.checked_add(c)?;
        }
        let sum = Dim::collect(sums.into_iter().map(|((_, m), c)| (m, c)));
        (sum.terms.len() <= MAX_TERMS).then_some(sum)
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
            f.write_str(&m.join("*"))?;
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
    /// value that was expected. `Ok(false)` means that two or more symbols are still unbound.
    pub fn unify(&mut self, dim: &Dim, actual: usize) -> Result<bool, Option<usize>> {
        if let Some(value) = dim.eval(self) {
            return if value == actual { Ok(true) } else { Err(Some(value)) };
        }
        let mut unbound: Vec<_> = dim.symbols().into_iter().filter(|s| self.get(s).is_none()).collect();
        let (Some(symbol), true) = (unbound.pop(), unbound.is_empty()) else {
            return if dim.symbols().is_empty() { Err(None) } else { Ok(false) };
        };
        let at = |value| {
            let mut env = self.clone();
            env.set(symbol.clone(), value);
            dim.eval_integer(&env)
        };
        // Linear in the symbol: two points give slope and offset; the third line checks the guess.
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
        for bad in ["", "a b", "1x", "a+", "*", "9223372036854775808"] {
            assert!(Dim::parse(bad).is_err(), "{bad}");
        }
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
        for (text, nonnegative) in
            [("0", true), ("n-1", true), ("n-2", false), ("m*n-m", true), ("m*n-m-n", false), ("-1", false)]
        {
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
