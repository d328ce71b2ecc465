//! Taking turns at what one thread at a time can hold, when whoever lets go of it and asks again at
//! once would nearly always get it back.
//!
//! Whoever waits is counted, and whoever has got it turns a generation, as its holder. A thread that
//! hands over stays away until the generation has turned: somebody else has had it then. Should
//! nobody be waiting any more there is nothing to stay away for.

use crate::sync::{AtomicUsize, Ordering, yield_now};

/// Who waits, and whose turn it has been.
#[derive(Debug)]
pub struct Turns {
    waiters: AtomicUsize,
    generation: AtomicUsize,
}

impl Turns {
    /// Nobody waits.
    #[cfg(not(feature = "loom"))]
    pub const fn new() -> Self {
        Turns { waiters: AtomicUsize::new(0), generation: AtomicUsize::new(0) }
    }

    /// Nobody waits.
    #[cfg(feature = "loom")]
    pub fn new() -> Self {
        Turns { waiters: AtomicUsize::new(0), generation: AtomicUsize::new(0) }
    }

    /// Waits for it by `get`, and is counted meanwhile.
    pub fn take(&self, get: impl FnOnce()) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        get();
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Changes whenever somebody has got it.
    pub fn generation(&self) -> usize {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether anybody waits who is counted.
    pub fn are_wanted(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Lets go by `let_go`, lets one who waits have it, or loses patience, and takes it again. By the
    /// holder.
    pub fn hand_over(
        &self,
        let_go: impl FnOnce(),
        patience: impl Fn() -> bool,
        get: impl FnOnce(),
    ) {
        let generation = self.generation.load(Ordering::SeqCst);
        let_go();
        while self.generation.load(Ordering::SeqCst) == generation
            && self.waiters.load(Ordering::SeqCst) > 0
            && patience()
        {
            yield_now();
        }
        self.take(get);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Turns::new()
    }
}
