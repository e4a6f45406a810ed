//! Pipelines from text: `fold-constants,simplify,ternarize{method=twn,group=128}`, or the number of a level.

use std::str::FromStr;

use super::{LEVELS, PASSES};
use crate::pass::{Options, Pass, PassError, Pipeline, Step};

impl Pipeline {
    /// The default pipeline of an optimisation level, 0 to 2.
    pub fn level(level: u8) -> Result<Pipeline, PassError> {
        match LEVELS.get(usize::from(level)) {
            Some(text) => text.parse(),
            None => {
                let max = LEVELS.len() - 1;
                Err(PassError::Pipeline(format!("no optimisation level {level}; the highest is {max}")))
            }
        }
    }

    /// The pipeline that a text says, of the passes that there are and of others, each with a name of its own.
    pub fn parse(text: &str, own: &[&'static Pass]) -> Result<Pipeline, PassError> {
        let mut rest = text.trim();
        let mut steps = vec![];
        while !rest.is_empty() {
            let end = rest.find([',', '{']).unwrap_or(rest.len());
            let pass = find(rest[..end].trim(), own)?;
            let mut options = Options::default();
            rest = &rest[end..];
            if let Some(inner) = rest.strip_prefix('{') {
                let Some((list, after)) = inner.split_once('}') else {
                    return Err(PassError::Pipeline(format!("`{{` after `{}` is not closed", pass.name)));
                };
                options = Options::parse(pass, list)?;
                rest = after.trim_start();
            }
            steps.push(Step { pass, options });
            rest = match rest.strip_prefix(',') {
                Some(after) if after.trim().is_empty() => return Err(find("", own).unwrap_err()),
                Some(after) => after.trim_start(),
                None if rest.is_empty() => rest,
                None => {
                    let message =
                        format!("expected `,` after `{}`, got `{}`", pass.name, rest.escape_debug());
                    return Err(PassError::Pipeline(message));
                }
            };
        }
        Ok(Pipeline(steps))
    }

    /// The pipeline with steps put before the first of the passes named in `before`, else at the end.
    pub fn with(mut self, steps: Pipeline, before: &[&str]) -> Pipeline {
        let at = self.0.iter().position(|s| before.contains(&s.pass.name)).unwrap_or(self.0.len());
        self.0.splice(at..at, steps.0);
        self
    }
}

impl FromStr for Pipeline {
    type Err = PassError;

    fn from_str(text: &str) -> Result<Pipeline, PassError> {
        Pipeline::parse(text, &[])
    }
}

fn find(name: &str, own: &[&'static Pass]) -> Result<&'static Pass, PassError> {
    let all = || own.iter().copied().chain(PASSES);
    all().find(|p| p.name == name).ok_or_else(|| {
        let known: Vec<_> = all().map(|p| p.name).collect();
        PassError::Pipeline(format!("no pass `{}`; there are {}", name.escape_debug(), known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::Exactness;

    #[test]
    fn pipelines_print_as_they_parse() {
        for text in ["", "simplify", "fold-constants,simplify", "ternarize{keep=head,method=twn},simplify"] {
            assert_eq!(text.parse::<Pipeline>().unwrap().to_string(), text);
        }
        let spaced: Pipeline = " simplify , ternarize { method = twn } ".parse().unwrap();
        assert_eq!(spaced.to_string(), "simplify,ternarize{method=twn}");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| text.parse::<Pipeline>().unwrap_err().to_string();
        assert!(message("simplfy").starts_with("no pass `simplfy`; there are "));
        assert!(message("simplify,").starts_with("no pass ``"));
        assert_eq!(message("simplify{x=1}"), "`simplify` has no option `x`; it has none");
        assert_eq!(message("ternarize{method}"), "options of `ternarize` are `name=value`, got `method`");
        assert_eq!(message("ternarize{method=a,method=b}"), "option `method` of `ternarize` is given twice");
        assert_eq!(message("ternarize{method=a"), "`{` after `ternarize` is not closed");
        assert_eq!(message("simplify{} simplify"), "expected `,` after `simplify`, got `simplify`");
    }

    #[test]
    fn levels_grow_and_never_lose() {
        let exactness = |level| Pipeline::level(level).unwrap().exactness();
        assert!(Pipeline::level(0).unwrap().0.is_empty());
        assert_eq!(exactness(1), Exactness::Exact);
        assert_eq!(exactness(2), Exactness::Reassociates);
        assert!(Pipeline::level(3).is_err());
    }
}
