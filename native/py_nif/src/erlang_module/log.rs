//! What Python code logs.
//!
//! Runs on whatever thread Python code runs on, attached.

use std::time::{Duration, Instant};

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::enif_make_uint64;

use super::blocking::wait;
use super::current_job::{self, Frame};
use super::values::{Raised, to_term};
use crate::outbound::in_flight::{self, Sent};
use crate::outbound::log_level as level;
use crate::outbound::output;
use crate::outbound::services::Service;
use crate::settings;
use crate::term::{OwnedEnv, atom, from_word, tuple};

/// For how long `logger`'s level is taken to be what it was. A job asks anew, once it logs at all.
const LEVEL_LASTS: Duration = Duration::from_millis(100);
/// How long to wait for the answer. It is one process away.
const LEVEL_COMES: Duration = Duration::from_secs(1);

/// Sends an event to `logger`, unless its level is known to be too low.
pub(super) fn log(
    at: Attached<'_>,
    severity: i64,
    message: &Object,
    meta: &Object,
) -> Result<Object, Raised> {
    if !level::allows(severity) {
        return Ok(Object::none(at));
    }
    current_job::with_voice(|voice, frame| {
        if in_flight::has_too_many_events() {
            wait(at, frame, |stop| in_flight::wait_for_room_in_log(stop));
        }
        if in_flight::drops_event() {
            return Ok(Object::none(at));
        }
        let env = OwnedEnv::new();
        let ptr = env.as_ptr();
        let message = to_term(at, frame, ptr, message, "the message")?;
        let meta = to_term(at, frame, ptr, meta, "the metadata")?;
        let caller = output::caller(&env, frame.map(|frame| frame.call));
        voice.has_spoken.set(true);
        in_flight::add(Sent::Event);
        // SAFETY: the environment is ours alone, and this is no scheduler's thread; a context's label
        // is the word of a local pid.
        let sent = unsafe {
            let severity = enif_make_uint64(ptr, severity.unsigned_abs());
            let context = frame.map_or_else(
                || atom(ptr, "none"),
                |frame| from_word(frame.scope.context.label() as usize),
            );
            let tally = in_flight::term(ptr);
            let event =
                tuple(ptr, &[atom(ptr, "py_log"), tally, severity, message, meta, caller, context]);
            Service::Log.send(ptr, event)
        };
        if !sent {
            in_flight::take_back(Sent::Event);
        }
        Ok(Object::none(at))
    })
}

/// Whether it is time to ask for `logger`'s level.
pub(super) fn log_level_is_old(at: Attached<'_>) -> Object {
    let old = current_job::with_voice(|voice, _| {
        voice.asked_level.get().is_none_or(|asked| asked.elapsed() > LEVEL_LASTS)
    });
    // SAFETY: attached; both are live for ever.
    let answer = unsafe { if old { ffi::Py_True() } else { ffi::Py_False() } };
    // SAFETY: as above.
    unsafe { Object::from_borrowed(at, answer) }.expect("a bool is never null")
}

/// Asks for `logger`'s level, and gives it as a number of Python's `logging`.
pub(super) fn log_level(at: Attached<'_>) -> Result<Object, Raised> {
    current_job::with_voice(|voice, frame| {
        if !in_flight::log_is_late() {
            ask_for_level(at, frame);
        }
        voice.asked_level.set(Some(Instant::now()));
        // SAFETY: attached; the result is null or ours.
        let level = unsafe { Object::from_owned(at, ffi::PyLong_FromLong(level::for_python())) };
        level.ok_or(Raised)
    })
}

/// Has the level told, and waits for that a while.
fn ask_for_level(at: Attached<'_>, frame: Option<&Frame<'_>>) {
    let env = OwnedEnv::new();
    let ptr = env.as_ptr();
    in_flight::add(Sent::Event);
    // SAFETY: the environment is ours alone, and this is no scheduler's thread.
    let asked = unsafe {
        let question = tuple(ptr, &[atom(ptr, "py_level"), in_flight::term(ptr)]);
        Service::Log.send(ptr, question)
    };
    if asked {
        wait(at, frame, |_| {
            in_flight::wait_for_events(LEVEL_COMES);
        });
    } else {
        in_flight::take_back(Sent::Event);
    }
}

/// The levels that the application's setting `logging` gives, as a `dict` by name.
pub(super) fn log_levels(at: Attached<'_>) -> Result<Object, Raised> {
    // SAFETY: attached; results are null or ours, and the dictionary takes its own references.
    unsafe {
        let levels = Object::from_owned(at, ffi::PyDict_New()).ok_or(Raised)?;
        for (name, level) in settings::log_levels() {
            let name = Object::text(at, &name).ok_or(Raised)?;
            let level = Object::from_owned(at, ffi::PyLong_FromLong(level)).ok_or(Raised)?;
            if ffi::PyDict_SetItem(levels.as_ptr(), name.as_ptr(), level.as_ptr()) != 0 {
                return Err(Raised);
            }
        }
        Ok(levels)
    }
}
