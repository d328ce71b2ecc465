//! The NIF library of `py_context_router`.
//!
//! The files follow a call: the [`boundary`] takes a request in on the caller's scheduler, the
//! [`directory`] finds the context, a [`call`] waits in its mailbox (in `py_runtime`), [`exec`]
//! runs it on the context's thread, [`convert`] carries values both ways, and the call sends its
//! one reply.
//!
//! The other way, Python code talks to Erlang through [`python_module`]: a [`callback`] waits for
//! an Erlang function, [`output`] and log events go to the processes of [`service`].

mod boundary;
mod call;
mod callback;
#[allow(unreachable_pub, missing_docs, reason = "the crate has no Rust users")]
mod convert;
mod copying;
mod directory;
mod error;
mod exec;
mod frame;
#[cfg(feature = "fuzz")]
mod fuzz;
mod hidden;
mod level;
mod names;
mod output;
mod places;
mod pool;
mod processes;
mod python_module;
mod quarantine;
mod registered;
mod request;
mod resources;
mod room;
mod scheduler;
mod service;
mod settings;
mod tally;
mod term;

rustler::init!("py_nif", load = load);

/// `load_nif(Path, Version)`, with the version of the runtime system.
fn load(env: rustler::Env, version: rustler::Term) -> bool {
    convert::know_runtime(version.decode().unwrap_or_default());
    pool::register_type(env)
}
