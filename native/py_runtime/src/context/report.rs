//! What a context reports: why it refuses a job, how its thread does, how its jobs ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::cpython::exception::Exception;

/// Why a job was not taken in. The job comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum SubmitError<J> {
    /// The queue is full, or others wait for capacity in it.
    Overloaded {
        /// The job.
        job: J,
        /// Jobs waiting now.
        queue: usize,
    },
    /// The context takes no more jobs.
    Closed(J),
    /// Too many threads of the pool are stuck.
    Quarantined(J),
}

/// Why a context didn't start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No thread or no interpreter.
    Interpreter(String),
    /// The preload code or the preparation raised.
    Python(Exception),
}

/// Is notified of what becomes of the context's thread. Called on native threads.
pub trait Owner: fmt::Debug + Send + Sync + 'static {
    /// The context serves, or has failed to start and ends.
    fn started(&self, outcome: Result<(), StartError>);
    /// What the context runs should have ended long ago. It may be replaced.
    fn stuck(&self);
    /// The thread has been joined: nothing of the context is left.
    fn ended(&self);
}

/// Jobs that ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// With a result.
    pub done: u64,
    /// With an error.
    pub failed: u64,
    /// Cancelled by their callers while waiting or running.
    pub timed_out: u64,
    /// Interrupted on request, or cancelled because their callers were gone.
    pub cancelled: u64,
}

/// The counters behind [`JobCounts`], shared with the context that this one replaces.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) cancelled: AtomicU64,
    /// Former threads that are stuck.
    pub(super) abandoned_threads: Arc<AtomicUsize>,
}

impl Counters {
    pub(super) fn read(&self) -> JobCounts {
        JobCounts {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
        }
    }
}
