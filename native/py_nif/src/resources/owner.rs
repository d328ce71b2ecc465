//! The process of a context, which gets the events of its thread.

use py_runtime::context::{Owner, StartError};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::request::error::Error;
use crate::term::{ProcessId, SavedTerm, TermEnv, atom, binary, tuple};

/// Sends the context's process the events of its thread: `{py_context, Ref, Event}`.
#[derive(Debug)]
pub(crate) struct OwnerProcess {
    pid: ProcessId,
    reference: SavedTerm,
}

impl OwnerProcess {
    pub(crate) fn new(pid: ProcessId, reference: SavedTerm) -> Self {
        OwnerProcess { pid, reference }
    }

    fn send(&self, event: impl FnOnce(*mut ErlNifEnv) -> ErlNifTerm) {
        let env = TermEnv::new();
        let ptr = env.as_ptr();
        let event = event(ptr);
        // SAFETY: the environment is ours alone; this is a native thread, as `Owner` promises.
        unsafe {
            let reference = self.reference.copy_to(ptr);
            let message = tuple(ptr, &[atom(ptr, "py_context"), reference, event]);
            env.send(self.pid.pid(), message);
        }
    }
}

impl Owner for OwnerProcess {
    fn started(&self, outcome: Result<(), StartError>) {
        // SAFETY: `send` gives an environment of this thread.
        self.send(|env| unsafe {
            match outcome {
                Ok(()) => atom(env, "started"),
                Err(StartError::Python(exception)) => Error::Python(exception).to_term(env),
                Err(StartError::Interpreter(why)) => {
                    let why = binary(env, why.as_bytes());
                    tuple(
                        env,
                        &[atom(env, "error"), tuple(env, &[atom(env, "no_interpreter"), why])],
                    )
                }
            }
        });
    }

    fn stuck(&self) {
        // SAFETY: `send` gives an environment of this thread.
        self.send(|env| unsafe { atom(env, "stuck") });
    }

    fn ended(&self) {
        // SAFETY: `send` gives an environment of this thread.
        self.send(|env| unsafe { atom(env, "ended") });
    }
}
