//! A lock that its owner holds by default and lends while it has nothing to do.
//!
//! The owner is a context's thread: it releases the lock just before it waits for work, and takes
//! it again before it works. A borrower is a caller that runs a job itself meanwhile. It never
//! waits: it gets the lock at once or not at all. The owner waits for a borrower, who gives the
//! lock straight to an owner that waits, so that no other borrower comes in between.

use crate::sync::{AtomicU8, Mutex, Ordering, Thread, current, park, spin};

/// The owner holds the lock.
const OWNED: u8 = 0;
/// Nobody holds it.
const FREE: u8 = 1;
/// A borrower holds it.
const BORROWED: u8 = 2;
/// A borrower holds it, and the owner sleeps until it has it.
const AWAITED: u8 = 3;

/// How often the owner looks for the lock before it sleeps: most borrowers are done in a
/// microsecond.
const SPINS: u32 = if cfg!(feature = "loom") { 0 } else { 2000 };

/// The lock. It begins as the owner's.
#[derive(Debug)]
pub struct OwnerLock {
    state: AtomicU8,
    /// The owner, while it sleeps.
    sleeper: Mutex<Option<Thread>>,
}

impl OwnerLock {
    /// A lock that the owner holds.
    pub fn new() -> Self {
        OwnerLock { state: AtomicU8::new(OWNED), sleeper: Mutex::new(None) }
    }

    /// The owner, who holds the lock, lends it.
    pub fn release(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    /// The owner takes it back, and waits for a borrower.
    pub fn acquire(&self) {
        for _ in 0..=SPINS {
            if self.change(FREE, OWNED) {
                return;
            }
            spin();
        }
        self.wait();
    }

    #[cold]
    fn wait(&self) {
        *self.sleeper.lock() = Some(current());
        loop {
            if self.change(FREE, OWNED) {
                break;
            }
            if self.change(BORROWED, AWAITED) {
                while self.state.load(Ordering::Acquire) != OWNED {
                    park();
                }
                break;
            }
        }
        *self.sleeper.lock() = None;
    }

    /// Takes the lock if nobody holds it. Any thread but the owner's; never waits.
    pub fn try_borrow(&self) -> bool {
        self.change(FREE, BORROWED)
    }

    /// The borrower gives it back, to an owner that waits.
    pub fn give_back(&self) {
        if !self.change(BORROWED, FREE) {
            // Nothing but the owner's request can have changed it.
            let sleeper = self.sleeper.lock().clone();
            self.state.store(OWNED, Ordering::Release);
            if let Some(sleeper) = sleeper {
                sleeper.unpark();
            }
        }
    }

    /// Whether a borrower holds it. In one order with all that borrowers do (`SeqCst`): a thread
    /// that is about to sleep asks this, and a borrower asks afterwards whether it sleeps.
    pub fn is_borrowed(&self) -> bool {
        self.state.load(Ordering::SeqCst) >= BORROWED
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let changed = self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed);
        changed.is_ok()
    }
}

impl Default for OwnerLock {
    fn default() -> Self {
        OwnerLock::new()
    }
}
