//! Trits in memory: four a byte, the code `t + 1` in two bits, low bits first.
//!
//! This is the form in which IR and files hold ternary weights. Microkernels repack it as they like.

/// Packs trits; a short last byte is filled with zeros of the language (code 1 is not needed there).
pub fn pack(trits: &[i8]) -> Vec<u8> {
    let code = |t: &i8| (t + 1) as u8 & 3;
    trits.chunks(4).map(|four| four.iter().rev().fold(0, |byte, t| byte << 2 | code(t))).collect()
}

/// The first `count` trits of `bytes`. Code 3 stands for no trit and reads as +1; `is_valid` finds it.
pub fn unpack(bytes: &[u8], count: usize) -> impl ExactSizeIterator<Item = i8> + Clone + '_ {
    (0..count).map(|i| ((bytes[i / 4] >> (i % 4 * 2) & 3) as i8 - 1).min(1))
}

/// Whether no code among the first `count` is 3.
pub fn is_valid(bytes: &[u8], count: usize) -> bool {
    // Both bits of one code, four codes at a time; the last byte may hold fewer.
    let (whole, rest) = bytes.split_at(count / 4);
    let no_trit = |byte: u8| byte & byte >> 1 & 0x55;
    whole.iter().fold(0, |found, byte| found | no_trit(*byte)) == 0
        && rest.first().is_none_or(|byte| no_trit(byte & ((1 << (count % 4 * 2)) - 1)) == 0)
}
