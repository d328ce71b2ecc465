//! Striking jobs that are to stop, over and over until they do.
//!
//! A blow needs the GIL of its target's interpreter, which may take a while, and for ever while C
//! code keeps it. So there is one thread per GIL for as long as something under it is to be struck:
//! many timeouts at once need no more threads than one, and a GIL that is stuck holds up nobody
//! who doesn't need it anyway.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::interpreter;
use crate::mailbox::Seq;

/// What a blow is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The job of that number.
    Job(Seq),
    /// What runs that is no job.
    Chore,
}

/// A context some of whose code is to stop.
pub(crate) trait Victim: Send + Sync {
    /// Whether the target still runs. Called before each blow.
    fn aim(&self, target: Target) -> bool;
    /// Strikes the target if it still runs. The thread is attached to the context's interpreter.
    fn strike(&self, target: Target);
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

/// How often a target is struck, at first and once it has not stopped for `PATIENCE`: then it is
/// stuck in C, where one blow is as good as many, or catches every one.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Order {
    victim: Arc<dyn Victim>,
    target: Target,
    since: Instant,
    due: Instant,
}

impl Order {
    fn is_for(&self, victim: &Arc<dyn Victim>, target: Target) -> bool {
        Arc::ptr_eq(&self.victim, victim) && self.target == target
    }

    fn postpone(&mut self) {
        let now = Instant::now();
        let pause = if now - self.since < PATIENCE { OFTEN } else { SELDOM };
        self.due = now + pause;
    }
}

/// What is to be struck under one GIL, and the thread that does it.
struct Queue {
    orders: Vec<Order>,
    thread: std::thread::Thread,
}

static QUEUES: LazyLock<Mutex<HashMap<Gil, Queue>>> = LazyLock::new(Mutex::default);

/// Strikes the target soon, and again until it ends. Any thread; never waits.
pub(crate) fn strike(victim: Arc<dyn Victim>, target: Target) {
    let gil = victim.gil();
    let now = Instant::now();
    let order = Order { victim, target, since: now, due: now };
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&gil) {
        match queue.orders.iter_mut().find(|known| known.is_for(&order.victim, target)) {
            Some(known) => known.due = now,
            None => queue.orders.push(order),
        }
        queue.thread.unpark();
        return;
    }
    let spawned =
        std::thread::Builder::new().name("py_interrupt".into()).spawn(move || strike_all(gil));
    // Without a thread to spare the job runs on; its caller has been answered all the same.
    if let Ok(thread) = spawned {
        let thread = thread.thread().clone();
        queues.insert(gil, Queue { orders: vec![order], thread });
    }
}

fn strike_all(gil: Gil) {
    loop {
        let due = due_orders(gil);
        // Those in the main interpreter at one go: it takes getting the GIL once.
        let (main, others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|order| order.victim.is_in_main());
        if !main.is_empty() {
            let strike_main = || main.iter().for_each(|order| order.victim.strike(order.target));
            // SAFETY: this thread has no state.
            unsafe { interpreter::visit_main(strike_main) };
        }
        for order in others {
            order.victim.attached(&mut || order.victim.strike(order.target));
        }
        match next_due(gil) {
            Some(due) => std::thread::park_timeout(due.saturating_duration_since(Instant::now())),
            None => return,
        }
    }
}

/// What is to be struck now. What has ended is forgotten.
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
        if runs {
            order.postpone();
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
