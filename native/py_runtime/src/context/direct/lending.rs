//! The context's thread lends the context while it waits for work.

use std::sync::atomic::Ordering;

use super::state::DirectState;
use super::{is_in_use, is_supported};
use crate::boot::python_threads;
use crate::context::Context;
use crate::context::job::Job;
use crate::context::loop_state::LoopState;
use crate::gil::users::{self, GilUsers, SHARED};

/// The context is lent from here to the drop, by its own thread.
struct Lent<'a>(&'a DirectState);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.lock.acquire();
    }
}

impl<J: Job> Context<J> {
    /// Waits until there is something in the mailbox. Meanwhile callers may run jobs themselves.
    pub(in crate::context) fn wait_for_work(&self, loop_state: &LoopState<'_, J::Local>) {
        self.while_lent(loop_state, || {
            self.wake_waiters(self.config.max_queue);
            loop_state.spin.borrow_mut().wait_until(|| !self.mailbox.looks_empty(), || self.park());
        });
    }

    /// Waits by calling `wait`, detached. Meanwhile callers may run jobs themselves.
    pub(in crate::context) fn while_lent(
        &self,
        loop_state: &LoopState<'_, J::Local>,
        wait: impl FnOnce(),
    ) {
        let lends = self.lends();
        if lends {
            self.prepare_to_lend(loop_state);
        }
        loop_state.idle(|| {
            let _lent = lends.then(|| self.lend());
            wait();
        });
        if lends {
            self.resume_after_lending(loop_state);
        }
    }

    /// The users of its GIL.
    pub(in crate::context) fn gil_users(&self) -> &GilUsers {
        if self.config.mode.shares_gil() { &SHARED } else { &self.own_gil }
    }

    /// Whether its thread lends the context while it has nothing to do.
    fn lends(&self) -> bool {
        is_in_use() && is_supported(self.config.mode)
    }

    /// The context's thread is about to wait, and still attached.
    fn prepare_to_lend(&self, loop_state: &LoopState<'_, J::Local>) {
        let py = loop_state.interpreter.attached();
        python_threads::note(py, self.gil_users());
        if self.config.mode.shares_gil() {
            users::forget_ended_threads(py);
        }
        let variables = loop_state.variables.expect("a context that may lend itself has them");
        variables.exit(py);
        let direct = &self.direct;
        direct.interpreter.store(py.interpreter(), Ordering::Relaxed);
        direct
            .namespace
            .store(std::ptr::from_ref(loop_state.namespace).cast_mut(), Ordering::Relaxed);
        direct
            .local
            .store(std::ptr::from_ref(loop_state.local).cast_mut().cast(), Ordering::Relaxed);
        direct.variables.store(std::ptr::from_ref(variables).cast_mut(), Ordering::Relaxed);
    }

    /// Lends the context until the result is dropped. By its own thread, detached.
    fn lend(&self) -> Lent<'_> {
        self.direct.lock.release();
        Lent(&self.direct)
    }

    /// The context's thread has the context back, and is attached.
    fn resume_after_lending(&self, loop_state: &LoopState<'_, J::Local>) {
        if let Some(variables) = loop_state.variables {
            variables.enter(loop_state.interpreter.attached());
        }
    }
}
