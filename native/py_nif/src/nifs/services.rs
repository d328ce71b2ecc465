//! The NIFs of the processes that serve Python: what they serve, and what they have passed on.

use rustler::{Atom, Env, NifResult, ResourceArc};

use crate::outbound::services::{self, Service};
use crate::outbound::{callback, in_flight, log_level as level};

mod atoms {
    rustler::atoms! { ok, py_callbacks, py_output, py_log, py_sender }
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
        in_flight::log_caught_up();
    }
    services::register(service, *env.pid().as_c_arg());
    Ok(atoms::ok())
}

/// `handled(Tally, Messages, Sends, Bytes) -> ok`
#[rustler::nif]
fn handled(
    tally: ResourceArc<in_flight::Tally>,
    messages: usize,
    sends: usize,
    bytes: usize,
) -> Atom {
    tally.subtract(messages, sends, bytes);
    atoms::ok()
}

/// `log_caught_up() -> Dropped :: non_neg_integer()`
#[rustler::nif]
fn log_caught_up() -> usize {
    in_flight::log_caught_up()
}

/// `log_level(Severity :: -1..8) -> ok`
#[rustler::nif]
fn log_level(severity: i64) -> NifResult<Atom> {
    if level::set(severity) { Ok(atoms::ok()) } else { Err(rustler::Error::BadArg) }
}
