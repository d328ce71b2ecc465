//! The states that schedulers have in interpreters, for direct runs.
//!
//! A thread state must be deleted by its own thread: from CPython 3.12 on deleting another thread's
//! leaves that thread with a dangling pointer (in the storage of `PyGILState`). A scheduler of the
//! Erlang VM never ends, and nobody can have it do something. So a state, once made, is kept. An
//! interpreter that has any is never ended: it is reset for the next context, or left behind.

use std::cell::RefCell;

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use super::{InterpreterPtr, new_state, stack_limits};

/// CPython's number of an interpreter, which is never given again.
type Number = i64;

thread_local! {
    /// This thread's states. The one that was last used comes first.
    static STATES: RefCell<Vec<(Number, *mut ffi::PyThreadState)>> =
        const { RefCell::new(Vec::new()) };
}

/// How many states there are in each interpreter.
static COUNTS: Mutex<Vec<(Number, usize)>> = Mutex::new(Vec::new());

/// This thread's state in the interpreter. `None`: there is no memory for one, or CPython can't be
/// informed of another stack.
///
/// # Safety
/// The interpreter is alive, has that number, and isn't ended as long as it has such states.
pub(crate) unsafe fn of_this_thread(
    interpreter: *mut ffi::PyInterpreterState,
    number: Number,
) -> Option<*mut ffi::PyThreadState> {
    STATES.with_borrow_mut(|states| {
        let place = states.iter().position(|(known, _)| *known == number);
        match place {
            Some(0) => (),
            Some(place) => states.swap(0, place),
            None => {
                // SAFETY: passed on to the caller.
                let state = unsafe { make(interpreter, number) }?;
                states.insert(0, (number, state));
            }
        }
        Some(states[0].1)
    })
}

/// # Safety
/// As for [`of_this_thread`].
#[cold]
unsafe fn make(
    interpreter: *mut ffi::PyInterpreterState,
    number: Number,
) -> Option<*mut ffi::PyThreadState> {
    // SAFETY: passed on to the caller; the state is new, and this thread's.
    let state = unsafe {
        let state = new_state(InterpreterPtr(interpreter)).ok()?;
        stack_limits::set(state).then_some(state)?
    };
    let mut counts = COUNTS.lock();
    match counts.iter_mut().find(|(known, _)| *known == number) {
        Some((_, count)) => *count += 1,
        None => counts.push((number, 1)),
    }
    Some(state)
}

/// How many there are in an interpreter.
pub(super) fn count(number: Number) -> usize {
    let counts = COUNTS.lock();
    counts.iter().find(|(known, _)| *known == number).map_or(0, |(_, count)| *count)
}
