//! What Python code prints and logs.
//!
//! Runs on whatever thread Python code runs on, attached.

use std::time::{Duration, Instant};

use py_runtime::exception::lossy_text;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::enif_make_uint64;

use super::exchange::{Raised, raise, to_term};
use super::talk::wait;
use crate::frame::{self, Frame};
use crate::level;
use crate::output;
use crate::service::Service;
use crate::settings;
use crate::tally::{self, Sent};
use crate::term::{OwnedEnv, atom, from_word, tuple};

/// For how long `logger`'s level is taken to be what it was. A job asks anew, once it logs at all.
const LEVEL_LASTS: Duration = Duration::from_millis(100);
/// How long to wait for the answer. It is one process away.
const LEVEL_COMES: Duration = Duration::from_secs(1);

// ---------------------------------------------------------------- output

/// Writes text (or bytes) to standard output (0) or error (1); returns how much that was.
pub(super) fn write(py: Attached<'_>, stream: usize, text: &Object) -> Result<Object, Raised> {
    frame::with_voice(|voice, frame| {
        let call = frame.map(|frame| frame.call);
        let written = with_bytes(py, text, |bytes| {
            output::write(&voice.lines[stream], bytes, voice, call);
        })?;
        if voice.tally.is_full() {
            wait(py, frame, |stop| voice.tally.wait_for_room(stop));
        }
        // SAFETY: attached; the result is null or ours.
        unsafe { Object::from_owned(py, ffi::PyLong_FromSsize_t(written)) }.ok_or(Raised)
    })
}

/// Gives `work` the UTF-8 of a `str`, or the contents of `bytes`; returns the length in Python's
/// eyes.
fn with_bytes(
    py: Attached<'_>,
    text: &Object,
    work: impl FnOnce(&[u8]),
) -> Result<ffi::Py_ssize_t, Raised> {
    let ptr = text.as_ptr();
    // SAFETY: attached, and the object is live: its bytes live as long as it does.
    unsafe {
        let (mut start, mut length) = (std::ptr::null_mut(), 0);
        if ffi::PyUnicode_Check(ptr) != 0 {
            let utf8 = ffi::PyUnicode_AsUTF8AndSize(ptr, &raw mut length);
            if utf8.is_null() {
                // A lone surrogate.
                ffi::PyErr_Clear();
                work(lossy_text(py, text).ok_or(Raised)?.as_bytes());
            } else {
                work(slice(utf8, length));
            }
            Ok(ffi::PyUnicode_GetLength(ptr))
        } else if ffi::PyBytes_AsStringAndSize(ptr, &raw mut start, &raw mut length) == 0 {
            work(slice(start, length));
            Ok(length)
        } else {
            ffi::PyErr_Clear();
            let class = std::ffi::CStr::from_ptr((*ffi::Py_TYPE(ptr)).tp_name).to_string_lossy();
            let message = format!("write() argument must be str, not {class}");
            Err(raise(py, ffi::PyExc_TypeError, &message))
        }
    }
}

/// # Safety
/// So many bytes are there, for as long as the slice is in use.
unsafe fn slice<'a>(start: *const std::ffi::c_char, length: ffi::Py_ssize_t) -> &'a [u8] {
    // SAFETY: as the caller vouches.
    unsafe { std::slice::from_raw_parts(start.cast(), usize::try_from(length).unwrap_or(0)) }
}

/// Sends what has been written of an unfinished line.
pub(super) fn flush(py: Attached<'_>, stream: usize) -> Object {
    frame::with_voice(|voice, frame| {
        output::finish(&voice.lines[stream], voice, frame.map(|frame| frame.call));
    });
    Object::none(py)
}

// ---------------------------------------------------------------- log

/// Sends an event to `logger`, unless its level is known to be too low.
pub(super) fn log(
    py: Attached<'_>,
    severity: i64,
    message: &Object,
    meta: &Object,
) -> Result<Object, Raised> {
    if !level::allows(severity) {
        return Ok(Object::none(py));
    }
    frame::with_voice(|voice, frame| {
        if tally::has_too_many_events() {
            wait(py, frame, |stop| tally::wait_for_room_in_log(stop));
        }
        if tally::drops_event() {
            return Ok(Object::none(py));
        }
        let env = OwnedEnv::new();
        let ptr = env.as_ptr();
        let message = to_term(py, frame, ptr, message, "the message")?;
        let meta = to_term(py, frame, ptr, meta, "the metadata")?;
        let caller = output::caller(&env, frame.map(|frame| frame.call));
        voice.has_spoken.set(true);
        tally::add(Sent::Event);
        // SAFETY: the environment is ours alone, and this is no scheduler's thread; a context's label
        // is the word of a local pid.
        let sent = unsafe {
            let severity = enif_make_uint64(ptr, severity.unsigned_abs());
            let context = frame.map_or_else(
                || atom(ptr, "none"),
                |frame| from_word(frame.scope.context.owner_id() as usize),
            );
            let tally = tally::term(ptr);
            let event =
                tuple(ptr, &[atom(ptr, "py_log"), tally, severity, message, meta, caller, context]);
            Service::Log.send(ptr, event)
        };
        if !sent {
            tally::take_back(Sent::Event);
        }
        Ok(Object::none(py))
    })
}

/// Whether it is time to ask for `logger`'s level.
pub(super) fn log_level_is_old(py: Attached<'_>) -> Object {
    let old = frame::with_voice(|voice, _| {
        voice.asked_level.get().is_none_or(|asked| asked.elapsed() > LEVEL_LASTS)
    });
    // SAFETY: attached; both are live for ever.
    let answer = unsafe { if old { ffi::Py_True() } else { ffi::Py_False() } };
    // SAFETY: as above.
    unsafe { Object::from_borrowed(py, answer) }.expect("a bool is never null")
}

/// Asks for `logger`'s level, and gives it as a number of Python's `logging`.
pub(super) fn log_level(py: Attached<'_>) -> Result<Object, Raised> {
    frame::with_voice(|voice, frame| {
        if !tally::log_is_late() {
            ask_for_level(py, frame);
        }
        voice.asked_level.set(Some(Instant::now()));
        // SAFETY: attached; the result is null or ours.
        let level = unsafe { Object::from_owned(py, ffi::PyLong_FromLong(level::for_python())) };
        level.ok_or(Raised)
    })
}

/// Has the level told, and waits for that a while.
fn ask_for_level(py: Attached<'_>, frame: Option<&Frame<'_>>) {
    let env = OwnedEnv::new();
    let ptr = env.as_ptr();
    tally::add(Sent::Event);
    // SAFETY: the environment is ours alone, and this is no scheduler's thread.
    let asked = unsafe {
        let question = tuple(ptr, &[atom(ptr, "py_level"), tally::term(ptr)]);
        Service::Log.send(ptr, question)
    };
    if asked {
        wait(py, frame, |_| {
            tally::wait_for_events(LEVEL_COMES);
        });
    } else {
        tally::take_back(Sent::Event);
    }
}

/// The levels that the application's setting `logging` gives, as a `dict` by name.
pub(super) fn log_levels(py: Attached<'_>) -> Result<Object, Raised> {
    // SAFETY: attached; results are null or ours, and the dictionary takes its own references.
    unsafe {
        let levels = Object::from_owned(py, ffi::PyDict_New()).ok_or(Raised)?;
        for (name, level) in settings::log_levels() {
            let name = Object::text(py, &name).ok_or(Raised)?;
            let level = Object::from_owned(py, ffi::PyLong_FromLong(level)).ok_or(Raised)?;
            if ffi::PyDict_SetItem(levels.as_ptr(), name.as_ptr(), level.as_ptr()) != 0 {
                return Err(Raised);
            }
        }
        Ok(levels)
    }
}
