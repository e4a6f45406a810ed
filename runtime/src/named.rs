//! Runs by the names of inputs and outputs.

use trine_ir::Tensor;

use crate::error::RunError;
use crate::session::{Session, View};

/// Inputs by name, for [`Session::run_named`].
///
/// ```
/// # fn run(session: &mut trine_runtime::Session, ids: trine_ir::Tensor, mask: trine_ir::Tensor)
/// # -> Result<(), trine_runtime::RunError> {
/// use trine_runtime::inputs;
///
/// for (name, tensor) in session.run_named(&inputs! { "input_ids" => ids, "attention_mask" => mask })? {
///     println!("{name}: {}", tensor.ty());
/// }
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! inputs {
    ($($name:expr => $tensor:expr),* $(,)?) => { [$(($name, $tensor)),*] };
}

impl Session {
    /// Runs on inputs by name, in any order, and returns the outputs by name, in the order of the program. Inputs and outputs
    /// that are held as state are not among them.
    pub fn run_named(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, RunError> {
        let program = self.program().clone();
        let mut tensors: Vec<Option<&Tensor>> = vec![None; program.inputs.len()];
        for (name, tensor) in inputs {
            let of_name = |i: &usize| program.inputs[*i].name == *name && !self.is_state(*i);
            let Some(i) = (0..tensors.len()).find(of_name) else {
                let there = (0..program.inputs.len()).filter(|i| !self.is_state(*i));
                let names: Vec<String> = there.map(|i| format!("`{}`", program.inputs[i].name)).collect();
                return Err(RunError::NoInput { name: (*name).into(), names: names.join(", ") });
            };
            if tensors[i].replace(tensor).is_some() {
                return Err(RunError::InputTwice { name: (*name).into() });
            }
        }
        let mut views = vec![];
        for (i, tensor) in tensors.into_iter().enumerate() {
            match tensor {
                Some(tensor) => views.push(View::from(tensor)),
                None if self.is_state(i) => {}
                None => return Err(RunError::InputMissing { name: program.inputs[i].name.clone() }),
            }
        }
        self.execute(&views)?;
        let is_held = |i: &usize| self.holds_states() && program.states.iter().any(|s| s.output == *i);
        let outputs = (0..program.outputs.len()).filter(|i| !is_held(i));
        outputs.map(|i| Ok((program.outputs[i].name.clone(), self.output(i).to_tensor()?))).collect()
    }
}
