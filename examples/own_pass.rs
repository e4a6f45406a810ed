//! A pass of one's own: the equation, what takes its place, and its name among those of the compiler.
//!
//!     cargo run --example own_pass

use std::error::Error;

use trine::Tensor;
use trine::pass::{Cx, Driver, Dump, Exactness, Pass, PassError, Pipeline};
use trine::pattern::{Rule, any, refuse, rule, scalar};
use trine_ir::ops::Mul;
use trine_ir::{Elem, Literal, Module, eval, text};

const SOURCE: &str = "\
graph @main(%x: f32[n]) -> (%y: f32[n], %z: f32[n]) {
  %half = mul %x, 0.5 : f32[n]
  %y = mul 4.0, %half : f32[n]
  %z = mul %x, %y : f32[n]
}
";

/// `(x · a) · b  →  x · (a · b)`, and as multiplication commutes, any order of each.
static JOIN_SCALES: Pass = Pass {
    name: "join-scales",
    about: "Multiply by one scale in place of two",
    exactness: Exactness::Reassociates,
    options: &[],
    run,
};

fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    Ok(cx.apply(module, &[join_scales()]))
}

fn join_scales() -> Rule {
    let (x, a, b) = (any(), scalar(), scalar());
    let root = &x * &a * &b;
    rule("join-scales", root.clone(), move |m, g| {
        if g.ty(m[&root]).elem != Elem::F32 {
            return refuse("only f32 has literals of its own");
        }
        let product = g.scalar(m[&a])? * g.scalar(m[&b])?;
        let product = g.literal(Literal::F32(product as f32));
        Ok(g.add(Mul {}, &[m[&x], product])?)
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut module = text::parse(SOURCE)?;
    let x = Tensor::vector(vec![1f32, -2.5, 1e3]);
    let before = eval::run(&module, vec![x.clone()])?;

    // Named beside the compiler's own passes, it is verified, timed and dumped as they are.
    let pipeline = Pipeline::parse("join-scales,simplify", &[&JOIN_SCALES])?;
    let mut driver =
        Driver::new().print_after("join-scales", |dump: Dump| println!("{SOURCE}\n{}", dump.text()));
    let report = driver.run(&pipeline, &mut module)?;
    for step in &report.steps {
        println!("// {}: {} rewrites, {} near misses", step.pass, step.rewrites, step.near_misses.len());
    }
    // Powers of two scale exactly, so even the bits are the same.
    assert!(eval::run(&module, vec![x])? == before);
    Ok(())
}
