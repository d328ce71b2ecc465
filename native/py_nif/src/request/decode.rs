//! The shapes of requests, see `py_nif:request()`, and their one decoding.
//!
//! `{Operation, Ref, Flags, …}`. NIFs copy the tuple as it is; it is taken apart on the context
//! thread, so that no scheduler spends time on that.

use std::sync::LazyLock;

use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, enif_alloc_env, enif_free_env, enif_is_identical,
};

use crate::term::{self, atom, local_pid, to_bits};

/// Place of the caller's reference, which comes back with the reply.
pub(crate) const REFERENCE: usize = 1;

/// Place of its [flags](crate::request::flags).
pub(super) const FLAGS: usize = 2;

/// How many bytes of two sources are compared.
const COMPARED: usize = 4 << 10;

/// The terms of a request, which are only read, and who has made it.
#[derive(Clone, Copy)]
pub(crate) struct RequestTerms<'a> {
    pub(crate) env: *mut ErlNifEnv,
    pub(crate) elements: &'a [ErlNifTerm],
    pub(crate) caller: ErlNifPid,
}

impl RequestTerms<'_> {
    /// The process that the request is made for: the caller, unless a pid at the request's end says
    /// that the caller works for another.
    pub(crate) fn on_behalf_of(&self) -> ErlNifPid {
        // SAFETY: the elements are terms of the environment.
        let named = self.elements.last().and_then(|last| unsafe { local_pid(self.env, *last) });
        named.unwrap_or(self.caller)
    }
}

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
    /// `Module.Function(*Args, **Kwargs)` for each list of arguments.
    Map {
        module: ErlNifTerm,
        function: ErlNifTerm,
        lists: ErlNifTerm,
        kwargs: ErlNifTerm,
        env: ErlNifTerm,
    },
    /// An expression.
    Eval { source: ErlNifTerm, locals: ErlNifTerm, env: ErlNifTerm },
    /// Statements.
    Exec { source: ErlNifTerm, env: ErlNifTerm },
    /// `object.method(*Args, **Kwargs)`.
    CallMethod { object: ErlNifTerm, method: ErlNifTerm, args: ErlNifTerm, kwargs: ErlNifTerm },
    /// `object.name`.
    GetAttr { object: ErlNifTerm, name: ErlNifTerm },
    /// What the object stands for, as a term.
    ToTerm { object: ErlNifTerm },
    /// The object's memory, shared or copied.
    ToBuffer { object: ErlNifTerm, share: ErlNifTerm },
    /// The next items of a stream.
    StreamNext { stream: ErlNifTerm, most: ErlNifTerm },
    /// The next items of a stream, each sent to the stream's consumer.
    StreamPush(StreamPush),
    /// The end of a stream, before its time.
    StreamClose { stream: ErlNifTerm },
    /// Coroutines that were deferred, side by side.
    Gather { deferred: ErlNifTerm },
    /// A fresh namespace.
    NewEnv,
}

/// The terms of a request to send items.
#[derive(Clone, Copy)]
pub(crate) struct StreamPush {
    pub(crate) stream: ErlNifTerm,
    pub(crate) most: ErlNifTerm,
    pub(crate) consumer: ErlNifTerm,
    pub(crate) tag: ErlNifTerm,
}

/// Whose globals a request runs in.
#[derive(Clone, Copy)]
pub(crate) enum Namespace {
    /// The context's own.
    Own,
    /// The calling process's, or another one's for which it works.
    Process(Option<ErlNifPid>),
    /// The one behind the reference that the request holds.
    Named,
}

impl Namespace {
    /// Decodes a request's environment: `none | process | pid() | reference()`.
    ///
    /// # Safety
    /// The term belongs to `env`.
    pub(crate) unsafe fn decode(env: *mut ErlNifEnv, term: ErlNifTerm) -> Self {
        match to_bits(term) {
            term if term == ATOMS.none => Namespace::Own,
            term if term == ATOMS.process => Namespace::Process(None),
            // SAFETY: passed on to the caller.
            _ => match unsafe { local_pid(env, term) } {
                Some(pid) => Namespace::Process(Some(pid)),
                None => Namespace::Named,
            },
        }
    }
}

/// The atoms of requests, which are the same word in every environment.
struct Atoms {
    none: usize,
    process: usize,
    call: usize,
    map: usize,
    eval: usize,
    exec: usize,
    call_method: usize,
    getattr: usize,
    to_term: usize,
    to_buffer: usize,
    stream_next: usize,
    stream_push: usize,
    stream_close: usize,
    gather: usize,
    new_env: usize,
}

static ATOMS: LazyLock<Atoms> = LazyLock::new(|| {
    // SAFETY: the environment is made for this and freed after; an atom doesn't live in it.
    unsafe {
        let env = enif_alloc_env();
        let known = |name| to_bits(atom(env, name));
        let atoms = Atoms {
            none: known("none"),
            process: known("process"),
            call: known("call"),
            map: known("map"),
            eval: known("eval"),
            exec: known("exec"),
            call_method: known("call_method"),
            getattr: known("getattr"),
            to_term: known("to_term"),
            to_buffer: known("to_buffer"),
            stream_next: known("stream_next"),
            stream_push: known("stream_push"),
            stream_close: known("stream_close"),
            gather: known("gather"),
            new_env: known("new_env"),
        };
        enif_free_env(env);
        atoms
    }
});

impl Request {
    /// Whether both run the same code, with whatever arguments. Sources that begin alike and are of
    /// one length count as the same: many are compared, while no job runs.
    ///
    /// # Safety
    /// The terms of both belong to their environments, which nobody else changes meanwhile.
    pub(crate) unsafe fn is_same_work(
        &self,
        env: *mut ErlNifEnv,
        other: &Self,
        its_env: *mut ErlNifEnv,
    ) -> bool {
        use Request::{Call, Eval, Exec, Map};
        // SAFETY: the caller vouches for the terms.
        let same = |one: ErlNifTerm, other| unsafe { enif_is_identical(one, other) != 0 };
        let same_source = |one, other| {
            // SAFETY: as above.
            let (one, other) = unsafe { (term::inspect(env, one), term::inspect(its_env, other)) };
            one.zip(other).is_some_and(|(one, other)| {
                let compared = one.len().min(COMPARED);
                one.len() == other.len() && one[..compared] == other[..compared]
            })
        };
        match (*self, *other) {
            (
                Call { module, function, .. } | Map { module, function, .. },
                Call { module: its_module, function: its, .. }
                | Map { module: its_module, function: its, .. },
            ) => same(function, its) && same(module, its_module),
            (Eval { source, .. }, Eval { source: its, .. })
            | (Exec { source, .. }, Exec { source: its, .. }) => same_source(source, its),
            _ => false,
        }
    }

    /// Takes a request's elements apart. `None`: it has no such shape.
    pub(crate) fn decode(elements: &[ErlNifTerm]) -> Option<Self> {
        let &[operation, _reference, _flags, ref rest @ ..] = elements else { return None };
        let (operation, known) = (to_bits(operation), &*ATOMS);
        match *rest {
            [module, function, args, kwargs, env] if operation == known.call => {
                Some(Request::Call { module, function, args, kwargs, env })
            }
            [module, function, lists, kwargs, env] if operation == known.map => {
                Some(Request::Map { module, function, lists, kwargs, env })
            }
            [source, locals, env] if operation == known.eval => {
                Some(Request::Eval { source, locals, env })
            }
            [source, env] if operation == known.exec => Some(Request::Exec { source, env }),
            [object, method, args, kwargs] if operation == known.call_method => {
                Some(Request::CallMethod { object, method, args, kwargs })
            }
            [object, name] if operation == known.getattr => Some(Request::GetAttr { object, name }),
            [object] if operation == known.to_term => Some(Request::ToTerm { object }),
            [object, share] if operation == known.to_buffer => {
                Some(Request::ToBuffer { object, share })
            }
            [stream, most] if operation == known.stream_next => {
                Some(Request::StreamNext { stream, most })
            }
            [stream, most, tag, consumer] if operation == known.stream_push => {
                Some(Request::StreamPush(StreamPush { stream, most, consumer, tag }))
            }
            [stream] if operation == known.stream_close => Some(Request::StreamClose { stream }),
            [deferred] if operation == known.gather => Some(Request::Gather { deferred }),
            [] if operation == known.new_env => Some(Request::NewEnv),
            _ => None,
        }
    }
}
