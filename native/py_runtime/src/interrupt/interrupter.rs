//! Interrupting code that is to stop, again and again until it does.
//!
//! To set an exception on a thread takes the GIL of its interpreter, which may take a while, and for
//! ever while C code keeps it. So there is one thread per GIL for as long as something under it is to be
//! interrupted: many timeouts at once need no more threads than one, and a GIL that is stuck holds up
//! nobody who doesn't need it anyway.
//!
//! Code that is interrupted may clean up: the next exception comes after a grace, which begins when the
//! one before has been raised. A thread that is in C raises it only on its return.

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
    /// What runs that is no job.
    Housekeeping,
}

/// A context some of whose code is to stop.
pub(crate) trait Interruptible: Send + Sync {
    /// Whether the target still runs. Called before each look at it.
    fn mark_and_check(&self, target: Target) -> bool;
    /// Interrupts the target if it still runs. `false`: not now, it has to be tried again. The thread is
    /// attached to the context's interpreter.
    fn deliver(&self, target: Target) -> bool;
    /// Whether the target has still to raise what it was interrupted by. The thread is attached to the
    /// context's interpreter.
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

/// How often a thread is looked at that can't be interrupted now or has to raise an exception, at first
/// and once that has lasted for `SLOW_AFTER`: then it is stuck in C. The first is also the time between two
/// interrupts of what has had its grace in a context that is to end.
const RETRY: Duration = Duration::from_millis(20);
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// And the time between two interrupts of other code that has had its grace.
const SLOW_RETRY: Duration = Duration::from_secs(1);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is to be interrupted.
    Interrupt,
    /// It has been, and is to be seen to have raised the exception.
    SeeRaised,
    /// It may clean up until then, or for ever.
    LeaveAlone(Option<Instant>),
}

#[derive(Clone)]
struct PendingInterrupt {
    code: Arc<dyn Interruptible>,
    target: Target,
    /// When it was last asked for.
    since: Instant,
    /// Whether the grace for cleaning up has been given.
    had_grace: bool,
    step: Step,
    due: Instant,
}

impl PendingInterrupt {
    fn new(code: Arc<dyn Interruptible>, target: Target) -> Self {
        let now = Instant::now();
        PendingInterrupt {
            code,
            target,
            since: now,
            had_grace: false,
            step: Step::Interrupt,
            due: now,
        }
    }

    fn is_for(&self, code: &Arc<dyn Interruptible>, target: Target) -> bool {
        Arc::ptr_eq(&self.code, code) && self.target == target
    }

    /// Asked for once more, by somebody who doesn't want to wait for its grace.
    fn hurry(&mut self) {
        let now = Instant::now();
        (self.since, self.step, self.due) = (now, Step::Interrupt, now);
    }

    fn is_stuck(&self) -> bool {
        self.since.elapsed() >= SLOW_AFTER
    }

    fn look_again(&mut self) {
        self.due = Instant::now() + if self.is_stuck() { SLOW_RETRY } else { RETRY };
    }

    /// The exception has been raised.
    fn leave_alone(&mut self) {
        let pause = match std::mem::replace(&mut self.had_grace, true) {
            false => self.code.grace(),
            true if self.code.is_closing() && !self.is_stuck() => Some(RETRY),
            true => Some(SLOW_RETRY),
        };
        self.step = Step::LeaveAlone(pause.map(|pause| Instant::now() + pause));
        self.postpone();
    }

    /// While it is left alone it is only looked at whether it has ended.
    fn postpone(&mut self) {
        let look = Instant::now() + SLOW_RETRY;
        self.due = match self.step {
            Step::LeaveAlone(Some(until)) => until.min(look),
            _ => look,
        };
    }

    /// Whether there is something to do with the GIL now that it is due.
    fn is_ripe(&mut self) -> bool {
        match self.step {
            Step::LeaveAlone(until) if until.is_some_and(|until| until <= Instant::now()) => {
                self.step = Step::Interrupt;
            }
            Step::LeaveAlone(_) => self.postpone(),
            Step::Interrupt | Step::SeeRaised => (),
        }
        !matches!(self.step, Step::LeaveAlone(_))
    }

    /// Does what is to be done. The thread is attached to the target's interpreter.
    fn act(&mut self) {
        if self.step == Step::Interrupt {
            if self.code.deliver(self.target) {
                self.step = Step::SeeRaised;
            }
            self.look_again();
        } else if self.code.has_to_raise(self.target) {
            self.look_again();
        } else {
            self.leave_alone();
        }
    }
}

/// What is to be interrupted under one GIL, and the thread that does it.
struct Queue {
    pending: Vec<PendingInterrupt>,
    thread: std::thread::Thread,
}

static QUEUES: LazyLock<Mutex<HashMap<Gil, Queue>>> = LazyLock::new(Mutex::default);

/// Interrupts the target soon, and again until it ends. If it has been already it has its grace, unless
/// somebody is in a `hurry`. Any thread; never waits.
pub(crate) fn schedule(code: Arc<dyn Interruptible>, target: Target, hurry: bool) {
    let gil = code.gil();
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        match queue.pending.iter_mut().find(|known| known.is_for(&code, target)) {
            Some(known) if hurry => known.hurry(),
            Some(_) => (),
            None => queue.pending.push(PendingInterrupt::new(code, target)),
        }
        queue.thread.unpark();
        return;
    }
    let spawned = os_thread::spawn("py_interrupt", move || run(gil));
    // Without a thread to spare the job runs on; its caller has been answered all the same.
    if let Ok(thread) = spawned {
        let thread = thread.thread().clone();
        queues.insert(gil, Queue { pending: vec![PendingInterrupt::new(code, target)], thread });
    }
}

/// Something of a context that was interrupted has ended: nobody has to wait for its next look. The
/// address is that of the code.
pub(crate) fn forget_ended(code: *const (), gil: Gil) {
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        queue.pending.retain(|PendingInterrupt { code: known, target, .. }| {
            Arc::as_ptr(known).cast() != code || known.mark_and_check(*target)
        });
        queue.thread.unpark();
    }
}

fn run(gil: Gil) {
    loop {
        let due = take_due(gil);
        // Those in the main interpreter at one go: it takes getting the GIL once.
        let (mut main, mut others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|interrupt| interrupt.code.is_in_main());
        if !main.is_empty() {
            // SAFETY: this thread has no state.
            unsafe {
                interpreter::with_main_attached(|| main.iter_mut().for_each(PendingInterrupt::act))
            };
        }
        for interrupt in &mut others {
            let code = Arc::clone(&interrupt.code);
            code.with_attached(&mut || interrupt.act());
        }
        note_done(gil, main.into_iter().chain(others));
        match next_due(gil) {
            Some(due) => std::thread::park_timeout(due.saturating_duration_since(Instant::now())),
            None => return,
        }
    }
}

/// Takes over what has been done. What was asked for meanwhile by somebody in a hurry stays.
fn note_done(gil: Gil, done: impl Iterator<Item = PendingInterrupt>) {
    let mut queues = QUEUES.lock();
    let Some(queue) = queues.get_mut(&gil) else { return };
    for interrupt in done {
        let known =
            queue.pending.iter_mut().find(|known| known.is_for(&interrupt.code, interrupt.target));
        if let Some(known) = known
            && known.since == interrupt.since
        {
            *known = interrupt;
        }
    }
}

/// What needs the GIL now. What has ended is forgotten.
fn take_due(gil: Gil) -> Vec<PendingInterrupt> {
    let mut queues = QUEUES.lock();
    let Some(queue) = queues.get_mut(&gil) else { return Vec::new() };
    let now = Instant::now();
    let mut due = Vec::new();
    queue.pending.retain_mut(|interrupt| {
        if interrupt.due > now {
            return true;
        }
        let runs = interrupt.code.mark_and_check(interrupt.target);
        if runs && interrupt.is_ripe() {
            // Until it is known better. Also for an interpreter that has just ended.
            interrupt.look_again();
            due.push(interrupt.clone());
        }
        runs
    });
    due
}

/// When to look again. `None`: never, this thread is no longer known.
fn next_due(gil: Gil) -> Option<Instant> {
    let mut queues = QUEUES.lock();
    let next = queues.get(&gil)?.pending.iter().map(|interrupt| interrupt.due).min();
    if next.is_none() {
        queues.remove(&gil);
    }
    next
}
