//! Reading dimensions: sums of products of numbers, symbols, atoms and sums in parentheses.
//!
//! `ceildiv` and `mod` are read as what they come to, and `a//b` as `floordiv(a,b)`, as exporters write it.

use super::{AtomOp, Dim, is_symbol};

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 24;

impl Dim {
    /// Reads `2*batch*seq+past-1` or `floordiv(w-1,2)+1`; the message says what is wrong.
    pub fn parse(text: &str) -> Result<Dim, String> {
        let mut parser = Parser { rest: text.trim(), depth: 0 };
        if parser.rest.is_empty() {
            return Err("empty dimension".into());
        }
        let dim = parser.sum()?;
        match parser.rest {
            "" => Ok(dim),
            rest => Err(bad(rest)),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<Dim, String> {
        let mut sum = Dim::constant(0);
        let mut negative = self.eat("-");
        loop {
            sum = sum.add(&self.product(negative)?).ok_or("dimension overflows")?;
            negative = match () {
                _ if self.eat("+") => false,
                _ if self.eat("-") => true,
                _ => return Ok(sum),
            };
        }
    }

    /// The product, or its negative.
    fn product(&mut self, negative: bool) -> Result<Dim, String> {
        let overflows = || "dimension overflows".to_string();
        let mut sign = if negative { -1 } else { 1 };
        let mut product = Dim::constant(1);
        loop {
            let factor = match self.number()? {
                // Numbers are read as their negatives, of which there is one more.
                Some(number) => {
                    sign = -sign;
                    Dim::integer(number)
                }
                None => self.symbol()?,
            };
            product = product.mul(&factor).ok_or_else(overflows)?;
            while self.eat("//") {
                let signed = product.mul(&Dim::integer(sign)).ok_or_else(overflows)?;
                let by = match self.number()? {
                    Some(number) => Dim::integer(number.checked_neg().ok_or_else(overflows)?),
                    None => self.symbol()?,
                };
                product = signed.floordiv(&by).ok_or_else(|| format!("cannot divide by `{by}`"))?;
                sign = 1;
            }
            if !self.eat("*") {
                return product.mul(&Dim::integer(sign)).ok_or_else(overflows);
            }
        }
    }

    /// The negative of a number that is next.
    fn number(&mut self) -> Result<Option<i64>, String> {
        let word = self.rest.len() - self.rest.trim_start_matches(is_word).len();
        let word = &self.rest[..word];
        if !word.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        self.take(word.len());
        let number = format!("-{word}").parse();
        number.map(Some).map_err(|_| format!("bad number `{}` in dimension", shown(word)))
    }

    /// A symbol, an atom, or a sum in parentheses.
    fn symbol(&mut self) -> Result<Dim, String> {
        if self.eat("(") {
            let sum = self.nested()?;
            return if self.eat(")") { Ok(sum) } else { Err(bad(self.rest)) };
        }
        let word = self.rest.len() - self.rest.trim_start_matches(is_word).len();
        let word = &self.rest[..word];
        if !is_symbol(word) {
            return Err(bad(self.rest));
        }
        self.take(word.len());
        if !self.eat("(") {
            return Ok(Dim::symbol(word));
        }
        let mut args = vec![self.nested()?];
        while self.eat(",") {
            args.push(self.nested()?);
        }
        if !self.eat(")") {
            return Err(bad(self.rest));
        }
        let pair = match args.as_slice() {
            [p, q] => Some((p, q)),
            _ => None,
        };
        let dim = match (word, pair) {
            ("ceildiv", Some((p, q))) => p.ceildiv(q),
            ("mod", Some((p, q))) => p.modulo(q),
            _ => match AtomOp::ALL.into_iter().find(|op| op.name() == word) {
                Some(op) => Dim::atom(op, args),
                None => return Err(format!("no function `{}` in dimension", shown(word))),
            },
        };
        dim.ok_or_else(|| format!("`{}` has no value in dimension", shown(word)))
    }

    fn nested(&mut self) -> Result<Dim, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("dimension nests deeper than {MAX_DEPTH}"));
        }
        let sum = self.sum();
        self.depth -= 1;
        sum
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest.starts_with(token) && !(token == "*" && self.rest.starts_with("**"));
        if found {
            self.take(token.len());
        }
        found
    }

    fn take(&mut self, len: usize) {
        self.rest = self.rest[len..].trim_start();
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

fn bad(text: &str) -> String {
    format!("bad dimension `{}`", shown(text))
}

/// The start of a text, fit to print.
fn shown(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}
