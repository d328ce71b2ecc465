//! Coroutines: each context has an event loop of its own, made when the first one comes.

use py_runtime::code;
use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::namespace::new_namespace;
use py_runtime::object::{Attached, Object};

const SOURCE: &[u8] = include_bytes!("asyncio.py");

/// The functions of `asyncio.py`. Dropped on the context thread, attached.
pub(super) struct Asyncio {
    /// Runs a coroutine to completion.
    pub(super) run: Object,
    /// Runs several side by side.
    pub(super) gather: Object,
    /// The class of asynchronous iterators that are taken step by step.
    pub(super) steps: Object,
    end: Object,
}

impl Asyncio {
    pub(super) fn new(at: Attached<'_>) -> Result<Self, Exception> {
        let namespace = new_namespace(at)?;
        code::exec(at, SOURCE, "<asyncio of the context>", &namespace)?;
        let function = |name: &std::ffi::CStr| {
            // SAFETY: attached; the namespace is a dictionary, and the value gets a reference.
            unsafe {
                let value = ffi::PyDict_GetItemString(namespace.as_ptr(), name.as_ptr());
                Object::from_borrowed(at, value)
            }
            .ok_or_else(|| Exception::take(at))
        };
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
        let at = unsafe { Attached::assume() };
        // SAFETY: as above. What goes wrong at the very end is nobody's to hear.
        let ended = unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(self.end.as_ptr())) };
        if ended.is_none() {
            exception::clear(at);
        }
    }
}

/// Makes asyncio usable in a new interpreter, before anybody imports it. Before 3.12, its part in C
/// keeps the classes of the interpreter that imported it first, and `CancelledError` is another class
/// in another interpreter. Without that part, asyncio has the same in Python.
pub(super) fn prepare(at: Attached<'_>) {
    #[cfg(not(Py_3_12))]
    // SAFETY: attached; `sys.modules` is a dictionary.
    unsafe {
        if ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) != 0 {
            let modules = ffi::PyImport_GetModuleDict();
            let none = Object::none(at);
            ffi::PyDict_SetItemString(modules, c"_asyncio".as_ptr(), none.as_ptr());
        }
    }
    let _ = at;
}

/// Whether a value is what an `async def` returns.
pub(super) fn is_coroutine(value: &Object) -> bool {
    // SAFETY: a live object has a type; the address of `PyCoro_Type` is all that is used of it.
    unsafe { ffi::Py_TYPE(value.as_ptr()) == &raw mut ffi::PyCoro_Type }
}
