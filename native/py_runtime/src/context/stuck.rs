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
use crate::sync::background::SOON;

impl<J: Job> Context<J> {
    /// Whether what it runs should have ended long ago.
    pub fn is_stuck(&self) -> bool {
        let Some(grace) = self.config.stuck_after else { return false };
        let struck = match self.mailbox.innermost() {
            Some(_) => self.mailbox.struck_for(),
            None => self.chores.struck_for(),
        };
        let is_stuck = struck.is_some_and(|long| long > grace);
        if !is_stuck {
            // If the same job is stuck again, the owner has to be told again: it may have found, when it
            // was told, that there was nothing to replace.
            self.stuck_at.store(0, Ordering::Relaxed);
        }
        is_stuck
    }

    /// The watcher finds it stuck. Tells the owner, once per job or chore; not of what is still to end when
    /// another has taken over.
    pub(super) fn note_stuck(&self) {
        let innermost = self.mailbox.innermost();
        let what = innermost.map_or_else(|| u64::MAX - self.chores.number(), |seq| seq + 1);
        let is_new = self.stuck_at.swap(what, Ordering::Relaxed) != what;
        if is_new && self.successor().is_none() {
            self.owner.stuck();
        }
        if self.is_closed() {
            self.leave_behind();
        }
    }

    fn leave_behind(&self) {
        self.bed.lock().take(&self.config.ward, &self.counters.left_behind);
    }

    /// Starts the context that is to take over. It waits for [`Context::hand_over`].
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start_replacement(
        &self,
        id: u64,
        preload: Vec<Vec<u8>>,
        owner: Arc<dyn Owner>,
    ) -> io::Result<Arc<Self>> {
        let config = Config { id, preload, ..self.config.clone() };
        Self::start_counting(config, owner, Arc::clone(&self.counters))
    }

    /// Hands what waits, and what is still to come, over to `to`; whoever waits for a job that is
    /// stuck here is told so. `false`: nothing has changed, because the thread has come back in time
    /// or one of the two has been closed.
    pub fn hand_over(self: &Arc<Self>, to: &Arc<Self>, why: &J::Death) -> bool {
        let running = self.mailbox.running();
        let moved = self.is_stuck()
            && self.mailbox.move_to(&to.mailbox, || {
                // Set once: a mailbox that has been handed over is closed.
                let _ = self.successor.set(Arc::clone(to));
            });
        if moved {
            self.leave_behind();
            self.admit_soon(usize::MAX);
            for (seq, job) in running {
                let (context, why) = (Arc::clone(self), why.clone());
                SOON.run(move || {
                    if job.state().was_interrupted() {
                        job.interrupted()
                    } else {
                        job.abandon(&why)
                    }
                    // One that waits below would go on, with nobody left who could stop it.
                    context.interrupt_in_background(Target::Job(seq));
                });
            }
            if self.chores.kill() {
                self.interrupt_now(Target::Chore);
            }
        }
        moved
    }

    /// The context that has taken over.
    pub(super) fn successor(&self) -> Option<&Arc<Self>> {
        self.successor.get()
    }
}
