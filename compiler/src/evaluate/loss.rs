//! The cross entropy of a language model on a text, `-mean ln p(token | those before it in its window)`.
//!
//! The text is cut into windows of `context` tokens that the model reads with nothing before them; each window
//! predicts the token after each of its own, so that all tokens but the first are predicted once.

use std::sync::Arc;

use rayon::prelude::*;
use trine_runtime::{Program, Session, SessionOptions, View};
use trine_ukernel::call::Call;
use trine_ukernel::{Features, best, exp};

use super::EvaluateError;
use crate::language_model::{floats, logits_output, refuse, window};
use crate::observe::{Observer, Progress};

/// The loss over the tokens that were predicted.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Loss {
    /// Nats, over all tokens.
    pub total: f64,
    /// Tokens that were predicted.
    pub tokens: usize,
}

impl Loss {
    /// Nats a token.
    pub fn mean(&self) -> f64 {
        self.total / self.tokens.max(1) as f64
    }

    /// `exp` of the mean: how many tokens the model wavers between.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }
}

/// Scores `program`, a language model, on the tokens of `texts` in windows of `context`. `observer` is told how many tokens
/// are done after each window.
pub fn loss(
    program: Arc<Program>,
    texts: &[&[u32]],
    context: usize,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Loss, EvaluateError> {
    if context == 0 {
        return Err(EvaluateError::NoContext(context));
    }
    if let Some(tokens) = texts.iter().map(|t| t.len()).chain(texts.is_empty().then_some(0)).find(|t| *t < 2)
    {
        return Err(EvaluateError::TooFewTokens { tokens });
    }
    let output = logits_output(&program)?;
    let mut session = Session::new(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
    let mut sum = Loss::default();
    let total = texts.iter().map(|t| t.len() - 1).sum();
    let windows = texts.iter().flat_map(|t| t[..t.len() - 1].chunks(context).zip(t[1..].chunks(context)));
    for (read, next) in windows {
        let inputs = program.inputs.iter().map(|p| (p.name.as_str(), &p.ty));
        let given = window(inputs, read)?;
        let views: Vec<View> = given.iter().map(View::from).collect();
        session.execute(&views)?;
        sum.total += nats(session.output(output), next, sum.tokens)?;
        sum.tokens += next.len();
        observer.progress(Progress { doing: "predicting", done: sum.tokens, total, unit: "tokens" });
    }
    Ok(sum)
}

/// The nats of a window of which all `logits` are known, those after its last token too.
pub(crate) fn window_nats(logits: View, tokens: &[u32]) -> Result<f64, EvaluateError> {
    let &[batch, seq, vocabulary] = logits.dims else {
        return Err(refuse("its logits are not one row of tokens").into());
    };
    let predicted = [batch, seq.saturating_sub(1), vocabulary];
    let row = logits.data.len() / (batch * seq).max(1);
    let data = &logits.data[..batch * predicted[1] * row];
    nats(View { dims: &predicted, data, ..logits }, &tokens[1..], 0)
}

/// `Σ ln Σ exp(logits - logits[token])` over the rows of `[1, seq, vocabulary]`.
fn nats(logits: View, next: &[u32], before: usize) -> Result<f64, EvaluateError> {
    let &[1, seq, vocabulary] = logits.dims else {
        return Err(refuse("its logits are not one row of tokens").into());
    };
    if seq != next.len() || vocabulary == 0 {
        return Err(refuse(format!("it gives {seq} logits for {} tokens", next.len())).into());
    }
    if let Some(token) = next.iter().find(|t| **t as usize >= vocabulary) {
        return Err(EvaluateError::Token { token: *token, vocabulary });
    }
    let elem = logits.elem;
    let values = floats(logits).ok_or_else(|| refuse(format!("its logits are {elem}")))?;
    let rows = values.par_chunks(vocabulary).zip(next).enumerate();
    let losses: Vec<f64> = rows
        .map(|(i, (row, token))| {
            let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let sum = exponentials(row.iter().map(|v| v - largest).collect());
            let loss = sum.ln() - f64::from(row[*token as usize] - largest);
            if loss.is_finite() { Ok(loss) } else { Err(EvaluateError::NotFinite { position: before + i }) }
        })
        .collect::<Result<_, _>>()?;
    // In order, so that the number does not depend on threads.
    Ok(losses.iter().sum())
}

/// `Σ exp(x)`; the microkernel gives the same bits on every machine.
fn exponentials(mut x: Vec<f32>) -> f64 {
    let variant = best(exp::VARIANTS, Features::detect()).expect("there is a scalar variant");
    Call::exp_f32(variant, &mut x).expect("it is the best that runs here").run();
    x.iter().map(|v| f64::from(*v)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_ir::Tensor;

    fn score(dims: &[usize], logits: Vec<f32>, next: &[u32]) -> Result<f64, EvaluateError> {
        let tensor = Tensor::from_vec(dims.to_vec(), logits).unwrap();
        nats(View::from(&tensor), next, 7)
    }

    #[test]
    fn losses_are_those_of_a_softmax() {
        let logits = vec![0.1f32.ln(), 0.7f32.ln(), 0.2f32.ln(), 3.0, 3.0, 3.0];
        let expected = -(0.7f64.ln()) + 3f64.ln();
        let shifted = logits.iter().map(|v| v + 500.0).collect();
        for values in [logits, shifted] {
            let got = score(&[1, 2, 3], values, &[1, 2]).unwrap();
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let message = |r: Result<f64, EvaluateError>| r.unwrap_err().to_string();
        assert!(message(score(&[1, 1, 2], vec![0.0; 2], &[2])).contains("token 2 is none of the model's 2"));
        assert!(message(score(&[1, 1, 2], vec![f32::NAN; 2], &[0])).contains("position 7 are not finite"));
        assert!(message(score(&[1, 1, 2], vec![0.0, f32::INFINITY], &[0])).contains("not finite"));
        assert!(message(score(&[1, 2, 2], vec![0.0; 4], &[0])).contains("2 logits for 1 tokens"));
    }
}
