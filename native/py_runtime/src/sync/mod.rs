//! Waiting and waking: queues, reply states, threads.
//!
//! Nothing here knows Python, and no other folder is used. What decides by atomics or hand-made
//! waiting uses the synchronisation types below, exchangeable for loom's:
//! `tests/interleavings.rs` builds the crate with the feature `loom` and runs every interleaving.
//! What is called back under a lock is documented as such, and must not wait.

pub(crate) mod adaptive_spin;
pub(crate) mod background;
pub mod event_fd;
pub mod large_stack;
pub mod mailbox;
pub mod os_thread;
pub mod owner_lock;
pub mod reply_state;
pub mod wait_queue;
pub mod wakeup;

#[cfg(not(feature = "loom"))]
mod imp {
    pub use parking_lot::Mutex;
    pub use std::hint::spin_loop as spin;
    pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
    pub use std::thread::{Thread, current, park, park_timeout, yield_now};
}

#[cfg(feature = "loom")]
mod imp {
    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
    pub use loom::thread::yield_now as spin;
    pub use loom::thread::{Thread, current, park, yield_now};

    /// In a model no time passes: a thread that sleeps must be woken.
    pub fn park_timeout(_: std::time::Duration) {
        park();
    }

    /// loom's mutex with parking_lot's signature: no poisoning to speak of.
    #[derive(Debug)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model never poisons")
        }
    }
}

pub(crate) use imp::*;
