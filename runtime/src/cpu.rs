//! Which extensions of its instruction set this machine has, by the names that compiled code asks for them.

use trine_ukernel::Features;

/// The first of `features` that this machine lacks.
pub fn lacking<'n>(features: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    features.into_iter().find(|feature| !has(feature))
}

/// All names of this architecture's extensions.
pub fn known() -> Vec<&'static str> {
    let microkernels = (0..32).filter_map(|bit| Features::from_bits(1 << bit)).flat_map(Features::names);
    EXTENSIONS.iter().copied().chain(microkernels).collect()
}

fn has(feature: &str) -> bool {
    match Features::from_name(feature) {
        Some(microkernels) => Features::detect().contains(microkernels),
        None => extension(feature),
    }
}

macro_rules! extensions {
    ($arch:literal, $detected:ident: $($name:tt)*) => {
        #[cfg(target_arch = $arch)]
        const EXTENSIONS: &[&str] = &[$($name),*];

        #[cfg(target_arch = $arch)]
        fn extension(name: &str) -> bool {
            match name {
                $($name => std::arch::$detected!($name),)*
                _ => false,
            }
        }
    };
}

extensions! { "x86_64", is_x86_feature_detected:
    "sse3" "ssse3" "sse4.1" "sse4.2" "cmpxchg16b" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt"
    "avx512f" "avx512dq" "avx512vl" "avx512bitalg" "avx512vbmi" "avx512vnni" "avxvnni"
}
extensions! { "aarch64", is_aarch64_feature_detected: "lse" "paca" "fp16" "dotprod" "i8mm" }

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const EXTENSIONS: &[&str] = &[];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn extension(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(lacking([]), None);
        assert_eq!(lacking(["telepathy"]), Some("telepathy"));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(lacking(["sse3", "telepathy", "cmpxchg16b"]), Some("telepathy"));
        }
    }
}
