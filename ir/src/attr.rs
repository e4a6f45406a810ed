//! Attributes: what an op knows besides its operands, with one spelling in text for each Rust type.

use crate::dim::Dim;
use crate::ty::{Elem, Type};

/// A type of attribute. `parse` is the inverse of `print`.
pub trait Attr: Sized {
    fn print(&self) -> String;
    fn parse(text: &str) -> Result<Self, String>;
    /// Whether the attribute is left out of the text.
    fn is_absent(&self) -> bool {
        false
    }
    /// The value of an attribute that the text does not have.
    fn absent() -> Option<Self> {
        None
    }
    /// The function that the attribute names.
    fn callee(&self) -> Option<String> {
        None
    }
    /// Replaces every dimension in it.
    fn map_dims(&mut self, _: &dyn Fn(&Dim) -> Dim) {}
    /// Shows every dimension in it.
    fn each_dim(&self, _: &mut dyn FnMut(&Dim)) {}
}

/// Name and text of an attribute that is printed.
pub fn present<T: Attr>(name: &'static str, attr: &T) -> Option<(&'static str, String)> {
    (!attr.is_absent()).then(|| (name, attr.print()))
}

macro_rules! by_display {
    ($($ty:ty = $what:literal),*) => { $(impl Attr for $ty {
        fn print(&self) -> String { format!("{self:?}") }
        fn parse(text: &str) -> Result<Self, String> {
            text.parse().map_err(|_| format!("`{}` is not {}", text.escape_debug(), $what))
        }
    })* };
}
by_display! { f32 = "a number", f64 = "a number", i64 = "an integer", usize = "a count", u64 = "a count", bool = "`true` or `false`" }

/// A truth value that is left out of the text where it is false.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flag(pub bool);

impl Attr for Flag {
    fn print(&self) -> String {
        self.0.print()
    }
    fn parse(text: &str) -> Result<Self, String> {
        bool::parse(text).map(Flag)
    }
    fn is_absent(&self) -> bool {
        !self.0
    }
    fn absent() -> Option<Self> {
        Some(Flag(false))
    }
}

impl Attr for Elem {
    fn print(&self) -> String {
        self.name().into()
    }
    fn parse(text: &str) -> Result<Self, String> {
        Elem::parse(text).ok_or_else(|| format!("no element type `{}`", text.escape_debug()))
    }
}

impl Attr for Dim {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(text: &str) -> Result<Self, String> {
        Dim::parse(text)
    }
    fn map_dims(&mut self, with: &dyn Fn(&Dim) -> Dim) {
        *self = with(self);
    }
    fn each_dim(&self, see: &mut dyn FnMut(&Dim)) {
        see(self);
    }
}

impl Attr for Type {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(text: &str) -> Result<Self, String> {
        Type::parse(text)
    }
    fn map_dims(&mut self, with: &dyn Fn(&Dim) -> Dim) {
        self.dims.map_dims(with);
    }
    fn each_dim(&self, see: &mut dyn FnMut(&Dim)) {
        self.dims.each_dim(see);
    }
}

/// The name of a function of the module, `@name` in text.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SymbolRef(pub String);

impl Attr for SymbolRef {
    fn print(&self) -> String {
        crate::text::name('@', &self.0)
    }
    fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix('@').ok_or_else(|| format!("expected `@name`, got `{text}`"))?;
        if name.starts_with('"') { unquote(name).map(SymbolRef) } else { Ok(SymbolRef(name.into())) }
    }
    fn callee(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// Text in double quotes.
impl Attr for String {
    fn print(&self) -> String {
        quote(self)
    }
    fn parse(text: &str) -> Result<Self, String> {
        unquote(text)
    }
}

impl<T: Attr> Attr for Vec<T> {
    fn print(&self) -> String {
        format!("[{}]", self.iter().map(T::print).collect::<Vec<_>>().join(","))
    }
    fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).map(str::trim);
        let inner = inner.ok_or_else(|| format!("expected `[…]`, got `{}`", text.escape_debug()))?;
        if inner.is_empty() {
            return Ok(vec![]);
        }
        split_top(inner).into_iter().map(|t| T::parse(t.trim())).collect()
    }
    fn map_dims(&mut self, with: &dyn Fn(&Dim) -> Dim) {
        self.iter_mut().for_each(|attr| attr.map_dims(with));
    }
    fn each_dim(&self, see: &mut dyn FnMut(&Dim)) {
        self.iter().for_each(|attr| attr.each_dim(see));
    }
}

impl<T: Attr> Attr for Option<T> {
    fn print(&self) -> String {
        self.as_ref().map_or(String::new(), T::print)
    }
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn callee(&self) -> Option<String> {
        self.as_ref().and_then(T::callee)
    }
    fn map_dims(&mut self, with: &dyn Fn(&Dim) -> Dim) {
        self.iter_mut().for_each(|attr| attr.map_dims(with));
    }
    fn each_dim(&self, see: &mut dyn FnMut(&Dim)) {
        self.iter().for_each(|attr| attr.each_dim(see));
    }
}

/// Declares an enum that is an attribute: each variant with its word in text.
#[macro_export]
macro_rules! attr_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$vmeta])* $variant),* }
        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),*];
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }
        impl $crate::attr::Attr for $name {
            fn print(&self) -> String { self.word().into() }
            fn parse(text: &str) -> Result<Self, String> {
                $name::ALL.iter().copied().find(|v| v.word() == text).ok_or_else(|| {
                    let words: Vec<_> = $name::ALL.iter().map(|v| v.word()).collect();
                    format!("`{}` is none of {}", text.escape_debug(), words.join(", "))
                })
            }
        }
    };
}

/// `text` in double quotes, on one line whatever it holds.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// The inverse of `quote`.
pub fn unquote(text: &str) -> Result<String, String> {
    let bad = || format!("bad string `{}`", text.escape_debug());
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(bad)?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '"' {
            return Err(bad());
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next().ok_or_else(bad)? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c @ ('\\' | '"' | '\'') => c,
            'u' => {
                let rest = chars.as_str();
                let (hex, after) = rest.strip_prefix('{').and_then(|r| r.split_once('}')).ok_or_else(bad)?;
                chars = after.chars();
                u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        });
    }
    Ok(out)
}

/// Splits at commas that stand outside of brackets and strings.
pub fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (vec![], 0, 0usize, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_whatever_they_hold() {
        for text in ["", "a\"b", "\n\0\r\\", "naïve ☃", "]},"] {
            assert_eq!(unquote(&quote(text)).unwrap(), text);
            let list = vec![text.to_string(), "x".into()];
            assert_eq!(Vec::<String>::parse(&list.print()).unwrap(), list);
        }
    }
}
