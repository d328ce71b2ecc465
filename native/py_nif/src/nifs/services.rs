//! The NIFs of the processes that serve Python: what they serve, and what they have passed on.

use rustler::{Atom, Env, NifResult, ResourceArc};

use crate::outbound::services::{self, Service};
use crate::outbound::{callback, in_flight, log_level as level};

mod atoms {
    rustler::atoms! { ok, py_callbacks, py_output, py_log, py_sender }
}

/// `register_service(Service) -> ok`: the calling process serves from now on.
#[rustler::nif]
fn register_service(env: Env, service: Atom) -> NifResult<Atom> {
    let service = match service {
        service if service == atoms::py_callbacks() => Service::Callbacks,
        service if service == atoms::py_output() => Service::Output,
        service if service == atoms::py_log() => Service::Log,
        service if service == atoms::py_sender() => Service::Sender,
        _ => return Err(rustler::Error::BadArg),
    };
    if matches!(service, Service::Callbacks) {
        callback::drop_idle_workers();
    }
    if matches!(service, Service::Log) {
        in_flight::log_caught_up();
    }
    services::register(service, *env.pid().as_c_arg());
    Ok(atoms::ok())
}

/// `ack(InFlight, Messages, Sends, Bytes) -> ok`: so much has been passed on.
#[rustler::nif]
fn ack(
    in_flight: ResourceArc<in_flight::InFlight>,
    messages: usize,
    sends: usize,
    bytes: usize,
) -> Atom {
    in_flight.ack(messages, sends, bytes);
    atoms::ok()
}

/// `log_caught_up() -> Dropped :: non_neg_integer()`: no event waits to be passed on any more.
#[rustler::nif]
fn log_caught_up() -> usize {
    in_flight::log_caught_up()
}

/// `set_log_level(Severity :: -1..8) -> ok`: `logger` lets these pass.
#[rustler::nif]
fn set_log_level(severity: i64) -> NifResult<Atom> {
    if level::set(severity) { Ok(atoms::ok()) } else { Err(rustler::Error::BadArg) }
}
