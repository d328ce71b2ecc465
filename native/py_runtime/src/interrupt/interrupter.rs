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
    Chore,
}

/// A context some of whose code is to stop.
pub(crate) trait Victim: Send + Sync {
    /// Whether the target still runs. Called before each look at it.
    fn aim(&self, target: Target) -> bool;
    /// Interrupts the target if it still runs. `false`: not now, it has to be tried again. The thread is
    /// attached to the context's interpreter.
    fn strike(&self, target: Target) -> bool;
    /// Whether the target has still to raise what it was interrupted by. The thread is attached to the
    /// context's interpreter.
    fn has_to_raise(&self, target: Target) -> bool;
    /// How long interrupted code may clean up. `None`: for ever.
    fn grace(&self) -> Option<Duration>;
    /// Whether the context is to end, with all that it runs.
    fn is_to_end(&self) -> bool;
    /// Runs `blow` attached to the context's interpreter, unless that has ended.
    fn attached(&self, blow: &mut dyn FnMut());
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
/// and once that has lasted for `PATIENCE`: then it is stuck in C. The first is also the time between two
/// interrupts of what has had its grace in a context that is to end.
const OFTEN: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);
/// And the time between two interrupts of other code that has had its grace.
const SELDOM: Duration = Duration::from_secs(1);

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
struct Order {
    victim: Arc<dyn Victim>,
    target: Target,
    /// When it was last asked for.
    since: Instant,
    /// Whether the grace for cleaning up has been given.
    had_grace: bool,
    step: Step,
    due: Instant,
}

impl Order {
    fn new(victim: Arc<dyn Victim>, target: Target) -> Self {
        let now = Instant::now();
        Order { victim, target, since: now, had_grace: false, step: Step::Interrupt, due: now }
    }

    fn is_for(&self, victim: &Arc<dyn Victim>, target: Target) -> bool {
        Arc::ptr_eq(&self.victim, victim) && self.target == target
    }

    /// Asked for once more, by somebody who doesn't want to wait for its grace.
    fn hurry(&mut self) {
        let now = Instant::now();
        (self.since, self.step, self.due) = (now, Step::Interrupt, now);
    }

    fn is_stuck(&self) -> bool {
        self.since.elapsed() >= PATIENCE
    }

    fn look_again(&mut self) {
        self.due = Instant::now() + if self.is_stuck() { SELDOM } else { OFTEN };
    }

    /// The exception has been raised.
    fn leave_alone(&mut self) {
        let pause = match std::mem::replace(&mut self.had_grace, true) {
            false => self.victim.grace(),
            true if self.victim.is_to_end() && !self.is_stuck() => Some(OFTEN),
            true => Some(SELDOM),
        };
        self.step = Step::LeaveAlone(pause.map(|pause| Instant::now() + pause));
        self.postpone();
    }

    /// While it is left alone it is only looked at whether it has ended.
    fn postpone(&mut self) {
        let look = Instant::now() + SELDOM;
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
            if self.victim.strike(self.target) {
                self.step = Step::SeeRaised;
            }
            self.look_again();
        } else if self.victim.has_to_raise(self.target) {
            self.look_again();
        } else {
            self.leave_alone();
        }
    }
}

/// What is to be interrupted under one GIL, and the thread that does it.
struct Queue {
    orders: Vec<Order>,
    thread: std::thread::Thread,
}

static QUEUES: LazyLock<Mutex<HashMap<Gil, Queue>>> = LazyLock::new(Mutex::default);

/// Interrupts the target soon, and again until it ends. If it has been already it has its grace, unless
/// somebody is in a `hurry`. Any thread; never waits.
pub(crate) fn strike(victim: Arc<dyn Victim>, target: Target, hurry: bool) {
    let gil = victim.gil();
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        match queue.orders.iter_mut().find(|known| known.is_for(&victim, target)) {
            Some(known) if hurry => known.hurry(),
            Some(_) => (),
            None => queue.orders.push(Order::new(victim, target)),
        }
        queue.thread.unpark();
        return;
    }
    let spawned = os_thread::spawn("py_interrupt", move || strike_all(gil));
    // Without a thread to spare the job runs on; its caller has been answered all the same.
    if let Ok(thread) = spawned {
        let thread = thread.thread().clone();
        queues.insert(gil, Queue { orders: vec![Order::new(victim, target)], thread });
    }
}

/// Something of a context that was interrupted has ended: nobody has to wait for its next look. The
/// address is that of the victim.
pub(crate) fn ended(victim: *const (), gil: Gil) {
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        queue.orders.retain(|Order { victim: known, target, .. }| {
            Arc::as_ptr(known).cast() != victim || known.aim(*target)
        });
        queue.thread.unpark();
    }
}

fn strike_all(gil: Gil) {
    loop {
        let due = due_orders(gil);
        // Those in the main interpreter at one go: it takes getting the GIL once.
        let (mut main, mut others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|order| order.victim.is_in_main());
        if !main.is_empty() {
            // SAFETY: this thread has no state.
            unsafe { interpreter::visit_main(|| main.iter_mut().for_each(Order::act)) };
        }
        for order in &mut others {
            let victim = Arc::clone(&order.victim);
            victim.attached(&mut || order.act());
        }
        note_done(gil, main.into_iter().chain(others));
        match next_due(gil) {
            Some(due) => std::thread::park_timeout(due.saturating_duration_since(Instant::now())),
            None => return,
        }
    }
}

/// Takes over what has been done. What was asked for meanwhile by somebody in a hurry stays.
fn note_done(gil: Gil, done: impl Iterator<Item = Order>) {
    let mut queues = QUEUES.lock();
    let Some(queue) = queues.get_mut(&gil) else { return };
    for order in done {
        let known = queue.orders.iter_mut().find(|known| known.is_for(&order.victim, order.target));
        if let Some(known) = known
            && known.since == order.since
        {
            *known = order;
        }
    }
}

/// What needs the GIL now. What has ended is forgotten.
fn due_orders(gil: Gil) -> Vec<Order> {
    let mut queues = QUEUES.lock();
    let Some(queue) = queues.get_mut(&gil) else { return Vec::new() };
    let now = Instant::now();
    let mut due = Vec::new();
    queue.orders.retain_mut(|order| {
        if order.due > now {
            return true;
        }
        let runs = order.victim.aim(order.target);
        if runs && order.is_ripe() {
            // Until it is known better. Also for an interpreter that has just ended.
            order.look_again();
            due.push(order.clone());
        }
        runs
    });
    due
}

/// When to look again. `None`: never, this thread is no longer known.
fn next_due(gil: Gil) -> Option<Instant> {
    let mut queues = QUEUES.lock();
    let next = queues.get(&gil)?.orders.iter().map(|order| order.due).min();
    if next.is_none() {
        queues.remove(&gil);
    }
    next
}
