//! What a thread or job has sent to the processes of [`crate::outbound::services`] and they haven't dealt with yet.
//!
//! It bounds what can pile up in their mailboxes: who is too far ahead waits. And it tells when a
//! job's output has reached its destination, before which the job isn't answered.
//!
//! Text is counted per job, because it is the leader of that job's caller that may take its time, or
//! never answer; the rest per thread.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustler::sys::{ErlNifEnv, ErlNifTerm};
use rustler::{Encoder, Env, Resource, ResourceArc};

use super::services;

/// How many messages of each kind, and bytes of text, may be on their way.
const MOST_MESSAGES: usize = 5_000;
const MOST_BYTES: usize = 1 << 20;
/// How long a job waits for its log events to be passed on, and a thread with too many on their way
/// for one of them to be.
const LOG_PATIENCE: Duration = Duration::from_secs(5);
/// How long a thread waits before it looks whether it has been interrupted.
const LOOK: Duration = Duration::from_millis(20);

/// Whether a handler of `logger` has held somebody up for [`LOG_PATIENCE`]. Until the process that
/// passes events on has caught up nobody waits for it.
static LOG_IS_LATE: AtomicBool = AtomicBool::new(false);
/// How many events were dropped meanwhile.
static DROPPED_EVENTS: AtomicUsize = AtomicUsize::new(0);

/// Counts of what is on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Texts or log events that haven't been passed on.
    messages: usize,
    /// Messages to other nodes that haven't been passed on.
    sends: usize,
    /// Text that its group leader hasn't acknowledged.
    bytes: usize,
    /// Of [`services::generation`].
    generation: usize,
}

/// The counts of one thread, or of one job's text.
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[rustler::resource_impl]
impl Resource for Tally {}

// A panic leaves the counts as they were: each change is one addition.
impl std::panic::RefUnwindSafe for Tally {}

thread_local! {
    static OWN: ResourceArc<Tally> = ResourceArc::new(Tally::new());
    /// Whether this thread has ever sent anything.
    static USED: Cell<bool> = const { Cell::new(false) };
}

/// One more thing on its way, of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sent {
    Event,
    Send,
}

/// This thread's tally as a term, for a message that is going to be counted. A thread that is just
/// ending may have none any more, and doesn't wait for anything either.
pub(crate) fn term(env: *mut ErlNifEnv) -> ErlNifTerm {
    let tally = OWN.try_with(ResourceArc::clone).unwrap_or_else(|_| ResourceArc::new(Tally::new()));
    to_term(&tally, env)
}

fn to_term(tally: &ResourceArc<Tally>, env: *mut ErlNifEnv) -> ErlNifTerm {
    // SAFETY: the callers' environments belong to the current thread.
    tally.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// Counts what is about to be sent.
pub(crate) fn add(sent: Sent) {
    USED.set(true);
    let _ = OWN.try_with(|tally| {
        let mut counts = tally.counts();
        match sent {
            Sent::Event => counts.messages += 1,
            Sent::Send => counts.sends += 1,
        }
    });
}

/// Takes back what was counted: it could not be sent.
pub(crate) fn take_back(sent: Sent) {
    let (messages, sends) = match sent {
        Sent::Event => (1, 0),
        Sent::Send => (0, 1),
    };
    let _ = OWN.try_with(|tally| tally.subtract(messages, sends, 0));
}

/// Whether this thread is too far ahead with messages to other nodes.
pub(crate) fn has_too_many_sends() -> bool {
    USED.get() && OWN.with(|tally| tally.counts().sends > MOST_MESSAGES)
}

/// Whether this thread is too far ahead with log events.
pub(crate) fn has_too_many_events() -> bool {
    USED.get() && OWN.with(|tally| tally.counts().messages > MOST_MESSAGES)
}

/// Whether an event is to be dropped, and counts it then: this thread is too far ahead, and the log
/// late.
pub(crate) fn drops_event() -> bool {
    let drops = log_is_late() && has_too_many_events();
    if drops {
        DROPPED_EVENTS.fetch_add(1, Ordering::Relaxed);
    }
    drops
}

/// Whether nobody should wait for the log.
pub(crate) fn log_is_late() -> bool {
    LOG_IS_LATE.load(Ordering::Acquire)
}

/// The process that passes events on has caught up, or a new one begins. How many events were
/// dropped.
pub(crate) fn log_caught_up() -> usize {
    LOG_IS_LATE.store(false, Ordering::Release);
    DROPPED_EVENTS.swap(0, Ordering::Relaxed)
}

/// Whether messages to other nodes are on their way.
pub(crate) fn has_sends() -> bool {
    USED.get() && OWN.with(|tally| tally.counts().sends > 0)
}

/// Waits until this thread isn't too far ahead with messages to other nodes, or `stop`. Not
/// attached.
pub(crate) fn wait_for_room_to_send(stop: impl Fn() -> bool) {
    OWN.with(|tally| tally.wait(|counts| counts.sends <= MOST_MESSAGES, stop));
}

/// The same for log events, which are waited for only as long as some are passed on. Not attached.
pub(crate) fn wait_for_room_in_log(stop: impl Fn() -> bool) {
    let fewest = Cell::new((usize::MAX, Instant::now()));
    let done = |counts: &Counts| {
        if counts.messages < fewest.get().0 {
            fewest.set((counts.messages, Instant::now()));
        } else if fewest.get().1.elapsed() > LOG_PATIENCE {
            LOG_IS_LATE.store(true, Ordering::Release);
        }
        counts.messages <= MOST_MESSAGES
    };
    OWN.with(|tally| tally.wait(done, || stop() || log_is_late()));
}

/// Waits until all messages to other nodes have been passed on, or `stop`. Not attached.
pub(crate) fn wait_for_sends(stop: impl Fn() -> bool) {
    OWN.with(|tally| tally.wait(|counts| counts.sends == 0, stop));
}

/// Waits until log events have been passed on; not for ever. Whether they have. Not attached.
pub(crate) fn wait_for_events(at_most: Duration) -> bool {
    let began = Instant::now();
    OWN.with(|tally| {
        let stop = || log_is_late() || began.elapsed() > at_most;
        tally.wait(|counts| counts.messages == 0, stop);
        tally.counts().messages == 0
    })
}

/// The same at a job's end. Once that has been in vain, nobody waits until the log has caught up.
pub(crate) fn wait_for_last_events() {
    if !wait_for_events(LOG_PATIENCE) {
        LOG_IS_LATE.store(true, Ordering::Release);
    }
}

/// The tally of a job's text, which counts nothing before it is used.
#[derive(Default)]
pub(crate) struct TextTally(OnceCell<ResourceArc<Tally>>);

impl TextTally {
    fn get(&self) -> &ResourceArc<Tally> {
        self.0.get_or_init(|| ResourceArc::new(Tally::new()))
    }

    /// Counts text that is about to be sent.
    pub(crate) fn add(&self, bytes: usize) {
        let mut counts = self.get().counts();
        counts.messages += 1;
        counts.bytes += bytes;
    }

    /// Takes back what was counted: it could not be sent.
    pub(crate) fn take_back(&self, bytes: usize) {
        self.get().subtract(1, 0, bytes);
    }

    /// Itself as a term, for a message with text that is counted.
    pub(crate) fn term(&self, env: *mut ErlNifEnv) -> ErlNifTerm {
        to_term(self.get(), env)
    }

    /// Whether too much is on its way.
    pub(crate) fn is_full(&self) -> bool {
        self.0.get().is_some_and(|tally| tally.counts().is_full())
    }

    /// Waits until it isn't, or `stop`. Not attached.
    pub(crate) fn wait_for_room(&self, stop: impl Fn() -> bool) {
        self.get().wait(|counts| !counts.is_full(), stop);
    }

    /// Waits until all text has been passed on; not for ever. Not attached.
    pub(crate) fn wait_for_messages(&self, at_most: Duration) {
        if let Some(tally) = self.0.get() {
            tally.wait_for_messages(at_most);
        }
    }
}

impl Counts {
    /// Of a job's text.
    fn is_full(&self) -> bool {
        self.messages > MOST_MESSAGES || self.bytes > MOST_BYTES
    }
}

impl Tally {
    fn new() -> Self {
        Tally { counts: Mutex::new(Counts::default()), changed: Condvar::new() }
    }

    /// The counts, none of them in the name of a process that no longer serves.
    fn counts(&self) -> parking_lot::MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock();
        counts.renew();
        counts
    }

    fn wait(&self, done: impl Fn(&Counts) -> bool, stop: impl Fn() -> bool) {
        let mut counts = self.counts();
        while !done(&counts) && !stop() {
            self.changed.wait_for(&mut counts, LOOK);
            counts.renew();
        }
    }

    fn wait_for_messages(&self, at_most: Duration) {
        let began = Instant::now();
        self.wait(|counts| counts.messages == 0, || began.elapsed() > at_most);
    }

    /// So much has been passed on.
    pub(crate) fn subtract(&self, messages: usize, sends: usize, bytes: usize) {
        let mut counts = self.counts.lock();
        counts.messages = counts.messages.saturating_sub(messages);
        counts.sends = counts.sends.saturating_sub(sends);
        counts.bytes = counts.bytes.saturating_sub(bytes);
        drop(counts);
        self.changed.notify_all();
    }
}

impl Counts {
    /// Starts over if a process has begun to serve since: what its predecessor had is lost.
    fn renew(&mut self) {
        let generation = services::generation();
        if self.generation != generation {
            *self = Counts { generation, ..Counts::default() };
        }
    }
}
