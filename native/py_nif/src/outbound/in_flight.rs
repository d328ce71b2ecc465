//! How much a thread or job has sent to the processes of [`super::services`] that they have not
//! acknowledged: the in-flight window.
//!
//! It bounds their mailboxes: a thread with too many messages in flight waits. And it tells when a
//! job's output has arrived, before which the job isn't answered.
//!
//! Text is counted per job, because the group leader of that job's caller may be slow or never
//! answer. Everything else is counted per thread.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustler::sys::{ErlNifEnv, ErlNifTerm};
use rustler::{Encoder, Env, Resource, ResourceArc};

use super::services;

/// How many messages of each kind, and bytes of text, may be in flight.
const MAX_MESSAGES: usize = 5_000;
const MAX_BYTES: usize = 1 << 20;
/// How long a job waits for its log events to be passed on, and a thread with too many of them in
/// flight for the next one.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a thread that waits checks whether it has been interrupted.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Whether a handler of `logger` has kept a thread waiting for [`LOG_TIMEOUT`]. Until the process
/// that passes events on has caught up, no thread waits for it.
static LOG_IS_LATE: AtomicBool = AtomicBool::new(false);
/// How many events were dropped meanwhile.
static DROPPED_EVENTS: AtomicUsize = AtomicUsize::new(0);

/// How much is in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Unacked {
    /// Texts or log events that haven't been passed on.
    messages: usize,
    /// Messages to other nodes that haven't been passed on.
    sends: usize,
    /// Text that its group leader hasn't acknowledged.
    bytes: usize,
    /// The [`services::generation`] in which it was sent.
    generation: usize,
}

/// The counts of one thread, or of one job's text.
pub(crate) struct InFlight {
    unacked: Mutex<Unacked>,
    changed: Condvar,
}

#[rustler::resource_impl]
impl Resource for InFlight {}

// A panic leaves the counts as they were: each change is one addition.
impl std::panic::RefUnwindSafe for InFlight {}

thread_local! {
    static OWN: ResourceArc<InFlight> = ResourceArc::new(InFlight::new());
    /// Whether this thread has ever sent anything.
    static USED: Cell<bool> = const { Cell::new(false) };
}

/// A message of a thread that is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MessageKind {
    LogEvent,
    RemoteSend,
}

/// This thread's counts as a term, for a message that is going to be counted. A thread that is just
/// ending may have none any more, and doesn't wait for anything either.
pub(crate) fn term(env: *mut ErlNifEnv) -> ErlNifTerm {
    let in_flight =
        OWN.try_with(ResourceArc::clone).unwrap_or_else(|_| ResourceArc::new(InFlight::new()));
    to_term(&in_flight, env)
}

fn to_term(in_flight: &ResourceArc<InFlight>, env: *mut ErlNifEnv) -> ErlNifTerm {
    // SAFETY: the callers' environments belong to the current thread.
    in_flight.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// Counts a message that is about to be sent.
pub(crate) fn add(sent: MessageKind) {
    USED.set(true);
    let _ = OWN.try_with(|in_flight| {
        let mut unacked = in_flight.unacked();
        match sent {
            MessageKind::LogEvent => unacked.messages += 1,
            MessageKind::RemoteSend => unacked.sends += 1,
        }
    });
}

/// Uncounts a message: it could not be sent.
pub(crate) fn uncount(sent: MessageKind) {
    let (messages, sends) = match sent {
        MessageKind::LogEvent => (1, 0),
        MessageKind::RemoteSend => (0, 1),
    };
    let _ = OWN.try_with(|in_flight| in_flight.ack(messages, sends, 0));
}

/// Whether this thread has too many messages to other nodes in flight.
pub(crate) fn has_too_many_sends() -> bool {
    USED.get() && OWN.with(|in_flight| in_flight.unacked().sends > MAX_MESSAGES)
}

/// Whether this thread has too many log events in flight.
pub(crate) fn has_too_many_events() -> bool {
    USED.get() && OWN.with(|in_flight| in_flight.unacked().messages > MAX_MESSAGES)
}

/// Whether an event is to be dropped, and counts it then: this thread has too many in flight, and
/// the log is late.
pub(crate) fn drops_event() -> bool {
    let drops = log_is_late() && has_too_many_events();
    if drops {
        DROPPED_EVENTS.fetch_add(1, Ordering::Relaxed);
    }
    drops
}

/// Whether no thread should wait for the log.
pub(crate) fn log_is_late() -> bool {
    LOG_IS_LATE.load(Ordering::Acquire)
}

/// The process that passes events on has caught up, or a new one begins. How many events were
/// dropped.
pub(crate) fn log_caught_up() -> usize {
    LOG_IS_LATE.store(false, Ordering::Release);
    DROPPED_EVENTS.swap(0, Ordering::Relaxed)
}

/// Whether this thread has messages to other nodes in flight.
pub(crate) fn has_sends() -> bool {
    USED.get() && OWN.with(|in_flight| in_flight.unacked().sends > 0)
}

/// Waits until this thread has not too many messages to other nodes in flight, or `stop`. Not
/// attached.
pub(crate) fn wait_for_send_capacity(stop: impl Fn() -> bool) {
    OWN.with(|in_flight| in_flight.wait(|unacked| unacked.sends <= MAX_MESSAGES, stop));
}

/// The same for log events. It waits only as long as some are passed on. Not attached.
pub(crate) fn wait_for_log_capacity(stop: impl Fn() -> bool) {
    let fewest = Cell::new((usize::MAX, Instant::now()));
    let done = |unacked: &Unacked| {
        if unacked.messages < fewest.get().0 {
            fewest.set((unacked.messages, Instant::now()));
        } else if fewest.get().1.elapsed() > LOG_TIMEOUT {
            LOG_IS_LATE.store(true, Ordering::Release);
        }
        unacked.messages <= MAX_MESSAGES
    };
    OWN.with(|in_flight| in_flight.wait(done, || stop() || log_is_late()));
}

/// Waits until all messages to other nodes have been passed on, or `stop`. Not attached.
pub(crate) fn wait_for_sends(stop: impl Fn() -> bool) {
    OWN.with(|in_flight| in_flight.wait(|unacked| unacked.sends == 0, stop));
}

/// Waits until log events have been passed on, but at most so long. `true`: they have. Not
/// attached.
pub(crate) fn wait_for_events(at_most: Duration) -> bool {
    let began = Instant::now();
    OWN.with(|in_flight| {
        let stop = || log_is_late() || began.elapsed() > at_most;
        in_flight.wait(|unacked| unacked.messages == 0, stop);
        in_flight.unacked().messages == 0
    })
}

/// The same at a job's end. After a wait in vain, no thread waits until the log has caught up.
pub(crate) fn wait_for_last_events() {
    if !wait_for_events(LOG_TIMEOUT) {
        LOG_IS_LATE.store(true, Ordering::Release);
    }
}

/// The counts of a job's text, made when the job first prints.
#[derive(Default)]
pub(crate) struct OutputInFlight(OnceCell<ResourceArc<InFlight>>);

impl OutputInFlight {
    fn get(&self) -> &ResourceArc<InFlight> {
        self.0.get_or_init(|| ResourceArc::new(InFlight::new()))
    }

    /// Counts text that is about to be sent.
    pub(crate) fn add(&self, bytes: usize) {
        let mut unacked = self.get().unacked();
        unacked.messages += 1;
        unacked.bytes += bytes;
    }

    /// Uncounts text: it could not be sent.
    pub(crate) fn uncount(&self, bytes: usize) {
        self.get().ack(1, 0, bytes);
    }

    /// Itself as a term, for a message with text that is counted.
    pub(crate) fn term(&self, env: *mut ErlNifEnv) -> ErlNifTerm {
        to_term(self.get(), env)
    }

    /// Whether too much is in flight.
    pub(crate) fn is_full(&self) -> bool {
        self.0.get().is_some_and(|in_flight| in_flight.unacked().is_full())
    }

    /// Waits until it isn't, or `stop`. Not attached.
    pub(crate) fn wait_for_capacity(&self, stop: impl Fn() -> bool) {
        self.get().wait(|unacked| !unacked.is_full(), stop);
    }

    /// Waits until all text has been passed on, but at most so long. Not attached.
    pub(crate) fn wait_for_messages(&self, at_most: Duration) {
        if let Some(in_flight) = self.0.get() {
            in_flight.wait_for_messages(at_most);
        }
    }
}

impl Unacked {
    /// Of a job's text.
    fn is_full(&self) -> bool {
        self.messages > MAX_MESSAGES || self.bytes > MAX_BYTES
    }
}

impl InFlight {
    fn new() -> Self {
        InFlight { unacked: Mutex::new(Unacked::default()), changed: Condvar::new() }
    }

    /// The counts, without messages to a process that no longer serves.
    fn unacked(&self) -> parking_lot::MutexGuard<'_, Unacked> {
        let mut unacked = self.unacked.lock();
        unacked.reset_if_restarted();
        unacked
    }

    fn wait(&self, done: impl Fn(&Unacked) -> bool, stop: impl Fn() -> bool) {
        let mut unacked = self.unacked();
        while !done(&unacked) && !stop() {
            self.changed.wait_for(&mut unacked, CHECK_INTERVAL);
            unacked.reset_if_restarted();
        }
    }

    fn wait_for_messages(&self, at_most: Duration) {
        let began = Instant::now();
        self.wait(|unacked| unacked.messages == 0, || began.elapsed() > at_most);
    }

    /// So much has been passed on.
    pub(crate) fn ack(&self, messages: usize, sends: usize, bytes: usize) {
        let mut unacked = self.unacked.lock();
        unacked.messages = unacked.messages.saturating_sub(messages);
        unacked.sends = unacked.sends.saturating_sub(sends);
        unacked.bytes = unacked.bytes.saturating_sub(bytes);
        drop(unacked);
        self.changed.notify_all();
    }
}

impl Unacked {
    /// Starts over if a process has begun to serve since: its predecessor's mailbox is lost.
    fn reset_if_restarted(&mut self) {
        let generation = services::generation();
        if self.generation != generation {
            *self = Unacked { generation, ..Unacked::default() };
        }
    }
}
