//! What was measured, as text that compilations share: a choice for each CPU and shape of layer.
//!
//! ```json
//! {"CPU": {"SHAPE": {"kernel": "signsum_i8_avx2_2bit_32", "gain": 1.0}}}
//! ```

#[cfg(not(target_arch = "x86_64"))]
use std::env;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use trine_ukernel::Features;

/// The choice for a shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The microkernel, by its name.
    pub kernel: String,
    /// How many times as fast it is as what would be chosen unmeasured.
    pub gain: f64,
}

/// Choices by CPU, then by shape.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outcomes(IndexMap<String, IndexMap<String, Outcome>>);

impl Outcomes {
    /// What [`Outcomes::text`] wrote; `None` for any other text.
    pub fn parse(text: &str) -> Option<Outcomes> {
        let outcome = |value: &Value| {
            Some(Outcome {
                kernel: value.get("kernel")?.as_str()?.into(),
                gain: value.get("gain")?.as_f64()?,
            })
        };
        let shapes = |shapes: &Value| -> Option<IndexMap<_, _>> {
            let shapes = shapes.as_object()?.iter();
            shapes.map(|(shape, value)| Some((shape.clone(), outcome(value)?))).collect()
        };
        let all: Value = serde_json::from_str(text).ok()?;
        let all = all.as_object()?.iter().map(|(cpu, known)| Some((cpu.clone(), shapes(known)?)));
        Some(Outcomes(all.collect::<Option<_>>()?))
    }

    /// All of them, as JSON.
    pub fn text(&self) -> String {
        let outcome = |o: &Outcome| json!({"kernel": o.kernel, "gain": o.gain});
        let shapes = |shapes: &IndexMap<String, Outcome>| -> Map<String, Value> {
            shapes.iter().map(|(shape, o)| (shape.clone(), outcome(o))).collect()
        };
        let all: Map<String, Value> =
            self.0.iter().map(|(cpu, known)| (cpu.clone(), shapes(known).into())).collect();
        format!("{:#}\n", Value::from(all))
    }

    pub(super) fn get(&self, cpu: &str, shape: &str) -> Option<&Outcome> {
        self.0.get(cpu)?.get(shape)
    }

    pub(super) fn insert(&mut self, cpu: &str, shape: String, outcome: Outcome) {
        self.0.entry(cpu.into()).or_default().insert(shape, outcome);
    }
}

/// The processor, what code may use of it, and whose microkernels these are.
pub(super) fn cpu(features: Features) -> String {
    format!("{}, {features}, trine {}", model(), env!("CARGO_PKG_VERSION"))
}

/// Vendor, family and model.
#[cfg(target_arch = "x86_64")]
fn model() -> String {
    use std::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat();
    // The low bits are the stepping.
    format!("{} {:x}", String::from_utf8_lossy(&vendor), __cpuid(1).eax >> 4)
}

#[cfg(not(target_arch = "x86_64"))]
fn model() -> String {
    env::consts::ARCH.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_and_other_texts_do_not() {
        let (mut outcomes, outcome) = (Outcomes::default(), Outcome { kernel: "f".into(), gain: 1.25 });
        outcomes.insert("this", "shape".into(), outcome.clone());
        let read = Outcomes::parse(&outcomes.text()).unwrap();
        assert_eq!((read.get("this", "shape"), read.get("that", "shape")), (Some(&outcome), None));
        for foreign in ["{", "[]", r#"{"this": {"shape": {"kernel": 3}}}"#] {
            assert_eq!(Outcomes::parse(foreign), None, "{foreign}");
        }
    }
}
