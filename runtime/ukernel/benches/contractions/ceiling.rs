//! What the multipliers do when nothing else is in their way: the ceiling of every batch.

use super::measure::{Share, Table, ThreadTime, Work};
use criterion::Criterion;

/// Turns of a loop, and instructions in each.
const TURNS: usize = 10_000;
const UNROLLED: usize = 12;

pub fn run(c: &mut Criterion<ThreadTime>, table: &mut Table) {
    #[cfg(target_arch = "x86_64")]
    {
        use trine_ukernel::Features;
        let here = Features::detect();
        let mut group = c.benchmark_group("ceiling");
        let mut measure = |name: &str, products: usize, run: fn()| {
            let work = |share: Share| (0..2).filter(|i| i % share.parts == share.part).for_each(|_| run());
            let amount = Work { bytes: 0, operations: 2 * 2 * products * TURNS * UNROLLED };
            table.measure(&mut group, (None, &format!("ceiling_{name}")), amount, work, |_| ());
        };
        if here.contains(Features::AMX_INT8) {
            // SAFETY: the machine has the features.
            measure("amx", 16 * 16 * 64, || unsafe { x86_64::multiply_tiles() });
        }
        if here.contains(Features::AVX512_VNNI) {
            // SAFETY: the machine has the features.
            measure("avx512vnni", 64, || unsafe { x86_64::dot() });
        }
        if here.contains(Features::AVX512) {
            // SAFETY: the machine has the features.
            measure("f32/avx512", 16, || unsafe { x86_64::fused_multiply_add() });
        }
        if here.contains(Features::AVX2) {
            // SAFETY: the machine has the features.
            measure("avx2", 32, || unsafe { x86_64::multiply_and_add() });
        }
        group.finish();
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (c, table);
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::TURNS;
    use std::arch::asm;

    /// # Safety
    /// The machine has AMX for int8, and the system permits it.
    pub unsafe fn multiply_tiles() {
        #[repr(align(64))]
        struct Configuration([u8; 64]);
        // Palette 1: each of the eight tiles has 16 rows of 64 bytes.
        let mut whole = Configuration([0; 64]);
        whole.0[0] = 1;
        for tile in 0..8 {
            whole.0[16 + 2 * tile] = 64;
            whole.0[48 + tile] = 16;
        }
        // SAFETY: configures tiles, which nothing else here uses, and lets go of them.
        unsafe {
            asm!(
                "ldtilecfg [{whole}]",
                "2:",
                "tdpbsud tmm0, tmm4, tmm6", "tdpbsud tmm1, tmm4, tmm7", "tdpbsud tmm2, tmm5, tmm6",
                "tdpbsud tmm3, tmm5, tmm7", "tdpbsud tmm0, tmm4, tmm6", "tdpbsud tmm1, tmm4, tmm7",
                "tdpbsud tmm2, tmm5, tmm6", "tdpbsud tmm3, tmm5, tmm7", "tdpbsud tmm0, tmm4, tmm6",
                "tdpbsud tmm1, tmm4, tmm7", "tdpbsud tmm2, tmm5, tmm6", "tdpbsud tmm3, tmm5, tmm7",
                "dec {turns}",
                "jnz 2b",
                "tilerelease",
                whole = in(reg) &whole,
                turns = inout(reg) TURNS => _,
                options(readonly, nostack)
            );
        }
    }

    /// # Safety
    /// The machine has AVX-512 VNNI.
    pub unsafe fn dot() {
        // SAFETY: writes only the registers that it names.
        unsafe {
            asm!(
                "2:",
                "vpdpbusd zmm0, zmm15, zmm14", "vpdpbusd zmm1, zmm15, zmm14", "vpdpbusd zmm2, zmm15, zmm14",
                "vpdpbusd zmm3, zmm15, zmm14", "vpdpbusd zmm4, zmm15, zmm14", "vpdpbusd zmm5, zmm15, zmm14",
                "vpdpbusd zmm6, zmm15, zmm14", "vpdpbusd zmm7, zmm15, zmm14", "vpdpbusd zmm8, zmm15, zmm14",
                "vpdpbusd zmm9, zmm15, zmm14", "vpdpbusd zmm10, zmm15, zmm14", "vpdpbusd zmm11, zmm15, zmm14",
                "dec {turns}",
                "jnz 2b",
                "vzeroupper",
                turns = inout(reg) TURNS => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                options(nomem, nostack)
            );
        }
    }

    /// # Safety
    /// The machine has AVX-512 F.
    pub unsafe fn fused_multiply_add() {
        // SAFETY: writes only the registers that it names.
        unsafe {
            asm!(
                "2:",
                "vfmadd231ps zmm0, zmm15, zmm14", "vfmadd231ps zmm1, zmm15, zmm14", "vfmadd231ps zmm2, zmm15, zmm14",
                "vfmadd231ps zmm3, zmm15, zmm14", "vfmadd231ps zmm4, zmm15, zmm14", "vfmadd231ps zmm5, zmm15, zmm14",
                "vfmadd231ps zmm6, zmm15, zmm14", "vfmadd231ps zmm7, zmm15, zmm14", "vfmadd231ps zmm8, zmm15, zmm14",
                "vfmadd231ps zmm9, zmm15, zmm14", "vfmadd231ps zmm10, zmm15, zmm14", "vfmadd231ps zmm11, zmm15, zmm14",
                "dec {turns}",
                "jnz 2b",
                "vzeroupper",
                turns = inout(reg) TURNS => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                options(nomem, nostack)
            );
        }
    }

    /// # Safety
    /// The machine has AVX2.
    pub unsafe fn multiply_and_add() {
        // SAFETY: writes only the registers that it names.
        unsafe {
            asm!(
                "2:",
                "vpmaddubsw ymm12, ymm15, ymm14", "vpaddw ymm0, ymm0, ymm12", "vpmaddubsw ymm13, ymm15, ymm14",
                "vpaddw ymm1, ymm1, ymm13", "vpmaddubsw ymm12, ymm15, ymm14", "vpaddw ymm2, ymm2, ymm12",
                "vpmaddubsw ymm13, ymm15, ymm14", "vpaddw ymm3, ymm3, ymm13", "vpmaddubsw ymm12, ymm15, ymm14",
                "vpaddw ymm4, ymm4, ymm12", "vpmaddubsw ymm13, ymm15, ymm14", "vpaddw ymm5, ymm5, ymm13",
                "vpmaddubsw ymm12, ymm15, ymm14", "vpaddw ymm6, ymm6, ymm12", "vpmaddubsw ymm13, ymm15, ymm14",
                "vpaddw ymm7, ymm7, ymm13", "vpmaddubsw ymm12, ymm15, ymm14", "vpaddw ymm8, ymm8, ymm12",
                "vpmaddubsw ymm13, ymm15, ymm14", "vpaddw ymm9, ymm9, ymm13", "vpmaddubsw ymm12, ymm15, ymm14",
                "vpaddw ymm10, ymm10, ymm12", "vpmaddubsw ymm13, ymm15, ymm14", "vpaddw ymm11, ymm11, ymm13",
                "dec {turns}",
                "jnz 2b",
                "vzeroupper",
                turns = inout(reg) TURNS => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
                out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nomem, nostack)
            );
        }
    }
}
