//! The Erlang processes that Python talks to, as code on its threads sees them.

use std::sync::Arc;
use std::time::Duration;

use rustler::sys::ErlNifTerm;

use super::callback::{CallbackMessage, CallingThread, PendingCallback};
use super::in_flight::{self, MessageKind};
use super::services::Service;
use super::{callback_names, log_level, output};
use crate::convert::Handles;
use crate::request::flags::Values;
use crate::resources::host::NoContext;
use crate::term::{TermEnv, atom, tuple};
use crate::thread::host::{CallbackResult, ErlangCall, Outbound, Output, PendingCall};

/// The processes that are registered as services.
pub(crate) struct Processes;

impl Outbound for Processes {
    fn function_values(&self, name: &str) -> Option<Values> {
        callback_names::values(name)
    }

    fn call_erlang(&self, call: ErlangCall<'_>) -> Option<Arc<dyn PendingCall>> {
        let thread = CallingThread::Other(std::thread::current());
        let pending = PendingCallback::start(&CallbackMessage::new(call), thread)?;
        Some(pending)
    }

    unsafe fn send_remote(&self, env: &TermEnv, to: ErlNifTerm, message: ErlNifTerm) -> bool {
        in_flight::add(MessageKind::RemoteSend);
        let ptr = env.as_ptr();
        // SAFETY: passed on to the caller.
        let sent = unsafe {
            let request = [atom(ptr, "py_send"), in_flight::term(ptr), to, message];
            Service::Sender.send(ptr, tuple(ptr, &request))
        };
        if !sent {
            in_flight::uncount(MessageKind::RemoteSend);
        }
        sent
    }

    fn has_remote_sends(&self) -> bool {
        in_flight::has_sends()
    }

    fn wait_for_remote_sends(&self, stop: &dyn Fn() -> bool) {
        in_flight::wait_for_sends(stop);
    }

    fn has_too_many_remote_sends(&self) -> bool {
        in_flight::has_too_many_sends()
    }

    fn wait_for_send_capacity(&self, stop: &dyn Fn() -> bool) {
        in_flight::wait_for_send_capacity(stop);
    }

    fn log_allows(&self, severity: i64) -> bool {
        log_level::allows(severity)
    }

    fn log_level(&self) -> i64 {
        log_level::for_python()
    }

    fn log_is_late(&self) -> bool {
        in_flight::log_is_late()
    }

    fn has_too_many_log_events(&self) -> bool {
        in_flight::has_too_many_events()
    }

    fn wait_for_log_capacity(&self, stop: &dyn Fn() -> bool) {
        in_flight::wait_for_log_capacity(stop);
    }

    fn drops_log_event(&self) -> bool {
        in_flight::drops_event()
    }

    fn ask_for_log_level(&self) -> bool {
        let env = TermEnv::new();
        let ptr = env.as_ptr();
        in_flight::add(MessageKind::LogEvent);
        // SAFETY: the environment is ours alone, and this is no scheduler's thread.
        let asked = unsafe {
            let question = tuple(ptr, &[atom(ptr, "py_level"), in_flight::term(ptr)]);
            Service::Log.send(ptr, question)
        };
        if !asked {
            in_flight::uncount(MessageKind::LogEvent);
        }
        asked
    }

    fn wait_for_log_level(&self, at_most: Duration) {
        in_flight::wait_for_events(at_most);
    }

    fn with_thread_output(&self, work: &mut dyn FnMut(&dyn Output)) {
        output::with_thread_output(|output| work(output));
    }

    fn no_context(&self) -> &'static dyn Handles {
        &NoContext
    }
}

impl PendingCall for PendingCallback {
    fn is_answered(&self) -> bool {
        PendingCallback::is_answered(self)
    }

    fn take_answer(&self) -> Option<CallbackResult> {
        PendingCallback::take_answer(self)
    }
}
