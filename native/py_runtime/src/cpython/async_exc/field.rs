//! `PyThreadState_SetAsyncExc`, and the field that it writes.
//!
//! CPython has no function that reads the field, and its offset in the thread state differs between
//! versions. It is searched for once, at boot: two exceptions in turn are set on the booting
//! thread's own state, and the field is the word that has first the one, then the other, then null.
//! If no word does, nothing is known of any thread.

use std::ptr::null_mut;
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::object::Attached;

/// How many words of a thread state are searched. The state of CPython 3.10, the smallest, has
/// more; the field is among the first 24 of each version.
const WORDS: usize = 32;

/// The offset of the field, in words.
static OFFSET: OnceLock<Option<usize>> = OnceLock::new();

/// Sets `exception`, a class or null for none, on the thread `ident`.
///
/// # Safety
/// Attached to the interpreter of that thread.
pub(crate) unsafe fn set(ident: u64, exception: *mut ffi::PyObject) {
    // SAFETY: as the caller vouches; CPython ignores an unknown ident.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as std::ffi::c_long, exception) };
}

/// Searches for the field, once. Runs no Python code, which would raise what is set here. Before
/// CPython 3.13 the interpreter's flag is set afterwards.
pub(crate) fn find_offset(_: Attached<'_>) {
    // SAFETY: attached, as the token proves; the function sets the field of this thread.
    let offset = unsafe {
        field_offset(|exception| {
            // SAFETY: no precondition.
            set(libc::pthread_self() as u64, exception);
        })
    };
    let _ = OFFSET.set(offset);
}

/// The offset, in words, of the field of this thread's state that `set` sets to an object or to
/// null: it has what has just been set. `None`: no field does, or several do.
///
/// # Safety
/// Attached. `set` sets a field of this thread's state.
pub(crate) unsafe fn field_offset(set: impl Fn(*mut ffi::PyObject)) -> Option<usize> {
    // SAFETY: attached, as the caller vouches; the classes exist as long as Python runs.
    let offsets = unsafe {
        let (one, other) = (ffi::PyExc_KeyboardInterrupt, ffi::PyExc_SystemExit);
        [one, other, null_mut()].map(|object| {
            set(object);
            words_that_hold(ffi::PyThreadState_Get(), object)
        })
    };
    let offsets = offsets.into_iter().fold(u32::MAX, |all, offsets| all & offsets);
    (offsets.count_ones() == 1).then(|| offsets.trailing_zeros() as usize)
}

/// The words of a state, as bits, that have this value.
///
/// # Safety
/// The state is alive and the current thread's.
unsafe fn words_that_hold(state: *mut ffi::PyThreadState, pointer: *mut ffi::PyObject) -> u32 {
    let words = state.cast::<*mut ffi::PyObject>();
    // SAFETY: a state has more words than these, see `WORDS`; any bits are a valid raw pointer.
    (0..WORDS)
        .filter(|offset| unsafe { words.add(*offset).read() } == pointer)
        .fold(0, |offsets, offset| offsets | 1 << offset)
}

/// Whether the thread with this state has still to raise an exception. `None`: it isn't known.
///
/// # Safety
/// Attached to the interpreter of the state, which is alive; without a GIL it is the current
/// thread's.
pub(crate) unsafe fn is_pending(state: *mut ffi::PyThreadState) -> Option<bool> {
    let offset = (*OFFSET.get()?)?;
    // SAFETY: the field's offset was found in a state of the same layout. It is written by its own
    // thread or under the GIL.
    let exception = unsafe { state.cast::<*mut ffi::PyObject>().add(offset).read_volatile() };
    Some(!exception.is_null())
}
