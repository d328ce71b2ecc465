//! Coroutines: each context has an event loop of its own, made when the first one comes.

use std::time::Duration;

use py_runtime::code;
use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::namespace::library_namespace;
use py_runtime::object::{Attached, Object};

const SOURCE: &[u8] = include_bytes!("event_loop.py");

/// The functions of `event_loop.py`. Dropped on the context thread, attached.
pub(crate) struct Asyncio {
    /// Runs a coroutine to completion.
    pub(crate) run: Object,
    /// Runs several side by side.
    pub(crate) gather: Object,
    /// The class of asynchronous iterators that are taken step by step.
    pub(crate) steps: Object,
    end: Object,
}

impl Asyncio {
    /// `grace` is how long an interrupted coroutine may clean up. `None`: for ever.
    pub(crate) fn new(py: Attached<'_>, grace: Option<Duration>) -> Result<Self, Exception> {
        let namespace = library_namespace(py, "py_context_router.asyncio")?;
        let seconds = grace.map_or(f64::INFINITY, |grace| grace.as_secs_f64());
        Object::float(py, seconds)
            .and_then(|seconds| namespace.set_item(py, c"INTERRUPT_GRACE", &seconds))
            .ok_or_else(|| Exception::take(py))?;
        code::exec(py, SOURCE, "<asyncio of the context>", &namespace)?;
        let function =
            |name: &std::ffi::CStr| namespace.get_item(py, name).ok_or_else(|| Exception::take(py));
        Ok(Asyncio {
            run: function(c"run")?,
            gather: function(c"gather")?,
            steps: function(c"Steps")?,
            end: function(c"end")?,
        })
    }
}

impl Drop for Asyncio {
    fn drop(&mut self) {
        // SAFETY: an `Asyncio` is dropped attached, as every `Object` is.
        let py = unsafe { Attached::assume() };
        if self.end.call0(py).is_none() {
            // At the very end there is no job that an error could be reported to.
            exception::clear(py);
        }
    }
}

/// Whether a value is what an `async def` returns.
pub(crate) fn is_coroutine(value: &Object) -> bool {
    value.class_ptr() == &raw mut ffi::PyCoro_Type
}
