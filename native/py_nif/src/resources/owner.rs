//! The process of a context, which is told how its thread fares.

use py_runtime::context::{Owner, StartError};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::request::error::Error;
use crate::term::{OwnedEnv, ProcessId, Saved, atom, binary, tuple};

/// Tells the context's process how its thread fares: `{py_context, Ref, Event}`.
#[derive(Debug)]
pub(crate) struct Process {
    pid: ProcessId,
    reference: Saved,
}

impl Process {
    pub(crate) fn new(pid: ProcessId, reference: Saved) -> Self {
        Process { pid, reference }
    }

    fn tell(&self, event: impl FnOnce(*mut ErlNifEnv) -> ErlNifTerm) {
        let env = OwnedEnv::new();
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

impl Owner for Process {
    fn started(&self, outcome: Result<(), StartError>) {
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe {
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
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe { atom(env, "stuck") });
    }

    fn ended(&self) {
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe { atom(env, "ended") });
    }
}
