//! The machine that code is made for: Cranelift's instruction set, and which microkernels it can run.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, SettingKind};
use target_lexicon::{Architecture, Triple};
use trine_runtime::cpu;
use trine_ukernel::{Features, second_cache};

use super::error::CodegenError;

/// What to compile for.
#[derive(Clone)]
pub struct Target {
    /// The instruction set, as Cranelift knows it.
    pub isa: OwnedTargetIsa,
    /// Extensions that microkernels may use.
    pub features: Features,
    /// Bytes of the second cache of a core.
    pub cache: usize,
    /// Microkernels that were [asked for by name](super::choice::force), before those that would be chosen.
    pub forced: Vec<String>,
}

/// What code is made for.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// What CPUs have and Cranelift does not say of them; of tile registers it knows nothing.
const MORE: [(&str, &[&str]); 8] = [
    ("alderlake", &["avx", "avx2"]),
    ("raptorlake", &["avx", "avx2"]),
    ("meteorlake", &["avx", "avx2"]),
    ("sierraforest", &["avx", "avx2"]),
    ("grandridge", &["avx", "avx2"]),
    ("sapphirerapids", &["amxint8"]),
    ("graniterapids", &["amxint8"]),
    ("znver4", &["avx512vnni"]),
];

/// Extensions that Cranelift's flags, without `has_`, call otherwise than the runtime.
const OTHER_NAMES: [(&str, &str); 4] =
    [("sse41", "sse4.1"), ("sse42", "sse4.2"), ("avx_vnni", "avxvnni"), ("pauth", "paca")];

/// The cache of a machine that does not state its own.
const USUAL_CACHE: usize = 1 << 20;

impl Target {
    /// This machine, for code that runs at once.
    pub fn host() -> Result<Target, CodegenError> {
        let target = Target::finish(native()?, Features::detect())?;
        Ok(Target { cache: second_cache().unwrap_or(USUAL_CACHE), ..target })
    }

    /// What code that is shipped is made for, whichever machine makes it: `native`, this machine; `baseline`, every machine
    /// of this architecture; a CPU as Cranelift names it, `x86-64-v3` or `v3` for short; the baseline of an
    /// architecture, `aarch64`, or of a triple, `aarch64-unknown-linux-gnu`. All but the first two may name extensions
    /// besides: `aarch64+dotprod`.
    pub fn named(name: &str) -> Result<Target, CodegenError> {
        let host = Triple::host();
        if name == "native" {
            return Target::host();
        }
        if name == "baseline" {
            return Target::object(&host.to_string(), None);
        }
        let (base, extensions) = name.split_once('+').unwrap_or((name, ""));
        let level = format!("x86-64-{base}");
        let mut cpus =
            ARCHITECTURES.into_iter().flat_map(|a| presets(a).into_iter().map(move |cpu| (a, cpu)));
        let mut target = match cpus.find(|(_, cpu)| *cpu == base || *cpu == level) {
            Some((architecture, cpu)) => Target::object(&triple_of(architecture), Some(cpu))?,
            None if ARCHITECTURES.contains(&base) => Target::object(&triple_of(base), None)?,
            None => Target::object(base, None)?,
        };
        for extension in extensions.split('+').filter(|name| !name.is_empty()) {
            target = target.with(extension)?;
        }
        Ok(target)
    }

    /// The CPUs that have a name.
    pub fn cpus() -> Vec<&'static str> {
        ARCHITECTURES.into_iter().flat_map(presets).collect()
    }

    /// The machine called `triple`, with the CPU preset `cpu` (as Cranelift names them) or its baseline, for
    /// object files.
    pub fn object(triple: &str, cpu: Option<&str>) -> Result<Target, CodegenError> {
        let triple: Triple = triple.parse().map_err(|_| unfit(format!("no target `{triple}`")))?;
        let mut isa = cranelift_codegen::isa::lookup(triple).map_err(|e| unfit(e.to_string()))?;
        let Some(cpu) = cpu else { return Target::stated(isa, Features::NONE) };
        isa.enable(cpu).map_err(|e| unfit(format!("CPU `{cpu}`: {e}")))?;
        let more = MORE.iter().filter(|(name, _)| *name == cpu).flat_map(|(_, more)| *more);
        more.copied().try_fold(Target::stated(isa, Features::NONE)?, Target::with)
    }

    /// The same machine with an extension, as [`Target::extensions`] names it.
    fn with(self, extension: &str) -> Result<Target, CodegenError> {
        let triple = self.isa.triple().clone();
        let mut isa = cranelift_codegen::isa::lookup(triple.clone()).map_err(|e| unfit(e.to_string()))?;
        for flag in self.isa.isa_flags().into_iter().filter(|flag| flag.as_bool() == Some(true)) {
            isa.enable(flag.name).map_err(|e| unfit(e.to_string()))?;
        }
        let of_aarch64 = Features::NEON.union(Features::NEON_DOTPROD);
        let ours = Features::from_name(extension).filter(|f| of_aarch64.contains(*f) == is_aarch64(&triple));
        let flag =
            OTHER_NAMES.iter().find(|(_, name)| *name == extension).map_or(extension, |(flag, _)| flag);
        let known = isa.enable(&format!("has_{flag}")).is_ok();
        if !known && ours.is_none() {
            return Err(unfit(format!("`{triple}` has no extension `{extension}`")));
        }
        Target::stated(isa, self.features.union(ours.unwrap_or_default()))
    }

    /// A machine with what its instruction set's flags promise, and what is stated besides.
    fn stated(isa: cranelift_codegen::isa::Builder, features: Features) -> Result<Target, CodegenError> {
        let mut target = Target::finish(isa, features)?;
        target.features = target.features.union(target.stated_features());
        Ok(target)
    }

    fn finish(isa: cranelift_codegen::isa::Builder, features: Features) -> Result<Target, CodegenError> {
        let mut flags = settings::builder();
        // Vector loops keep their order and registers only when nothing moves them.
        let pairs = [
            ("opt_level", "none"),
            // Code finds others by a table, and is the same in memory, in a file, and in an object.
            ("is_pic", "true"),
            ("use_colocated_libcalls", "false"),
            ("log2_min_function_alignment", "6"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ];
        for (name, value) in pairs {
            flags.set(name, value).map_err(|e| unfit(e.to_string()))?;
        }
        let isa = isa.finish(settings::Flags::new(flags)).map_err(|e| unfit(e.to_string()))?;
        Ok(Target { isa, features, cache: USUAL_CACHE, forced: vec![] })
    }

    /// The extensions of the instruction set that code for the target uses, by the names that the runtime looks for.
    pub fn extensions(&self) -> Vec<String> {
        let flags = self.isa.isa_flags().into_iter().filter(|flag| flag.as_bool() == Some(true));
        let extension = |name: &str| {
            let flag = name.strip_prefix("has_")?;
            Some(
                OTHER_NAMES
                    .iter()
                    .find(|(theirs, _)| *theirs == flag)
                    .map_or(flag, |(_, name)| name)
                    .to_string(),
            )
        };
        let mut all: Vec<String> = flags.filter_map(|flag| extension(flag.name)).collect();
        for name in self.features.names() {
            if !all.iter().any(|known| known == name) {
                all.push(name.into());
            }
        }
        all
    }

    /// An error if this machine cannot run what is compiled for the target.
    pub fn expect_here(&self) -> Result<(), CodegenError> {
        let triple = self.isa.triple();
        let message = match cpu::lacking(self.extensions().iter().map(String::as_str)) {
            _ if triple.architecture != Triple::host().architecture => {
                format!("code for `{triple}` does not run here")
            }
            Some(extension) => format!("this machine lacks `{extension}`"),
            None => return Ok(()),
        };
        Err(unfit(message))
    }

    /// What the instruction set's flags promise microkernels.
    fn stated_features(&self) -> Features {
        let flags = self.isa.isa_flags();
        let has = |name: &str| flags.iter().any(|f| f.name == name && f.as_bool() == Some(true));
        // Cranelift knows no flag for BW, and its levels do not set that for F; every CPU with DQ and VL has both.
        let avx512 = has("has_avx512dq") && has("has_avx512vl");
        let stated = [
            (Features::NEON, is_aarch64(self.isa.triple())),
            (Features::NEON_DOTPROD, has("has_dotprod")),
            (Features::AVX2, has("has_avx2") && has("has_fma")),
            (Features::AVX_VNNI, has("has_avx_vnni")),
            (Features::AVX512, avx512),
            (Features::AVX512_VNNI, avx512 && has("has_avx512vnni")),
            (Features::AVX512_VBMI, avx512 && has("has_avx512vbmi")),
        ];
        let stated = stated.into_iter().filter(|(_, has)| *has);
        stated.fold(Features::NONE, |all, (feature, _)| all.union(feature))
    }
}

/// This machine's instruction set.
fn native() -> Result<cranelift_codegen::isa::Builder, CodegenError> {
    cranelift_native::builder().map_err(|e| unfit(e.into()))
}

/// The CPUs of an architecture that have a name.
fn presets(architecture: &str) -> Vec<&'static str> {
    let triple = triple_of(architecture).parse().ok();
    let Some(isa) = triple.and_then(|triple| cranelift_codegen::isa::lookup(triple).ok()) else {
        return vec![];
    };
    isa.iter().filter(|setting| setting.kind == SettingKind::Preset).map(|setting| setting.name).collect()
}

/// The system of this machine, or what is usual on another architecture.
fn triple_of(architecture: &str) -> String {
    let host = Triple::host();
    if host.architecture.to_string() == architecture {
        return host.to_string();
    }
    format!("{architecture}-unknown-linux-gnu")
}

fn is_aarch64(triple: &Triple) -> bool {
    matches!(triple.architecture, Architecture::Aarch64(_))
}

fn unfit(message: String) -> CodegenError {
    CodegenError::Target { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_code_for_it_uses() {
        let host = Target::host().unwrap();
        host.expect_here().unwrap();
        assert_eq!(cpu::lacking(host.extensions().iter().map(String::as_str)), None);
    }

    #[test]
    fn a_name_says_what_microkernels_may_use() {
        for (name, has, lacks) in [
            ("v2", Features::NONE, Features::AVX2),
            ("v3", Features::AVX2, Features::AVX512.union(Features::NEON)),
            ("v4", Features::AVX512.union(Features::AVX2), Features::AVX512_VNNI),
            ("znver4", Features::AVX512_VNNI.union(Features::AVX512_VBMI), Features::AMX_INT8),
            ("v3+avxvnni", Features::AVX_VNNI, Features::AVX512),
            ("alderlake", Features::AVX2.union(Features::AVX_VNNI), Features::AVX512),
            ("sapphirerapids", Features::AMX_INT8.union(Features::AVX512_VBMI), Features::NEON),
            ("aarch64", Features::NEON, Features::NEON_DOTPROD.union(Features::AVX2)),
            ("aarch64+dotprod", Features::NEON_DOTPROD, Features::AVX2),
        ] {
            let features = Target::named(name).unwrap().features;
            assert!(features.contains(has), "{name} lacks some of {has:?}: {features:?}");
            assert!(
                lacks == Features::NONE || !features.contains(lacks),
                "{name} has {lacks:?}: {features:?}"
            );
        }
    }

    #[test]
    fn the_runtime_knows_each_extension() {
        let here = Triple::host().architecture;
        let all = "aarch64+dotprod+fp16+lse+paca+i8mm";
        let asked = Target::cpus().into_iter().chain([all]).map(|cpu| Target::named(cpu).unwrap());
        let known = trine_runtime::cpu::known();
        for extension in asked.filter(|t| t.isa.triple().architecture == here).flat_map(|t| t.extensions()) {
            assert!(known.contains(&&*extension), "{extension}");
        }
    }
}
