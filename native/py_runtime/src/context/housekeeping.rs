//! What a context's thread runs that is no job: its preload, and what finalizers do.
//!
//! Nobody waits for such code by name, so nobody can cancel it; but it may loop for ever, and be in the
//! way of jobs, or of the end of its context. So the watcher looks after it as it does after jobs.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A kind of such code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Housekeeping {
    /// The preload. It goes with its context when that is killed.
    Preload,
    /// Letting go of what was handed back: finalizers of objects that somebody outside has held.
    Finalizers,
    /// Letting go of everything at the end: as above, and whatever an interpreter does then.
    Teardown,
}

#[derive(Debug)]
struct RunningCode {
    kind: Housekeeping,
    began: Instant,
    /// How many there have been before it.
    id: u64,
    /// Since when it is interrupted_at at.
    interrupted_at: Option<Instant>,
    /// It is to raise `KeyboardInterrupt`, and if it waits it hasn't yet.
    interrupt_pending: bool,
    /// When it was first seen to be in the way of anything.
    blocking_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct HousekeepingInner {
    /// Innermost last: a finalizer that waits for Erlang may have others run meanwhile.
    running: Vec<RunningCode>,
    killed: bool,
    /// It is to end when it has nothing to do.
    draining: bool,
    /// How many there have been.
    count: u64,
}

impl HousekeepingInner {
    /// Notes that what runs is to stop, as far as it is one of these.
    fn stop(&mut self, kinds: &[Housekeeping]) -> bool {
        let mut stops = false;
        for running in &mut self.running {
            if kinds.contains(&running.kind) {
                running.interrupted_at.get_or_insert_with(Instant::now);
                stops = true;
            }
        }
        stops
    }
}

/// Which of them runs, and whether it may. Any thread.
#[derive(Debug, Default)]
pub(crate) struct HousekeepingState(Mutex<HousekeepingInner>);

impl HousekeepingState {
    /// Before the code runs. `false`: the context was killed; preload code must not run.
    pub(crate) fn begin(&self, kind: Housekeeping) -> bool {
        let mut state = self.0.lock();
        let allowed = kind != Housekeeping::Preload || !state.killed;
        if allowed {
            let (began, id) = (Instant::now(), state.count);
            let (interrupted_at, interrupt_pending, blocking_since) = (None, false, None);
            state.running.push(RunningCode {
                kind,
                began,
                id,
                interrupted_at,
                interrupt_pending,
                blocking_since,
            });
            state.count += 1;
        }
        allowed
    }

    /// After it. `true`: it was to be stopped, and the blow may still be pending.
    pub(crate) fn end(&self) -> bool {
        self.0.lock().running.pop().is_some_and(|ended| ended.interrupted_at.is_some())
    }

    /// The thread ends, be it by a panic, which leaves some behind.
    pub(crate) fn end_all(&self) {
        self.0.lock().running.clear();
    }

    /// The context is killed. `true`: something runs that has to be interrupted_at, and wasn't before. What is let
    /// go of at the end has its time.
    pub(crate) fn kill(&self) -> bool {
        const STOPPED: [Housekeeping; 2] = [Housekeeping::Preload, Housekeeping::Finalizers];
        let mut state = self.0.lock();
        state.killed = true;
        let is_new = |running: &RunningCode| {
            running.interrupted_at.is_none() && STOPPED.contains(&running.kind)
        };
        state.running.iter().any(is_new) && state.stop(&STOPPED)
    }

    /// The context is to end once it has nothing to do, and what runs is in the way of that.
    pub(crate) fn drain(&self) {
        self.0.lock().draining = true;
    }

    /// Something is asked for that has to wait for what runs. `true`: finalizers have been running for
    /// so long, and have to be interrupted_at.
    pub(crate) fn interrupt_if_older(&self, age: Duration) -> bool {
        let mut state = self.0.lock();
        let long = state.running.last().is_some_and(|last| last.began.elapsed() >= age);
        long && state.stop(&[Housekeeping::Finalizers])
    }

    /// As [`HousekeepingState::interrupt_if_older`], if what runs is in the way, of jobs that wait or of the end of the context, and
    /// was so for the first time longer than `grace` ago: jobs whose callers have less patience than that
    /// would be given up one after the other. Asked now and then.
    pub(crate) fn interrupt_if_blocking(&self, grace: Duration, jobs_wait: bool) -> bool {
        let mut state = self.0.lock();
        let is_blocking = state.killed || state.draining || jobs_wait;
        let Some(running) = state.running.last_mut() else { return false };
        if running.kind == Housekeeping::Preload {
            return false;
        }
        if !is_blocking {
            return false;
        }
        let since = *running.blocking_since.get_or_insert_with(Instant::now);
        let overdue = running.interrupted_at.is_none() && since.elapsed() > grace;
        if overdue {
            running.interrupted_at = Some(Instant::now());
        }
        overdue
    }

    /// Whether something runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running_for().is_some()
    }

    /// For how long it has been running.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        self.0.lock().running.last().map(|running| running.began.elapsed())
    }

    /// For how long it has been running although it was to stop.
    pub(crate) fn interrupted_for(&self) -> Option<Duration> {
        let interrupted_at =
            self.0.lock().running.last().and_then(|running| running.interrupted_at);
        interrupted_at.map(|interrupted_at| interrupted_at.elapsed())
    }

    /// The id of the one that runs.
    pub(crate) fn current_id(&self) -> u64 {
        self.0.lock().running.last().map_or(0, |running| running.id)
    }

    /// Whether anything is to stop.
    pub(crate) fn any_interrupted(&self) -> bool {
        self.0.lock().running.iter().any(|running| running.interrupted_at.is_some())
    }

    /// Runs `set` if what runs is to stop and no job is on top of it; under the lock, so that it can't
    /// end in between. Those below are only told. `true`: the blow was interrupted_at.
    pub(crate) fn deliver(&self, is_innermost: bool, set: impl FnOnce()) -> bool {
        let mut state = self.0.lock();
        for running in &mut state.running {
            running.interrupt_pending |= running.interrupted_at.is_some();
        }
        let strikes =
            is_innermost && state.running.last().is_some_and(|running| running.interrupt_pending);
        if strikes {
            set();
        }
        strikes
    }

    /// The thread has no asynchronous exception to raise: the innermost has raised what was meant for it.
    pub(crate) fn note_raised(&self) {
        if let Some(innermost) = self.0.lock().running.last_mut() {
            innermost.interrupt_pending = false;
        }
    }

    /// Whether any has still to raise an exception that was meant for it.
    pub(crate) fn has_to_raise(&self) -> bool {
        self.0.lock().running.iter().any(|running| running.interrupt_pending)
    }

    /// Whether the innermost was told to stop. Forgets it: whoever asks raises the exception.
    pub(crate) fn take_interrupt(&self) -> bool {
        let mut state = self.0.lock();
        state
            .running
            .last_mut()
            .is_some_and(|running| std::mem::take(&mut running.interrupt_pending))
    }

    /// Whether the innermost was told to stop.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.lock().running.last().is_some_and(|running| running.interrupt_pending)
    }
}
