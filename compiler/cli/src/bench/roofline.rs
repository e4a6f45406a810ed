//! What this machine can do at best: bytes read from memory, and products whose operands are in the first caches.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine::{Error, Options, RunError, Session, SessionOptions};
use trine_ir::{Tensor, text};
use trine_runtime::arena::AlignedBytes;

use super::quantile;

/// Bytes that are read: more than caches hold for one program.
const BYTES: usize = 1 << 28;

/// How long each limit is measured.
const BUDGET: Duration = Duration::from_millis(100);

/// Products of so many rows, inputs and outputs, whose operands stay in the first caches.
const SIZES: [usize; 3] = [128, 640, 384];

const INT8: &str = "\
stage lowered
const @w: trit[384,640]
const @s: f32[384,1]
graph @main(%x: i8[128,640]) -> (%y: f32[128,384]) {
  %p = sign_select %x, @w : i8[128,384,640]
  %t = group_sum %p {group=640} : i32[128,384,1]
  %y = rescale %t, @s : f32[128,384]
}
";

const F32: &str = "\
const @w: f32[640,384]
graph @main(%x: f32[128,640]) -> (%y: f32[128,384]) {
  %y = matmul %x, @w {trans_b=false} : f32[128,384]
}
";

/// Rates of all threads together.
pub struct Roofline {
    pub bytes_per_s: f64,
    /// Additions and multiplications of ternary weights with int8, and of f32 with f32.
    pub int8_per_s: f64,
    pub f32_per_s: f64,
}

impl Roofline {
    pub fn measure(threads: usize) -> Result<Roofline, Error> {
        Ok(Roofline {
            bytes_per_s: reading(threads)?,
            int8_per_s: product(INT8, threads)?,
            f32_per_s: product(F32, threads)?,
        })
    }

    /// The least seconds that so many bytes and operations take.
    pub fn floor(&self, bytes: usize, operations: usize, is_int8: bool) -> f64 {
        let arithmetic = if is_int8 { self.int8_per_s } else { self.f32_per_s };
        (bytes as f64 / self.bytes_per_s).max(operations as f64 / arithmetic)
    }
}

fn reading(threads: usize) -> Result<f64, Error> {
    let memory = AlignedBytes::zeroed(BYTES)?;
    let words: &[u64] = bytemuck::cast_slice(memory.as_slice());
    let read = || {
        std::thread::scope(|scope| {
            for share in words.chunks(words.len().div_ceil(threads)) {
                scope.spawn(|| black_box(sum(share)));
            }
        });
        Ok(())
    };
    Ok(BYTES as f64 / median(read)?)
}

/// Several sums at a time, so that memory is all there is to wait for.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in words.chunks_exact(32) {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum ^= word;
        }
    }
    sums.iter().fold(0, |all, sum| all ^ sum)
}

fn product(source: &str, threads: usize) -> Result<f64, Error> {
    let zeros = |ty: &trine_ir::Type| {
        let dims = ty.static_dims()?;
        let bytes = ty.elem.bytes(dims.iter().product())?;
        Tensor::new(ty.elem, dims, vec![0; bytes].into()).ok()
    };
    let ir = |error| Error::Ir { path: "roofline".into(), error };
    let module = text::parse_with(source, &|_, ty| zeros(ty)).map_err(ir)?;
    let inputs: Vec<Tensor> = module
        .main()
        .map(|main| main.signature().params)
        .unwrap_or_default()
        .iter()
        .filter_map(zeros)
        .collect();
    let program = Arc::new(trine::build_program(module, &Options::default())?);
    let mut session = Session::new(program, &SessionOptions { threads, ..SessionOptions::default() });
    let views: Vec<trine::View> = inputs.iter().map(trine::View::from).collect();
    let operations = 2 * SIZES.iter().product::<usize>();
    Ok(operations as f64 / median(|| session.execute(&views))?)
}

/// Seconds of a call, after one that is not counted.
fn median(mut call: impl FnMut() -> Result<(), RunError>) -> Result<f64, RunError> {
    call()?;
    let (mut times, begin) = (vec![], Instant::now());
    while begin.elapsed() < BUDGET || times.len() < 3 {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(quantile(&times, 0.5))
}
