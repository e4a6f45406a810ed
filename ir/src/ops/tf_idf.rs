//! Counts of the sequences of tokens that a vocabulary knows.

use std::collections::HashMap;

use super::layout::args::integers;
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};

attr_enum! {
    /// What is made of a count.
    Weighting {
        /// The count.
        Tf = "tf",
        /// The weight, or 1, of what is there at all.
        Idf = "idf",
        /// The count times the weight.
        TfIdf = "tf_idf",
    }
}
op! {
    /// For each row of tokens how often each n-gram of `pool` is in it, as f32 at the n-gram's `places`. ONNX TfIdfVectorizer.
    ///
    /// `pool` holds all of 1 token, from `starts[0]` on, then those of 2 from `starts[1]` on, and so on; those of `shortest` to
    /// `longest` tokens are looked for, and up to `skips` tokens may be between any two. `weights`, which may be none, are
    /// those of n-grams; at a place of several the last one's counts.
    TfIdf = "tf_idf" (x) {
        weighting: Weighting,
        shortest: usize,
        longest: usize,
        skips: usize,
        starts: Vec<usize>,
        places: Vec<usize>,
        pool: Vec<i64>,
        weights: Vec<f32>,
    }
}

impl OpDef for TfIdf {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if x.rank() > 2 || !matches!(x.elem, Elem::I32 | Elem::I64) {
            bail!("expects a vector or rows of i32 or i64, got {x}");
        }
        if self.shortest == 0 || self.longest < self.shortest {
            bail!("n-grams of {} to {} tokens", self.shortest, self.longest);
        }
        let known: usize = self.collections()?.map(|(n, tokens)| tokens.len() / n).sum();
        let width = self.width();
        if known != self.places.len() || ![0, known].contains(&self.weights.len()) {
            bail!("{known} n-grams, {} places and {} weights", self.places.len(), self.weights.len());
        }
        if i64::try_from(width).is_err() {
            bail!("there is no place {}", width - 1);
        }
        let mut dims = vec![Dim::constant(width)];
        if x.rank() == 2 {
            dims.insert(0, x.dims[0].clone());
        }
        Ok(vec![Type { elem: Elem::F32, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, width) = (&args[0], self.width());
        let (lead, len) = match x.dims() {
            [rows, len] => (vec![*rows], *len),
            _ => (vec![], x.len()),
        };
        let dims = [lead.as_slice(), &[width]].concat();
        let mut counts = vec![0f32; result_count(Elem::F32, &dims)?];
        let (vocabulary, tokens) = (Vocabulary::new(self)?, integers(x)?);
        if len > 0 && width > 0 {
            for (row, counts) in tokens.chunks_exact(len).zip(counts.chunks_exact_mut(width)) {
                self.count(&vocabulary, row, counts);
            }
        }
        // Of no rows, places may be more than there is memory for.
        if counts.is_empty() {
            return Ok(vec![Tensor::from_vec(dims, counts)?]);
        }
        let mut weights = vec![1.0; width];
        self.places.iter().zip(&self.weights).for_each(|(place, weight)| weights[*place] = *weight);
        let weight = |i: usize| weights[i % width];
        match self.weighting {
            Weighting::Tf => {}
            Weighting::Idf => {
                counts.iter_mut().enumerate().for_each(|(i, c)| *c = if *c > 0.0 { weight(i) } else { 0.0 });
            }
            Weighting::TfIdf => counts.iter_mut().enumerate().for_each(|(i, c)| *c *= weight(i)),
        }
        Ok(vec![Tensor::from_vec(dims, counts)?])
    }
}

impl TfIdf {
    /// The tokens of all n-grams of one length, with the length.
    fn collections(&self) -> OpResult<impl Iterator<Item = (usize, &[i64])>> {
        let ends = self.starts.iter().skip(1).copied().chain([self.pool.len()]);
        let all: Option<Vec<_>> =
            self.starts.iter().zip(ends).map(|(start, end)| self.pool.get(*start..end)).collect();
        let Some(all) = all else { bail!("starts {:?} of {} tokens", self.starts, self.pool.len()) };
        if let Some(i) = (0..all.len()).find(|i| !all[*i].len().is_multiple_of(i + 1)) {
            bail!("{} tokens are not n-grams of {}", all[i].len(), i + 1);
        }
        Ok(all.into_iter().enumerate().map(|(i, tokens)| (i + 1, tokens)))
    }

    /// How many places there are.
    fn width(&self) -> usize {
        self.places.iter().max().map_or(0, |place| place.saturating_add(1))
    }

    fn count(&self, vocabulary: &Vocabulary, row: &[i64], counts: &mut [f32]) {
        let mut shortest = self.shortest;
        // Beyond the row nothing is left to skip to.
        for distance in 1..=self.skips.min(row.len()) + 1 {
            for first in 0..row.len() {
                if first.saturating_add(distance.saturating_mul(shortest - 1)) >= row.len() {
                    break;
                }
                let mut node = 0;
                for (n, token) in row[first..].iter().step_by(distance).take(self.longest).enumerate() {
                    let Some(next) = vocabulary.next.get(&(node, *token)) else { break };
                    node = *next;
                    if let Some(place) = vocabulary.places[node].filter(|_| n + 1 >= shortest) {
                        counts[place] += 1.0;
                    }
                }
            }
            // One token has none to skip.
            if shortest == 1 {
                shortest = 2;
                if self.longest < 2 {
                    break;
                }
            }
        }
    }
}

/// N-grams as a tree, whose root is 0.
struct Vocabulary {
    next: HashMap<(usize, i64), usize>,
    /// Those of the n-grams that end at each node.
    places: Vec<Option<usize>>,
}

impl Vocabulary {
    fn new(op: &TfIdf) -> OpResult<Vocabulary> {
        let mut vocabulary = Vocabulary { next: HashMap::new(), places: vec![None] };
        let mut places = op.places.iter();
        for (n, tokens) in op.collections()? {
            for (gram, place) in tokens.chunks_exact(n).zip(&mut places) {
                if !(op.shortest..=op.longest).contains(&n) {
                    continue;
                }
                let mut node = 0;
                for token in gram {
                    let fresh = vocabulary.places.len();
                    node = *vocabulary.next.entry((node, *token)).or_insert(fresh);
                    if node == fresh {
                        vocabulary.places.push(None);
                    }
                }
                vocabulary.places[node] = Some(*place);
            }
        }
        Ok(vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    fn op() -> TfIdf {
        TfIdf {
            weighting: Weighting::Tf,
            shortest: 1,
            longest: 2,
            skips: 0,
            starts: vec![0, 4],
            places: vec![0, 1, 2, 3, 4, 5, 6],
            pool: vec![2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
            weights: vec![],
        }
    }

    fn row() -> Tensor {
        Tensor::vector(vec![1i64, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8])
    }

    #[test]
    fn grams_are_counted_where_they_are() {
        assert_eq!(one(op(), &[&row()]), Tensor::vector(vec![0f32, 3.0, 1.0, 0.0, 1.0, 1.0, 1.0]));
        let pairs = TfIdf { shortest: 2, skips: 5, ..op() };
        assert_eq!(one(pairs, &[&row()]), Tensor::vector(vec![0f32, 0.0, 0.0, 0.0, 1.0, 3.0, 1.0]));
        let rows = tensor(&[2, 6], &[1i32, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8]);
        let want = [0f32, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        assert_eq!(one(op(), &[&rows]), tensor(&[2, 7], &want));
    }

    #[test]
    fn weights_are_of_n_grams() {
        let weights = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let idf = TfIdf { weighting: Weighting::Idf, weights: weights.clone(), ..op() };
        assert_eq!(one(idf, &[&row()]), Tensor::vector(vec![0f32, 2.0, 3.0, 0.0, 5.0, 6.0, 7.0]));
        let both = TfIdf { weighting: Weighting::TfIdf, weights, ..op() };
        assert_eq!(one(both.clone(), &[&row()]), Tensor::vector(vec![0f32, 6.0, 3.0, 0.0, 5.0, 6.0, 7.0]));
        let turned = TfIdf { places: (0..7).rev().collect(), skips: 1, ..both.clone() };
        assert_eq!(one(turned, &[&row()]), Tensor::vector(vec![7f32, 6.0, 5.0, 0.0, 3.0, 6.0, 0.0]));
        let plain = TfIdf { weighting: Weighting::Idf, ..op() };
        assert_eq!(one(plain, &[&row()]), Tensor::vector(vec![0f32, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]));
    }

    #[test]
    fn attributes_have_to_fit() {
        let endless = TfIdf { skips: usize::MAX, longest: usize::MAX, ..op() };
        assert_eq!(one(endless, &[&row()]).len(), 7);
        assert_eq!(one(op(), &[&Tensor::vector(Vec::<i64>::new())]), Tensor::vector(vec![0f32; 7]));
        for bad in [
            TfIdf { shortest: 0, ..op() },
            TfIdf { longest: 0, ..op() },
            TfIdf { starts: vec![4, 0], ..op() },
            TfIdf { starts: vec![0, 3], ..op() },
            TfIdf { starts: vec![0, 40], ..op() },
            TfIdf { places: vec![0], ..op() },
            TfIdf { weights: vec![1.0], ..op() },
            TfIdf { places: vec![0, 1, 2, 3, 4, 5, usize::MAX], ..op() },
        ] {
            assert!(run(bad.clone(), &[Some(&row())]).is_err(), "{bad:?}");
        }
        assert!(run(op(), &[Some(&tensor(&[1, 1, 1], &[0i64]))]).is_err());
    }
}
