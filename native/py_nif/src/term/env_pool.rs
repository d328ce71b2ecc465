//! Environments that are used again.
//!
//! The environment of a request is made on its caller's scheduler and freed on the context's
//! thread. To the VM that is memory of another thread, which goes back through a queue. Both take
//! longer than most of what a short call does, so a few environments are kept.

use parking_lot::Mutex;

use super::TermEnv;

/// How many a pool keeps: about as many as callers have waiting at once, each of some 1 KiB.
const MAX_KEPT: usize = 32;

/// Empty environments. In a cache line of its own, because pools stand side by side.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct EnvPool(Mutex<Vec<TermEnv>>);

impl EnvPool {
    pub(crate) const fn new() -> Self {
        EnvPool(Mutex::new(Vec::new()))
    }

    /// An empty environment. Never waits.
    pub(crate) fn take(&self) -> TermEnv {
        let kept = self.0.try_lock().and_then(|mut kept| kept.pop());
        kept.unwrap_or_else(TermEnv::new)
    }

    /// Keeps an environment for later. Its terms are freed. Never waits.
    pub(crate) fn give_back(&self, mut env: TermEnv) {
        env.clear();
        if let Some(mut kept) = self.0.try_lock()
            && kept.len() < MAX_KEPT
        {
            kept.push(env);
        }
    }
}
