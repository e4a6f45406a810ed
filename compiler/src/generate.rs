//! Text generation: a decoder fed token by token, and how the next token is chosen.

use std::borrow::Cow;
use std::sync::Arc;

use trine_ir::Tensor;
use trine_runtime::{Program, RunError, Session, SessionOptions, View};

use crate::language_model::{self, Role, floats, given, logits, present_names, refuse, row};
pub use crate::language_model::{DecoderError, Lengths, Names};

/// A language model and what it has read.
pub struct Decoder {
    session: Session,
    roles: Vec<Role>,
    /// The output that feeds each input that is a cache.
    feeds: Vec<Option<usize>>,
    logits_output: usize,
    /// What was fed so far; the model is given all of it when it has no caches.
    tokens: Vec<u32>,
    caches: bool,
    /// Caches by input, where the session does not hold them itself.
    past: Vec<Option<Tensor>>,
    /// Logits that the program does not give as f32.
    logits: Vec<f32>,
}

impl Decoder {
    /// A decoder that can read up to `capacity` tokens. Programs that are not decoders are refused.
    pub fn new(program: Arc<Program>, threads: usize, capacity: usize) -> Result<Decoder, DecoderError> {
        Decoder::with_names(program, threads, capacity, &Names::default())
    }

    /// The same of a program whose inputs and outputs have names of their own.
    pub fn with_names(
        program: Arc<Program>,
        threads: usize,
        capacity: usize,
        names: &Names,
    ) -> Result<Decoder, DecoderError> {
        Decoder::with_memory(program, threads, capacity, names, None)
    }

    /// The same, which refuses to read where it would have more than `max_bytes`, its weights among them.
    pub fn with_memory(
        program: Arc<Program>,
        threads: usize,
        capacity: usize,
        names: &Names,
        max_bytes: Option<usize>,
    ) -> Result<Decoder, DecoderError> {
        let inputs = 0..program.inputs.len();
        let feeds: Vec<Option<usize>> = inputs.map(|i| feed(&program, names, i)).collect();
        let role = |(port, feed): (&trine_runtime::Port, &Option<usize>)| match feed {
            Some(_) => Ok(Role::Past),
            None => match language_model::role(names.of(&port.name), &port.ty)? {
                Role::Past => {
                    Err(refuse(format!("no output feeds its cache `{}`", port.name.escape_debug())))
                }
                role => Ok(role),
            },
        };
        let roles: Vec<Role> = program.inputs.iter().zip(&feeds).map(role).collect::<Result<_, _>>()?;
        if !roles.contains(&Role::Ids) {
            return Err(refuse("it has no input `input_ids`"));
        }
        let outputs = program.outputs.iter().map(|p| (names.of(&p.name), &p.ty));
        let logits_output = logits(outputs)?;
        let caches = roles.contains(&Role::Past);
        let options = SessionOptions { threads, state_capacity: Some(capacity.max(1)), max_bytes };
        let past = vec![None; program.inputs.len()];
        let session = Session::new(program, &options);
        Ok(Decoder { session, roles, feeds, logits_output, tokens: vec![], caches, past, logits: vec![] })
    }

    /// Reads tokens, at least one, after those it has read; returns the logits of what comes next, one for each
    /// token of the vocabulary.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], DecoderError> {
        self.run(tokens, |session, views| session.execute(views))?;
        self.read_logits()
    }

    /// As [`Decoder::feed`]; `done` is told the number of each step of the program when it has run.
    pub fn feed_observed(&mut self, tokens: &[u32], done: impl FnMut(usize)) -> Result<&[f32], DecoderError> {
        self.run(tokens, |session, views| session.execute_observed(views, done))?;
        self.read_logits()
    }

    /// Lets `execute` run the model on tokens that it has not read. After an error it is as it was before.
    fn run(
        &mut self,
        tokens: &[u32],
        execute: impl FnOnce(&mut Session, &[View]) -> Result<(), RunError>,
    ) -> Result<(), DecoderError> {
        if tokens.is_empty() {
            return Err(refuse("there are no tokens to read"));
        }
        let (read, filled) = (self.tokens.len(), self.session.filled());
        self.tokens.extend_from_slice(tokens);
        match self.try_run(if self.caches { read } else { 0 }, execute) {
            Ok(past) => {
                self.past = past;
                Ok(())
            }
            Err(error) => {
                self.tokens.truncate(read);
                self.session.truncate(filled);
                Err(error)
            }
        }
    }

    /// Runs the model on all tokens but the first `before`. The caches by input, where the session does not hold them.
    fn try_run(
        &mut self,
        before: usize,
        execute: impl FnOnce(&mut Session, &[View]) -> Result<(), RunError>,
    ) -> Result<Vec<Option<Tensor>>, DecoderError> {
        let program = self.session.program().clone();
        let mut inputs: Vec<Tensor> = vec![];
        for (i, port) in program.inputs.iter().enumerate() {
            if self.session.is_state(i) {
                continue;
            }
            inputs.push(match (self.roles[i], &self.past[i]) {
                (Role::Past, Some(tensor)) => tensor.clone(),
                // Only the last are read.
                (Role::Kept, _) => row(&port.ty, vec![1])?,
                (role, _) => given(role, &port.ty, &self.tokens, before)?,
            });
        }
        let views: Vec<View> = inputs.iter().map(View::from).collect();
        execute(&mut self.session, &views)?;
        last_logits(&self.session, self.logits_output)?;
        let past = self.feeds.iter().enumerate().map(|(i, feed)| match feed {
            Some(output) if !self.session.is_state(i) => owned(self.session.output(*output)).map(Some),
            _ => Ok(None),
        });
        past.collect()
    }

    /// What runs the model.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Forgets everything that was read.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.past.fill(None);
        self.session.reset();
    }

    /// The logits of the last position.
    fn read_logits(&mut self) -> Result<&[f32], DecoderError> {
        let Decoder { session, logits_output, logits, .. } = self;
        let view = last_logits(session, *logits_output)?;
        let elem = view.elem;
        match floats(view).ok_or_else(|| refuse(format!("its logits are {elem}")))? {
            Cow::Borrowed(floats) => Ok(floats),
            Cow::Owned(floats) => {
                *logits = floats;
                Ok(logits)
            }
        }
    }
}

/// The row of the last position of an output `[batch, seq, vocabulary]`.
fn last_logits(session: &Session, output: usize) -> Result<View<'_>, DecoderError> {
    let view = session.output(output);
    let &[_, seq, vocabulary] = view.dims else { return Err(refuse("its logits lost an axis")) };
    if seq == 0 || vocabulary == 0 {
        return Err(refuse("its logits are empty"));
    }
    let start = (seq - 1) * vocabulary * (view.elem.bits() / 8);
    let data = view.data.get(start..).ok_or_else(|| refuse("its logits end early"))?;
    Ok(View { data, ..view })
}

/// How the next token is chosen. The default is greedy.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampler {
    /// Logits are divided by it; at 0 the most likely token is taken.
    pub temperature: f32,
    /// Only the most likely tokens that together have this probability are drawn from (nucleus sampling, Holtzman
    /// et al. 2020).
    pub top_p: f32,
    /// The same seed draws the same tokens.
    pub seed: u64,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler { temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

impl Sampler {
    /// The token for `step`, counted by the caller; `None` when no logit is a number.
    pub fn pick(&self, logits: &[f32], step: u64) -> Option<u32> {
        let numbers = || logits.iter().copied().enumerate().filter(|(_, v)| !v.is_nan());
        let (best, highest) = numbers().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        // Nothing to weigh: one token is infinitely likelier than all others.
        if self.temperature <= 0.0 || !highest.is_finite() {
            return Some(best as u32);
        }
        let scale = f64::from(self.temperature);
        let weight = |v: f32| ((f64::from(v) - f64::from(highest)) / scale).exp();
        let mut weights: Vec<(usize, f64)> = numbers().map(|(i, v)| (i, weight(v))).collect();
        let total: f64 = weights.iter().map(|(_, w)| w).sum();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut kept = 0.0;
        let nucleus = weights.iter().position(|(_, w)| {
            kept += w;
            kept >= total * f64::from(self.top_p)
        });
        weights.truncate(nucleus.map_or(weights.len(), |last| last + 1));
        let mut left = uniform(self.seed, step) * weights.iter().map(|(_, w)| w).sum::<f64>();
        let drawn = weights.iter().find(|(_, w)| {
            left -= w;
            left < 0.0
        });
        drawn.or(weights.last()).map(|(i, _)| *i as u32)
    }
}

/// A number in [0, 1) that is a function of its arguments: SplitMix64 (Steele et al. 2014) at a counter, so that
/// a step's draw does not depend on how many came before.
fn uniform(seed: u64, step: u64) -> f64 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let bits =
        mix(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
            .wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The output that is the cache of input `input` after a run.
fn feed(program: &Program, names: &Names, input: usize) -> Option<usize> {
    if let Some(state) = program.states.iter().find(|s| s.input == input) {
        return Some(state.output);
    }
    let mut wanted = present_names(names.of(&program.inputs[input].name));
    wanted.find_map(|wanted| program.outputs.iter().position(|port| names.of(&port.name) == wanted))
}

fn owned(view: View) -> Result<Tensor, DecoderError> {
    Tensor::new(view.elem, view.dims.to_vec(), view.data.to_vec().into())
        .map_err(|e| DecoderError::Run(RunError::Eval { place: "a cache".into(), message: e.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_token_is_taken_when_cold() {
        let greedy = Sampler::default();
        assert_eq!(greedy.pick(&[0.0, 2.0, f32::NAN, 2.0], 7), Some(1));
        assert_eq!(greedy.pick(&[f32::NAN], 0), None);
        let warm = Sampler { temperature: 1.0, ..greedy };
        assert_eq!(warm.pick(&[0.0, f32::INFINITY], 0), Some(1));
    }

    #[test]
    fn draws_follow_the_distribution_and_the_seed() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let sampler = Sampler { temperature: 1.0, top_p: 1.0, seed: 1 };
        let draws = |s: Sampler| (0..20_000).map(|i| s.pick(&logits, i).unwrap()).collect::<Vec<_>>();
        let all = draws(sampler);
        for (token, expected) in [0.5, 0.3, 0.2].into_iter().enumerate() {
            let share = all.iter().filter(|t| **t == token as u32).count() as f64 / all.len() as f64;
            assert!((share - expected).abs() < 0.02, "{token}: {share}");
        }
        assert_eq!(all, draws(sampler));
        assert_ne!(all, draws(Sampler { seed: 2, ..sampler }));
        assert!(draws(Sampler { top_p: 0.6, ..sampler }).iter().all(|t| *t < 2));
        assert!(draws(Sampler { top_p: 0.0, ..sampler }).iter().all(|t| *t == 0));
        assert!(draws(Sampler { temperature: 0.01, ..sampler }).iter().all(|t| *t == 0));
    }
}
