//! Stopping what a context's thread runs, from other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pyo3_ffi as ffi;

use super::Context;
use crate::interpreter;
use crate::job::Job;
use crate::mailbox::Seq;
use crate::nudge;

/// How often a job that won't stop is interrupted again, and how many times before it is left
/// alone as stuck in C.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);
const INTERRUPT_TIMES: u32 = 250;

/// What a blow is meant for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Job(Seq),
    Preload,
}

impl<J: Job> Context<J> {
    /// Strikes the target until it ends. On a thread of its own, because attaching to a busy
    /// interpreter takes a while, and a stuck one for ever.
    pub(super) fn interrupt_in_background(self: &Arc<Self>, target: Target) {
        let context = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("py_interrupt".into()).spawn(move || {
            for _ in 0..INTERRUPT_TIMES {
                if !context.strike(target) {
                    return;
                }
                std::thread::sleep(INTERRUPT_EVERY);
            }
        });
        // Without a thread to spare the job runs on; its caller has been answered all the same.
        drop(spawned);
    }

    /// Raises `KeyboardInterrupt` in the target. `false`: it has ended.
    fn strike(&self, target: Target) -> bool {
        let is_running = match target {
            Target::Job(seq) => self.mailbox.running().iter().any(|(running, _)| *running == seq),
            Target::Preload => self.preload.is_running(),
        };
        if !is_running {
            return false;
        }
        let gate = self.gate.lock();
        let Some(interpreter) = *gate else { return false };
        let ident = self.ident.load(Ordering::Acquire);
        // SAFETY: the open gate keeps the interpreter alive; this is a thread without a state.
        unsafe {
            interpreter::visit(interpreter, || {
                let blow = || set_async_exception(ident, ffi::PyExc_KeyboardInterrupt);
                match target {
                    Target::Job(seq) => drop(self.mailbox.strike(seq, blow)),
                    Target::Preload => self.preload.strike(blow),
                }
            });
        }
        true
    }
}

impl<J: Job> nudge::Holder for Context<J> {
    fn interpreter_number(&self) -> i64 {
        self.interpreter_number()
    }

    fn is_running_for(&self, long: Duration) -> bool {
        self.busy_for().is_some_and(|busy| busy > long) || self.preload.is_running()
    }

    fn nudge(&self) {
        let gate = self.gate.lock();
        if let Some(interpreter) = *gate {
            // SAFETY: the open gate keeps the interpreter alive; this is a thread without a state.
            unsafe { interpreter::visit(interpreter, || ()) };
        }
    }
}

/// Sets (or with null clears) the exception that a thread of this interpreter raises at its next
/// bytecode. The caller is attached to the interpreter.
pub(super) fn set_async_exception(ident: u64, exception: *mut ffi::PyObject) {
    // SAFETY: attached; an unknown ident is ignored by CPython.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as std::ffi::c_long, exception) };
}
