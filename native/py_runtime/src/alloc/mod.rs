//! Where Python gets its memory from: allocators that keep what is freed for reuse.
//!
//! They are installed before Python starts and are called by any thread, attached or not. They use
//! no other folder, and never wait for a lock.

pub(crate) mod arenas;
pub(crate) mod large_blocks;
