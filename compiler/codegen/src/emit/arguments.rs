//! The arguments of microkernels, by the names of their fields.
//!
//! `arguments!(SiluF32 { x, out: to, n: length })` is written as the structure itself would be, with values of the
//! kernel's code as fields. A field that is missing, doubled or misspelt does not compile, and their order does not matter:
//! each value goes where the structure has the field.

use std::marker::PhantomData;

use cranelift_codegen::ir::Value as ClifValue;

/// A value for each field of the structure `S`, made by [`arguments!`].
pub struct Arguments<S> {
    fields: Vec<Field>,
    structure: PhantomData<S>,
}

/// A value, and which bytes of the structure it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Field {
    pub offset: usize,
    pub size: usize,
    pub value: ClifValue,
}

/// What can stand for a field of type `F`: a value or, for a structure, all of its fields.
pub trait Stored<F> {
    fn fields(self) -> Vec<Field>;
}

impl<F> Stored<F> for ClifValue {
    fn fields(self) -> Vec<Field> {
        vec![Field { offset: 0, size: size_of::<F>(), value: self }]
    }
}

impl<S> Stored<S> for Arguments<S> {
    fn fields(self) -> Vec<Field> {
        self.fields
    }
}

impl<S> Arguments<S> {
    pub fn new() -> Arguments<S> {
        Arguments { fields: vec![], structure: PhantomData }
    }

    /// Adds the field at `offset`; `_field` says what type it has.
    pub fn set<F>(&mut self, offset: usize, _field: fn(&S) -> &F, value: impl Stored<F>) {
        let inner = value.fields().into_iter();
        self.fields.extend(inner.map(|field| Field { offset: offset + field.offset, ..field }));
    }

    /// The fields in the order of the structure.
    pub fn in_order(mut self) -> Vec<Field> {
        self.fields.sort_by_key(|field| field.offset);
        self.fields
    }
}

/// [`Arguments`] written as a literal of their structure.
macro_rules! arguments {
    ($structure:path { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        // A pattern names each field once.
        const _: fn(&$structure) = |$structure { $($field: _),* }| ();
        let mut arguments = $crate::emit::arguments::Arguments::<$structure>::new();
        $(arguments.set(
            std::mem::offset_of!($structure, $field),
            |s| &s.$field,
            $crate::emit::arguments::arguments!(@ $field $($value)?),
        );)*
        arguments
    }};
    (@ $field:ident) => { $field };
    (@ $field:ident $value:expr) => { $value };
}
pub(super) use arguments;

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    struct Inner {
        a: u64,
        b: u32,
    }

    #[repr(C)]
    struct Outer {
        first: u32,
        second: f32,
        inner: Inner,
        last: *const u8,
    }

    #[test]
    fn values_lie_where_the_fields_are_in_whatever_order_they_are_named() {
        let value = ClifValue::from_u32;
        let b = value(3);
        let inner = arguments!(Inner { b, a: value(2) });
        let outer = arguments!(Outer { last: value(4), inner, second: value(1), first: value(0) });
        let field = |offset, size, v| Field { offset, size, value: value(v) };
        let fields = [field(0, 4, 0), field(4, 4, 1), field(8, 8, 2), field(16, 4, 3), field(24, 8, 4)];
        assert_eq!(outer.in_order(), fields);
    }
}
