//! The part of module `erlang` that is written in Python.

use py_runtime::code::{self, Source};
use py_runtime::exception::{self, ErrorClass, Exception};
use py_runtime::ffi;
use py_runtime::namespace::{library_namespace, modules};
use py_runtime::object::{Attached, Object};

use super::method_def::{self, Methods};
use super::state::{ModuleState, import, not_ours, state};
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

/// Runs it and keeps its definitions in the state. `None`: exception set.
///
/// # Safety
/// Attached; `module` is live and `state` its own.
pub(super) unsafe fn run<const N: usize>(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    state: &mut ModuleState,
    functions: &'static Methods<N>,
) -> Option<()> {
    let namespace =
        library_namespace(py, "erlang").map_err(|e| raise_as_import_error(py, &e)).ok()?;
    // SAFETY: attached; live objects, and the state takes a reference to each.
    unsafe {
        for (name, class) in [(c"Atom", state.atom), (c"Pid", state.pid), (c"Ref", state.reference)]
        {
            namespace.set_item(py, name, &Object::from_borrowed(py, class)?)?;
        }
        for function in 0..N {
            let method = functions.0.get().cast::<ffi::PyMethodDef>().add(function);
            let made = method_def::function(py, method, module)?;
            let name = std::ffi::CStr::from_ptr((*method).ml_name);
            namespace.set_item(py, name, &made)?;
        }
        let code = SOURCE.code(py).map_err(|e| raise_as_import_error(py, &e)).ok()?;
        code::run(py, &code, &namespace, &namespace)?;
        for (name, place) in
            [(c"Error", &mut state.error), (c"ProcessError", &mut state.process_error)]
        {
            *place = namespace.get_item(py, name)?.into_ptr();
        }
        state.prelude = namespace.into_ptr();
        Some(())
    }
}

fn raise_as_import_error(py: Attached<'_>, exception: &Exception) {
    let why = format!("{}: {}", exception.class, exception.message);
    ErrorClass::ImportError.raise(py, &why);
}

/// Redirects the interpreter's standard streams, makes the running job's namespace `__main__`, and
/// has some modules of the standard library adapted as they are imported. Runs for each context
/// that has an interpreter of its own; in the main interpreter once, because Python code may have
/// replaced the streams since.
pub(crate) fn install(py: Attached<'_>) -> Result<(), Exception> {
    let main = py.is_in_main_interpreter();
    if !main {
        remove_import(py);
    }
    let prelude = namespace(py)?;
    let installed = c"_installed";
    if main && prelude.get_item(py, installed).is_some() {
        return Ok(());
    }
    if settings::redirect_output() {
        call(py, &prelude, c"redirect")?;
    }
    call(py, &prelude, c"prepare")?;
    prelude.set_item(py, installed, &Object::none(py)).ok_or_else(|| Exception::take(py))
}

/// The namespace of the interpreter's prelude.
fn namespace(py: Attached<'_>) -> Result<Object, Exception> {
    let module = import(py)?;
    // SAFETY: attached; the module is ours, so the state is.
    unsafe {
        let state = state(module.as_ptr()).ok_or_else(not_ours)?;
        Object::from_borrowed(py, state.prelude).ok_or_else(not_ours)
    }
}

/// The interpreter's dictionary of source lines, see `sources` in `prelude.py`.
pub(crate) fn sources(py: Attached<'_>) -> Result<Object, Exception> {
    namespace(py)?.get_item(py, c"sources").ok_or_else(not_ours)
}

/// Has the module imported anew. A reused interpreter still has it, with everything that the last
/// context's code has put into it.
fn remove_import(py: Attached<'_>) {
    // As a rule it isn't there.
    let _ =
        modules(py).zip(Object::text(py, "erlang")).and_then(|(all, name)| all.remove(py, &name));
    exception::clear(py);
}

/// Calls one of its functions without arguments.
fn call(py: Attached<'_>, prelude: &Object, name: &std::ffi::CStr) -> Result<(), Exception> {
    let function = prelude.get_item(py, name).ok_or_else(not_ours)?;
    function.call0(py).map(drop).ok_or_else(|| Exception::take(py))
}

/// Lets CPython raise an exception that another thread has requested for this one. `None`: it has.
///
/// # Safety
/// Attached; `module` is live and ours.
pub(super) unsafe fn checkpoint(py: Attached<'_>, module: *mut ffi::PyObject) -> Option<()> {
    // SAFETY: as the caller vouches.
    let prelude = unsafe { Object::from_borrowed(py, state(module)?.prelude) }?;
    prelude.get_item(py, c"checkpoint")?.call0(py).map(drop)
}
