//! Floats of 8 bits and under: what their codes stand for, and the code of the nearest.
//!
//! Tensors are stored in them and nothing is computed in them. OCP 8-bit floating point (2023) and microscaling formats (2023);
//! those in `Uz` have no negative zero, whose code is the only NaN (arXiv 2206.02915).

use crate::ty::Elem;

/// How the bits of a code are used.
struct Format {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    /// The code of the largest number.
    most: u8,
    /// That of infinity, if there is one, and of NaN.
    infinity: Option<u8>,
    nan: Option<u8>,
    /// Whether the type has no negative zero.
    unsigned_zero: bool,
}

/// The format of signed elements.
fn format(elem: Elem) -> Option<Format> {
    let plain = |exponent, mantissa, bias, most| Format {
        exponent,
        mantissa,
        bias,
        most,
        infinity: None,
        nan: None,
        unsigned_zero: false,
    };
    Some(match elem {
        Elem::F8E4M3 => Format { nan: Some(0x7f), ..plain(4, 3, 7, 0x7e) },
        Elem::F8E5M2 => Format { nan: Some(0x7e), infinity: Some(0x7c), ..plain(5, 2, 15, 0x7b) },
        Elem::F8E4M3Uz => Format { nan: Some(0x80), unsigned_zero: true, ..plain(4, 3, 8, 0x7f) },
        Elem::F8E5M2Uz => Format { nan: Some(0x80), unsigned_zero: true, ..plain(5, 2, 16, 0x7f) },
        Elem::F4E2M1 => plain(2, 1, 1, 7),
        _ => return None,
    })
}

impl Format {
    fn sign(&self) -> u8 {
        1 << (self.exponent + self.mantissa)
    }

    /// What a code without its sign stands for, the formats' special codes left aside.
    fn magnitude(&self, code: u16) -> f64 {
        let (exponent, mantissa) = (code >> self.mantissa, code & ((1 << self.mantissa) - 1));
        let fraction = f64::from(mantissa) / f64::from(1u32 << self.mantissa);
        match exponent {
            0 => fraction * libm::ldexp(1.0, 1 - self.bias),
            e => (1.0 + fraction) * libm::ldexp(1.0, i32::from(e) - self.bias),
        }
    }
}

/// What the code, one element of `elem`, stands for; of E8M0 powers of two from 2⁻¹²⁷ on.
pub fn decode(elem: Elem, code: u8) -> f32 {
    let Some(format) = format(elem) else {
        return if code == 0xff { f32::NAN } else { libm::ldexp(1.0, i32::from(code) - 127) as f32 };
    };
    let (sign, rest) = (code & format.sign(), code & (format.sign() - 1));
    let special = if format.unsigned_zero { code } else { rest };
    let value = match () {
        () if format.infinity == Some(special) => f64::INFINITY,
        () if format.nan == Some(special) => return f32::NAN,
        // All codes above infinity's are NaN.
        () if format.infinity.is_some_and(|infinity| special > infinity) => return f32::NAN,
        () => format.magnitude(rest.into()),
    };
    (if sign == 0 { value } else { -value }) as f32
}

crate::attr_enum! {
    /// Where a number that is between two powers of two goes.
    Round {
        Up = "up",
        Down = "down",
        /// To the nearer, upwards where there is none.
        Nearest = "nearest",
    }
}

/// The code of the nearest number, of two the even one. What is too large is the largest there is, or without `saturate`
/// infinity, or else NaN. Where there is no NaN, a NaN is -0, and what is too large the largest.
pub fn encode(elem: Elem, value: f32, saturate: bool) -> u8 {
    let Some(format) = format(elem) else { return power(value, saturate, Round::Up) };
    let sign = if value.is_sign_negative() { format.sign() } else { 0 };
    // The NaN of formats without a negative zero has no sign.
    let signed =
        |code: u8| if format.unsigned_zero && (code == 0 || code == 0x80) { code } else { code | sign };
    if value.is_nan() {
        return format.nan.map_or(format.sign(), signed);
    }
    let size = f64::from(value).abs();
    let most = u16::from(format.most);
    // The last code whose number is not above.
    let (mut low, mut high) = (0, most + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if format.magnitude(middle) <= size { low = middle } else { high = middle }
    }
    let middle = (format.magnitude(low) + format.magnitude(low + 1)) / 2.0;
    let code = if size > middle || size == middle && low % 2 == 1 { low + 1 } else { low };
    if code <= most {
        return signed(code as u8);
    }
    match saturate {
        true => signed(format.most),
        false => signed(format.infinity.or(format.nan).unwrap_or(format.most)),
    }
}

/// The code of a power of two near a number; none is 0 or negative.
pub fn power(value: f32, saturate: bool, round: Round) -> u8 {
    const NAN: u8 = 0xff;
    if value.is_nan() || value < 0.0 {
        return NAN;
    }
    let value = f64::from(value);
    let (least, most) = (libm::ldexp(1.0, -127), libm::ldexp(1.0, 127));
    if value < least {
        return if saturate { 0 } else { NAN };
    }
    if value > most {
        return if saturate { 0xfe } else { NAN };
    }
    let below = libm::ilogb(value);
    let down = libm::ldexp(1.0, below);
    let up = match round {
        _ if value == down => false,
        Round::Up => true,
        Round::Down => false,
        Round::Nearest => value >= 1.5 * down,
    };
    (below + 127 + i32::from(up)).clamp(0, 0xfe) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Elem; 6] =
        [Elem::F8E4M3, Elem::F8E4M3Uz, Elem::F8E5M2, Elem::F8E5M2Uz, Elem::F8E8M0, Elem::F4E2M1];

    #[test]
    fn every_number_is_its_own_nearest() {
        for elem in ALL {
            for code in 0..=(((1u16 << elem.bits()) - 1) as u8) {
                let value = decode(elem, code);
                let back = encode(elem, value, false);
                assert!(
                    back == code || value.is_nan() && decode(elem, back).is_nan(),
                    "{elem} {code:#x} {value}"
                );
            }
        }
    }

    #[test]
    fn extremes_are_those_of_the_formats() {
        let most = [448.0, 240.0, 57344.0, 57344.0, f32::from_bits(0x7f00_0000), 6.0];
        for (elem, most) in ALL.into_iter().zip(most) {
            assert_eq!(decode(elem, encode(elem, f32::INFINITY, true)), most, "{elem}");
        }
        let least = [9, 10, 16, 17].map(|n| (-(n as f32)).exp2());
        for (elem, least) in ALL.into_iter().zip(least) {
            assert_eq!(decode(elem, 1), least, "{elem}");
            // Half of it is as near to 0, which is even.
            assert_eq!(encode(elem, least / 2.0, true), 0);
            assert_eq!(encode(elem, least * 0.51, true), 1);
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_ties_to_even() {
        let round = |elem, value| decode(elem, encode(elem, value, true));
        for (value, want) in [(17.0, 16.0), (19.0, 20.0), (-18.5, -18.0), (463.0, 448.0), (464.0, 448.0)] {
            assert_eq!(round(Elem::F8E4M3, value), want);
        }
        let f4 = [(0.25, 0.0), (0.75, 1.0), (2.5, 2.0), (3.5, 4.0), (-5.0, -4.0), (5.1, 6.0), (-99.0, -6.0)];
        for (value, want) in f4 {
            assert_eq!(round(Elem::F4E2M1, value), want);
        }
        assert_eq!(encode(Elem::F8E4M3, 465.0, false), 0x7f);
        assert_eq!(encode(Elem::F8E4M3, -465.0, false), 0xff);
        assert_eq!(encode(Elem::F8E5M2, -1e6, false), 0xfc);
        assert_eq!(encode(Elem::F8E4M3Uz, -1e6, false), 0x80);
        assert_eq!([encode(Elem::F8E4M3, -0.0, true), encode(Elem::F8E4M3Uz, -0.0, true)], [0x80, 0]);
        assert_eq!(encode(Elem::F8E5M2Uz, -1e-9, true), 0);
        assert_eq!([encode(Elem::F4E2M1, f32::NAN, true), encode(Elem::F4E2M1, 1e9, false)], [8, 7]);
        let powers = [Round::Up, Round::Down, Round::Nearest].map(|round| power(2.9, true, round));
        assert_eq!(powers, [129, 128, 128]);
        assert_eq!(power(3.0, true, Round::Nearest), 129);
        assert_eq!([power(0.0, true, Round::Up), power(0.0, false, Round::Nearest)], [0, 0xff]);
    }
}
