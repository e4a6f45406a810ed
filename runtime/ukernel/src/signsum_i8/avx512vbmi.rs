//! `5in8_16` by `vpermb` and `vpdpbusd`: 16 outputs in one register, 20 inputs a step.
//!
//! The low six bits of a byte index tables that give the first four digits as 2-bit fields; bytes of
//! the escape quadrant take theirs from a second table, and the fifth digit from a third.

use crate::Layout;
use crate::contract_i8::{Cell, ContractI8, for_each_block, four, prefetch_ahead};
use core::arch::x86_64::*;

const LAYOUT: Layout = Layout::FiveInEight16;

/// # Safety
/// The machine has AVX-512 F, BW, VL, VNNI and VBMI; the arguments are as [`ContractI8`] says.
#[unsafe(no_mangle)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe extern "C" fn trine_signsum_i8_avx512vbmi_5in8_16(args: *const ContractI8) {
    // SAFETY: the caller's; cells and rows stay inside the sizes that the arguments give.
    unsafe {
        let args = &*args;
        let digits = Digits::new();
        for_each_block!(args, LAYOUT, |cell| {
            1 => one_row(&digits, &cell),
            2 => rows::<2, 3>(&digits, args, &cell),
            3 => rows::<3, 3>(&digits, args, &cell),
            4 => rows::<4, 2>(&digits, args, &cell),
            5 => rows::<5, 2>(&digits, args, &cell),
            6 => rows::<6, 2>(&digits, args, &cell),
            7 => rows::<7, 2>(&digits, args, &cell),
            8 => rows::<8, 2>(&digits, args, &cell),
            9 => rows::<9, 1>(&digits, args, &cell),
            10 => rows::<10, 1>(&digits, args, &cell),
            11 => rows::<11, 1>(&digits, args, &cell),
            12 => rows::<12, 1>(&digits, args, &cell),
        });
    }
}

/// One row of a cell: fields stay scaled by 1, 4, 16, 64 and 64.
///
/// # Safety
/// The cell's buffers are live.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn one_row(digits: &Digits, cell: &Cell) {
    // SAFETY: each step reads 64 packed bytes and 20 activations of the cell, and 16 sums are its.
    unsafe {
        let masks = [0x03, 0x0c, 0x30, 0xc0, 0xc0u8].map(|m| _mm512_set1_epi8(m as i8));
        let mut sums = [_mm512_setzero_si512(); 5];
        let (mut w, mut x) = (cell.weights, cell.x);
        for _ in 0..cell.steps {
            prefetch_ahead(w);
            let [first, fifth] = digits.of(_mm512_loadu_si512(w.cast()));
            for field in 0..5 {
                let from = if field < 4 { first } else { fifth };
                let weights = _mm512_and_si512(from, masks[field]);
                let x4 = _mm512_set1_epi32(four(x.add(4 * field)));
                sums[field] = _mm512_dpbusd_epi32(sums[field], weights, x4);
            }
            w = w.add(LAYOUT.step_bytes());
            x = x.add(LAYOUT.k_step());
        }
        let [s0, s1, s2, s3, s4] = sums;
        let low = _mm512_add_epi32(s0, _mm512_srai_epi32::<2>(s1));
        let top = _mm512_srai_epi32::<6>(_mm512_add_epi32(s3, s4));
        let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(s2), top);
        let x_sum = _mm512_set1_epi32(*cell.x_sums);
        let sum = _mm512_sub_epi32(_mm512_add_epi32(low, high), x_sum);
        _mm512_storeu_si512(cell.out.cast(), sum);
    }
}

/// `R` rows of a cell, which share fields shifted down. Each row has `S` sums, more the fewer rows there are: one alone
/// would wait for itself five times a step.
///
/// # Safety
/// The cell's buffers are live for `R` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn rows<const R: usize, const S: usize>(digits: &Digits, args: &ContractI8, cell: &Cell) {
    // SAFETY: each step reads 64 packed bytes and 20 activations a row, and 16 sums a row are written.
    unsafe {
        let mask = _mm512_set1_epi8(3);
        let mut sums = [[_mm512_setzero_si512(); R]; S];
        let (mut w, mut x) = (cell.weights, cell.x);
        let x_stride = args.x_stride();
        for _ in 0..cell.steps {
            prefetch_ahead(w);
            let [first, fifth] = digits.of(_mm512_loadu_si512(w.cast()));
            // One by one, so that each sum is a register.
            add(&mut sums[0], _mm512_and_si512(first, mask), x, x_stride);
            let field = _mm512_srli_epi16::<2>(first);
            add(&mut sums[1 % S], _mm512_and_si512(field, mask), x.add(4), x_stride);
            let field = _mm512_srli_epi16::<4>(first);
            add(&mut sums[2 % S], _mm512_and_si512(field, mask), x.add(8), x_stride);
            let field = _mm512_srli_epi16::<6>(first);
            add(&mut sums[3 % S], _mm512_and_si512(field, mask), x.add(12), x_stride);
            let field = _mm512_srli_epi16::<6>(fifth);
            add(&mut sums[4 % S], _mm512_and_si512(field, mask), x.add(16), x_stride);
            w = w.add(LAYOUT.step_bytes());
            x = x.add(LAYOUT.k_step());
        }
        for row in 0..R {
            let x_sum = _mm512_set1_epi32(*cell.x_sums.add(row * args.groups));
            let mut sum = _mm512_sub_epi32(sums[0][row], x_sum);
            for strand in &sums[1..] {
                sum = _mm512_add_epi32(sum, strand[row]);
            }
            _mm512_storeu_si512(cell.out.add(row * args.out_stride()).cast(), sum);
        }
    }
}

/// Adds the products of four inputs of each row.
///
/// # Safety
/// Four activations of each row are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn add<const R: usize>(sums: &mut [__m512i; R], weights: __m512i, x: *const i8, x_stride: usize) {
    for (row, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let x4 = _mm512_set1_epi32(unsafe { four(x.add(row * x_stride)) });
        *sum = _mm512_dpbusd_epi32(*sum, weights, x4);
    }
}

/// The tables that turn a byte into its digits.
pub struct Digits {
    plain: __m512i,
    escaped: __m512i,
    escaped_fifth: __m512i,
}

impl Digits {
    #[target_feature(enable = "avx512f")]
    pub fn new() -> Self {
        const TABLES: [[u8; 64]; 3] = tables();
        // SAFETY: each table is 64 bytes.
        let [plain, escaped, escaped_fifth] =
            TABLES.map(|table| unsafe { _mm512_loadu_si512(table.as_ptr().cast()) });
        Self { plain, escaped, escaped_fifth }
    }

    /// Digits 0 to 3 as 2-bit fields, and digit 4 in the top two bits of the second register.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub fn of(&self, bytes: __m512i) -> [__m512i; 2] {
        let escape = _mm512_cmpge_epu8_mask(bytes, _mm512_set1_epi8(192u8 as i8));
        let plain = _mm512_permutexvar_epi8(bytes, self.plain);
        [
            _mm512_mask_permutexvar_epi8(plain, escape, bytes, self.escaped),
            _mm512_mask_permutexvar_epi8(bytes, escape, bytes, self.escaped_fifth),
        ]
    }
}

const fn tables() -> [[u8; 64]; 3] {
    const fn fields(code: u8) -> u8 {
        (code % 3) + 4 * (code / 3 % 3) + 16 * (code / 9 % 3) + 64 * (code / 27)
    }
    let mut tables = [[0; 64]; 3];
    let mut i = 0;
    while i < 64 {
        tables[0][i] = fields(i as u8);
        if i < 3 * (81 - 64) {
            tables[1][i] = fields(64 + i as u8 / 3);
            tables[2][i] = (i as u8 % 3) << 6;
        }
        i += 1;
    }
    tables
}
