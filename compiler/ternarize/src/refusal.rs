//! Why weights were not rounded.

/// What a recipe cannot be, or cannot do with the matrix and statistics it was given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("no method `{name}`; there are {known}")]
    UnknownMethod { name: String, known: String },
    #[error("no option `{name}`; there are {known}")]
    UnknownOption { name: String, known: String },
    #[error("`{option}` is {expects}, not `{value}`")]
    BadValue { option: &'static str, value: String, expects: &'static str },
    #[error("a recipe is `method+method{{option=value,…}}`, not `{0}`")]
    Malformed(String),
    #[error("`{0}` is named twice")]
    Twice(&'static str),
    #[error("`{second}` cannot be with `{first}`: each says what the weights are first rounded to")]
    TwoProjections { first: &'static str, second: &'static str },
    #[error("`{step}` cannot follow `{projection}`: {why}")]
    CannotFollow { step: &'static str, projection: &'static str, why: &'static str },
    #[error("rows cannot be normalized before `{method}`: {why}")]
    CannotNormalize { method: &'static str, why: &'static str },
    #[error("`{method}` needs training: it lives in examples/train")]
    Trained { method: &'static str },
    #[error("`{method}` needs statistics of the layer's inputs: calibrate")]
    NeedsCalibration { method: &'static str },
    #[error("`{method}` needs the inputs of the unrounded model beside those of the rounded one")]
    NeedsPairs { method: &'static str },
    #[error("weights [{n},{k}] with {values} values are nothing to round")]
    Empty { n: usize, k: usize, values: usize },
    #[error("{what} [{row},{column}] is not finite")]
    NotFinite { what: &'static str, row: usize, column: usize },
    #[error("inputs are rows of {expected}, got {got} values")]
    Width { expected: usize, got: usize },
    #[error("{samples} calibration rows are too few for {k} inputs: at least {needed}")]
    TooFewSamples { samples: u64, k: usize, needed: u64 },
    #[error("the inputs' second moments are singular: the calibration inputs are all zero")]
    Singular,
}
