//! What the methods of `trine ternarize` are worth on a language model that was trained as f32: each keeps more of it than
//! the one before, whichever text they are fitted to.
//!
//! The text is Debian's fortunes; nothing is fitted to those that are held out, neither when the model was trained
//! nor here.

use std::sync::Arc;

use tokenizers::Tokenizer;
use trine::calibrate::{self, CalibrateOptions, Data};
use trine::pass::{Driver, Pipeline};
use trine::ternarize::Recipe;
use trine::{Module, Options, evaluate};
use trine_ir::random::Draw;

use crate::command::root;
use crate::outside;

/// From the worst to the best, all of one plane and one scale a row: by the weights alone, then fitted.
const PLAIN: [&str; 2] = ["absmean", "twn"];
const FITTED: [&str; 5] = ["exact+refit", "admm", "gptq", "gptq+cd", CALIBRATED];
const CALIBRATED: &str = "gptq+cd+compensate";
/// What that takes with scales of 32 bits, one a row.
const TERNARY_BITS: f64 = 1.8;
/// What `trine ternarize` does if it is told nothing.
const TWO_PLANES: &str = "gptq+cd+compensate{group=128,planes=2,scales=16}";
/// Texts that are fitted to, one after another.
const SEEDS: [u64; 3] = [0, 1, 2];
/// Nats by which each method beats the one before at least: more than another text changes.
const MARGIN: f64 = 0.05;

const CONTEXT: usize = 192;
const FITTED_TOKENS: usize = 8192;
const HELD_OUT_TOKENS: usize = 6144;

#[test]
fn methods_keep_what_theory_says_and_two_planes_nearly_all() {
    if !outside::asked("methods of `trine ternarize` keep their order") {
        return;
    }
    let texts = Texts::get();
    let setting = Setting::new(&texts);
    let float = setting.loss(setting.module.clone());
    let plain = PLAIN.map(|recipe| setting.fitted(recipe, &Data::default()));
    for seed in SEEDS {
        let data = setting.data(&texts.fitted, seed);
        let losses = [&plain[..], &FITTED.map(|recipe| setting.fitted(recipe, &data))].concat();
        let two_planes = setting.fitted(TWO_PLANES, &data);
        eprintln!(
            "text {seed}: f32 {float:.3}, {PLAIN:?} and {FITTED:?} {losses:.3?}, two planes {two_planes:.3}"
        );
        for (pair, names) in losses.windows(2).zip([&PLAIN[..], &FITTED].concat().windows(2)) {
            assert!(pair[1] < pair[0] - MARGIN, "text {seed}: {names:?} lose {pair:?}");
        }
        assert!(two_planes < float + 0.1, "text {seed}: {two_planes} nats with two planes, {float} as f32");
    }
}

#[test]
fn what_held_out_loss_decides_pays_on_other_texts() {
    if !outside::asked("what held-out loss decides pays on other texts") {
        return;
    }
    let texts = Texts::get();
    let setting = Setting::new(&texts);
    let data = setting.data(&texts.fitted, SEEDS[0]);
    let plain = setting.fitted("absmean", &Data::default());
    let biased = setting.fitted("absmean+bias", &data);
    eprintln!("absmean {plain:.3}, {biased:.3} with biases");
    assert!(biased < plain - MARGIN, "{biased} nats with biases, {plain} without");
    let ternary = setting.fitted(CALIBRATED, &data);
    let chosen = setting.fitted_to(CALIBRATED, Some(TERNARY_BITS), &data);
    eprintln!("ternary {ternary:.3}, {chosen:.3} with depths chosen");
    assert!(chosen < ternary, "{chosen} nats where depths are chosen, {ternary} where all are ternary");
}

/// The model and what it is judged by.
struct Setting {
    module: Module,
    tokenizer: Tokenizer,
    held_out: Vec<u32>,
}

impl Setting {
    fn new(texts: &Texts) -> Setting {
        let folder = root().join("tests/models/lm_float");
        let mut module = trine::load(folder.join("f32.onnx")).unwrap();
        let passes: Pipeline = calibrate::PASSES.parse().unwrap();
        Driver::new().run(&passes, &mut module).unwrap();
        let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
        let held_out = tokens(&tokenizer, &texts.held_out, HELD_OUT_TOKENS + 1);
        Setting { module, tokenizer, held_out }
    }

    /// Windows of the texts in an order of their own for each seed.
    fn data(&self, texts: &[String], seed: u64) -> Data {
        let mut texts = texts.to_vec();
        let draw = Draw { seed, start: 0 };
        (1..texts.len()).for_each(|i| texts.swap(i, (draw.uniform(i) * (i + 1) as f64) as usize));
        // An eighth is held out of these too.
        let tokens = tokens(&self.tokenizer, &texts, FITTED_TOKENS / 8 * 9 + 2 * CONTEXT);
        Data::text(&self.module, &tokens, CONTEXT, FITTED_TOKENS, 0).unwrap()
    }

    /// The held-out loss of the model with weights that a recipe has fitted to `data`.
    fn fitted(&self, recipe: &str, data: &Data) -> f64 {
        self.fitted_to(recipe, None, data)
    }

    /// The same, the depth of each layer chosen for so many bits a weight.
    fn fitted_to(&self, recipe: &str, bits: Option<f64>, data: &Data) -> f64 {
        let recipe: Recipe = recipe.parse().unwrap();
        let options = CalibrateOptions {
            recipe,
            bits,
            keep: vec![],
            max_memory: 1 << 30,
            threads: 2,
            seed: 0,
            partial: None,
            max_error: None,
        };
        let calibrated = calibrate::calibrate(&self.module, data, &options, &mut ()).unwrap();
        assert_eq!(calibrated.layers.len(), 28);
        let mut module = self.module.clone();
        calibrate::apply(&mut module, &calibrated.layers, false).unwrap();
        self.loss(module)
    }

    /// Nats a token on the held-out texts.
    fn loss(&self, mut module: Module) -> f64 {
        let options = Options::default();
        trine::optimize(&mut module, &options).unwrap();
        let program = Arc::new(trine::build_program(module, &options).unwrap());
        evaluate::loss(program, &[&self.held_out], CONTEXT, 2, &mut ()).unwrap().mean()
    }
}

/// The first tokens of texts with empty lines between them.
fn tokens(tokenizer: &Tokenizer, texts: &[String], count: usize) -> Vec<u32> {
    // No token is longer than sixteen bytes on the average.
    let mut text = texts.join("\n\n");
    text.truncate(text.floor_char_boundary(16 * count));
    let mut tokens = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    assert!(tokens.len() >= count, "{} tokens, {count} are needed", tokens.len());
    tokens.truncate(count);
    tokens
}

struct Texts {
    fitted: Vec<String>,
    held_out: Vec<String>,
}

impl Texts {
    /// Debian's fortunes, downloaded if need be.
    fn get() -> Texts {
        let script = outside::root().join("examples/train/fortunes.py");
        let output =
            outside::success(outside::python().arg(script).arg(outside::root().join("target/train")));
        let parts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let part = |name: &str| {
            let texts = parts[name].as_array().unwrap().iter();
            texts.map(|t| t.as_str().unwrap().to_string()).collect()
        };
        Texts { fitted: part("fitted"), held_out: part("held_out") }
    }
}
