//! The arena allocator: it caches freed arenas of Python's object allocator.
//!
//! CPython gives an arena (1 MiB) back to the system as soon as nothing in it is in use. Converting
//! a large value fills some and empties them at once, so each call would pay for the system's pages
//! again: a third of the time it takes to convert 100 000 integers. So a few are cached.
//!
//! All interpreters share the cache; an arena in use belongs to one. No thread waits here: while
//! the lock is taken, which in a forked process may be for ever, memory comes from the system.

use std::ffi::c_void;

use parking_lot::Mutex;
use pyo3_ffi as ffi;

/// How many bytes to cache at most.
const MAX_CACHED: usize = 8 << 20;

/// Arenas that are not in use, all of one size.
struct Cache {
    arenas: Vec<usize>,
    size: usize,
}

impl Cache {
    /// Caches an arena, if the limit allows.
    fn keep(&mut self, arena: *mut c_void, size: usize) -> bool {
        if self.arenas.is_empty() {
            self.size = size;
        }
        let fits = self.size == size && (self.arenas.len() + 1) * size <= MAX_CACHED;
        if fits {
            self.arenas.push(arena as usize);
        }
        fits
    }
}

static CACHE: Mutex<Cache> = Mutex::new(Cache { arenas: Vec::new(), size: 0 });

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
    if let Some(mut cache) = CACHE.try_lock()
        && cache.size == size
        && let Some(arena) = cache.arenas.pop()
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
    if CACHE.try_lock().is_some_and(|mut cache| cache.keep(arena, size)) {
        return;
    }
    // SAFETY: mapped by `alloc` with this size, and Python is done with it.
    unsafe { libc::munmap(arena, size) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1 << 20;
    const NONE: *mut c_void = std::ptr::null_mut();

    #[test]
    fn an_arena_that_was_freed_is_given_out_again() {
        let arena = alloc(NONE, SIZE);
        assert!(!arena.is_null());
        // SAFETY: a new arena has that size, and nobody else uses it.
        unsafe { arena.write_bytes(7, SIZE) };
        free(NONE, arena, SIZE);
        assert!(CACHE.lock().arenas.contains(&(arena as usize)));
        assert_eq!(alloc(NONE, SIZE), arena);
        let arenas: Vec<_> = (0..40).map(|_| alloc(NONE, SIZE)).collect();
        for other in arenas {
            free(NONE, other, SIZE);
        }
        assert_eq!(CACHE.lock().arenas.len() * SIZE, MAX_CACHED);
        free(NONE, arena, SIZE);
    }

    #[test]
    fn python_takes_its_arenas_from_here_once_it_is_installed() {
        let mut allocator =
            ffi::PyObjectArenaAllocator { ctx: std::ptr::null_mut(), alloc: None, free: None };
        install();
        // SAFETY: the structure is filled in; Python isn't running.
        unsafe { ffi::PyObject_GetArenaAllocator(&raw mut allocator) };
        let own: extern "C" fn(*mut c_void, usize) -> *mut c_void = alloc;
        assert_eq!(allocator.alloc.map(|alloc| alloc as usize), Some(own as usize));
    }
}
