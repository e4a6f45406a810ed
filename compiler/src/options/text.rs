//! Requests as text: `KIND{option=value,…}`, such as `twn{group=128}`, in the options of their pass.

use std::fmt;
use std::str::FromStr;

use crate::pass::{Options, Pass, PassError, Step};
use crate::passes::PASSES;
use crate::rounding::{Features, Request, States, Ternarize};

/// The step that does what is asked for.
pub(super) fn step<R: Request>(request: &R) -> Result<Step, PassError> {
    let mut options = Options::default();
    for (name, value) in request.write() {
        options.set(name, &value);
    }
    Ok(Step { pass: pass::<R>()?, options })
}

fn read<R: Request>(text: &str) -> Result<R, PassError> {
    let (kind, list) = match text.split_once('{') {
        None => (text, ""),
        Some((kind, rest)) => match rest.trim_end().strip_suffix('}') {
            Some(list) => (kind, list),
            None => return R::refuse(format!("`{{` after `{}` is not closed", kind.escape_debug())),
        },
    };
    let mut options = Options::parse(pass::<R>()?, list)?;
    match options.set(R::KIND, kind.trim()) {
        None => R::read(&options),
        Some(_) => R::refuse(format!("`{}` stands before the braces", R::KIND)),
    }
}

fn write<R: Request>(request: &R, f: &mut fmt::Formatter) -> fmt::Result {
    let mut options = request.write().into_iter();
    let kind = options.next().map(|(_, kind)| kind).unwrap_or_default();
    let rest: Vec<String> = options.map(|(name, value)| format!("{name}={value}")).collect();
    if rest.is_empty() { f.write_str(&kind) } else { write!(f, "{kind}{{{}}}", rest.join(",")) }
}

fn pass<R: Request>() -> Result<&'static Pass, PassError> {
    let found = PASSES.iter().find(|pass| pass.name == R::PASS);
    found.ok_or_else(|| PassError::Pipeline(format!("there is no pass `{}`", R::PASS)))
}

macro_rules! text {
    ($($request:ident)*) => {$(
        impl FromStr for $request {
            type Err = PassError;

            fn from_str(text: &str) -> Result<$request, PassError> {
                read(text)
            }
        }

        impl fmt::Display for $request {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write(self, f)
            }
        }
    )*};
}

text! { Ternarize States Features }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::Keep;

    #[test]
    fn requests_print_as_they_parse() {
        for text in ["twn", "exact{group=128,keep=none}", "bernoulli{keep=a*|b,seed=3}"] {
            assert_eq!(text.parse::<Ternarize>().unwrap().to_string(), text);
        }
        for text in ["threshold", "mean{slope=0.5}", "bernoulli{seed=7,slope=2}", "keep"] {
            assert_eq!(text.parse::<States>().unwrap().to_string(), text);
        }
        for text in ["ternary", "binary{threshold=0.5,value=hidden}"] {
            assert_eq!(text.parse::<Features>().unwrap().to_string(), text);
        }
        let spaced: Ternarize = " twn { group = 64 , keep = a | b } ".parse().unwrap();
        assert_eq!(spaced.keep, Keep::Named(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| text.parse::<States>().unwrap_err().to_string();
        assert!(message("round").ends_with("is `threshold`, `mean`, `bernoulli` or `keep`, not `round`"));
        assert!(message("threshold{sed=7}").contains("no option `sed`; it has hidden, seed, slope"));
        assert!(message("mean{hidden=keep}").ends_with("`hidden` stands before the braces"));
        assert!(message("mean{slope=0").ends_with("`{` after `mean` is not closed"));
        assert!(message("mean{slope=0}").ends_with("above 0 and up to 1000000, not 0"));
        let message = |text: &str| text.parse::<Features>().unwrap_err().to_string();
        assert!(message("ternary{threshold=-1}").ends_with("a number from 0, not `-1`"));
        let message = |text: &str| text.parse::<Ternarize>().unwrap_err().to_string();
        assert!(message("twn,keep=none").contains("no method `twn,keep=none`"));
        assert!(message("twn{scales=8}").ends_with("`scales` is 16 or 32, not `8`"));
    }
}
