//! Callers that wait for capacity in a context's queue, where its `overload` option has them wait.

use super::job::Job;
use super::{Context, SubmitError, Waiter, WakeWaiter};
use crate::sync::background::BACKGROUND;
use crate::sync::mailbox::Seq;
use crate::sync::wait_queue::WaiterId;

/// What a caller does next whose job was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// There is capacity by now: try again.
    Available,
    /// Wait to be woken, once, unless [`Context::cancel_wait`] comes first.
    Wait(WaiterId),
}

impl<J: Job> Context<J> {
    /// Submits the job of a caller that was woken, before those who still wait for capacity.
    ///
    /// # Errors
    /// As [`Context::submit`].
    pub fn submit_bypassing_waiters(&self, job: J) -> Result<Seq, SubmitError<J>> {
        self.push(job)
    }

    /// Has the caller wait for capacity, in its old place if it has a number.
    pub fn wait_for_capacity(&self, id: Option<WaiterId>, wake: WakeWaiter) -> Capacity {
        let id = self.waiters.push(id, Waiter(wake));
        // Capacity that was freed before that has woken nobody.
        let is_available =
            self.mailbox.waiting() < self.config.max_queue || self.mailbox.is_closed();
        if is_available && self.waiters.remove(id) {
            Capacity::Available
        } else {
            Capacity::Wait(id)
        }
    }

    /// The caller doesn't wait any longer. `false`: it has been woken, or is about to be.
    pub fn cancel_wait(&self, id: WaiterId) -> bool {
        self.waiters.remove(id)
    }

    /// A caller that was woken doesn't want its capacity any more: wakes the next one.
    pub fn wake_next_waiter(&self) {
        self.wake_waiters_in_background(1);
    }

    /// Wakes the first callers, `max` at most. Any thread that isn't a scheduler.
    pub(super) fn wake_waiters(&self, max: usize) {
        if !self.waiters.is_empty() {
            self.waiters.pop_many(max).into_iter().for_each(|Waiter(wake)| wake());
        }
    }

    /// As [`Context::wake_waiters`], on any thread.
    pub(super) fn wake_waiters_in_background(&self, max: usize) {
        if !self.waiters.is_empty() {
            let popped = self.waiters.pop_many(max);
            BACKGROUND.spawn(move || popped.into_iter().for_each(|Waiter(wake)| wake()));
        }
    }
}
