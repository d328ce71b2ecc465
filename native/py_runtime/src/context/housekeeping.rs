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

#[derive(Debug)]
struct Running {
    chore: Chore,
    began: Instant,
    /// How many there have been before it.
    number: u64,
    /// Since when it is struck at.
    struck: Option<Instant>,
    /// It is to raise `KeyboardInterrupt`, and if it waits it hasn't yet.
    interrupted: bool,
    /// When it was first seen to be in the way of anything.
    in_the_way: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    /// Innermost last: a finalizer that waits for Erlang may have others run meanwhile.
    running: Vec<Running>,
    killed: bool,
    /// It is to end when it has nothing to do.
    draining: bool,
    /// How many there have been.
    count: u64,
}

impl State {
    /// Notes that what runs is to stop, as far as it is one of these.
    fn stop(&mut self, chores: &[Chore]) -> bool {
        let mut stops = false;
        for running in &mut self.running {
            if chores.contains(&running.chore) {
                running.struck.get_or_insert_with(Instant::now);
                stops = true;
            }
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
        if allowed {
            let (began, number) = (Instant::now(), state.count);
            let (struck, interrupted, in_the_way) = (None, false, None);
            state.running.push(Running { chore, began, number, struck, interrupted, in_the_way });
            state.count += 1;
        }
        allowed
    }

    /// After it. `true`: it was to be stopped, and the blow may still be pending.
    pub(crate) fn end(&self) -> bool {
        self.0.lock().running.pop().is_some_and(|ended| ended.struck.is_some())
    }

    /// The thread ends, be it by a panic, which leaves some behind.
    pub(crate) fn end_all(&self) {
        self.0.lock().running.clear();
    }

    /// The context is killed. `true`: something runs that has to be struck, and wasn't before. What is let
    /// go of at the end has its time.
    pub(crate) fn kill(&self) -> bool {
        const STOPPED: [Chore; 2] = [Chore::Preload, Chore::Release];
        let mut state = self.0.lock();
        state.killed = true;
        let is_new =
            |running: &Running| running.struck.is_none() && STOPPED.contains(&running.chore);
        state.running.iter().any(is_new) && state.stop(&STOPPED)
    }

    /// The context is to end once it has nothing to do, and what runs is in the way of that.
    pub(crate) fn drain(&self) {
        self.0.lock().draining = true;
    }

    /// Something is asked for that has to wait for what runs. `true`: finalizers have been running for
    /// so long, and have to be struck.
    pub(crate) fn stop(&self, for_so_long: Duration) -> bool {
        let mut state = self.0.lock();
        let long = state.running.last().is_some_and(|last| last.began.elapsed() >= for_so_long);
        long && state.stop(&[Chore::Release])
    }

    /// As [`Chores::stop`], if what runs is in the way, of jobs that wait or of the end of the context, and
    /// was so for the first time longer than `grace` ago: jobs whose callers have less patience than that
    /// would be given up one after the other. Asked now and then.
    pub(crate) fn stop_overdue(&self, grace: Duration, jobs_wait: bool) -> bool {
        let mut state = self.0.lock();
        let in_the_way = state.killed || state.draining || jobs_wait;
        let Some(running) = state.running.last_mut() else { return false };
        if running.chore == Chore::Preload {
            return false;
        }
        if !in_the_way {
            return false;
        }
        let since = *running.in_the_way.get_or_insert_with(Instant::now);
        let overdue = running.struck.is_none() && since.elapsed() > grace;
        if overdue {
            running.struck = Some(Instant::now());
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
    pub(crate) fn struck_for(&self) -> Option<Duration> {
        let struck = self.0.lock().running.last().and_then(|running| running.struck);
        struck.map(|struck| struck.elapsed())
    }

    /// The number of the one that runs.
    pub(crate) fn number(&self) -> u64 {
        self.0.lock().running.last().map_or(0, |running| running.number)
    }

    /// Whether anything is to stop.
    pub(crate) fn aim(&self) -> bool {
        self.0.lock().running.iter().any(|running| running.struck.is_some())
    }

    /// Runs `blow` if what runs is to stop and no job is on top of it; under the lock, so that it can't
    /// end in between. Those below are only told. `true`: the blow was struck.
    pub(crate) fn strike(&self, on_top: bool, blow: impl FnOnce()) -> bool {
        let mut state = self.0.lock();
        for running in &mut state.running {
            running.interrupted |= running.struck.is_some();
        }
        let strikes = on_top && state.running.last().is_some_and(|running| running.interrupted);
        if strikes {
            blow();
        }
        strikes
    }

    /// The thread has no asynchronous exception to raise: the innermost has raised what was meant for it.
    pub(crate) fn note_raised(&self) {
        if let Some(innermost) = self.0.lock().running.last_mut() {
            innermost.interrupted = false;
        }
    }

    /// Whether any has still to raise an exception that was meant for it.
    pub(crate) fn has_to_raise(&self) -> bool {
        self.0.lock().running.iter().any(|running| running.interrupted)
    }

    /// Whether the innermost was told to stop. Forgets it: whoever asks raises the exception.
    pub(crate) fn take_strike(&self) -> bool {
        let mut state = self.0.lock();
        state.running.last_mut().is_some_and(|running| std::mem::take(&mut running.interrupted))
    }

    /// Whether the innermost was told to stop.
    pub(crate) fn is_struck(&self) -> bool {
        self.0.lock().running.last().is_some_and(|running| running.interrupted)
    }
}
