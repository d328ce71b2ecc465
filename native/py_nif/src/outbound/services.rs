//! The Erlang processes that Python talks to.
//!
//! Each registers here, so that any thread can send to it without a look-up. A process that
//! restarts after a crash registers again. Its old mailbox is lost: a thread that waits for a
//! message of that to be passed on sees a new generation, and stops waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm};

use crate::term::{from_bits, local_pid, pid_term, send, to_bits};

/// What a process does for Python.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    /// Runs the functions that Python calls.
    Callbacks,
    /// Takes text to group leaders.
    Output,
    /// Takes log events to `logger`.
    Log,
    /// Sends to where only a process can send.
    Sender,
}

static PIDS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
static GENERATION: AtomicUsize = AtomicUsize::new(0);

impl Service {
    /// Sends a message, which empties `env`. `false`: there is no such process.
    ///
    /// # Safety
    /// As for [`term::send`](crate::term::send).
    pub(crate) unsafe fn send(self, env: *mut ErlNifEnv, message: ErlNifTerm) -> bool {
        let pid = PIDS[self as usize].load(Ordering::Acquire);
        if pid == 0 {
            return false;
        }
        // SAFETY: the word is that of a local pid; the rest is passed on to the caller.
        unsafe { local_pid(env, from_bits(pid)).is_some_and(|pid| send(pid, env, message)) }
    }
}

/// Registers a process for a service.
pub(crate) fn register(service: Service, pid: ErlNifPid) {
    PIDS[service as usize].store(to_bits(pid_term(pid)), Ordering::Release);
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// Changes whenever a process is registered.
pub(crate) fn generation() -> usize {
    GENERATION.load(Ordering::Acquire)
}
