//! What a context can be asked: the shapes of `py_nif:submit/2`, and their one decoding.
//!
//! `{Operation, Ref, Flags, …}`. The boundary copies the tuple as it is; it is taken apart on the
//! context thread, where nobody waits for it.

use std::sync::LazyLock;

use rustler::sys::{ErlNifTerm, enif_alloc_env, enif_free_env};

use crate::term::{atom, word};

/// Place of the caller's reference, by which it knows the reply.
pub(crate) const REFERENCE: usize = 1;

/// An operation and its terms.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    /// `Module.Function(*Args, **Kwargs)`.
    Call {
        module: ErlNifTerm,
        function: ErlNifTerm,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
        env: ErlNifTerm,
    },
    /// An expression.
    Eval { source: ErlNifTerm, locals: ErlNifTerm, env: ErlNifTerm },
    /// Statements.
    Exec { source: ErlNifTerm, env: ErlNifTerm },
    /// A fresh namespace.
    NewEnv,
}

/// The operations' atoms, which are the same word in every environment.
struct Operations {
    call: usize,
    eval: usize,
    exec: usize,
    new_env: usize,
}

static OPERATIONS: LazyLock<Operations> = LazyLock::new(|| {
    // SAFETY: the environment is made for this and freed after; an atom doesn't live in it.
    unsafe {
        let env = enif_alloc_env();
        let operation = |name| word(atom(env, name));
        let operations = Operations {
            call: operation("call"),
            eval: operation("eval"),
            exec: operation("exec"),
            new_env: operation("new_env"),
        };
        enif_free_env(env);
        operations
    }
});

impl Request {
    /// Takes a request's elements apart. `None`: it has no such shape.
    pub(crate) fn decode(elements: &[ErlNifTerm]) -> Option<Self> {
        let &[operation, _reference, _flags, ref rest @ ..] = elements else { return None };
        let (operation, known) = (word(operation), &*OPERATIONS);
        match *rest {
            [module, function, args, kwargs, env] if operation == known.call => {
                Some(Request::Call { module, function, args, kwargs, env })
            }
            [source, locals, env] if operation == known.eval => {
                Some(Request::Eval { source, locals, env })
            }
            [source, env] if operation == known.exec => Some(Request::Exec { source, env }),
            [] if operation == known.new_env => Some(Request::NewEnv),
            _ => None,
        }
    }
}
