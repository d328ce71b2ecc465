//! An allocator for large blocks (`PYMEM_DOMAIN_RAW`), those of long lists and large dictionaries:
//! it caches freed ones.
//!
//! The VM sets malloc's limits once and for all, so that each block from 128 KiB on is a mapping of
//! its own, which comes page by page and goes back when it is freed. For a large value each
//! conversion would pay for that. So a few are cached, as those of [`super::arenas`] are:
//! converting 100 000 integers takes a sixth less time, and a text of 16 MB a third of it.
//!
//! Of very large ones the system may have the pages back when it needs memory (`MADV_FREE`).
//!
//! Called by any thread, attached or not. No thread waits here: while the lock is taken, which in a
//! forked process may be for ever, memory comes from malloc. All of it is malloc's either way, so
//! what was allocated before or after may be freed by the other.

use std::ffi::c_void;

use parking_lot::Mutex;
use pyo3_ffi as ffi;

/// From this size on, malloc maps.
const LARGE: usize = 128 << 10;

/// How many bytes to cache at most.
const MAX_CACHED: usize = 32 << 20;

/// From this size on, the system may take back the pages of a cached block.
const LENT: usize = 4 << 20;

/// A block that is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: usize,
    size: usize,
}

static CACHE: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Has Python take its memory from here. Before it is initialised.
pub(crate) fn install() {
    // A free-threaded Python has an allocator of its own for this too.
    if cfg!(Py_GIL_DISABLED) {
        return;
    }
    let mut allocator = ffi::PyMemAllocatorEx {
        ctx: std::ptr::null_mut(),
        malloc: Some(malloc),
        calloc: Some(calloc),
        realloc: Some(realloc),
        free: Some(free),
    };
    // SAFETY: Python isn't running yet; the structure is copied. The functions may be called by any
    // thread, as this domain requires.
    unsafe {
        ffi::PyMem_SetAllocator(ffi::PyMemAllocatorDomain::PYMEM_DOMAIN_RAW, &raw mut allocator);
    }
}

/// Whether Python code traces allocations (`tracemalloc`). Before CPython 3.13.2 a thread that
/// allocates without the GIL while another stops that crashes (python/cpython#128679). Only a hint.
#[cfg(not(Py_3_13))]
pub(crate) fn are_traced() -> bool {
    let mut allocator = ffi::PyMemAllocatorEx {
        ctx: std::ptr::null_mut(),
        malloc: None,
        calloc: None,
        realloc: None,
        free: None,
    };
    // SAFETY: the structure is filled in; any thread may ask.
    unsafe {
        ffi::PyMem_GetAllocator(ffi::PyMemAllocatorDomain::PYMEM_DOMAIN_RAW, &raw mut allocator);
    }
    let own: extern "C" fn(*mut c_void, usize, usize) -> *mut c_void = calloc;
    allocator.calloc.is_some_and(|current| current as usize != own as usize)
}

/// A cached block for `size` bytes, of which it doesn't waste more than it uses.
fn take(cache: &mut Vec<Block>, size: usize) -> Option<usize> {
    let fits = |block: &Block| block.size >= size && block.size / 2 <= size;
    let candidates = cache.iter().enumerate().filter(|(_, block)| fits(block));
    let (index, _) = candidates.min_by_key(|(_, block)| block.size)?;
    Some(cache.swap_remove(index).start)
}

/// Lets the system have the pages of a block until they are written to.
fn lend(block: Block) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        // Not the first page, in which malloc notes the size.
        let start = block.start.next_multiple_of(PAGE);
        let end = (block.start + block.size) / PAGE * PAGE;
        if let Some(length) = end.checked_sub(start) {
            // SAFETY: whole pages of a block that nobody uses. What is in them is lost, or stays.
            // Where pages are larger, the call fails and changes nothing.
            unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_FREE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = block;
}

/// Caches a block, if the limit allows.
fn keep(cache: &mut Vec<Block>, block: Block) -> bool {
    let bytes: usize = cache.iter().map(|block| block.size).sum();
    let fits = bytes + block.size <= MAX_CACHED;
    if fits {
        cache.push(block);
    }
    fits
}

extern "C" fn malloc(_: *mut c_void, size: usize) -> *mut c_void {
    if size >= LARGE
        && let Some(start) = CACHE.try_lock().and_then(|mut cache| take(&mut cache, size))
    {
        return start as *mut c_void;
    }
    // SAFETY: no preconditions. Python wants a block even for no bytes.
    unsafe { libc::malloc(size.max(1)) }
}

extern "C" fn calloc(_: *mut c_void, count: usize, each: usize) -> *mut c_void {
    // Python has checked that this doesn't overflow, and libc checks again.
    let size = count.wrapping_mul(each);
    if size >= LARGE
        && let Some(start) = CACHE.try_lock().and_then(|mut cache| take(&mut cache, size))
    {
        let start = start as *mut c_void;
        // SAFETY: the block has at least that size and is nobody else's.
        unsafe { start.write_bytes(0, size) };
        return start;
    }
    // SAFETY: no preconditions.
    unsafe { if size == 0 { libc::calloc(1, 1) } else { libc::calloc(count, each) } }
}

extern "C" fn realloc(_: *mut c_void, start: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: null or a block of malloc's that its owner doesn't use any more; libc moves large
    // ones without copying them.
    unsafe { libc::realloc(start, size.max(1)) }
}

extern "C" fn free(_: *mut c_void, start: *mut c_void) {
    // SAFETY: null, of which the size is 0, or a block of malloc's.
    let size = unsafe { libc::malloc_usable_size(start) };
    let block = Block { start: start as usize, size };
    if size >= LARGE {
        if size >= LENT {
            // Before others can have it. If it isn't cached, it is gone anyway.
            lend(block);
        }
        if CACHE.try_lock().is_some_and(|mut cache| keep(&mut cache, block)) {
            return;
        }
    }
    // SAFETY: as above; its owner doesn't use it any more.
    unsafe { libc::free(start) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: *mut c_void = std::ptr::null_mut();

    /// For tests of the cache itself: while another thread has its lock, nothing is cached.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn a_cached_block_is_given_out_where_it_fits_best_and_wastes_little() {
        let block = |start, size| Block { start, size };
        let mut cache = vec![block(1, 300), block(2, 200), block(3, 900)];
        assert_eq!(take(&mut cache, 150), Some(2));
        assert_eq!(take(&mut cache, 301), None);
        assert_eq!(take(&mut cache, 300), Some(1));
        assert_eq!(cache, [block(3, 900)]);
    }

    #[test]
    fn no_more_is_cached_than_the_limit() {
        let half = Block { start: 1, size: MAX_CACHED / 2 };
        let mut cache = Vec::new();
        assert!(keep(&mut cache, half));
        assert!(!keep(&mut cache, Block { start: 2, size: MAX_CACHED / 2 + 1 }));
        assert!(keep(&mut cache, half));
        assert!(!keep(&mut cache, Block { start: 3, size: 1 }));
    }

    #[test]
    fn blocks_are_zeroed_and_grow_whether_they_were_cached_or_not() {
        const SIZE: usize = 3 * LARGE;
        let _alone = ALONE.lock();
        for _ in 0..3 {
            let start = calloc(NONE, 3, LARGE).cast::<u8>();
            // SAFETY: the block has that size, all of it initialised, and nobody else has it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(start, SIZE) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
            let start = realloc(NONE, start.cast(), 2 * SIZE).cast::<u8>();
            // SAFETY: as above, for the first half.
            let bytes = unsafe { std::slice::from_raw_parts(start, SIZE) };
            assert!(bytes.iter().all(|byte| *byte == 7));
            free(NONE, start.cast());
        }
        free(NONE, malloc(NONE, 0));
        free(NONE, NONE);
    }

    #[test]
    fn blocks_are_kept_if_they_are_large_and_given_out_again() {
        let _alone = ALONE.lock();
        let is_kept =
            |start: *mut c_void| CACHE.lock().iter().any(|block| block.start == start as usize);
        let small = malloc(NONE, LARGE / 2);
        assert!(!small.is_null());
        free(NONE, small);
        assert!(!is_kept(small));
        // Of a size that no other test asks for.
        let large = malloc(NONE, 40 * LARGE);
        free(NONE, large);
        assert!(is_kept(large));
        assert_eq!(malloc(NONE, 40 * LARGE), large);
        assert!(!is_kept(large));
        free(NONE, large);
        assert_eq!(calloc(NONE, 40, LARGE), large);
        free(NONE, large);
    }

    #[test]
    fn very_large_blocks_are_the_systems_while_they_are_cached_and_usable_after() {
        const SIZE: usize = 2 * LENT;
        let _alone = ALONE.lock();
        for round in 0..3 {
            let start = malloc(NONE, SIZE).cast::<u8>();
            // SAFETY: the block has that size, and nobody else has it.
            let bytes = unsafe {
                start.write_bytes(round, SIZE);
                std::slice::from_raw_parts(start, SIZE)
            };
            assert!(bytes.iter().all(|byte| *byte == round));
            // malloc's own note of the size is not in what the system may have.
            // SAFETY: a live block of malloc's.
            assert!(unsafe { libc::malloc_usable_size(start.cast()) } >= SIZE);
            free(NONE, start.cast());
            assert!(CACHE.lock().iter().any(|block| block.start == start as usize));
        }
    }

    #[cfg(not(Py_3_13))]
    #[test]
    fn allocations_are_not_traced_while_they_come_from_here() {
        assert!(are_traced());
        install();
        assert!(!are_traced());
    }
}
