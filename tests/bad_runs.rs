//! Runs that cannot go well: inputs that do not fit, sizes that no machine has, numbers that are none. The compiled
//! program and the interpreter both say what is wrong.

use std::sync::Arc;

use trine::{Backend, Options, Session, SessionOptions, Tensor};
use trine_ir::{Module, text};

const MODEL: &str = "\
graph @main(%x: f32[batch,seq,4], %mask: bool[batch,seq], %past: f32[batch,past+seq,4]) -> (%y: f32[batch,seq,4]) {
  %y = add %x, 1.0 : f32[batch,seq,4]
}
";

fn parsed(source: &str) -> Module {
    let module = text::parse(source).unwrap();
    trine_ir::verify(&module).unwrap();
    module
}

/// What a run says by either backend: outputs, or the message.
fn runs(source: &str, inputs: &[Tensor]) -> [Result<Vec<Tensor>, String>; 2] {
    [Backend::Auto, Backend::Interpret].map(|backend| {
        let options = Options { backend, ..Options::default() };
        let mut module = parsed(source);
        trine::optimize(&mut module, &options).map_err(|e| e.to_string())?;
        let program = Arc::new(trine::build_program(module, &options).map_err(|e| e.to_string())?);
        Session::new(program, &SessionOptions::default()).run(inputs).map_err(|e| e.to_string())
    })
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::from_vec(dims.to_vec(), vec![0f32; dims.iter().product()]).unwrap()
}

fn mask(dims: &[usize]) -> Tensor {
    Tensor::from_bools(dims.to_vec(), vec![true; dims.iter().product()]).unwrap()
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let good = [zeros(&[2, 3, 4]), mask(&[2, 3]), zeros(&[2, 5, 4])];
    for outputs in runs(MODEL, &good) {
        assert_eq!(outputs.unwrap()[0].dims(), [2, 3, 4]);
    }
    let with = |i: usize, tensor: Tensor| {
        let mut inputs = good.clone();
        inputs[i] = tensor;
        inputs.to_vec()
    };
    for (inputs, message) in [
        (vec![], "expected 3 inputs (`x`, `mask`, `past`), got 0"),
        (
            [good.clone().to_vec(), vec![zeros(&[1])]].concat(),
            "expected 3 inputs (`x`, `mask`, `past`), got 4",
        ),
        (with(0, mask(&[2, 3, 4])), "input `x` is f32[batch,seq,4], got bool[2,3,4]"),
        (with(0, zeros(&[2, 3])), "input `x` is f32[batch,seq,4], got f32[2,3]"),
        (with(0, zeros(&[2, 3, 5])), "input `x`: axis 2 has 5 elements, not `4`"),
        (with(1, mask(&[2, 4])), "input `mask`: axis 1 has 4 elements, not `seq`, which is 3 here"),
        (with(2, zeros(&[2, 2, 4])), "input `past`: axis 1 has 2 elements, not `past+seq`"),
    ] {
        for outputs in runs(MODEL, &inputs) {
            assert_eq!(outputs.unwrap_err(), message);
        }
    }
}

#[test]
fn nothing_is_as_good_as_anything() {
    for outputs in runs(MODEL, &[zeros(&[0, 3, 4]), mask(&[0, 3]), zeros(&[0, 3, 4])]) {
        assert_eq!(outputs.unwrap()[0].dims(), [0, 3, 4]);
    }
    let product = "\
graph @main(%a: f32[m,k], %b: f32[k,n]) -> (%y: f32[m,n]) {
  %y = matmul %a, %b {trans_b=false} : f32[m,n]
}
";
    for outputs in runs(product, &[zeros(&[2, 0]), zeros(&[0, 3])]) {
        assert_eq!(outputs.unwrap(), [zeros(&[2, 3])]);
    }
}

#[test]
fn giant_results_are_refused() {
    let i = |values: &[i64]| Tensor::vector(values.to_vec());
    for (source, inputs) in [
        (
            "graph @main(%x: f32[1], %n: i64[1]) -> (%y: f32[n]) {\n  \
             %y = expand_dynamic %x, %n {dims=[n]} : f32[n]\n}\n",
            vec![zeros(&[1]), i(&[1 << 50])],
        ),
        (
            "graph @main(%x: f32[1], %n: i64[2]) -> (%y: f32[n]) {\n  \
             %y = pad_dynamic %x, %n {mode=constant, dims=[n]} : f32[n]\n}\n",
            vec![zeros(&[1]), i(&[0, 1 << 50])],
        ),
        (
            "graph @main(%n: i64[]) -> (%y: i64[n]) {\n  \
             %y = range 0i64, %n, 1i64 {count=n} : i64[n]\n}\n",
            vec![Tensor::scalar(i64::MAX)],
        ),
        (
            "graph @main(%x: f32[1], %n: i64[1]) -> (%y: f32[n]) {\n  \
             %y = tile_dynamic %x, %n {dims=[n]} : f32[n]\n}\n",
            vec![zeros(&[1]), i(&[i64::MAX])],
        ),
        (
            "graph @main(%x: i64[1], %n: i64[]) -> (%y: i64[1,n]) {\n  \
             %y = one_hot %x, %n, @values {axis=1, size=n} : i64[1,n]\n}\n",
            vec![i(&[0]), Tensor::scalar(1i64 << 60)],
        ),
    ] {
        let source = format!("const @values: i64[2] = [0,1]\n{source}");
        for outputs in runs(&source, &inputs) {
            let message = outputs.unwrap_err();
            let refused = ["large", "memory", "cannot be had"].iter().any(|why| message.contains(why));
            assert!(refused, "{message}\n{source}");
        }
    }
}

#[test]
fn indices_out_of_range_are_refused() {
    let gather = "\
const @table: f32[3,2] = [1.0,2.0,3.0,4.0,5.0,6.0]
graph @main(%i: i64[n]) -> (%y: f32[n,2]) {
  %y = gather @table, %i {axis=0} : f32[n,2]
}
";
    for index in [3, -4, i64::MAX, i64::MIN] {
        for outputs in runs(gather, &[Tensor::vector(vec![0, index])]) {
            let message = outputs.unwrap_err();
            assert!(message.contains("`%y`") && message.contains("index"), "{message}");
        }
    }
    for outputs in runs(gather, &[Tensor::vector(vec![0i64, -1])]) {
        assert_eq!(outputs.unwrap()[0].values::<f32>().unwrap()[..], [1.0, 2.0, 5.0, 6.0]);
    }
}

#[test]
fn weights_that_are_no_numbers_stay_what_they_are() {
    for bad in ["nan", "inf", "-inf"] {
        let source = format!(
            "const @w: f32[4,2] = [1.0,-1.0,0.0,{bad},1.0,1.0,-1.0,0.0]\n\
             graph @main(%x: f32[n,4]) -> (%y: f32[n,2]) {{\n  \
             %y = matmul %x, @w {{trans_b=false}} : f32[n,2]\n}}\n"
        );
        let x = Tensor::from_vec(vec![1, 4], vec![1f32; 4]).unwrap();
        let [compiled, interpreted] = runs(&source, &[x]).map(|y| y.unwrap().remove(0));
        let (compiled, interpreted) =
            (compiled.values::<f32>().unwrap(), interpreted.values::<f32>().unwrap());
        assert_eq!(compiled[0], 1.0);
        assert_eq!(compiled[1].to_bits() & !(1 << 31), interpreted[1].to_bits() & !(1 << 31));
        assert!(!compiled[1].is_finite());
    }
}
