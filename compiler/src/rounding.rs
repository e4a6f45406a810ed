//! What a caller may ask to be rounded that the model does not round: weights, the states of recurrent layers, and
//! features. Each is a type, and the options of the pass that does it.

use trine_ternarize::{OPTIONS, Recipe, Refusal};

use crate::discrimination::Form;
use crate::pass::{Options, PassError};

pub use crate::recurrent::Hidden;

/// Weights of linear layers made ternary. As text `twn`, or `exact{group=128,keep=none}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ternarize {
    /// How; one that needs no calibration.
    pub recipe: Recipe,
    pub keep: Keep,
    /// The seed of methods that draw numbers.
    pub seed: u64,
}

/// The linear layers that stay as they are. As text `none`, `last`, or names with `|` between them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Keep {
    None,
    /// The last of `@main`: a classifier, or the head of a language model.
    #[default]
    Last,
    /// Those whose weights have one of these names, in which `*` stands for any characters.
    Named(Vec<String>),
}

/// States of recurrent layers made ternary, as HitNet does (NeurIPS 2018). As text `threshold`, `mean`,
/// `bernoulli{seed=7,slope=2}`, `keep{slope=2}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct States {
    pub hidden: Hidden,
    /// The `λ` in the `σ(λx)` of gates.
    pub slope: f32,
}

/// A value made ternary or binary. As text `ternary`, `binary{threshold=0.5,value=hidden}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    pub form: Form,
    /// `τ`; `mean|x|` of each example along the last axis if there is none.
    pub threshold: Option<f32>,
    /// The name of the value in `@main`; what the last linear layer reads if there is none.
    pub value: Option<String>,
}

/// The steepest `σ(λx)`: beyond it is a step for any number that matters.
const STEEPEST: f32 = 1e6;

/// A request as the options of the pass that does it.
pub(crate) trait Request: Sized {
    /// The name of the pass.
    const PASS: &'static str;
    /// The option that text begins with, before the braces.
    const KIND: &'static str;

    fn read(options: &Options) -> Result<Self, PassError>;

    /// The options, `KIND` first, and of the others those that are not as they are by default.
    fn write(&self) -> Vec<(&'static str, String)>;

    fn refuse<T>(message: String) -> Result<T, PassError> {
        Err(PassError::Option { pass: Self::PASS, message })
    }
}

impl Request for Ternarize {
    const PASS: &'static str = "ternarize";
    const KIND: &'static str = "method";

    fn read(options: &Options) -> Result<Ternarize, PassError> {
        let keep = match options.get("keep").unwrap_or("last") {
            "none" => Keep::None,
            "last" => Keep::Last,
            names => Keep::Named(names.split('|').map(|name| name.trim().to_string()).collect()),
        };
        let recipe = recipe(options).or_else(|refusal| Self::refuse(refusal.to_string()))?;
        Ok(Ternarize { recipe, keep, seed: options.value(Self::PASS, "seed", 0)? })
    }

    fn write(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("method", self.recipe.name())];
        options.extend(self.recipe.settings.changed());
        match &self.keep {
            Keep::None => options.push(("keep", "none".into())),
            Keep::Last => {}
            Keep::Named(names) => options.push(("keep", names.join("|"))),
        }
        if self.seed != 0 {
            options.push(("seed", self.seed.to_string()));
        }
        options
    }
}

fn recipe(options: &Options) -> Result<Recipe, Refusal> {
    let mut recipe = Recipe::new(options.get("method").unwrap_or("exact"))?;
    for (name, _) in OPTIONS {
        if let Some(value) = options.get(name) {
            recipe = recipe.with(name, value)?;
        }
    }
    Ok(recipe)
}

impl Request for States {
    const PASS: &'static str = "ternarize-states";
    const KIND: &'static str = "hidden";

    fn read(options: &Options) -> Result<States, PassError> {
        let seed = options.value(Self::PASS, "seed", 0)?;
        let hidden = match options.get("hidden").unwrap_or("threshold") {
            "threshold" => Hidden::Threshold,
            "mean" => Hidden::Mean,
            "bernoulli" => Hidden::Bernoulli { seed },
            "keep" => Hidden::Keep,
            other => {
                let other = other.escape_debug();
                return Self::refuse(format!(
                    "`hidden` is `threshold`, `mean`, `bernoulli` or `keep`, not `{other}`"
                ));
            }
        };
        let slope = options.value(Self::PASS, "slope", 1f32)?;
        if slope > 0.0 && slope <= STEEPEST {
            Ok(States { hidden, slope })
        } else {
            Self::refuse(format!("`slope` is a number above 0 and up to {STEEPEST}, not {slope}"))
        }
    }

    fn write(&self) -> Vec<(&'static str, String)> {
        let (hidden, seed) = match self.hidden {
            Hidden::Threshold => ("threshold", 0),
            Hidden::Mean => ("mean", 0),
            Hidden::Bernoulli { seed } => ("bernoulli", seed),
            Hidden::Keep => ("keep", 0),
        };
        let mut options = vec![("hidden", hidden.into())];
        if seed != 0 {
            options.push(("seed", seed.to_string()));
        }
        if self.slope != 1.0 {
            options.push(("slope", self.slope.to_string()));
        }
        options
    }
}

impl Request for Features {
    const PASS: &'static str = "ternarize-features";
    const KIND: &'static str = "form";

    fn read(options: &Options) -> Result<Features, PassError> {
        let form = match options.get("form").unwrap_or("ternary") {
            "ternary" => Form::Ternary,
            "binary" => Form::Binary,
            other => {
                let other = other.escape_debug();
                return Self::refuse(format!("`form` is `ternary` or `binary`, not `{other}`"));
            }
        };
        let threshold = match options.get("threshold").map(|text| (text, text.parse::<f32>())) {
            None => None,
            Some((_, Ok(threshold))) if threshold.is_finite() && threshold >= 0.0 => Some(threshold),
            Some((text, _)) => {
                return Self::refuse(format!(
                    "`threshold` is a number from 0, not `{}`",
                    text.escape_debug()
                ));
            }
        };
        Ok(Features { form, threshold, value: options.get("value").map(String::from) })
    }

    fn write(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("form", self.form.name().to_string())];
        options.extend(self.threshold.map(|threshold| ("threshold", threshold.to_string())));
        options.extend(self.value.clone().map(|value| ("value", value)));
        options
    }
}
