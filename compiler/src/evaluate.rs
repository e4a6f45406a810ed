//! How good a model is: the loss of a language model on text, the accuracy of a classifier on labelled data.
//!
//! Every comparison of a model with an approximation of it is made with these, so they take programs, not files.

mod accuracy;
mod features;
mod loss;

pub use accuracy::{Accuracy, accuracy};
pub use features::{FeatureRows, features};
pub(crate) use loss::window_nats;
pub use loss::{Loss, loss};

use trine_runtime::RunError;

use crate::language_model::DecoderError;
use crate::pass::PassError;
use trine_codegen::BuildError;
use trine_ir::Fault;

/// Why a model could not be judged by the data.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("{tokens} tokens are too few: predicting takes at least two")]
    TooFewTokens { tokens: usize },
    #[error("a context of {0} tokens holds nothing to predict from")]
    NoContext(usize),
    #[error("token {token} is none of the model's {vocabulary}: the tokenizer is another model's")]
    Token { token: u32, vocabulary: usize },
    #[error("the model's logits at position {position} are not finite numbers")]
    NotFinite { position: usize },
    #[error("the model has no output of class scores `[batch, …, classes]`")]
    NoScores,
    #[error("{labels} labels do not go with scores {scores:?}, a row of classes each")]
    Labels { labels: usize, scores: Vec<usize> },
    #[error("label {label} is none of the {classes} classes, which count from 0")]
    Label { label: i64, classes: usize },
    #[error("no features to look at: {0}")]
    NoFeatures(String),
    #[error("there are no examples")]
    Empty,
    #[error("inputs have {0:?} examples: their first axes differ")]
    Examples(Vec<usize>),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl EvaluateError {
    pub fn fault(&self) -> Fault {
        match self {
            EvaluateError::Pass(error) => error.fault(),
            EvaluateError::Build(error) => error.fault(),
            EvaluateError::Decoder(error) => error.fault(),
            EvaluateError::TooFewTokens { .. }
            | EvaluateError::NoContext(_)
            | EvaluateError::Token { .. }
            | EvaluateError::NotFinite { .. }
            | EvaluateError::NoScores
            | EvaluateError::Labels { .. }
            | EvaluateError::Label { .. }
            | EvaluateError::NoFeatures(_)
            | EvaluateError::Empty
            | EvaluateError::Examples(_)
            | EvaluateError::Run(_) => Fault::Input,
        }
    }
}
