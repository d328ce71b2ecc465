//! Code on a context's thread that is no job: preload, finalizers, teardown.
//!
//! No caller waits for such code, so none can cancel it. But it may loop for ever, and block jobs
//! or the end of its context. So the watchdog checks it as it checks jobs.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A kind of such code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Housekeeping {
    /// The preload. It is interrupted when the context is killed.
    Preload,
    /// Control messages: finalizers of objects that had handles or exports.
    Finalizers,
    /// A turn of the event loop, beside the steps of tasks.
    EventLoop,
    /// The end of the thread: finalizers of all that is left, and what an interpreter runs at its
    /// end.
    Teardown,
}

/// Housekeeping that runs.
#[derive(Debug)]
struct RunningCode {
    kind: Housekeeping,
    began: Instant,
    /// Its number within the context.
    id: u64,
    /// When it was first to be interrupted.
    interrupted_at: Option<Instant>,
    /// It has still to raise `KeyboardInterrupt`, as far as is known.
    interrupt_pending: bool,
    /// When it was first seen to block jobs or the end of the context.
    blocking_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct HousekeepingInner {
    /// Innermost last: while a finalizer waits for Erlang others may run, nested.
    running: Vec<RunningCode>,
    killed: bool,
    /// The context is to end when it has nothing to do.
    draining: bool,
    /// How many have begun.
    count: u64,
}

impl HousekeepingInner {
    /// Marks what runs of these kinds as to be interrupted. `false`: nothing does.
    fn mark(&mut self, kinds: &[Housekeeping]) -> bool {
        let mut any = false;
        for running in &mut self.running {
            if kinds.contains(&running.kind) {
                running.interrupted_at.get_or_insert_with(Instant::now);
                any = true;
            }
        }
        any
    }
}

/// What runs, and whether it may. Any thread.
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

    /// After the code. `true`: it was interrupted, and may not have raised the exception.
    pub(crate) fn end(&self) -> bool {
        self.0.lock().running.pop().is_some_and(|ended| ended.interrupted_at.is_some())
    }

    /// The thread ends, perhaps by a panic, which leaves entries behind.
    pub(crate) fn end_all(&self) {
        self.0.lock().running.clear();
    }

    /// The context is killed. `true`: something is newly to be interrupted. Teardown is not.
    pub(crate) fn kill(&self) -> bool {
        const INTERRUPTED: [Housekeeping; 2] = [Housekeeping::Preload, Housekeeping::Finalizers];
        let mut state = self.0.lock();
        state.killed = true;
        let is_new = |running: &RunningCode| {
            running.interrupted_at.is_none() && INTERRUPTED.contains(&running.kind)
        };
        state.running.iter().any(is_new) && state.mark(&INTERRUPTED)
    }

    /// The context is to end once it has nothing to do: what runs blocks that.
    pub(crate) fn drain(&self) {
        self.0.lock().draining = true;
    }

    /// Marks finalizers as to be interrupted, if they have been running for `age`. `false`: not so.
    pub(crate) fn interrupt_if_older(&self, age: Duration) -> bool {
        let mut state = self.0.lock();
        let is_older = state.running.last().is_some_and(|last| last.began.elapsed() >= age);
        is_older && state.mark(&[Housekeeping::Finalizers])
    }

    /// Marks what runs as to be interrupted, if it was first seen longer than `grace` ago to block
    /// jobs that wait, or the end of the context. The first time counts, because the jobs of
    /// callers with shorter timeouts are cancelled one after the other. `false`: not so. Called now
    /// and then.
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
        let is_overdue = running.interrupted_at.is_none() && since.elapsed() > grace;
        if is_overdue {
            running.interrupted_at = Some(Instant::now());
        }
        is_overdue
    }

    /// What runs consists of short parts, and one has ended: from now on it counts anew how long
    /// jobs are blocked.
    pub(crate) fn note_progress(&self) {
        if let Some(running) = self.0.lock().running.last_mut() {
            running.blocking_since = None;
        }
    }

    /// Whether something runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running_for().is_some()
    }

    /// How long the innermost has been running.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        self.0.lock().running.last().map(|running| running.began.elapsed())
    }

    /// How long ago the innermost was first to be interrupted.
    pub(crate) fn interrupted_for(&self) -> Option<Duration> {
        let interrupted_at =
            self.0.lock().running.last().and_then(|running| running.interrupted_at);
        interrupted_at.map(|interrupted_at| interrupted_at.elapsed())
    }

    /// The number of the innermost.
    pub(crate) fn current_id(&self) -> u64 {
        self.0.lock().running.last().map_or(0, |running| running.id)
    }

    /// Whether anything is to be interrupted.
    pub(crate) fn any_interrupted(&self) -> bool {
        self.0.lock().running.iter().any(|running| running.interrupted_at.is_some())
    }

    /// Calls `set` if the innermost is to be interrupted and no job is nested in it
    /// (`is_innermost`), under the lock, so that it can't end in between. Outer ones are only
    /// marked. `true`: `set` was called.
    pub(crate) fn deliver(&self, is_innermost: bool, set: impl FnOnce()) -> bool {
        let mut state = self.0.lock();
        for running in &mut state.running {
            running.interrupt_pending |= running.interrupted_at.is_some();
        }
        let is_due =
            is_innermost && state.running.last().is_some_and(|running| running.interrupt_pending);
        if is_due {
            set();
        }
        is_due
    }

    /// The thread has no asynchronous exception to raise: the innermost has raised what was meant
    /// for it.
    pub(crate) fn note_raised(&self) {
        if let Some(innermost) = self.0.lock().running.last_mut() {
            innermost.interrupt_pending = false;
        }
    }

    /// Whether any has still to raise an exception that was meant for it.
    pub(crate) fn has_to_raise(&self) -> bool {
        self.0.lock().running.iter().any(|running| running.interrupt_pending)
    }

    /// Whether the innermost was interrupted. Forgets it: the caller raises the exception.
    pub(crate) fn take_interrupt(&self) -> bool {
        let mut state = self.0.lock();
        state
            .running
            .last_mut()
            .is_some_and(|running| std::mem::take(&mut running.interrupt_pending))
    }

    /// Whether the innermost was interrupted and hasn't raised the exception.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.lock().running.last().is_some_and(|running| running.interrupt_pending)
    }
}
