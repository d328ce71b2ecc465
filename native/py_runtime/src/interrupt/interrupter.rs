//! Interrupting code that is to stop, again and again until it does.
//!
//! To set an exception on a thread takes the GIL of its interpreter. That may take a while, and for
//! ever while C code keeps the GIL. So one thread per GIL runs as long as something under that GIL
//! is to be interrupted. Many timeouts at once need no more threads than one, and a GIL that is
//! stuck delays no interrupt under another one.
//!
//! Code that is interrupted may clean up: the next exception is set after a grace, which begins
//! when the one before has been raised. A thread that is in C raises it only on its return.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::interpreter;
use crate::sync::mailbox::Seq;
use crate::sync::os_thread;

/// What an interrupt is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The job of that number.
    Job(Seq),
    /// The direct run of that number.
    Direct(u64),
    /// Housekeeping, which has no number.
    Housekeeping,
}

/// A context whose code is to stop.
pub(crate) trait Interruptible: Send + Sync {
    /// Marks the target as one to interrupt. `false`: it doesn't run any more. Called before each
    /// attempt.
    fn mark_and_check(&self, target: Target) -> bool;
    /// Interrupts the target if it still runs. `false`: not now, it has to be tried again. The
    /// thread is attached to the context's interpreter.
    fn deliver(&self, target: Target) -> bool;
    /// Whether the target has still to raise the exception that was set. The thread is attached to
    /// the context's interpreter.
    fn has_to_raise(&self, target: Target) -> bool;
    /// How long interrupted code may clean up. `None`: for ever.
    fn grace(&self) -> Option<Duration>;
    /// Whether the context is to end, with all that it runs.
    fn is_closing(&self) -> bool;
    /// Runs `work` attached to the context's interpreter, unless that has ended.
    fn with_attached(&self, work: &mut dyn FnMut());
    /// Which GIL it needs.
    fn gil(&self) -> Gil;
    /// Whether it runs in the main interpreter, which never ends.
    fn is_in_main(&self) -> bool;
}

/// A GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Gil {
    /// The main interpreter's, shared with others.
    Main,
    /// That of the context with this number.
    Own(u64),
}

/// The time between two attempts while the target can't be interrupted or has still to raise the
/// exception. Also the time between two interrupts after the grace, in a context that is closing.
const RETRY: Duration = Duration::from_millis(20);
/// After this long the target counts as stuck in C, and attempts follow each other after
/// `SLOW_RETRY`.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// Also the time between two interrupts after the grace, in a context that isn't closing.
const SLOW_RETRY: Duration = Duration::from_secs(1);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Set an exception.
    Interrupt,
    /// One has been set; check whether it has been raised.
    CheckRaised,
    /// The target may clean up until then, or for ever.
    Grace(Option<Instant>),
}

#[derive(Clone)]
struct PendingInterrupt {
    context: Arc<dyn Interruptible>,
    target: Target,
    /// When it was last scheduled.
    since: Instant,
    /// Whether the grace for cleaning up has been given.
    had_grace: bool,
    step: Step,
    due: Instant,
}

impl PendingInterrupt {
    fn new(context: Arc<dyn Interruptible>, target: Target) -> Self {
        let now = Instant::now();
        PendingInterrupt {
            context,
            target,
            since: now,
            had_grace: false,
            step: Step::Interrupt,
            due: now,
        }
    }

    fn is_for(&self, context: &Arc<dyn Interruptible>, target: Target) -> bool {
        Arc::ptr_eq(&self.context, context) && self.target == target
    }

    /// Scheduled once more, by a caller that doesn't wait for the grace.
    fn retry_now(&mut self) {
        let now = Instant::now();
        (self.since, self.step, self.due) = (now, Step::Interrupt, now);
    }

    fn is_stuck(&self) -> bool {
        self.since.elapsed() >= SLOW_AFTER
    }

    fn retry_later(&mut self) {
        self.due = Instant::now() + if self.is_stuck() { SLOW_RETRY } else { RETRY };
    }

    /// The exception has been raised.
    fn give_grace(&mut self) {
        let pause = match std::mem::replace(&mut self.had_grace, true) {
            false => self.context.grace(),
            true if self.context.is_closing() && !self.is_stuck() => Some(RETRY),
            true => Some(SLOW_RETRY),
        };
        self.step = Step::Grace(pause.map(|pause| Instant::now() + pause));
        self.postpone();
    }

    /// During the grace it is only checked whether the target has ended.
    fn postpone(&mut self) {
        let next = Instant::now() + SLOW_RETRY;
        self.due = match self.step {
            Step::Grace(Some(until)) => until.min(next),
            _ => next,
        };
    }

    /// Whether there is something to do under the GIL, now that this is due.
    fn needs_gil(&mut self) -> bool {
        match self.step {
            Step::Grace(until) if until.is_some_and(|until| until <= Instant::now()) => {
                self.step = Step::Interrupt;
            }
            Step::Grace(_) => self.postpone(),
            Step::Interrupt | Step::CheckRaised => (),
        }
        !matches!(self.step, Step::Grace(_))
    }

    /// Does the next step. The thread is attached to the target's interpreter.
    fn act(&mut self) {
        if self.step == Step::Interrupt {
            if self.context.deliver(self.target) {
                self.step = Step::CheckRaised;
            }
            self.retry_later();
        } else if self.context.has_to_raise(self.target) {
            self.retry_later();
        } else {
            self.give_grace();
        }
    }
}

/// What is to be interrupted under one GIL, and the thread that does it.
struct Queue {
    pending: Vec<PendingInterrupt>,
    thread: std::thread::Thread,
}

static QUEUES: LazyLock<Mutex<HashMap<Gil, Queue>>> = LazyLock::new(Mutex::default);

/// Interrupts the target soon, and again until it ends. If it has been already it has its grace,
/// unless it is to be interrupted `at_once`. Any thread; never waits.
pub(crate) fn schedule(context: Arc<dyn Interruptible>, target: Target, at_once: bool) {
    let gil = context.gil();
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        match queue.pending.iter_mut().find(|known| known.is_for(&context, target)) {
            Some(known) if at_once => known.retry_now(),
            Some(_) => (),
            None => queue.pending.push(PendingInterrupt::new(context, target)),
        }
        queue.thread.unpark();
        return;
    }
    let spawned = os_thread::spawn("py_interrupt", move || run(gil));
    // Without a thread the job runs on; its caller has been answered all the same.
    if let Ok(thread) = spawned {
        let thread = thread.thread().clone();
        queues.insert(gil, Queue { pending: vec![PendingInterrupt::new(context, target)], thread });
    }
}

/// Something of a context that was interrupted has ended: forgets that at once. `context` is its
/// address.
pub(crate) fn forget_ended(context: *const (), gil: Gil) {
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        queue.pending.retain(|PendingInterrupt { context: known, target, .. }| {
            Arc::as_ptr(known).cast() != context || known.mark_and_check(*target)
        });
        queue.thread.unpark();
    }
}

fn run(gil: Gil) {
    loop {
        let due = take_due(gil);
        // All in the main interpreter at once: that takes the GIL once.
        let (mut main, mut others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|interrupt| interrupt.context.is_in_main());
        if !main.is_empty() {
            // SAFETY: this thread has no state.
            unsafe {
                interpreter::with_main_attached(|| main.iter_mut().for_each(PendingInterrupt::act))
            };
        }
        for interrupt in &mut others {
            let context = Arc::clone(&interrupt.context);
            context.with_attached(&mut || interrupt.act());
        }
        note_done(gil, main.into_iter().chain(others));
        match next_due(gil) {
            Some(due) => std::thread::park_timeout(due.saturating_duration_since(Instant::now())),
            None => return,
        }
    }
}

/// Stores the steps done. What was scheduled `at_once` meanwhile stays.
fn note_done(gil: Gil, done: impl Iterator<Item = PendingInterrupt>) {
    let mut queues = QUEUES.lock();
    let Some(queue) = queues.get_mut(&gil) else { return };
    for interrupt in done {
        let known = queue
            .pending
            .iter_mut()
            .find(|known| known.is_for(&interrupt.context, interrupt.target));
        if let Some(known) = known
            && known.since == interrupt.since
        {
            *known = interrupt;
        }
    }
}

/// The interrupts that need the GIL now. Forgets those whose targets have ended.
fn take_due(gil: Gil) -> Vec<PendingInterrupt> {
    let mut queues = QUEUES.lock();
    let Some(queue) = queues.get_mut(&gil) else { return Vec::new() };
    let now = Instant::now();
    let mut due = Vec::new();
    queue.pending.retain_mut(|interrupt| {
        if interrupt.due > now {
            return true;
        }
        let runs = interrupt.context.mark_and_check(interrupt.target);
        if runs && interrupt.needs_gil() {
            // Until the step has been done. Stays for an interpreter that has just ended.
            interrupt.retry_later();
            due.push(interrupt.clone());
        }
        runs
    });
    due
}

/// When to go on. `None`: never, and the next interrupt starts another thread.
fn next_due(gil: Gil) -> Option<Instant> {
    let mut queues = QUEUES.lock();
    let next = queues.get(&gil)?.pending.iter().map(|interrupt| interrupt.due).min();
    if next.is_none() {
        queues.remove(&gil);
    }
    next
}
