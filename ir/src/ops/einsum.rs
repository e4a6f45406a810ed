//! Sums of products in Einstein's notation.

use super::matmul::Number;
use super::real::Real;
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The sum over all labels that `equation` does not give the result, of the product of the operands: `bij,bjk->bik`.
    ///
    /// A label is a letter and names an axis; a label that an operand has twice takes its diagonal, and axes of 1
    /// broadcast. The result's labels are stated and distinct. Each sum runs with the last label fastest, in the order
    /// in which summed labels first occur. Integers wrap; f16 and bf16 are summed in f32.
    Einsum = "einsum" (xs: variadic) { equation: String }
}

/// An equation taken apart: labels of each operand and of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Equation {
    pub operands: Vec<Vec<char>>,
    pub result: Vec<char>,
}

impl Equation {
    /// Reads `ij,jk->ik`; the result is stated and has no label twice.
    pub fn parse(text: &str) -> OpResult<Equation> {
        let Some((operands, result)) = text.split_once("->") else {
            bail!("equation `{}` has no `->`", text.escape_debug());
        };
        let term = |term: &str| -> OpResult<Vec<char>> {
            match term.chars().find(|c| !c.is_alphabetic()) {
                Some(c) => {
                    bail!("`{}` in equation `{}` is not a label", c.escape_debug(), text.escape_debug())
                }
                None => Ok(term.chars().collect()),
            }
        };
        let equation = Equation {
            operands: operands.split(',').map(term).collect::<OpResult<_>>()?,
            result: term(result)?,
        };
        for (i, label) in equation.result.iter().enumerate() {
            if equation.result[..i].contains(label) || !equation.operands.iter().flatten().any(|l| l == label)
            {
                bail!("result label `{label}` of equation `{text}` must stand once there and in an operand");
            }
        }
        Ok(equation)
    }

    /// Every label: those of the result, then those that are summed over as they first occur.
    fn labels(&self) -> Vec<char> {
        let mut labels = self.result.clone();
        for label in self.operands.iter().flatten() {
            if !labels.contains(label) {
                labels.push(*label);
            }
        }
        labels
    }

    /// The size of each label; `join` gives that of two axes of a label.
    fn sizes<D: Clone>(
        &self,
        labels: &[char],
        shapes: &[&[D]],
        one: D,
        join: impl Fn(&D, &D) -> OpResult<D>,
    ) -> OpResult<Vec<D>> {
        if shapes.len() != self.operands.len() {
            bail!("the equation has {} operands, got {}", self.operands.len(), shapes.len());
        }
        let mut sizes = vec![one.clone(); labels.len()];
        for (axes, shape) in self.operands.iter().zip(shapes) {
            if axes.len() != shape.len() {
                bail!("labels `{}` for {} axes", axes.iter().collect::<String>(), shape.len());
            }
            for (label, d) in axes.iter().zip(*shape) {
                let at = labels.iter().position(|l| l == label).ok_or("a label is missing")?;
                sizes[at] = join(&sizes[at], d).map_err(|e| format!("label `{label}`: {e}"))?;
            }
        }
        Ok(sizes)
    }
}

impl OpDef for Einsum {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let equation = Equation::parse(&self.equation)?;
        let Some(first) = args.get(0) else { bail!("expects an operand") };
        if args.from(0).any(|x| x.elem != first.elem) || first.elem == Elem::Bool || first.elem.bits() < 8 {
            bail!("expects operands of one number type");
        }
        let shapes: Vec<_> = args.from(0).map(|x| x.dims.as_slice()).collect();
        let mut dims = equation
            .sizes(&equation.labels(), &shapes, Dim::constant(1), |a, b| broadcast_dim(a, b, module))?;
        dims.truncate(equation.result.len());
        Ok(vec![Type { elem: first.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let equation = Equation::parse(&self.equation)?;
        let first = args.get(0).ok_or("expects an operand")?.elem();
        macro_rules! ints {
            ($($elem:ident = $t:ty),*) => { match first {
                Elem::F16 | Elem::Bf16 | Elem::F32 => reals::<f32>(&equation, &args, first),
                Elem::F64 => reals::<f64>(&equation, &args, first),
                $(Elem::$elem => {
                    let values = args.from(0).map(|x| x.values::<$t>()).collect::<Result<Vec<_>, _>>()?;
                    let values: Vec<_> = values.iter().map(|v| &**v).collect();
                    let (dims, y) = contract(&equation, &args, &values)?;
                    Ok(vec![Tensor::from_vec(dims, y)?])
                })*
                elem => bail!("no products of {elem}"),
            } };
        }
        ints! { I8 = i8, I16 = i16, I32 = i32, I64 = i64, U8 = u8, U16 = u16, U32 = u32, U64 = u64 }
    }
}

fn reals<T: Real + Number>(equation: &Equation, args: &Args<Tensor>, elem: Elem) -> OpResult<Vec<Tensor>> {
    let values = args.from(0).map(T::read).collect::<OpResult<Vec<_>>>()?;
    let values: Vec<_> = values.iter().map(|v| &**v).collect();
    let (dims, y) = contract(equation, args, &values)?;
    Ok(vec![T::write(elem, dims, y)?])
}

fn contract<T: Number>(
    equation: &Equation,
    args: &Args<Tensor>,
    values: &[&[T]],
) -> OpResult<(Vec<usize>, Vec<T>)> {
    let labels = equation.labels();
    let shapes: Vec<_> = args.from(0).map(Tensor::dims).collect();
    let sizes = equation.sizes(&labels, &shapes, 1, |a, b| Ok(broadcast_dims(&[*a], &[*b])?[0]))?;
    // Bounds the work, of which the result is a part.
    result_count(T::ELEM, &sizes)?;
    let (dims, summed) = sizes.split_at(equation.result.len());
    let mut y = vec![T::default(); result_count(T::ELEM, dims)?];
    let terms = summed.iter().product();
    let strides: Vec<_> =
        equation.operands.iter().zip(&shapes).map(|(axes, shape)| strides(&labels, axes, shape)).collect();
    let mut index = vec![0; sizes.len()];
    let mut at = vec![0; values.len()];
    for y in &mut y {
        for _ in 0..terms {
            let factors = values.iter().zip(&at).map(|(v, at)| v[*at]);
            if let Some(product) = factors.reduce(T::times) {
                *y = y.plus(product);
            }
            advance(&mut index, &sizes, &strides, &mut at);
        }
    }
    Ok((dims.to_vec(), y))
}

/// How far an operand moves when each label's index grows by one; axes of 1 stay.
fn strides(labels: &[char], axes: &[char], shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; labels.len()];
    let mut stride = 1;
    for (label, d) in axes.iter().zip(shape).rev() {
        let at = labels.iter().position(|l| l == label).expect("labels are those of the operands");
        strides[at] += if *d == 1 { 0 } else { stride };
        stride *= d;
    }
    strides
}

/// Moves to the next index, last label fastest, and each operand's offset with it.
fn advance(index: &mut [usize], sizes: &[usize], strides: &[Vec<usize>], at: &mut [usize]) {
    for label in (0..sizes.len()).rev() {
        index[label] += 1;
        let wraps = index[label] == sizes[label];
        for (at, strides) in at.iter_mut().zip(strides) {
            *at += strides[label];
            if wraps {
                *at -= strides[label] * sizes[label];
            }
        }
        if !wraps {
            return;
        }
        index[label] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(equation: &str, args: &[&Tensor]) -> OpResult<Tensor> {
        let op = Op::from(Einsum { equation: equation.into() });
        let types: Vec<_> = args.iter().map(|a| a.ty()).collect();
        let inferred = op.infer(&types.iter().map(Some).collect::<Vec<_>>(), &())?;
        let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
        let y = op.eval(&args, &DimEnv::default())?.remove(0);
        assert_eq!(inferred, [y.ty()]);
        Ok(y)
    }

    fn counting(dims: &[usize]) -> Tensor {
        let n = dims.iter().product::<usize>() as i32;
        Tensor::from_vec(dims.to_vec(), (0..n).collect()).unwrap()
    }

    fn ints(t: &Tensor) -> Vec<i32> {
        t.values::<i32>().unwrap().to_vec()
    }

    #[test]
    fn labels_sum_permute_and_take_diagonals() {
        let x = counting(&[2, 3]);
        assert_eq!(ints(&run("ij->ji", &[&x]).unwrap()), [0, 3, 1, 4, 2, 5]);
        assert_eq!(ints(&run("ij->i", &[&x]).unwrap()), [3, 12]);
        assert_eq!(ints(&run("ij->", &[&x]).unwrap()), [15]);
        assert_eq!(ints(&run("bii->bi", &[&counting(&[2, 2, 2])]).unwrap()), [0, 3, 4, 7]);
        assert_eq!(ints(&run("ij,kj->ik", &[&x, &x]).unwrap()), [5, 14, 14, 50]);
        assert_eq!(ints(&run("i,i,i->", &[&counting(&[3]), &counting(&[3]), &counting(&[3])]).unwrap()), [9]);
        assert_eq!(ints(&run("ij,ij->i", &[&x, &counting(&[2, 1])]).unwrap()), [0, 12]);
        assert_eq!(ints(&run("ij->j", &[&counting(&[0, 2])]).unwrap()), [0, 0]);
    }

    #[test]
    fn bad_equations_are_refused() {
        let x = counting(&[2, 3]);
        for equation in ["ij", "ij->ii", "ij->k", "i->i", "i1->i", "ij,j->i", "", "ii->i"] {
            assert!(run(equation, &[&x]).is_err(), "{equation}");
        }
        assert!(Op::from(Einsum { equation: "->".into() }).infer(&[], &()).is_err());
    }
}
