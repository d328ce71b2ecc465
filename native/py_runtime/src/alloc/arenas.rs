//! Where Python gets its memory from: the arenas of its object allocator, kept for reuse.
//!
//! CPython gives an arena (1 MiB) back to the system as soon as nothing in it is in use. A large value
//! that crosses fills some and empties them at once, so that each call would pay for the system's
//! pages again: a third of the time it takes to convert 100 000 integers. A few are kept instead.
//!
//! All interpreters share them; each arena is one's own as long as it is in use. None waits for another
//! here: while the lock is taken, which in a forked process may be for ever, the system is asked.

use std::ffi::c_void;

use parking_lot::Mutex;
use pyo3_ffi as ffi;

/// How many bytes to keep at most.
const MOST_KEPT: usize = 8 << 20;

/// Arenas that nobody uses, all of one size.
struct Kept {
    arenas: Vec<usize>,
    size: usize,
}

impl Kept {
    /// Keeps an arena, if there is room.
    fn keep(&mut self, arena: *mut c_void, size: usize) -> bool {
        if self.arenas.is_empty() {
            self.size = size;
        }
        let fits = self.size == size && (self.arenas.len() + 1) * size <= MOST_KEPT;
        if fits {
            self.arenas.push(arena as usize);
        }
        fits
    }
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { arenas: Vec::new(), size: 0 });

/// Has Python take its arenas from here. Before it is initialised.
pub(crate) fn install() {
    let mut allocator = ffi::PyObjectArenaAllocator {
        ctx: std::ptr::null_mut(),
        alloc: Some(alloc),
        free: Some(free),
    };
    // SAFETY: Python isn't running yet, so no arena comes from elsewhere; the structure is copied.
    unsafe { ffi::PyObject_SetArenaAllocator(&raw mut allocator) };
}

extern "C" fn alloc(_: *mut c_void, size: usize) -> *mut c_void {
    if let Some(mut kept) = KEPT.try_lock()
        && kept.size == size
        && let Some(arena) = kept.arenas.pop()
    {
        return arena as *mut c_void;
    }
    // SAFETY: a new private mapping at a place of the system's choice.
    let arena = unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0)
    };
    if arena == libc::MAP_FAILED { std::ptr::null_mut() } else { arena }
}

extern "C" fn free(_: *mut c_void, arena: *mut c_void, size: usize) {
    if KEPT.try_lock().is_some_and(|mut kept| kept.keep(arena, size)) {
        return;
    }
    // SAFETY: mapped by `alloc` with this size, and Python is done with it.
    unsafe { libc::munmap(arena, size) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_that_was_freed_is_given_out_again() {
        const SIZE: usize = 1 << 20;
        let nobody = std::ptr::null_mut();
        let arena = alloc(nobody, SIZE);
        free(nobody, arena, SIZE);
        assert_eq!(alloc(nobody, SIZE), arena);
        let arenas: Vec<_> = (0..40).map(|_| alloc(nobody, SIZE)).collect();
        for other in arenas {
            free(nobody, other, SIZE);
        }
        assert_eq!(KEPT.lock().arenas.len() * SIZE, MOST_KEPT);
        free(nobody, arena, SIZE);
    }
}
