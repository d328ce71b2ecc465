//! The application's settings, read once when it starts.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustler::Binary;

static MAX_DEPTH: AtomicU32 = AtomicU32::new(1000);
static SPIN_US: AtomicU32 = AtomicU32::new(20);
static CALLBACK_DEPTH: AtomicU32 = AtomicU32::new(64);
static REDIRECT_OUTPUT: AtomicBool = AtomicBool::new(true);
static QUARANTINE_LIMIT: AtomicUsize = AtomicUsize::new(32);
static LOG_LEVELS: Mutex<Vec<(String, i64)>> = Mutex::new(Vec::new());

/// The settings of the application environment.
#[derive(rustler::NifMap)]
pub(crate) struct Settings<'a> {
    max_depth: u32,
    spin_us: u32,
    callback_depth: u32,
    redirect_output: bool,
    quarantine_limit: usize,
    logging: Vec<(String, i64)>,
    /// The environment variables that Python is to start with, if not those of the OS process.
    variables: Option<Vec<(Binary<'a>, Binary<'a>)>>,
}

impl Settings<'_> {
    /// Sets them.
    pub(crate) fn apply(&self) {
        MAX_DEPTH.store(self.max_depth, Ordering::Relaxed);
        SPIN_US.store(self.spin_us, Ordering::Relaxed);
        CALLBACK_DEPTH.store(self.callback_depth, Ordering::Relaxed);
        REDIRECT_OUTPUT.store(self.redirect_output, Ordering::Relaxed);
        QUARANTINE_LIMIT.store(self.quarantine_limit, Ordering::Relaxed);
        LOG_LEVELS.lock().clone_from(&self.logging);
    }
}

impl Settings<'_> {
    /// The environment variables that Python is to start with.
    pub(crate) fn variables(&self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let variables = self.variables.as_ref()?;
        Some(variables.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
    }
}

/// How deep a value may be nested.
pub(crate) fn max_depth() -> u32 {
    MAX_DEPTH.load(Ordering::Relaxed)
}

/// How long an idle context spins before it sleeps.
pub(crate) fn spin() -> Duration {
    Duration::from_micros(u64::from(SPIN_US.load(Ordering::Relaxed)))
}

/// How many calls of Erlang functions may be waiting on one context's thread, one in another.
pub(crate) fn callback_depth() -> u32 {
    CALLBACK_DEPTH.load(Ordering::Relaxed)
}

/// Whether standard output and error go to group leaders, and standard input refuses.
pub(crate) fn redirect_output() -> bool {
    REDIRECT_OUTPUT.load(Ordering::Relaxed)
}

/// How many threads of a pool may be stuck before it takes no new work.
pub(crate) fn quarantine_limit() -> usize {
    QUARANTINE_LIMIT.load(Ordering::Relaxed)
}

/// The levels of Python's loggers by name, as Python's `logging` numbers them.
pub(crate) fn log_levels() -> Vec<(String, i64)> {
    LOG_LEVELS.lock().clone()
}
