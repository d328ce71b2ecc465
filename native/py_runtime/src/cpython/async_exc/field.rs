//! Asynchronous exceptions: setting one on a thread, and whether it is still to be raised there.
//!
//! CPython sets one by `PyThreadState_SetAsyncExc` and has no function that reads it. It keeps it in a
//! field of the thread state whose place differs between versions. That place is looked for once, at
//! boot: two exceptions in turn are set on the booting thread's own state, and the field is the word
//! that holds first the one, then the other, then null. If no word does so, nothing is known of any thread.

use std::ptr::null_mut;
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::object::Attached;

/// How many words of a thread state are looked at. The state of CPython 3.10, the smallest, has more; the
/// field is among the first 24 of each version.
const WORDS: usize = 32;

/// The place of the field, in words.
static PLACE: OnceLock<Option<usize>> = OnceLock::new();

/// Sets `exception`, a class or null for none, on the thread `ident`.
///
/// # Safety
/// Attached to the interpreter of that thread.
pub(crate) unsafe fn set(ident: u64, exception: *mut ffi::PyObject) {
    // SAFETY: as the caller says; an unknown ident is ignored by CPython.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as std::ffi::c_long, exception) };
}

/// Looks for the field, once. Runs no Python code, which would raise what is set here. Before CPython
/// 3.13 the interpreter's flag that an exception has come is up afterwards.
pub(crate) fn find_place(_: Attached<'_>) {
    // SAFETY: attached, says the token; the classes exist as long as Python runs.
    let places = unsafe {
        let (one, other) = (ffi::PyExc_KeyboardInterrupt, ffi::PyExc_SystemExit);
        [one, other, null_mut()].map(|exception| {
            // SAFETY: no precondition.
            set(libc::pthread_self() as u64, exception);
            words_that_hold(ffi::PyThreadState_Get(), exception)
        })
    };
    let places = places.into_iter().fold(u32::MAX, |all, places| all & places);
    let place = (places.count_ones() == 1).then(|| places.trailing_zeros() as usize);
    let _ = PLACE.set(place);
}

/// The set of words of a state, as bits, that hold this pointer.
///
/// # Safety
/// The state is alive and the current thread's.
unsafe fn words_that_hold(state: *mut ffi::PyThreadState, pointer: *mut ffi::PyObject) -> u32 {
    let words = state.cast::<*mut ffi::PyObject>();
    // SAFETY: a state has more words than these, see `WORDS`; any bits are a valid raw pointer.
    (0..WORDS)
        .filter(|place| unsafe { words.add(*place).read() } == pointer)
        .fold(0, |places, place| places | 1 << place)
}

/// Whether the thread with this state has still to raise one. `None`: it isn't known.
///
/// # Safety
/// Attached to the interpreter of the state, which is alive; without a GIL it is the current thread's.
pub(crate) unsafe fn is_pending(state: *mut ffi::PyThreadState) -> Option<bool> {
    let place = (*PLACE.get()?)?;
    // SAFETY: the field's place was found in a state of the same layout. It is written by its own thread
    // or under the GIL.
    let exception = unsafe { state.cast::<*mut ffi::PyObject>().add(place).read_volatile() };
    Some(!exception.is_null())
}
