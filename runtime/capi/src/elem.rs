//! Types of elements by their numbers.

use std::ffi::{CStr, c_char};
use std::ptr::null;

use trine_runtime::Elem;

/// All types, by their number in ONNX.
const CODES: [(i32, Elem, &CStr); 24] = [
    (1, Elem::F32, c"f32"),
    (2, Elem::U8, c"u8"),
    (3, Elem::I8, c"i8"),
    (4, Elem::U16, c"u16"),
    (5, Elem::I16, c"i16"),
    (6, Elem::I32, c"i32"),
    (7, Elem::I64, c"i64"),
    (9, Elem::Bool, c"bool"),
    (10, Elem::F16, c"f16"),
    (11, Elem::F64, c"f64"),
    (12, Elem::U32, c"u32"),
    (13, Elem::U64, c"u64"),
    (16, Elem::Bf16, c"bf16"),
    (17, Elem::F8E4M3, c"f8e4m3"),
    (18, Elem::F8E4M3Uz, c"f8e4m3uz"),
    (19, Elem::F8E5M2, c"f8e5m2"),
    (20, Elem::F8E5M2Uz, c"f8e5m2uz"),
    (21, Elem::U4, c"u4"),
    (22, Elem::I4, c"i4"),
    (23, Elem::F4E2M1, c"f4e2m1"),
    (24, Elem::F8E8M0, c"f8e8m0"),
    (25, Elem::U2, c"u2"),
    (26, Elem::I2, c"i2"),
    // ONNX has no number for it.
    (256, Elem::Trit, c"trit"),
];

/// The number of a type. Each has one, as the tests say.
pub fn code(elem: Elem) -> i32 {
    CODES.iter().find(|(_, known, _)| *known == elem).map_or(0, |(code, _, _)| *code)
}

pub fn from_code(code: i32) -> Option<Elem> {
    find(code).map(|(_, elem, _)| *elem)
}

fn find(code: i32) -> Option<&'static (i32, Elem, &'static CStr)> {
    CODES.iter().find(|(known, _, _)| *known == code)
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_elem_name(elem: i32) -> *const c_char {
    find(elem).map_or(null(), |(_, _, name)| name.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_elem_bits(elem: i32) -> usize {
    from_code(elem).map_or(0, Elem::bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_a_number() {
        for elem in Elem::ALL {
            assert_eq!(from_code(code(elem)), Some(elem));
            assert_eq!(find(code(elem)).unwrap().2.to_str(), Ok(elem.name()));
        }
        assert_eq!((trine_elem_bits(21), trine_elem_bits(8)), (4, 0));
        assert!(trine_elem_name(0).is_null());
    }
}
