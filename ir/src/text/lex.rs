//! A cursor over text that knows where it is.

use super::is_bare;
use crate::attr::unquote;
use crate::error::Error;

pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

type Result<T> = std::result::Result<T, Error>;

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// Where the next token starts, for errors found later.
    pub fn position(&mut self) -> usize {
        self.skip();
        self.at
    }

    pub fn error_at(&self, position: usize, message: impl Into<String>) -> Error {
        let before = &self.text[..position];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Error::Parse { line, column, message: message.into() }
    }

    pub fn error(&mut self, message: impl Into<String>) -> Error {
        let position = self.position();
        self.error_at(position, message)
    }

    pub fn at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }

    pub fn peek(&mut self) -> Option<char> {
        self.skip();
        self.rest().chars().next()
    }

    /// Takes `token` if it is next.
    pub fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let hit = self.rest().starts_with(token);
        if hit {
            self.at += token.len();
        }
        hit
    }

    pub fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"))) }
    }

    /// A word of letters, digits and `_`; empty if there is none.
    pub fn word(&mut self) -> &'a str {
        self.skip();
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// A name after `sigil`.
    pub fn name(&mut self, sigil: char) -> Result<String> {
        let start = self.position();
        if !self.eat(sigil.encode_utf8(&mut [0; 4])) {
            return Err(self.unexpected(&format!("`{sigil}name`")));
        }
        if self.rest().starts_with('"') {
            return self.string();
        }
        match self.take_while(is_bare) {
            "" => Err(self.error_at(start, format!("expected a name after `{sigil}`"))),
            name => Ok(name.into()),
        }
    }

    /// A string in double quotes.
    pub fn string(&mut self) -> Result<String> {
        let start = self.position();
        let end = self.string_end().ok_or_else(|| self.error_at(start, "expected a string in quotes"))?;
        let text = &self.text[start..end];
        self.at = end;
        unquote(text).map_err(|e| self.error_at(start, e))
    }

    /// A type such as `f32[batch,4]`.
    pub fn type_text(&mut self) -> Result<(usize, &'a str)> {
        let start = self.position();
        match self.rest().find([']', '\n']) {
            Some(len) if self.rest()[len..].starts_with(']') => {
                self.at += len + 1;
                Ok((start, &self.text[start..self.at]))
            }
            _ => Err(self.unexpected("a type")),
        }
    }

    /// A dimension: everything up to an equals sign, the end of the line, or a location.
    pub fn dim_text(&mut self) -> (usize, &'a str) {
        let start = self.position();
        let text = self.take_while(|c| c != '=' && c != '\n');
        let end = text.find(" loc(").or(text.find("//")).unwrap_or(text.len());
        self.at = start + end;
        (start, &text[..end])
    }

    /// A literal: everything up to a blank, comma or bracket.
    pub fn literal_text(&mut self) -> &'a str {
        self.skip();
        self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
    }

    /// Text in balanced brackets, brackets included; strings inside are skipped whole.
    pub fn bracketed(&mut self, open: char, close: char) -> Result<(usize, &'a str)> {
        let start = self.position();
        let mut depth = 0usize;
        while let Some(c) = self.rest().chars().next() {
            if c == '"' {
                self.at = self.string_end().ok_or_else(|| self.error_at(start, "a string does not end"))?;
                continue;
            }
            self.at += c.len_utf8();
            depth += usize::from(c == open);
            if c == close {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok((start, &self.text[start..self.at]));
                }
            }
        }
        Err(self.error_at(start, format!("no `{close}` for this `{open}`")))
    }

    /// What was expected, and what is there.
    pub fn unexpected(&mut self, expected: &str) -> Error {
        let found: String =
            self.rest_after_skip().chars().take_while(|c| !c.is_whitespace()).take(24).collect();
        let found = if found.is_empty() { "the end".into() } else { format!("`{}`", found.escape_debug()) };
        self.error(format!("expected {expected}, found {found}"))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn rest_after_skip(&mut self) -> &'a str {
        self.skip();
        self.rest()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// The offset after the string that starts here.
    fn string_end(&self) -> Option<usize> {
        let mut escaped = false;
        let mut chars = self.rest().char_indices();
        chars.next().filter(|(_, c)| *c == '"')?;
        for (i, c) in chars {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Some(self.at + i + 1),
                '\n' => return None,
                _ => {}
            }
        }
        None
    }

    fn skip(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }
}
