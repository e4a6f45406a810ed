//! What the processor can do, in the units that kernels ask for.
//!
//! A feature counts only when the operating system saves the registers it needs. A caller may pass
//! a smaller set than [`Features::detect`] found, so the choice of a variant stays reproducible.
#![allow(unsafe_code)]

use core::fmt;

/// A set of instruction set extensions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Features(u32);

impl Features {
    /// The baseline of the target.
    pub const NONE: Self = Self(0);
    /// AVX, AVX2 and FMA.
    pub const AVX2: Self = Self(1);
    /// AVX-512 F, BW, DQ and VL.
    pub const AVX512: Self = Self(1 << 1);
    /// AVX-512 VNNI: `vpdpbusd`.
    pub const AVX512_VNNI: Self = Self(1 << 2);
    /// AVX-512 VBMI: `vpermb`.
    pub const AVX512_VBMI: Self = Self(1 << 3);
    /// AVX-VNNI: `vpdpbusd` of 256 bits where there is no AVX-512.
    pub const AVX_VNNI: Self = Self(1 << 4);
    /// Tile registers that multiply int8, and the system's permission to use them.
    pub const AMX_INT8: Self = Self(1 << 5);
    /// The dot products of NEON: `sdot`.
    pub const NEON_DOTPROD: Self = Self(1 << 6);
    /// NEON, which every aarch64 has, and no other machine.
    pub const NEON: Self = Self(1 << 7);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::AVX2, "avx2"),
        (Self::AVX512, "avx512"),
        (Self::AVX512_VNNI, "avx512vnni"),
        (Self::AVX512_VBMI, "avx512vbmi"),
        (Self::AVX_VNNI, "avxvnni"),
        (Self::AMX_INT8, "amxint8"),
        (Self::NEON_DOTPROD, "neondotprod"),
        (Self::NEON, "neon"),
    ];

    /// The features of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        return x86_64::detect();
        #[cfg(target_arch = "aarch64")]
        return aarch64::detect();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Self::NONE
    }

    /// Every feature of `self` or `other`.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `self` has all of `needs`.
    pub const fn contains(self, needs: Self) -> bool {
        self.0 & needs.0 == needs.0
    }

    /// The set as stable bits, for a file header.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set that [`Features::bits`] gave; `None` if a bit is unknown.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits < 1 << Self::NAMES.len() { Some(Self(bits)) } else { None }
    }

    /// The names of all features in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(feature, _)| self.contains(*feature)).map(|(_, name)| name)
    }

    /// The set of one feature, from its name as displayed.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(_, known)| *known == name);
        named.map(|&(feature, _)| feature)
    }
}

/// Bytes of the second cache of a core, as the processor states them; `None` where it does not. What the third
/// one holds is nothing to count on: other cores, and other machines on the same processor, share it.
pub fn second_cache() -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    return x86_64::second_cache();
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Names joined by `+`; the empty set is `baseline`.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("baseline");
        }
        for (i, name) in self.names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::tiles_permitted;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::Features;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use core::sync::atomic::{AtomicU8, Ordering};

    /// XCR0 bits: SSE and AVX state, then opmask and both halves of ZMM state, then the tiles and
    /// their configuration.
    const YMM_STATE: u64 = 0b110;
    const ZMM_STATE: u64 = 0b1110_0110;
    const TILE_STATE: u64 = 0b11 << 17;

    /// cpuid leaf 7, EBX: AVX2; F, DQ, BW, VL. ECX: VBMI, VNNI. EDX: AMX tiles and int8.
    const AVX2: u32 = 1 << 5;
    /// cpuid leaf 1, ECX.
    const FMA: u32 = 1 << 12;
    const AVX512: u32 = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31;
    const VBMI: u32 = 1 << 1;
    const VNNI: u32 = 1 << 11;
    const AMX: u32 = 1 << 24 | 1 << 25;
    /// cpuid leaf 7.1, EAX.
    const AVX_VNNI: u32 = 1 << 4;

    pub fn detect() -> Features {
        let mut found = Features::NONE;
        let state = saved_state();
        if __cpuid(0).eax < 7 || state & YMM_STATE != YMM_STATE {
            return found;
        }
        let leaf = __cpuid_count(7, 0);
        if leaf.ebx & AVX2 != 0 && __cpuid(1).ecx & FMA != 0 {
            found = found.union(Features::AVX2);
            if leaf.eax >= 1 && __cpuid_count(7, 1).eax & AVX_VNNI != 0 {
                found = found.union(Features::AVX_VNNI);
            }
        }
        if leaf.ebx & AVX512 == AVX512 && state & ZMM_STATE == ZMM_STATE {
            found = found.union(Features::AVX512);
            if leaf.ecx & VNNI != 0 {
                found = found.union(Features::AVX512_VNNI);
            }
            if leaf.ecx & VBMI != 0 {
                found = found.union(Features::AVX512_VBMI);
            }
        }
        if leaf.edx & AMX == AMX && tiles_permitted() {
            found = found.union(Features::AMX_INT8);
        }
        found
    }

    /// Whether this process may use tile registers. Linux saves them for those that ask, once for all of their
    /// threads; kernels ask as well, since a program that links them need not detect anything.
    pub(crate) fn tiles_permitted() -> bool {
        const UNKNOWN: u8 = 0;
        const GRANTED: u8 = 1;
        const REFUSED: u8 = 2;
        static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
        // Two threads may both ask; they get one answer.
        if STATE.load(Ordering::Relaxed) == UNKNOWN {
            let granted = saved_state() & TILE_STATE == TILE_STATE && ask_for_tiles();
            STATE.store(if granted { GRANTED } else { REFUSED }, Ordering::Relaxed);
        }
        STATE.load(Ordering::Relaxed) == GRANTED
    }

    #[cfg(target_os = "linux")]
    fn ask_for_tiles() -> bool {
        const ARCH_PRCTL: isize = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const TILE_DATA: usize = 18;
        let status: isize;
        // SAFETY: changes nothing but what state the system saves; a system call clobbers two registers.
        unsafe {
            core::arch::asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => status,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack)
            );
        }
        status == 0
    }

    #[cfg(not(target_os = "linux"))]
    fn ask_for_tiles() -> bool {
        false
    }

    /// From the leaf of deterministic cache parameters: Intel's, else AMD's of the same form.
    pub fn second_cache() -> Option<usize> {
        const INTEL: u32 = 4;
        const AMD: u32 = 0x8000_001d;
        let sizes = |leaf: u32| {
            let listed = __cpuid(leaf & 0x8000_0000).eax >= leaf;
            let caches = (0..16).map(move |i| __cpuid_count(leaf, i)).take_while(|c| c.eax & 0x1f != 0);
            let caches = caches.filter(|c| c.eax >> 5 & 7 == 2);
            caches.take(if listed { 16 } else { 0 }).map(|c| {
                let field =
                    |bits: u32, shift: u32, width: u32| (bits >> shift & ((1 << width) - 1)) as usize + 1;
                let line = field(c.ebx, 0, 12) * field(c.ebx, 12, 10) * field(c.ebx, 22, 10);
                line.saturating_mul((c.ecx as usize).saturating_add(1))
            })
        };
        sizes(INTEL).chain(sizes(AMD)).max()
    }

    /// XCR0: the register state that the operating system saves; 0 when it cannot be read.
    fn saved_state() -> u64 {
        const XSAVE_AND_OSXSAVE: u32 = 1 << 26 | 1 << 27;
        if __cpuid(1).ecx & XSAVE_AND_OSXSAVE != XSAVE_AND_OSXSAVE {
            return 0;
        }
        #[target_feature(enable = "xsave")]
        fn xcr0() -> u64 {
            // SAFETY: register 0 always exists where `xgetbv` does.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: cpuid has just said that XSAVE exists and that the system enabled `xgetbv`.
        unsafe { xcr0() }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Features;

    pub fn detect() -> Features {
        if has_dotprod() { Features::NEON.union(Features::NEON_DOTPROD) } else { Features::NEON }
    }

    #[cfg(not(target_os = "linux"))]
    fn has_dotprod() -> bool {
        false
    }

    #[cfg(target_os = "linux")]
    fn has_dotprod() -> bool {
        /// ID_AA64ISAR0_EL1: the dot products.
        const DP: u64 = 0xf << 44;
        let isar0: u64;
        // SAFETY: Linux answers for the register, with what all cores have.
        unsafe {
            core::arch::asm!(
                "mrs {}, ID_AA64ISAR0_EL1",
                out(reg) isar0,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        isar0 & DP != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn agrees_with_the_standard_library() {
        let found = Features::detect();
        let avx512 = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        let vnni = avx512 && std::is_x86_feature_detected!("avx512vnni");
        let vbmi = avx512 && std::is_x86_feature_detected!("avx512vbmi");
        let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
        assert_eq!(found.contains(Features::AVX2), avx2);
        assert_eq!(found.contains(Features::AVX512), avx512);
        assert_eq!(found.contains(Features::AVX512_VNNI), vnni);
        assert_eq!(found.contains(Features::AVX512_VBMI), vbmi);
        assert_eq!(found.contains(Features::AVX_VNNI), avx2 && std::is_x86_feature_detected!("avxvnni"));
    }

    /// What the system says the processor has, it also lets programs use.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn agrees_with_the_system_about_tiles() {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: std::vec::Vec<&str> =
            cpu.lines().find(|l| l.starts_with("flags")).unwrap().split(' ').collect();
        let amx = flags.contains(&"amx_tile") && flags.contains(&"amx_int8");
        assert_eq!(Features::detect().contains(Features::AMX_INT8), amx);
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn agrees_with_the_standard_library() {
        let found = Features::detect();
        // `tests/neon.rs` reads what was tested.
        std::println!("{found}");
        let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
        assert_eq!(found.contains(Features::NEON_DOTPROD), dotprod);
    }

    /// Where a size is stated, it is one that caches have.
    #[test]
    fn the_second_cache_is_of_a_credible_size() {
        if let Some(bytes) = second_cache() {
            assert!((1 << 16..1 << 27).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn sets_print_and_round_trip() {
        let set = Features::AVX2.union(Features::AVX512_VNNI);
        assert_eq!(format!("{set}"), "avx2+avx512vnni");
        assert_eq!(format!("{}", Features::NONE), "baseline");
        assert_eq!(Features::from_bits(set.bits()), Some(set));
        assert_eq!(Features::from_bits(1 << 31), None);
        assert_eq!(Features::from_name("avx2"), Some(Features::AVX2));
        assert_eq!(Features::from_name("mmx"), None);
        assert!(set.contains(Features::AVX2) && !Features::AVX2.contains(set));
    }
}
