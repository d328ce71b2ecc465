//! Python exceptions as plain data.
//!
//! An exception object belongs to its interpreter and may not leave the thread. What travels is
//! this: the class name, the message and, if wanted, the traceback.

mod class;
mod error_class;
mod message;
mod raised;
mod refusal;
mod traceback;

use crate::cpython::object::{Attached, Object};
use message::message;
use raised::{restore, take_raised};

pub use super::read::lossy_text;
pub use class::Class;
pub use error_class::{ErrorClass, raise_as};
pub use raised::{clear, is_set, preserving_exception, set_no_memory, take_object, take_stop};
pub use traceback::{Frame, Traceback, TracebacksWanted};

/// What is left of a Python exception once it leaves its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which it is an instance of.
    pub class: Class,
    /// `str(exception)`, or a sentence about why that failed.
    pub message: String,
    /// Where it came from, if that was [wanted](TracebacksWanted).
    pub traceback: Option<Box<Traceback>>,
}

impl Exception {
    /// One that Python hasn't raised, but might have. `class` is the name of a built-in one.
    #[must_use]
    pub fn new(class: &'static str, message: impl Into<String>) -> Self {
        Exception { class: Class::BuiltIn(class), message: message.into(), traceback: None }
    }

    /// Takes the exception that is set on this thread, and clears it.
    ///
    /// A C function that failed without setting one (a bug in an extension) still yields an error:
    /// `SystemError`, as CPython itself would report it.
    #[must_use]
    pub fn take(py: Attached<'_>) -> Self {
        match take_raised(py) {
            Some(raised) => Self::describe(py, &raised),
            None => Exception::new("SystemError", "a call failed without setting an exception"),
        }
    }

    /// The exception that is set on this thread, which stays set.
    #[must_use]
    pub fn peek(py: Attached<'_>) -> Self {
        match take_raised(py) {
            Some(raised) => {
                let exception = Self::describe(py, &raised);
                clear(py);
                restore(raised);
                exception
            }
            None => Self::take(py),
        }
    }

    fn describe(py: Attached<'_>, raised: &Object) -> Self {
        match message(py, raised) {
            Ok(mut message) => {
                if let Some(hint) = refusal::hint(py, raised)
                    && message.try_reserve(hint.len()).is_ok()
                {
                    message.push_str(hint);
                }
                Self::with_message(py, raised, message)
            }
            // Code that was interrupted, if only as it was to say what had happened to it.
            Err(Some(second)) if is_interrupt(py, &second) => {
                Self::with_message(py, &second, String::new())
            }
            Err(second) => {
                let second =
                    second.map_or_else(String::new, |second| Class::of(py, &second).to_string());
                let message = format!("<the exception's __str__ raised {second}>");
                Self::with_message(py, raised, message)
            }
        }
    }

    fn with_message(py: Attached<'_>, raised: &Object, message: String) -> Self {
        let traceback = TracebacksWanted::now().then(|| Box::new(traceback::describe(py, raised)));
        Exception { class: Class::of(py, raised), message, traceback }
    }
}

/// Whether this is what an interrupt raises.
fn is_interrupt(py: Attached<'_>, raised: &Object) -> bool {
    raised.class_ptr().cast() == ErrorClass::KeyboardInterrupt.as_ptr(py)
}
