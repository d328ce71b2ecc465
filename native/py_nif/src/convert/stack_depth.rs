//! How deep a value may be nested where its conversion begins.
//!
//! Conversions nest: one may run Python code, which may call an Erlang function, which may have
//! something else converted on the same stack. Each on its own is bounded, but together they are
//! not, and a thread that Python code started may have a stack of any size. So each
//! gets no more levels than fit into the rest of the stack, which is measured once per conversion.

use std::cell::Cell;
use std::mem::MaybeUninit;

use py_runtime::large_stack;

/// More than a level takes, see [`max_depth`](super::Converter::max_depth).
const LEVEL: usize = 400;

/// This fraction of a stack is kept for Python code that runs during a conversion.
const RESERVED: usize = 4;

thread_local! {
    /// The lowest address of this thread's stack, and its size; 0: not known.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// How many levels a value may have: `max_depth`, or fewer if the rest of the stack is too small.
pub(super) fn depth_left(max_depth: u32) -> u32 {
    let (lowest, size) = STACK.get().unwrap_or_else(look_up);
    let here = (&raw const max_depth).addr();
    match here.checked_sub(lowest) {
        Some(left) if left < size => levels(left, size, max_depth),
        _ => depth_left_elsewhere(here, max_depth),
    }
}

/// The same on another stack than the thread's own: the large one that a scheduler runs Python on,
/// or one of unknown size, of code that has its own (a greenlet).
#[cold]
fn depth_left_elsewhere(here: usize, max_depth: u32) -> u32 {
    match large_stack::bounds() {
        Some((lowest, size)) if (lowest..lowest + size).contains(&here) => {
            levels(here - lowest, size, max_depth)
        }
        _ => max_depth,
    }
}

fn levels(left: usize, size: usize, max_depth: u32) -> u32 {
    let levels = left.saturating_sub(size / RESERVED) / LEVEL;
    u32::try_from(levels).map_or(max_depth, |levels| levels.min(max_depth))
}

#[cold]
fn look_up() -> (usize, usize) {
    let mut attributes = MaybeUninit::uninit();
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: on success the attributes are filled in, and are destroyed once.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 {
            libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
    let stack = (lowest.addr(), size);
    STACK.set(Some(stack));
    stack
}
