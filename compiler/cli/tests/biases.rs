//! A bias that makes up for what rounding lost is worth as much as it does on inputs that it was not made from.

use trine::calibrate::{self, CalibrateOptions, Data};
use trine::{Module, Tensor};
use trine_ir::random::Draw;
use trine_ir::text;

const INPUTS: usize = 8;
const EXAMPLES: usize = 64;
/// A batch of four.
const HELD_OUT: usize = 16;

#[test]
fn a_bias_stays_only_where_held_out_loss_falls() {
    let module = module();
    for recipe in ["exact+bias", "exact+refit+bias"] {
        for (mean, expected) in [(1.0, true), (-1.0, false)] {
            let data = data(&module, mean);
            let calibrated = calibrate::calibrate(&module, &data, &options(recipe), &mut ()).unwrap();
            let biases: Vec<bool> = calibrated.layers.iter().map(|l| l.weights.bias().is_some()).collect();
            assert_eq!(biases, [expected; 2], "{recipe}: held-out inputs have a mean of {mean}");
        }
    }
    // What is made from no inputs is not judged by any.
    let data = data(&module, -1.0);
    let calibrated = calibrate::calibrate(&module, &data, &options("exact+tequila"), &mut ()).unwrap();
    assert!(calibrated.layers.iter().all(|l| l.weights.bias().is_some()));
}

/// Two layers of one input, so that one is judged with the other rounded.
fn module() -> Module {
    let weights = |seed: u64| {
        let draw = Draw { seed, start: 0 };
        let values: Vec<String> =
            (0..INPUTS * INPUTS).map(|i| format!("{:.3}", draw.uniform(i) - 0.3)).collect();
        values.join(", ")
    };
    let source = format!(
        "const @a: f32[8,8] = [{}]\nconst @b: f32[8,8] = [{}]\n\
         graph @main(%x: f32[n,8]) -> (%y: f32[n,8]) {{\n\
         \x20 %a = matmul %x, @a {{trans_b=true}} : f32[n,8]\n\
         \x20 %b = matmul %x, @b {{trans_b=true}} : f32[n,8]\n\
         \x20 %y = add %a, %b : f32[n,8]\n}}\n",
        weights(1),
        weights(2)
    );
    text::parse(&source).unwrap()
}

/// Inputs with a mean of one, but for the held-out ones.
fn data(module: &Module, held_out_mean: f32) -> Data {
    let draw = Draw { seed: 3, start: 0 };
    let mean = |i: usize| if i < EXAMPLES - HELD_OUT { 1.0 } else { held_out_mean };
    let value = |i: usize| mean(i / INPUTS) + 0.1 * (draw.uniform(i) as f32 - 0.5);
    let x = Tensor::from_vec(vec![EXAMPLES, INPUTS], (0..EXAMPLES * INPUTS).map(value).collect()).unwrap();
    let data = Data::arrays(module, &[x]).unwrap();
    assert_eq!(data.held_out * HELD_OUT, HELD_OUT);
    data
}

fn options(recipe: &str) -> CalibrateOptions {
    CalibrateOptions {
        recipe: recipe.parse().unwrap(),
        bits: None,
        keep: vec!["none".into()],
        max_memory: 1 << 28,
        threads: 1,
        seed: 0,
        partial: None,
        max_error: None,
    }
}
