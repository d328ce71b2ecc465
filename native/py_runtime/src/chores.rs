//! What a context's thread runs that is no job: its preload, and what finalizers do.
//!
//! Nobody waits for such code by name, so nobody can cancel it; but it may loop for ever, and be in the
//! way of jobs, or of the end of its context. So the watcher looks after it as it does after jobs.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A kind of such code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// The preload. It goes with its context when that is killed.
    Preload,
    /// Letting go of what was handed back: finalizers of objects that somebody outside has held.
    Release,
    /// Letting go of everything at the end: as above, and whatever an interpreter does then.
    Ending,
}

#[derive(Debug, Default)]
struct State {
    running: Option<(Chore, Instant)>,
    /// Since when it is struck at.
    struck: Option<Instant>,
    killed: bool,
    /// It is to end when it has nothing to do.
    draining: bool,
    /// Since when it has been in the way of anything.
    in_the_way: Option<Instant>,
    /// How many there have been.
    count: u64,
}

impl State {
    /// Notes that what runs is to stop, if it is one of these.
    fn stop(&mut self, chores: &[Chore]) -> bool {
        let stops = self.running.is_some_and(|(chore, _)| chores.contains(&chore));
        if stops {
            self.struck.get_or_insert_with(Instant::now);
        }
        stops
    }
}

/// Which of them runs, and whether it may. Any thread.
#[derive(Debug, Default)]
pub(crate) struct Chores(Mutex<State>);

impl Chores {
    /// Before the code runs. `false`: the context was killed; preload code must not run.
    pub(crate) fn begin(&self, chore: Chore) -> bool {
        let mut state = self.0.lock();
        let allowed = chore != Chore::Preload || !state.killed;
        state.running = allowed.then(|| (chore, Instant::now()));
        state.struck = None;
        state.in_the_way = None;
        state.count += 1;
        allowed
    }

    /// After it. `true`: it was to be stopped, and the blow may still be pending.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.0.lock();
        state.running = None;
        state.struck.take().is_some()
    }

    /// The context is killed. `true`: something runs that has to be struck. What is let go of at the
    /// end has its time.
    pub(crate) fn kill(&self) -> bool {
        let mut state = self.0.lock();
        state.killed = true;
        state.stop(&[Chore::Preload, Chore::Release])
    }

    /// The context is to end once it has nothing to do, and what runs is in the way of that.
    pub(crate) fn drain(&self) {
        self.0.lock().draining = true;
    }

    /// Something is asked for that has to wait for what runs. `true`: it is a finalizer, and has to be
    /// struck.
    pub(crate) fn stop(&self) -> bool {
        self.0.lock().stop(&[Chore::Release])
    }

    /// As [`Chores::stop`], if what runs has been in the way for longer than `grace`: of jobs that wait,
    /// or of the end of the context. Asked now and then.
    pub(crate) fn stop_overdue(&self, grace: Duration, jobs_wait: bool) -> bool {
        let mut state = self.0.lock();
        if !matches!(state.running, Some((Chore::Release | Chore::Ending, _))) {
            return false;
        }
        if !(state.killed || state.draining || jobs_wait) {
            state.in_the_way = None;
            return false;
        }
        let since = *state.in_the_way.get_or_insert_with(Instant::now);
        let overdue = state.struck.is_none() && since.elapsed() > grace;
        if overdue {
            state.struck = Some(Instant::now());
        }
        overdue
    }

    /// Whether something runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running_for().is_some()
    }

    /// For how long it has been running.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        self.0.lock().running.map(|(_, began)| began.elapsed())
    }

    /// For how long it has been running although it was to stop.
    pub(crate) fn struck_for(&self) -> Option<Duration> {
        self.0.lock().struck.map(|struck| struck.elapsed())
    }

    /// How many there have been, the one that runs among them.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// Whether what runs is to stop.
    pub(crate) fn aim(&self) -> bool {
        self.0.lock().struck.is_some()
    }

    /// Runs `blow` if what runs is to stop; under the lock, so that it can't end in between. `true`: it
    /// did.
    pub(crate) fn strike(&self, blow: impl FnOnce()) -> bool {
        let state = self.0.lock();
        let strikes = state.struck.is_some();
        if strikes {
            blow();
        }
        strikes
    }
}
