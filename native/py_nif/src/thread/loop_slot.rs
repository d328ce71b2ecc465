//! The loop that `asyncio.get_event_loop()` returns outside of coroutines: each process has an
//! event loop of its own in a context, as a script has one in its main thread, and so has the
//! context itself.

use std::cell::OnceCell;

use py_runtime::exception;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

/// Where Python code keeps a loop: a list of the current one and the one that was made for this,
/// each of them None at first. See `follow_events` in `prelude.py`.
#[derive(Default)]
pub(crate) struct LoopSlot(OnceCell<Object>);

impl LoopSlot {
    /// The list, made at need. `None`: exception set.
    pub(crate) fn list(&self, py: Attached<'_>) -> Option<Object> {
        if let Some(list) = self.0.get() {
            return Some(list.clone_ref(py));
        }
        // SAFETY: attached; a new list takes a reference to each None.
        let list = unsafe {
            let list = Object::from_owned(py, ffi::PyList_New(2))?;
            for place in 0..2 {
                ffi::PyList_SET_ITEM(list.as_ptr(), place, Object::none(py).into_ptr());
            }
            list
        };
        Some(self.0.get_or_init(|| list).clone_ref(py))
    }
}

/// Closes the loop that was made here. A loop that runs or is closed raises, which is ignored.
impl Drop for LoopSlot {
    fn drop(&mut self) {
        let Some(list) = self.0.get() else { return };
        // SAFETY: dropped attached, as every `Object` is; Python code may have changed the list,
        // and what it has in it is live.
        unsafe {
            let py = Attached::assume();
            let made = Object::from_borrowed(py, ffi::PyList_GetItem(list.as_ptr(), 1));
            let close = made.and_then(|made| made.getattr_c(py, c"close"));
            drop(close.and_then(|close| close.call0(py)));
            exception::clear(py);
        }
    }
}
