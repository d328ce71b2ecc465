//! The part of module `erlang` that is written in Python, and what it is used for.

use py_runtime::code::{self, Source};
use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::namespace::library_namespace;
use py_runtime::object::{Attached, Object};

use super::method_def::Methods;
use super::state::{NAME, State, import, not_ours, raise_text, state};
use crate::settings;

static SOURCE: Source = Source::new(
    concat!(
        include_str!("prelude.py"),
        include_str!("streams.py"),
        include_str!("bridge.py"),
        include_str!("main.py"),
        include_str!("imports.py"),
    )
    .as_bytes(),
    "<erlang>",
);

/// Runs it and takes over what it defines. `None`: exception set.
///
/// # Safety
/// Attached; `module` is live and `state` its own.
pub(super) unsafe fn run<const N: usize>(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    state: &mut State,
    functions: &'static Methods<N>,
) -> Option<()> {
    let namespace = library_namespace(py, "erlang").map_err(|e| raise_as_import_error(&e)).ok()?;
    // SAFETY: attached; live objects, and the state takes a reference to each.
    unsafe {
        for (name, class) in [(c"Atom", state.atom), (c"Pid", state.pid), (c"Ref", state.reference)]
        {
            set(&namespace, name, class)?;
        }
        for function in 0..N {
            let method = functions.0.get().cast::<ffi::PyMethodDef>().add(function);
            let made =
                ffi::PyCFunction_NewEx(method, module, std::ptr::null_mut::<ffi::PyObject>());
            let made = Object::from_owned(py, made)?;
            let name = std::ffi::CStr::from_ptr((*method).ml_name);
            set(&namespace, name, made.as_ptr())?;
        }
        let code = SOURCE.code(py).map_err(|e| raise_as_import_error(&e)).ok()?;
        code::run(py, &code, &namespace, &namespace)?;
        for (name, place) in
            [(c"Error", &mut state.error), (c"ProcessError", &mut state.process_error)]
        {
            let value = ffi::PyDict_GetItemString(namespace.as_ptr(), name.as_ptr());
            *place = Object::from_borrowed(py, value)?.into_ptr();
        }
        state.prelude = namespace.into_ptr();
        Some(())
    }
}

fn raise_as_import_error(exception: &Exception) {
    let why = format!("{}: {}", exception.class, exception.message);
    // SAFETY: called attached; the class is one of Python's own.
    unsafe { raise_text(ffi::PyExc_ImportError, &why) };
}

/// # Safety
/// Attached, and `dict` is a dictionary.
unsafe fn set(dict: &Object, key: &std::ffi::CStr, value: *mut ffi::PyObject) -> Option<()> {
    // SAFETY: live objects; the dictionary takes its own reference.
    (unsafe { ffi::PyDict_SetItemString(dict.as_ptr(), key.as_ptr(), value) } == 0).then_some(())
}

/// Redirects the interpreter's standard streams, has `__main__` be what runs, and changes what modules of
/// the standard library need changed as they are imported. For each
/// context that has an interpreter of its own; in the main one once, because by then its Python
/// code may have put other streams in place.
pub(crate) fn install(py: Attached<'_>) -> Result<(), Exception> {
    // SAFETY: attached; neither call can fail.
    let main = unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() };
    if !main {
        forget(py);
    }
    let module = import(py)?;
    // SAFETY: attached; the module is ours, so the state is, and the namespace is a dictionary.
    unsafe {
        let state = state(module.as_ptr()).ok_or_else(not_ours)?;
        let prelude = Object::from_borrowed(py, state.prelude).ok_or_else(not_ours)?;
        let installed = c"_installed";
        if main && !ffi::PyDict_GetItemString(prelude.as_ptr(), installed.as_ptr()).is_null() {
            return Ok(());
        }
        if settings::redirect_output() {
            call(py, &prelude, c"redirect")?;
        }
        call(py, &prelude, c"prepare")?;
        set(&prelude, installed, ffi::Py_None()).ok_or_else(|| Exception::take(py))
    }
}

/// The interpreter's dictionary of source lines, see `sources` in `prelude.py`.
pub(crate) fn sources(py: Attached<'_>) -> Result<Object, Exception> {
    let module = import(py)?;
    // SAFETY: attached; the module is ours, so the state is, and the namespace is a dictionary.
    unsafe {
        let state = state(module.as_ptr()).ok_or_else(not_ours)?;
        let prelude = Object::from_borrowed(py, state.prelude).ok_or_else(not_ours)?;
        let sources = ffi::PyDict_GetItemString(prelude.as_ptr(), c"sources".as_ptr());
        Object::from_borrowed(py, sources).ok_or_else(not_ours)
    }
}

/// Has the module imported anew. An interpreter that was kept for this context still has it, with what the
/// code of the last one has put into it.
fn forget(py: Attached<'_>) {
    // SAFETY: attached; `sys.modules` is a dictionary. As a rule the module isn't in it.
    unsafe { ffi::PyDict_DelItemString(ffi::PyImport_GetModuleDict(), NAME.as_ptr()) };
    exception::clear(py);
}

/// Calls one of its functions without arguments.
fn call(py: Attached<'_>, prelude: &Object, name: &std::ffi::CStr) -> Result<(), Exception> {
    // SAFETY: attached; the namespace is a dictionary, and the function gets a reference.
    let done = unsafe {
        let function = ffi::PyDict_GetItemString(prelude.as_ptr(), name.as_ptr());
        let function = Object::from_borrowed(py, function).ok_or_else(not_ours)?;
        Object::from_owned(py, ffi::PyObject_CallNoArgs(function.as_ptr()))
    };
    done.map(drop).ok_or_else(|| Exception::take(py))
}

/// Lets CPython raise what another thread has asked this one for. `None`: it has.
///
/// # Safety
/// Attached; `module` is live and ours.
pub(super) unsafe fn checkpoint(py: Attached<'_>, module: *mut ffi::PyObject) -> Option<()> {
    // SAFETY: as the caller vouches; the namespace is a dictionary.
    unsafe {
        let prelude = Object::from_borrowed(py, state(module)?.prelude)?;
        let function = ffi::PyDict_GetItemString(prelude.as_ptr(), c"checkpoint".as_ptr());
        let function = Object::from_borrowed(py, function)?;
        Object::from_owned(py, ffi::PyObject_CallNoArgs(function.as_ptr())).map(drop)
    }
}
