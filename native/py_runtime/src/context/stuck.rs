//! Contexts whose thread doesn't come back from C code: found by the watcher, replaced on request.
//!
//! A job that is struck and hasn't ended when the context's grace is over is taken for stuck, and so is
//! what runs between jobs, or on top of one that waits (it is struck when it has been in the way of jobs
//! for as long). The owner is told, and may start a replacement: a context like this one, with a thread,
//! an interpreter or namespace, and a number of its own. Once that serves, it takes over what waits, in
//! order and under the same numbers, and what comes. The stuck thread is left to itself; when it
//! returns it finds its mailbox closed, and ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Config, Context, Owner};
use crate::context::job::Job;
use crate::interrupt::interrupter::Target;
use crate::sync::background::BACKGROUND;

impl<J: Job> Context<J> {
    /// Whether what it runs should have ended long ago.
    pub fn is_stuck(&self) -> bool {
        let Some(grace) = self.config.stuck_after else { return false };
        let struck = match self.mailbox.current() {
            Some(_) => self.mailbox.interrupted_for(),
            None => self.housekeeping.interrupted_for(),
        };
        let is_stuck = struck.is_some_and(|long| long > grace);
        if !is_stuck {
            // If the same job is stuck again, the owner has to be told again: it may have found, when it
            // was told, that there was nothing to replace.
            self.reported_stuck.store(0, Ordering::Relaxed);
        }
        is_stuck
    }

    /// The watcher finds it stuck. Tells the owner, once per job or chore; not of what is still to end when
    /// another has taken over.
    pub(super) fn report_stuck(&self) {
        let innermost = self.mailbox.current();
        let what =
            innermost.map_or_else(|| u64::MAX - self.housekeeping.current_id(), |seq| seq + 1);
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

    /// Hands what waits, and what is still to come, over to `to`; whoever waits for a job that is
    /// stuck here is told so. `false`: nothing has changed, because the thread has come back in time
    /// or one of the two has been closed.
    pub fn take_over_by(self: &Arc<Self>, to: &Arc<Self>, why: &J::ExitReason) -> bool {
        let running = self.mailbox.running();
        let moved = self.is_stuck()
            && self.mailbox.move_to(&to.mailbox, || {
                // Set once: a mailbox that has been handed over is closed.
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
                    // One that waits below would go on, with nobody left who could stop it.
                    context.interrupt_in_background(Target::Job(seq));
                });
            }
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
