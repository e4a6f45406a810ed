//! Modules as text. `print` and `parse` are inverses on verified modules.

mod dot;
mod inline;
mod lex;
mod parse;
mod print;

pub use dot::dot;
pub use parse::{parse, parse_with};
pub use print::{Style, print, print_some, print_styled};

use crate::attr::quote;

/// Characters that a name in text may have without quotes.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/')
}

/// A name after its sigil, in quotes if it needs them.
pub fn name(sigil: char, name: &str) -> String {
    if !name.is_empty() && name.chars().all(is_bare) && !name.contains("//") {
        format!("{sigil}{name}")
    } else {
        format!("{sigil}{}", quote(name))
    }
}
