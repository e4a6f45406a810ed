//! BatchNormalization as `x · factor + offset`, which a convolution before it can take in.

use trine_ir::ops::{Add, Div, Mul, Sub};
use trine_ir::{Elem, OpResult, Value, bail};

use super::norm::{deviation, moments};
use super::{NodeCx, aligned, cast, reshape, scalar};

/// BatchNormalization-1 to 15. Training mode, which normalises by the batch's own moments and gives running ones, is
/// that of opset 14 on.
pub fn batch_normalization(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let elem = cx.ty(x).elem;
    let training = cx.attr_bool("training_mode", false)?;
    let extra = (1..cx.output_count()).any(|i| cx.wants(i));
    if extra && !training {
        bail!("results beyond the first are those of training");
    }
    if !cx.attr_bool("spatial", true)? {
        bail!("`spatial = 0`, a mean a position, is not supported");
    }
    let eps = cx.attr_float("epsilon", 1e-5)?;
    // All in the widest type that occurs.
    let inputs = (0..5).map(|i| cx.input(i)).collect::<OpResult<Vec<_>>>()?;
    let elems: Vec<_> = inputs.iter().map(|v| cx.ty(*v).elem).collect();
    let wide = match () {
        () if elems.contains(&Elem::F64) => Elem::F64,
        () if elems.iter().all(|e| *e == elem) => elem,
        () => Elem::F32,
    };
    let inputs = inputs.into_iter().map(|v| cast(cx, v, wide)).collect::<OpResult<Vec<_>>>()?;
    let &[x, gain, bias, mean, variance] = inputs.as_slice() else { bail!("expects five inputs") };
    let rank = cx.rank(x);
    if !training {
        let y = normalize(cx, x, [gain, bias, mean, variance], eps)?;
        return Ok(vec![cast(cx, y, elem)?]);
    }
    let axes: Vec<_> = (0..rank).filter(|axis| *axis != 1).collect();
    let batch = moments(cx, x, &axes)?;
    let (batch_mean, batch_variance) = (cast(cx, batch.mean, wide)?, cast(cx, batch.variance, wide)?);
    let channels = cx.ty(mean).dims;
    let own = [reshape(cx, batch_mean, channels.clone())?, reshape(cx, batch_variance, channels)?];
    let y = normalize(cx, x, [gain, bias, own[0], own[1]], eps)?;
    let momentum = cx.attr_float("momentum", 0.9)?;
    let mut results = vec![cast(cx, y, elem)?];
    for (i, (running, own)) in [mean, variance].into_iter().zip(own).enumerate() {
        let (keep, take) = (scalar(cx, wide, momentum.into())?, scalar(cx, wide, 1.0 - f64::from(momentum))?);
        let (kept, taken) = (cx.add(Mul {}, &[running, keep])?, cx.add(Mul {}, &[own, take])?);
        let sum = cx.add(Add {}, &[kept, taken])?;
        results.push(cast(cx, sum, elems[3 + i])?);
    }
    Ok(results)
}

/// `x · (gain/deviation) + (bias - mean · gain/deviation)` a channel.
fn normalize(cx: &mut NodeCx, x: Value, params: [Value; 4], eps: f32) -> OpResult<Value> {
    let [gain, bias, mean, variance] = params;
    let deviation = deviation(cx, variance, eps)?;
    let factor = cx.add(Div {}, &[gain, deviation])?;
    let shift = cx.add(Mul {}, &[mean, factor])?;
    let offset = cx.add(Sub {}, &[bias, shift])?;
    let ty = cx.ty(x);
    let axis = usize::from(ty.rank() > 1);
    let (factor, offset) =
        (aligned(cx, factor, ty.rank(), &[axis])?, aligned(cx, offset, ty.rank(), &[axis])?);
    let scaled = cx.add(Mul {}, &[x, factor])?;
    let y = cx.add(Add {}, &[scaled, offset])?;
    if cx.ty(y) != ty {
        bail!("parameters do not fit the channels of {ty}");
    }
    Ok(y)
}
