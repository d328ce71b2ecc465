//! The state of a context's direct runs: who runs one now, and what is to become of it.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use pyo3_ffi as ffi;

use crate::cpython::async_exc;
use crate::cpython::context_variables::ContextVariables;
use crate::cpython::object::{Attached, Object};
use crate::sync::owner_lock::OwnerLock;

/// The number of a direct run within its context, and its [`Status`] in the lowest bits.
pub(super) type RunWord = u64;

pub(super) const STATUS_BITS: u32 = 3;

/// What has become of the current run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    None = 0,
    Running = 1,
    Interrupted = 2,
    TimedOut = 3,
    ContextDied = 4,
}

impl Status {
    pub(super) fn of(word: RunWord) -> Self {
        match word & ((1 << STATUS_BITS) - 1) {
            1 => Status::Running,
            2 => Status::Interrupted,
            3 => Status::TimedOut,
            4 => Status::ContextDied,
            _ => Status::None,
        }
    }
}

/// A context's side of direct runs.
#[derive(Debug)]
pub(in crate::context) struct DirectState {
    pub(super) lock: OwnerLock,
    /// What the jobs share, on the stack of the context's thread. Null while it doesn't serve. Read
    /// by the holder of the lock.
    pub(super) namespace: AtomicPtr<Object>,
    pub(super) local: AtomicPtr<()>,
    pub(super) variables: AtomicPtr<ContextVariables>,
    pub(super) interpreter: AtomicPtr<ffi::PyInterpreterState>,
    /// The current run, or the last one.
    pub(super) run: AtomicU64,
    /// When it is to be stopped, in µs since the context's birth; 0: never.
    pub(super) deadline: AtomicU64,
    /// When it was first to be interrupted, plus one; 0: not yet.
    pub(super) interrupted_at: AtomicU64,
    /// The thread of the current run, as Python and as the OS know it, and its state.
    pub(super) ident: AtomicU64,
    pub(super) state: AtomicPtr<ffi::PyThreadState>,
    /// Whether an exception was set on that thread. Changed under the GIL.
    pub(super) exception_set: AtomicBool,
    /// Direct runs that have ended, and those that were refused.
    pub(super) done: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Default for DirectState {
    fn default() -> Self {
        DirectState {
            lock: OwnerLock::new(),
            namespace: AtomicPtr::default(),
            local: AtomicPtr::default(),
            variables: AtomicPtr::default(),
            interpreter: AtomicPtr::default(),
            run: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            interrupted_at: AtomicU64::new(0),
            ident: AtomicU64::new(0),
            state: AtomicPtr::default(),
            exception_set: AtomicBool::new(false),
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl DirectState {
    /// Whether a direct run is going on. See [`OwnerLock::is_borrowed`].
    pub(in crate::context) fn is_running(&self) -> bool {
        self.lock.is_borrowed()
    }

    /// The number of the current run, unless it has ended.
    pub(in crate::context) fn current(&self) -> Option<u64> {
        let word = self.run.load(Ordering::Acquire);
        (Status::of(word) != Status::None).then_some(word >> STATUS_BITS)
    }

    /// How many have ended, and how many were refused.
    pub(in crate::context) fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// The state of the current run's thread. It is never deleted.
    pub(in crate::context) fn state(&self) -> *mut ffi::PyThreadState {
        self.state.load(Ordering::Relaxed)
    }

    /// Sets the exception on the thread of run `id`, if that goes on. The thread is attached to the
    /// interpreter: the run can't end meanwhile.
    pub(in crate::context) fn interrupt(&self, py: Attached<'_>, id: u64) {
        if self.current() == Some(id) {
            self.exception_set.store(true, Ordering::Relaxed);
            async_exc::set(py, self.ident.load(Ordering::Relaxed));
        }
    }

    /// Decides how run `id` ends. `false`: that is decided, or it has ended.
    pub(super) fn decide(&self, id: u64, status: Status) -> bool {
        let changed = self.run.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |word| {
            let may_change = match Status::of(word) {
                _ if word >> STATUS_BITS != id => false,
                Status::Running => true,
                Status::Interrupted => status != Status::Interrupted,
                _ => false,
            };
            may_change.then_some((word >> STATUS_BITS << STATUS_BITS) | status as u64)
        });
        changed.is_ok()
    }
}

impl DirectState {
    /// The variables in which all of the context's code runs.
    pub(super) fn variables(&self) -> &ContextVariables {
        // SAFETY: called by who holds the lock; the context's thread keeps them as long as it
        // serves, and lends the context only then.
        unsafe { &*self.variables.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_stopped_by_its_number_so_that_no_later_one_is() {
        let direct = DirectState::default();
        let begin = |id: u64| {
            direct.run.store((id << STATUS_BITS) | Status::Running as u64, Ordering::Relaxed);
        };
        begin(1);
        assert_eq!(direct.current(), Some(1));
        begin(2);
        assert!(!direct.decide(1, Status::TimedOut));
        assert_eq!(Status::of(direct.run.load(Ordering::Relaxed)), Status::Running);
        assert!(direct.decide(2, Status::Interrupted));
        assert!(!direct.decide(2, Status::Interrupted));
        assert!(direct.decide(2, Status::ContextDied));
        assert!(!direct.decide(2, Status::TimedOut));
    }
}
