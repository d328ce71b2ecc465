//! Copies and pickles of the types `erlang.Atom`, `Pid`, `Ref` and `Buffer`.
//!
//! Runs on whatever thread Python code runs on, attached. They are immutable, so a copy is the
//! object itself. An atom is pickled as its name. A pid or a reference is pickled in Erlang's
//! external term format, together with a number that each VM chooses anew: in another VM the same
//! bytes could name another process.

use std::cell::UnsafeCell;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use py_runtime::exception::{ErrorClass, clear};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::enif_make_ref;
use rustler::{Env, Term};

use super::current_job;
use super::method_def::{END, Methods, guarded, keep, one};
use super::state::import;
use super::values::{Raised, raise, to_python};
use crate::erlang_types::{atom, pid_ref};
use crate::term::TermEnv;

/// Of a type that can't be pickled, as a `memoryview` can't.
pub(super) static COPIED: Methods<3> = Methods(UnsafeCell::new([COPY, DEEPCOPY, END]));

/// Of `erlang.Pid` and `erlang.Ref`.
pub(super) static OPAQUE: Methods<4> = Methods(UnsafeCell::new([
    COPY,
    DEEPCOPY,
    one(c"__reduce__", reduce_opaque, ffi::METH_NOARGS, c"For pickle, in this VM."),
    END,
]));

/// Of `erlang.Atom`.
pub(super) static ATOM: Methods<4> = Methods(UnsafeCell::new([
    COPY,
    DEEPCOPY,
    one(c"__reduce__", reduce_atom, ffi::METH_NOARGS, c"For pickle."),
    END,
]));

const COPY: ffi::PyMethodDef = one(c"__copy__", itself, ffi::METH_NOARGS, c"The object itself.");
const DEEPCOPY: ffi::PyMethodDef = one(c"__deepcopy__", itself, ffi::METH_O, c"The object itself.");

/// The first bytes of a pid's and of a reference's external term format, of either kind. Nothing
/// else is decoded: on a thread that is no scheduler's, OTP 25 crashes as it makes large maps.
const TAGS: [[u8; 2]; 4] = [[131, 88], [131, 103], [131, 90], [131, 114]];

unsafe extern "C" fn itself(this: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live instance.
    unsafe { ffi::Py_NewRef(this) }
}

unsafe extern "C" fn reduce_atom(
    this: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live instance; the format takes objects, and new
    // references to them.
    unsafe { ffi::Py_BuildValue(c"O(O)".as_ptr(), ffi::Py_TYPE(this), atom::name(this)) }
}

unsafe extern "C" fn reduce_opaque(
    this: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(|py| {
        let env = TermEnv::new();
        // SAFETY: called by Python with a live instance; the environment is ours alone.
        let term = unsafe {
            let ptr = env.as_ptr();
            Term::new(Env::new(&env, ptr), pid_ref::to_term(ptr, this))
        };
        let bytes = term.to_binary();
        let module = import(py).map_err(|why| raise(py, ErrorClass::ImportError, &why.message))?;
        let restore = module.getattr_c(py, c"_restore").ok_or(Raised)?;
        let bytes = Object::bytes(py, &bytes).ok_or(Raised)?;
        // SAFETY: attached; the format takes an integer, and new references to objects.
        let reduced = unsafe {
            let (restore, bytes) = (restore.as_ptr(), bytes.as_ptr());
            let reduced = ffi::Py_BuildValue(c"O(KO)".as_ptr(), restore, this_vm(), bytes);
            Object::from_owned(py, reduced)
        };
        reduced.ok_or(Raised)
    })
}

/// `_restore(vm, bytes)`: the pid or reference that was pickled.
pub(super) fn restore(py: Attached<'_>, args: &[*mut ffi::PyObject]) -> Result<Object, Raised> {
    let [vm, bytes] = args else { return Err(invalid(py)) };
    // SAFETY: live, as long as the call lasts; what is no integer is another VM's.
    let vm = unsafe { ffi::PyLong_AsUnsignedLongLong(*vm) };
    clear(py);
    if vm != this_vm() {
        let message = "an erlang.Pid or erlang.Ref that was pickled in another Erlang VM";
        return Err(raise(py, ErrorClass::ValueError, message));
    }
    // SAFETY: live, as long as the call lasts.
    let bytes = unsafe { keep(py, *bytes) }?;
    let Some(encoded) = bytes.contents(py) else {
        clear(py);
        return Err(invalid(py));
    };
    if !TAGS.iter().any(|tag| encoded.starts_with(tag)) {
        return Err(invalid(py));
    }
    let env = TermEnv::new();
    // SAFETY: the environment is ours alone.
    let term = unsafe { Env::new(&env, env.as_ptr()) }.binary_to_term(encoded);
    let (term, _) = term.ok_or_else(|| invalid(py))?;
    if is_nameless(encoded) && !is_nameless(own_ref(&env).to_binary().as_slice()) {
        let message = "an erlang.Pid or erlang.Ref that was pickled before this node got its name";
        return Err(raise(py, ErrorClass::ValueError, message));
    }
    current_job::with(|job| to_python(py, job, env.as_ptr(), term.as_c_arg(), "the pid"))
}

/// Whether an identifier is of a node without a name. Decoded in one that has a name by now, it
/// would be taken for another node's.
fn is_nameless(encoded: &[u8]) -> bool {
    const NAMELESS: &[u8] = b"nonode@nohost";
    encoded.windows(NAMELESS.len()).any(|part| part == NAMELESS)
}

/// A reference of this node as it is now.
fn own_ref(env: &TermEnv) -> Term<'_> {
    // SAFETY: the environment is the caller's alone.
    unsafe {
        let ptr = env.as_ptr();
        Term::new(Env::new(env, ptr), enif_make_ref(ptr))
    }
}

fn invalid(py: Attached<'_>) -> Raised {
    let message = "erlang._restore() takes what a pickled erlang.Pid or erlang.Ref gives it";
    raise(py, ErrorClass::ValueError, message)
}

/// A number that no other VM has.
fn this_vm() -> u64 {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    // The keys of a hasher are random.
    *NUMBER.get_or_init(|| std::hash::RandomState::new().build_hasher().finish())
}
