//! The NIF library of `py_context_router`.
//!
//! The folders are layers, each of which uses those below it only:
//!
//! - `nifs`: every NIF of `py_nif.erl`. `testing`: hooks of tests (behind features).
//! - `job`: a request as the job of a context's thread. `direct`: one that its caller's scheduler
//!   runs.
//! - `outbound`: messages to Erlang's processes. `resources`: references that Erlang holds.
//! - `exec`: what a request does. `erlang_module`: the Python module `erlang`.
//! - `thread`: what a context's thread keeps, and what it needs of the layers above (`host.rs`).
//! - `convert`: values, both ways. `erlang_types`: Python types for terms.
//! - `request`: a request's data, its flags, its errors.
//! - `term`: terms. `settings`. `scheduler`: which scheduler runs this.
//!
//! Nothing from `exec` down knows NIFs, mailboxes or services: it sees the upper layers through the
//! traits of `thread::host` and `convert::handles` only.
//!
//! A call takes this way: `nifs::requests` takes it in on the caller's scheduler and
//! `resources::contexts` finds the context; a `request::call` waits in its mailbox (in
//! `py_runtime`); on the context's thread `job` has `exec` run it; and the call sends its one
//! reply.

mod convert;
mod direct;
mod erlang_module;
mod erlang_types;
mod exec;
mod job;
mod nifs;
mod outbound;
mod request;
mod resources;
mod scheduler;
mod settings;
mod term;
#[cfg(any(feature = "fuzz", feature = "faults"))]
mod testing;
mod thread;

rustler::init!("py_nif", load = load);

/// `load_nif(Path, Version)`, with the version of the runtime system.
fn load(env: rustler::Env, version: rustler::Term) -> bool {
    convert::set_otp_version(version.decode().unwrap_or_default());
    thread::host::set_outbound(&outbound::processes::Processes);
    resources::pool::register_type(env)
}
