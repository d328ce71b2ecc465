//! The Erlang processes that Python talks to.
//!
//! Each says here that it serves, so that any thread can send to it without looking anything up.
//! Who starts anew after a crash serves from then on; what lay in its mailbox is lost, and whoever
//! waits for that to be handled sees by the generation that it never will be.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_get_local_pid, enif_send};
use rustler::{Atom, Env, NifResult};

use crate::callback;
use crate::tally;
use crate::term::{from_word, pid_term, word};

mod atoms {
    rustler::atoms! { ok, py_callbacks, py_output, py_log, py_sender }
}

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
        let mut local = std::mem::MaybeUninit::<ErlNifPid>::uninit();
        // SAFETY: the word is that of a local pid, so that `local` is filled.
        unsafe {
            enif_get_local_pid(env, from_word(pid), local.as_mut_ptr()) != 0
                && enif_send(std::ptr::null_mut(), local.as_ptr(), env, message) != 0
        }
    }
}

/// Changes whenever a process begins to serve.
pub(crate) fn generation() -> usize {
    GENERATION.load(Ordering::Acquire)
}

/// `serve(Service) -> ok`: the calling process does, from now on.
#[rustler::nif]
fn serve(env: Env, service: Atom) -> NifResult<Atom> {
    let service = match service {
        service if service == atoms::py_callbacks() => Service::Callbacks,
        service if service == atoms::py_output() => Service::Output,
        service if service == atoms::py_log() => Service::Log,
        service if service == atoms::py_sender() => Service::Sender,
        _ => return Err(rustler::Error::BadArg),
    };
    if matches!(service, Service::Callbacks) {
        callback::forget_standing_by();
    }
    if matches!(service, Service::Log) {
        tally::log_caught_up();
    }
    let pid = word(pid_term(*env.pid().as_c_arg()));
    PIDS[service as usize].store(pid, Ordering::Release);
    GENERATION.fetch_add(1, Ordering::AcqRel);
    Ok(atoms::ok())
}
