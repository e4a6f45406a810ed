//! Kernels of f16 and bf16: compiled as interpreted, to the bit, and attention over caches of halves.

use std::sync::Arc;

use half::{bf16, f16};
use trine::codegen::Target;
use trine::codegen::image::program::build;
use trine::codegen::plan::form::form;
use trine_ir::{Elem, Module, Tensor, eval, text, verify};
use trine_runtime::{Program, Session, SessionOptions};

/// The module, and a program of it that has one kernel.
fn compiled(source: &str) -> (Module, Arc<Program>) {
    let target = Target::host().unwrap();
    let module = text::parse(source).unwrap();
    verify(&module).unwrap();
    let mut formed = module.clone();
    assert_eq!(form(&mut formed, &target), 1, "{source}");
    (module, Arc::new(build(formed, &target).unwrap()))
}

/// What a program gives, on as many threads.
fn run(program: &Arc<Program>, inputs: &[Tensor], threads: usize) -> Vec<Tensor> {
    Session::new(program.clone(), &SessionOptions { threads, ..SessionOptions::default() })
        .run(inputs)
        .unwrap()
}

/// The bits of each element, all of NaN as one.
fn bits(t: &Tensor) -> Vec<u32> {
    let of = |bits: u32, nan: bool| if nan { u32::MAX } else { bits };
    match t.elem() {
        Elem::F16 => t.values::<f16>().unwrap().iter().map(|v| of(v.to_bits().into(), v.is_nan())).collect(),
        Elem::Bf16 => {
            t.values::<bf16>().unwrap().iter().map(|v| of(v.to_bits().into(), v.is_nan())).collect()
        }
        Elem::F32 => t.values::<f32>().unwrap().iter().map(|v| of(v.to_bits(), v.is_nan())).collect(),
        _ => t.bytes().iter().map(|b| u32::from(*b)).collect(),
    }
}

fn halves(elem: Elem, dims: Vec<usize>, values: impl Iterator<Item = u16>) -> Tensor {
    match elem {
        Elem::F16 => Tensor::from_vec(dims, values.map(f16::from_bits).collect::<Vec<_>>()).unwrap(),
        _ => Tensor::from_vec(dims, values.map(bf16::from_bits).collect::<Vec<_>>()).unwrap(),
    }
}

fn same(source: &str, inputs: &[Tensor]) {
    let (module, program) = compiled(source);
    let want = eval::run(&module, inputs.to_vec()).unwrap();
    for threads in [1, 2] {
        for (got, want) in run(&program, inputs, threads).iter().zip(&want) {
            let (got, want) = (bits(got), bits(want));
            let first = got.iter().zip(&want).position(|(g, w)| g != w);
            assert!(first.is_none(), "{first:?} {:?}\n{source}", first.map(|i| (got[i], want[i])));
        }
    }
}

/// All halves, and floats around all that lie between them.
#[test]
fn every_half_is_cast_as_the_interpreter_does() {
    for (elem, name, shift) in [(Elem::F16, "f16", 13), (Elem::Bf16, "bf16", 16)] {
        let all = halves(elem, vec![1 << 16], 0..=u16::MAX);
        same(
            &format!(
                "graph @main(%x: {name}[n]) -> (%y: f32[n]) {{\n  %y = cast %x {{to=f32}} : f32[n]\n}}\n"
            ),
            &[all],
        );
        let near = |bits: u32| [bits.wrapping_sub(1), bits, bits + 1].map(f32::from_bits);
        let steps = (0..1u32 << 16).map(|i| (i << 15) ^ ((i & 1) << shift >> 1));
        let floats: Vec<f32> = steps.flat_map(near).collect();
        let more = [65504.0, 65519.99, 65520.0, 2f32.powi(-14), 2f32.powi(-24), 2f32.powi(-25), 1e-8, -1e-8];
        let floats: Vec<f32> = floats.into_iter().chain(more).collect();
        same(
            &format!(
                "graph @main(%x: f32[n]) -> (%y: {name}[n]) {{\n  %y = cast %x {{to={name}}} : {name}[n]\n}}\n"
            ),
            &[Tensor::vector(floats)],
        );
    }
}

/// Halves of every kind, in a sequence that repeats late.
fn mixed(elem: Elem, dims: &[usize], seed: u32) -> Tensor {
    let moderate = |i: u32| {
        let v = ((i.wrapping_mul(2_654_435_761) ^ seed) >> 8) as f32 / (1 << 22) as f32 - 2.0;
        if elem == Elem::F16 { f16::from_f32(v).to_bits() } else { bf16::from_f32(v).to_bits() }
    };
    let special: [u16; 6] = match elem {
        Elem::F16 => [0x7c00, 0xfc00, 0x7e00, 0x8000, 0x0001, 0x7bff],
        _ => [0x7f80, 0xff80, 0x7fc0, 0x8000, 0x0001, 0x7f7f],
    };
    let count: usize = dims.iter().product();
    let values = (0..count as u32).map(|i| match i % 101 {
        100 => special[(i / 101) as usize % special.len()],
        _ => moderate(i),
    });
    halves(elem, dims.to_vec(), values)
}

#[test]
fn ops_round_each_value() {
    let bodies = [
        "%a = mul %x, %z : T[b,37]\n  %y = add %a, %g : T[b,37]",
        "%a = silu %x : T[b,37]\n  %c = neg %a : T[b,37]\n  %y = div %c, %z : T[b,37]",
        "%a = less %x, %z : bool[b,37]\n  %y = where %a, %x, %g : T[b,37]",
        "%a = exp %x : T[b,37]\n  %y = max %a, %z : T[b,37]",
        "%y = rms_norm %x, %g {eps=1e-5} : T[b,37]",
        "%a = add %x, %z : T[b,37]\n  %y = rms_norm %a, %g {eps=1e-5} : T[b,37]",
        "%y = layer_norm %x, %g, %g {eps=1e-5} : T[b,37]",
        "%y = softmax %x {axis=1} : T[b,37]",
        "%a = reduce_mean %x {axes=[1], keepdims=true} : T[b,1]\n  %y = sub %x, %a : T[b,37]",
        "%a = cast %x {to=f32} : f32[b,37]\n  %c = mul %a, 0.3 : f32[b,37]\n  %y = cast %c {to=T} : T[b,37]",
        "%a = cast %x {to=bool} : bool[b,37]\n  %y = cast %a {to=T} : T[b,37]",
    ];
    for (elem, name) in [(Elem::F16, "f16"), (Elem::Bf16, "bf16")] {
        for body in bodies {
            let source = format!(
                "graph @main(%x: T[b,37], %z: T[b,37], %g: T[37]) -> (%y: T[b,37]) {{\n  {body}\n}}\n"
            );
            let inputs = [mixed(elem, &[9, 37], 1), mixed(elem, &[9, 37], 2), mixed(elem, &[37], 3)];
            same(&source.replace("T[", &format!("{name}[")).replace("=T}", &format!("={name}}}")), &inputs);
        }
    }
}

/// Views move halves as they are.
#[test]
fn views_of_halves_are_copied() {
    let source = "graph @main(%x: f16[b,3,5]) -> (%y: f16[3,b,5]) {\n  %y = transpose %x {perm=[1,0,2]} : f16[3,b,5]\n}\n";
    same(source, &[mixed(Elem::F16, &[7, 3, 5], 4)]);
}

/// New keys and values are rounded to the type of the cache before they are read.
#[test]
fn attention_reads_caches_of_halves() {
    let floats = |dims: &[usize], seed: u32| {
        let t = mixed(Elem::Bf16, dims, seed);
        let finite = t.values::<bf16>().unwrap().iter().map(|v| v.to_f32() * 1.003).collect::<Vec<_>>();
        let finite: Vec<f32> = finite.into_iter().map(|v| if v.abs() < 4.0 { v } else { 0.5 }).collect();
        Tensor::from_vec(dims.to_vec(), finite).unwrap()
    };
    for (elem, name) in [(Elem::F16, "f16"), (Elem::Bf16, "bf16")] {
        let past = |seed: u32, p: usize| {
            let wide = floats(&[2, 2, p, 8], seed);
            let wide = wide.values::<f32>().unwrap();
            let of = |v: &f32| {
                if elem == Elem::F16 { f16::from_f32(*v).to_bits() } else { bf16::from_f32(*v).to_bits() }
            };
            halves(elem, vec![2, 2, p, 8], wide.iter().map(of))
        };
        for kept in [true, false] {
            let (results, caches) = match kept {
                true => (", %kk: T[2,2,p+s,8], %vv: T[2,2,p+s,8]", "%kk, %vv"),
                false => ("", "%ignored, %dropped"),
            };
            let source = format!(
                "graph @main(%q: f32[2,4,s,8], %k: f32[2,2,s,8], %v: f32[2,2,s,8], %pk: T[2,2,p,8], %pv: T[2,2,p,8]) -> \
                 (%y: f32[2,4,s,8]{results}) {{\n  %y, {caches} = attention %q, %k, %v, _, %pk, %pv {{scale=0.35, causal=true, \
                 softcap=0.0}} : f32[2,4,s,8], T[2,2,p+s,8], T[2,2,p+s,8]\n}}\n"
            )
            .replace("T[", &format!("{name}["));
            let (module, program) = compiled(&source);
            for (s, p) in [(1, 9), (5, 0), (3, 17), (70, 2)] {
                let new = |heads: usize, seed| floats(&[2, heads, s, 8], seed);
                let inputs = [new(4, 5), new(2, 6), new(2, 7), past(8, p), past(9, p)];
                let want = eval::run(&module, inputs.to_vec()).unwrap();
                for threads in [1, 2] {
                    let got = run(&program, &inputs, threads);
                    let (g, w) = (got[0].values::<f32>().unwrap(), want[0].values::<f32>().unwrap());
                    let near = g.iter().zip(w.iter()).all(|(g, w)| (g - w).abs() <= 1e-5);
                    assert!(near, "{s} after {p}\n{source}");
                    for (got, want) in got[1..].iter().zip(&want[1..]) {
                        assert_eq!(bits(got), bits(want), "{s} after {p}\n{source}");
                    }
                }
            }
        }
    }
}
