//! What a session holds: how much, less of it, and copies of it.

use trine_runtime::Saved;

use crate::arguments::{array, copy_to};
use crate::session::{Handle, with};
use crate::status::{ErrorOut, Out, clear, given};

#[unsafe(no_mangle)]
pub extern "C" fn trine_session_filled(session: Option<&Handle>) -> usize {
    session.map_or(0, |handle| handle.session.filled())
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_session_reset(session: Option<&mut Handle>, error: ErrorOut) -> i32 {
    with(session, error, |handle| {
        handle.session.reset();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_session_truncate(
    session: Option<&mut Handle>,
    filled: usize,
    error: ErrorOut,
) -> i32 {
    with(session, error, |handle| {
        handle.session.truncate(filled);
        Ok(())
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_session_save(
    session: Option<&mut Handle>,
    buffer: *mut u8,
    capacity: usize,
    size: Out<usize>,
    error: ErrorOut,
) -> i32 {
    with(session, error, |handle| {
        let size = given(size, "size")?;
        let bytes = handle.session.save()?.to_bytes();
        size.write(bytes.len());
        if buffer.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe { copy_to(buffer, capacity, &bytes) }
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trine_session_restore(
    session: Option<&mut Handle>,
    bytes: *const u8,
    size: usize,
    error: ErrorOut,
) -> i32 {
    with(session, error, |handle| {
        given((!bytes.is_null()).then_some(()), "bytes")?;
        // SAFETY: the caller's.
        let saved = Saved::from_bytes(unsafe { array(bytes, size, "bytes") }?)?;
        Ok(handle.session.restore(&saved)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn trine_session_fork(
    session: Option<&mut Handle>,
    mut fork: Out<Option<Box<Handle>>>,
    error: ErrorOut,
) -> i32 {
    clear(&mut fork, None);
    with(session, error, |handle| {
        let fork = given(fork, "fork")?;
        fork.write(Some(Box::new(Handle::new(handle.session.fork()?, handle.shared.clone()))));
        Ok(())
    })
}
