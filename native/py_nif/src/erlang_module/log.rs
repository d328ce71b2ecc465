//! Events and levels between Python code and `logger`.
//!
//! Runs on whatever thread Python code runs on, attached.

use std::time::{Duration, Instant};

use py_runtime::object::{Attached, Object};

use super::blocking::wait;
use super::current_job::{self, CurrentJob};
use super::values::{Raised, to_term};
use crate::settings;
use crate::term::TermEnv;
use crate::thread::host::outbound;

/// How long a job relies on `logger`'s level before it asks again.
const LEVEL_MAX_AGE: Duration = Duration::from_millis(100);
/// How long to wait for the answer, which one process sends.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends an event to `logger`, unless its level is known to be too low.
pub(super) fn log(
    py: Attached<'_>,
    severity: i64,
    message: &Object,
    meta: &Object,
) -> Result<Object, Raised> {
    if !outbound().log_allows(severity) {
        return Ok(Object::none(py));
    }
    current_job::with_output(|output, job| {
        if outbound().has_too_many_log_events() {
            wait(py, job, |stop| outbound().wait_for_log_capacity(stop));
        }
        if outbound().drops_log_event() {
            return Ok(Object::none(py));
        }
        let env = TermEnv::new();
        let ptr = env.as_ptr();
        let message = to_term(py, job, ptr, message, "the message")?;
        let meta = to_term(py, job, ptr, meta, "the metadata")?;
        let context = job.map(|job| job.scope.host.owner());
        // SAFETY: the environment is ours alone, and this is no scheduler's thread.
        unsafe { output.log(&env, severity.unsigned_abs(), [message, meta], context) };
        Ok(Object::none(py))
    })
}

/// Whether it is time to ask for `logger`'s level.
pub(super) fn log_level_is_old(py: Attached<'_>) -> Object {
    let old = current_job::with_output(|output, _| {
        output.level_asked_at().get().is_none_or(|asked| asked.elapsed() > LEVEL_MAX_AGE)
    });
    Object::bool(py, old)
}

/// Asks for `logger`'s level, and gives it as a number of Python's `logging`.
pub(super) fn log_level(py: Attached<'_>) -> Result<Object, Raised> {
    current_job::with_output(|output, job| {
        if !outbound().log_is_late() {
            ask_for_level(py, job);
        }
        output.level_asked_at().set(Some(Instant::now()));
        Object::int(py, outbound().log_level()).ok_or(Raised)
    })
}

/// Asks for the level, and waits for the answer.
fn ask_for_level(py: Attached<'_>, job: Option<&CurrentJob<'_>>) {
    if outbound().ask_for_log_level() {
        wait(py, job, |_| outbound().wait_for_log_level(LEVEL_TIMEOUT));
    }
}

/// The levels that the application's setting `logging` gives, as a `dict` by name.
pub(super) fn log_levels(py: Attached<'_>) -> Result<Object, Raised> {
    let levels = Object::dict(py).ok_or(Raised)?;
    for (name, level) in settings::log_levels() {
        let name = Object::text(py, &name).ok_or(Raised)?;
        let level = Object::int(py, level).ok_or(Raised)?;
        levels.set(py, &name, &level).ok_or(Raised)?;
    }
    Ok(levels)
}
