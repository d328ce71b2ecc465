//! Contexts whose thread doesn't return from C code: found by the watchdog, replaced on request.
//!
//! A job that was interrupted and hasn't ended when `stuck_after` is over makes its context stuck.
//! So does housekeeping: once it has blocked jobs for that long it is interrupted, and after as
//! long again the context is stuck.
//!
//! The owner is notified, and may start a replacement: a context like this one, with a thread, an
//! interpreter or namespace, and a number of its own. Once that serves, it takes over what waits,
//! in order and under the same numbers, and what comes. The stuck thread is abandoned. When it
//! returns it finds its mailbox closed, and ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::Job;
use super::{Config, Context, Owner};
use crate::interrupt::interrupter::Target;
use crate::sync::background::BACKGROUND;

/// Among what has been reported stuck, set in numbers of direct runs.
const DIRECT_BIT: u64 = 1 << 62;

impl<J: Job> Context<J> {
    /// Whether what it runs should have ended long ago.
    pub fn is_stuck(&self) -> bool {
        let Some(grace) = self.config.stuck_after else { return false };
        let interrupted_for = match self.mailbox.current() {
            Some(_) => self.mailbox.interrupted_for(),
            None => self.direct_interrupted_for().or_else(|| self.housekeeping.interrupted_for()),
        };
        interrupted_for.is_some_and(|age| age > grace)
    }

    /// As [`Context::is_stuck`]. If it isn't, what is found stuck next will be reported again, also
    /// if that is the same job: the owner may have found, the first time, that there was nothing to
    /// replace.
    pub fn check_stuck(&self) -> bool {
        let is_stuck = self.is_stuck();
        if !is_stuck {
            self.reported_stuck.store(0, Ordering::Relaxed);
        }
        is_stuck
    }

    /// The watchdog finds it stuck. Notifies the owner, once per job or housekeeping, unless
    /// another context has taken over.
    pub(super) fn report_stuck(&self) {
        let what = match (self.mailbox.current(), self.direct.current()) {
            (Some(seq), _) => seq + 1,
            (None, Some(id)) => DIRECT_BIT | id,
            (None, None) => u64::MAX - self.housekeeping.current_id(),
        };
        let is_new = self.reported_stuck.swap(what, Ordering::Relaxed) != what;
        if is_new && self.successor().is_none() {
            self.owner.stuck();
        }
        if self.is_closed() {
            self.abandon_thread();
        }
    }

    fn abandon_thread(&self) {
        self.quarantined.lock().enter(&self.config.quarantine, &self.counters.abandoned_threads);
    }

    /// Starts the context that is to take over. It waits for [`Context::take_over_by`].
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start_replacement(
        &self,
        preload: Vec<Vec<u8>>,
        owner: Arc<dyn Owner>,
    ) -> io::Result<Arc<Self>> {
        let config = Config { preload, ..self.config.clone() };
        Self::start_with_counters(config, owner, Arc::clone(&self.counters))
    }

    /// Has `to` take over what waits, and what is still to come. Callers of jobs that are stuck
    /// here get an error. `false`: nothing has changed, because the thread has returned in time or
    /// one of the two has been closed.
    pub fn take_over_by(self: &Arc<Self>, to: &Arc<Self>, why: &J::ExitReason) -> bool {
        let running = self.mailbox.running();
        let moved = self.check_stuck()
            && self.mailbox.move_to(&to.mailbox, || {
                // Set once: a mailbox that has been moved is closed.
                let _ = self.successor.set(Arc::clone(to));
            });
        if moved {
            self.abandon_thread();
            self.wake_waiters_in_background(usize::MAX);
            for (seq, job) in running {
                let (context, why) = (Arc::clone(self), why.clone());
                BACKGROUND.spawn(move || {
                    if job.state().was_interrupted() {
                        job.reply_interrupted()
                    } else {
                        job.reply_context_died(&why)
                    }
                    // An outer job that waits would go on, and no caller could stop it any more.
                    context.interrupt_in_background(Target::Job(seq));
                });
            }
            self.kill_direct(why.clone());
            self.end_tasks(why.clone());
            if self.housekeeping.kill() {
                self.interrupt_now(Target::Housekeeping);
            }
        }
        moved
    }

    /// The context that has taken over.
    pub(super) fn successor(&self) -> Option<&Arc<Self>> {
        self.successor.get()
    }
}
