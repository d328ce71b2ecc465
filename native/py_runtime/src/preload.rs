//! Whether a context runs its preload code, and whether it may.
//!
//! Preload code is no job, so nobody can cancel it; but it may loop for ever, and a context that is
//! killed meanwhile must end all the same.

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct State {
    running: bool,
    killed: bool,
}

/// Where a context's preload stands. Any thread.
#[derive(Debug, Default)]
pub(crate) struct Preload(Mutex<State>);

impl Preload {
    /// Before the code runs. `false`: the context was killed, the code must not run.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.0.lock();
        state.running = !state.killed;
        state.running
    }

    /// After it. `true`: it was to be stopped, and the blow may still be pending.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.0.lock();
        state.running = false;
        state.killed
    }

    /// It shall not run. `true`: it does, and has to be struck.
    pub(crate) fn kill(&self) -> bool {
        let mut state = self.0.lock();
        state.killed = true;
        state.running
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.0.lock().running
    }

    /// Runs `strike` if the code runs; under the lock, so that it can't end in between.
    pub(crate) fn strike(&self, strike: impl FnOnce()) {
        if self.0.lock().running {
            strike();
        }
    }
}
