//! Einsum: as transposes and one matmul where two operands are contracted, else as it stands.

use trine_ir::ops::{Einsum, Equation, Matmul};
use trine_ir::{Dim, OpError, OpResult, Value, bail};

use super::{NodeCx, product, reshape, transpose};

/// Einsum-12.
pub fn einsum(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let inputs = cx.inputs()?;
    let Some(text) = cx.attr_str_opt("equation")? else { bail!("attribute `equation` is missing") };
    let ranks: Vec<_> = inputs.iter().map(|v| cx.rank(*v)).collect();
    let text = explicit(text, &ranks)?;
    let equation = Equation::parse(&text)?;
    if let [a, b] = inputs[..]
        && let Some(y) = contraction(cx, a, b, &equation)?
    {
        return Ok(vec![y]);
    }
    Ok(vec![cx.add(Einsum { equation: text }, &inputs)?])
}

/// The equation without blanks and ellipses, the result stated. Axes under an ellipsis get letters that the
/// equation does not use, aligned at the right.
fn explicit(text: &str, ranks: &[usize]) -> OpResult<String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, result) = match text.split_once("->") {
        Some((terms, result)) => (terms, Some(result)),
        None => (text.as_str(), None),
    };
    let terms: Vec<_> = terms.split(',').collect();
    if terms.len() != ranks.len() {
        bail!("equation `{}` has {} operands, got {}", text.escape_debug(), terms.len(), ranks.len());
    }
    let named = |term: &str| term.replace("...", "").chars().count();
    let mut wide = 0;
    for (term, rank) in terms.iter().zip(ranks) {
        if term.contains("...") {
            let Some(hidden) = rank.checked_sub(named(term)) else {
                bail!("`{}` names more than the {rank} axes there are", term.escape_debug());
            };
            wide = wide.max(hidden);
        }
    }
    let free = ('A'..='Z').chain('a'..='z').chain('α'..='ω').filter(|c| !text.contains(*c));
    let hidden: Vec<char> = free.take(wide).collect();
    if hidden.len() < wide {
        bail!("`...` stands for too many axes");
    }
    let spelt = |term: &str, n: usize| {
        let letters: String = hidden[hidden.len() - n.min(hidden.len())..].iter().collect();
        term.replacen("...", &letters, 1)
    };
    let operands = terms.iter().zip(ranks).map(|(t, rank)| spelt(t, rank.saturating_sub(named(t))));
    let operands = operands.collect::<Vec<_>>().join(",");
    let result = match result {
        Some(result) => spelt(result, wide),
        None => {
            // Labels that occur once, in order of the alphabet, after what the ellipsis stands for.
            let letters = || terms.iter().flat_map(|t| t.chars()).filter(|c| *c != '.');
            let mut once: Vec<char> =
                letters().filter(|c| letters().filter(|d| d == c).count() == 1).collect();
            once.sort();
            hidden.iter().chain(&once).collect()
        }
    };
    Ok(format!("{operands}->{result}"))
}

/// Two operands as a batched matmul, if each label is of one size and none is summed in one operand alone.
fn contraction(cx: &mut NodeCx, a: Value, b: Value, equation: &Equation) -> OpResult<Option<Value>> {
    let [of_a, of_b] = &equation.operands[..] else { return Ok(None) };
    let (dims_a, dims_b) = (cx.ty(a).dims, cx.ty(b).dims);
    let distinct = |labels: &[char]| labels.iter().enumerate().all(|(i, l)| !labels[..i].contains(l));
    if dims_a.len() != of_a.len() || dims_b.len() != of_b.len() || !distinct(of_a) || !distinct(of_b) {
        return Ok(None);
    }
    let size_a = |l: &char| of_a.iter().position(|m| m == l).map(|i| dims_a[i].clone());
    let size_b = |l: &char| of_b.iter().position(|m| m == l).map(|i| dims_b[i].clone());
    let shared: Vec<char> = of_a.iter().copied().filter(|l| of_b.contains(l)).collect();
    let lonely = |labels: &[char], other: &[char]| {
        labels.iter().any(|l| !other.contains(l) && !equation.result.contains(l))
    };
    if shared.iter().any(|l| size_a(l) != size_b(l)) || lonely(of_a, of_b) || lonely(of_b, of_a) {
        return Ok(None);
    }
    let (batch, contracted): (Vec<char>, Vec<char>) =
        shared.iter().partition(|l| equation.result.contains(l));
    if contracted.is_empty() {
        return Ok(None);
    }
    let free = |labels: &[char]| labels.iter().copied().filter(|l| !shared.contains(l)).collect::<Vec<_>>();
    let (free_a, free_b) = (free(of_a), free(of_b));
    let sizes = |labels: &[char]| -> OpResult<Vec<Dim>> {
        let size = |l| size_a(l).or_else(|| size_b(l)).ok_or_else(|| OpError("a label is missing".into()));
        labels.iter().map(size).collect()
    };
    let mut matrices = |x: Value, labels: &[char], free: &[char]| -> OpResult<Value> {
        let order = [&batch, free, &contracted].concat();
        let perm: Vec<_> = order.iter().filter_map(|l| labels.iter().position(|m| m == l)).collect();
        let x = transpose(cx, x, &perm)?;
        let mut shape = sizes(&batch)?;
        shape.extend([product(&sizes(free)?)?, product(&sizes(&contracted)?)?]);
        reshape(cx, x, shape)
    };
    let (a, b) = (matrices(a, of_a, &free_a)?, matrices(b, of_b, &free_b)?);
    let y = cx.add(Matmul { trans_b: true }, &[a, b])?;
    let order = [batch.clone(), free_a, free_b].concat();
    let y = reshape(cx, y, sizes(&order)?)?;
    let perm: Vec<_> = equation.result.iter().filter_map(|l| order.iter().position(|m| m == l)).collect();
    Ok(Some(transpose(cx, y, &perm)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_become_explicit() {
        for (text, ranks, want) in [
            ("i, i", vec![1, 1], "i,i->"),
            ("ba", vec![2], "ba->ab"),
            ("...ii ->...i", vec![4], "ABii->ABi"),
            ("...ij,...jk", vec![4, 3], "ABij,Bjk->ABik"),
            ("A...,...->...A", vec![2, 0], "AB,->BA"),
        ] {
            assert_eq!(explicit(text, &ranks).unwrap(), want);
        }
        assert!(explicit("ij...", &[1]).is_err());
        assert!(explicit("ij", &[2, 2]).is_err());
    }
}
