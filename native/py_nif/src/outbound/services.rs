//! The Erlang processes that Python talks to.
//!
//! Each says here that it serves, so that any thread can send to it without looking anything up.
//! Who starts anew after a crash serves from then on; what lay in its mailbox is lost, and whoever
//! waits for that to be handled sees by the generation that it never will be.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_send};

use crate::term::{from_word, local_pid, pid_term, word};

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
    /// Sends a message, which empties `env`. `false`: nobody serves.
    ///
    /// # Safety
    /// `message` belongs to `env`, which belongs to the current thread, no scheduler's.
    pub(crate) unsafe fn send(self, env: *mut ErlNifEnv, message: ErlNifTerm) -> bool {
        let pid = PIDS[self as usize].load(Ordering::Acquire);
        if pid == 0 {
            return false;
        }
        // SAFETY: the word is that of a local pid; the rest is passed on to the caller.
        unsafe {
            local_pid(env, from_word(pid)).is_some_and(|pid| {
                enif_send(std::ptr::null_mut(), &raw const pid, env, message) != 0
            })
        }
    }
}

/// Has a process serve, from now on.
pub(crate) fn register(service: Service, pid: ErlNifPid) {
    PIDS[service as usize].store(word(pid_term(pid)), Ordering::Release);
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// Changes whenever a process begins to serve.
pub(crate) fn generation() -> usize {
    GENERATION.load(Ordering::Acquire)
}
