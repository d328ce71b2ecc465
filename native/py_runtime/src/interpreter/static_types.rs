//! Gives a new interpreter the static types that the main one has.
//!
//! From 3.12 on each interpreter has a dictionary of its own for each static type of CPython, and
//! fills it anew. In later interpreters than the main one two things are wrong with that:
//!
//! - A slot that a type inherits is set by then, and so looks like one of its own: the type gets a
//!   wrapper for it (CPython issue 117482). Before 3.12.5 that is so for nearly all slots, later
//!   for `__init__`. `int.__str__` is not `object.__str__` then, so `enum` takes it for the text
//!   of the members of an `IntEnum`: they are printed as those of an `Enum` are.
//! - `contextvars.Token.MISSING` is missing (CPython issue 138192).

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::exception::clear;
use crate::cpython::namespace::pairs;
use crate::cpython::object::{Attached, Object};

/// By the address of a static type: the names of the slot wrappers that it has in the main
/// interpreter.
type Wrappers = HashMap<usize, HashSet<Vec<u8>>>;

static OF_MAIN: OnceLock<Wrappers> = OnceLock::new();

/// Looks, once, at the types of the main interpreter.
///
/// # Safety
/// The thread is attached to the main interpreter.
pub(super) unsafe fn record() {
    // Not by `get_or_init`: who waits there would have the GIL that the first one needs.
    if OF_MAIN.get().is_some() {
        return;
    }
    // SAFETY: as the caller vouches.
    let py = unsafe { Attached::assume() };
    let recorded = static_types(py).map(|types| {
        let each = types.into_iter().map(|class| {
            let names = slot_wrappers(&class.dict)
                .filter_map(|(name, _)| name.utf8(py).map(<[u8]>::to_vec));
            (class.address, names.collect())
        });
        each.collect()
    });
    match recorded {
        // Another thread may have been faster.
        Some(recorded) => drop(OF_MAIN.set(recorded)),
        None => clear(py),
    }
}

/// Makes the types of a new interpreter those of the main one, as far as there is memory for it.
///
/// # Safety
/// The thread is attached to a new interpreter.
pub(super) unsafe fn correct() {
    // SAFETY: as the caller vouches.
    let py = unsafe { Attached::assume() };
    let of_main = OF_MAIN.get();
    if of_main.is_some_and(|of_main| remove_surplus(py, of_main).is_none()) {
        clear(py);
    }
    if set_missing(py).is_none() {
        clear(py);
    }
    // The dictionaries have been changed without the types' knowledge.
    // SAFETY: attached; the call empties the interpreter's cache of attributes.
    unsafe { ffi::PyType_ClearCache() };
}

/// `None`: exception set.
fn remove_surplus(py: Attached<'_>, of_main: &Wrappers) -> Option<()> {
    // What has been removed lives as long as the interpreter, because code that has run may have
    // kept a pointer to it without a reference (in the inline caches of its instructions).
    let removed = Object::list(py)?;
    // SAFETY: attached; the dictionary lives as long as the interpreter.
    let state =
        unsafe { Object::from_borrowed(py, ffi::PyInterpreterState_GetDict(py.interpreter())) }?;
    state.set_item(py, c"py_context_router.slot_wrappers", &removed)?;
    for class in static_types(py)? {
        let Some(wanted) = of_main.get(&class.address) else { continue };
        let surplus = slot_wrappers(&class.dict)
            .filter(|(name, _)| name.utf8(py).is_some_and(|name| !wanted.contains(name)));
        for (name, wrapper) in surplus.collect::<Vec<_>>() {
            removed.append(py, &wrapper)?;
            class.dict.remove(py, &name)?;
        }
    }
    Some(())
}

/// Gives `contextvars.Token` its `MISSING`, where it has none. `None`: exception set.
fn set_missing(py: Attached<'_>) -> Option<()> {
    // SAFETY: a static type.
    let token = unsafe { dictionary(py, &raw mut ffi::PyContextToken_Type) }?;
    if token.get_item(py, c"MISSING").is_some() {
        return Some(());
    }
    // The token of a variable that had no value before says so with that object.
    // SAFETY: attached; the name ends in NUL, a variable needs no default, all objects are live.
    let missing = unsafe {
        let none = std::ptr::null_mut();
        let variable = Object::from_owned(py, ffi::PyContextVar_New(c"missing".as_ptr(), none))?;
        let set = ffi::PyContextVar_Set(variable.as_ptr(), ffi::Py_None());
        let set = Object::from_owned(py, set)?;
        let missing = set.getattr_c(py, c"old_value");
        ffi::PyContextVar_Reset(variable.as_ptr(), set.as_ptr());
        missing
    };
    token.set_item(py, c"MISSING", &missing?)
}

/// A static type of CPython, with its dictionary in the interpreter that the thread is attached to.
struct StaticType {
    address: usize,
    dict: Object,
}

/// All static types that derive from `object`. `None`: exception set.
fn static_types(py: Attached<'_>) -> Option<Vec<StaticType>> {
    // SAFETY: static types, which are live in every interpreter.
    let (object, subclasses) = unsafe {
        let object = Object::from_borrowed(py, (&raw mut ffi::PyBaseObject_Type).cast())?;
        let class = Object::from_borrowed(py, (&raw mut ffi::PyType_Type).cast())?;
        (object, class.getattr_c(py, c"__subclasses__")?)
    };
    let (mut found, mut seen, mut next) = (Vec::new(), HashSet::new(), vec![object]);
    while let Some(class) = next.pop() {
        let pointer = class.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: a live class. What is made at run time has only such subclasses.
        if unsafe { ffi::PyType_HasFeature(pointer, ffi::Py_TPFLAGS_HEAPTYPE) } != 0
            || !seen.insert(pointer.addr())
        {
            continue;
        }
        // An extension module's static type has one dictionary, for all interpreters, which isn't
        // touched.
        // SAFETY: a live class.
        if unsafe { (*pointer).tp_dict.is_null() } {
            // SAFETY: a static type.
            let dict = unsafe { dictionary(py, pointer) }?;
            found.push(StaticType { address: pointer.addr(), dict });
        }
        let below = subclasses.call1(py, &class)?;
        for index in 0..below.list_size(py) {
            next.push(below.list_item(py, index)?);
        }
    }
    Some(found)
}

/// The dictionary of a type in the interpreter that the thread is attached to.
///
/// # Safety
/// The type is live.
unsafe fn dictionary(py: Attached<'_>, class: *mut ffi::PyTypeObject) -> Option<Object> {
    // SAFETY: attached, and live as the caller vouches; the result is null or new.
    unsafe { Object::from_owned(py, ffi::PyType_GetDict(class)) }
}

/// The wrappers of slots in a type's dictionary, by name.
fn slot_wrappers(dict: &Object) -> impl Iterator<Item = (Object, Object)> {
    pairs(dict).filter_map(|(key, value)| {
        // SAFETY: attached, as every owner of an `Object` is; both are live in the dictionary.
        unsafe {
            let py = Attached::assume();
            let is_wrapper = ffi::Py_IS_TYPE(value, &raw mut ffi::PyWrapperDescr_Type) != 0;
            let pair = Object::from_borrowed(py, key).zip(Object::from_borrowed(py, value));
            pair.filter(|_| is_wrapper)
        }
    })
}
