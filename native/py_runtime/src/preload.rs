//! Whether a context runs its preload code, and whether it may.
//!
//! Preload code is no job, so nobody can cancel it; but it may loop for ever, and a context that is
//! killed meanwhile must end all the same.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct State {
    running: Option<Instant>,
    killed: Option<Instant>,
}

/// Where a context's preload stands. Any thread.
#[derive(Debug, Default)]
pub(crate) struct Preload(Mutex<State>);

impl Preload {
    /// Before the code runs. `false`: the context was killed, the code must not run.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.0.lock();
        state.running = state.killed.is_none().then(Instant::now);
        state.running.is_some()
    }

    /// After it. `true`: it was to be stopped, and the blow may still be pending.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.0.lock();
        state.running = None;
        state.killed.is_some()
    }

    /// It shall not run. `true`: it does, and has to be struck.
    pub(crate) fn kill(&self) -> bool {
        let mut state = self.0.lock();
        state.killed.get_or_insert_with(Instant::now);
        state.running.is_some()
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running_for().is_some()
    }

    /// For how long it has been running.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        self.0.lock().running.map(|began| began.elapsed())
    }

    /// For how long it has been running although it was to stop.
    pub(crate) fn killed_for(&self) -> Option<Duration> {
        let state = self.0.lock();
        state.running.and(state.killed).map(|killed| killed.elapsed())
    }

    /// Runs `strike` if the code runs; under the lock, so that it can't end in between.
    pub(crate) fn strike(&self, strike: impl FnOnce()) {
        if self.0.lock().running.is_some() {
            strike();
        }
    }
}
