//! The globals that code runs in: a context's own namespace, and private ones before it.
//!
//! A private namespace holds the names that one user has made; behind it lie the context's own
//! namespace, which all see, and the built-ins. Python knows two levels only, the globals of a
//! function and its built-ins, and is fast only if both are plain dictionaries. So the two levels
//! behind are merged into one [`Backdrop`] that stands in for the built-ins of private code. It is
//! brought up to date before private code runs: that code sees the context's own namespace as it
//! was when its job began.

use pyo3_ffi as ffi;

use crate::exception::Exception;
use crate::object::{Attached, Object};

/// A fresh dictionary that code can run in: it has the built-ins and calls itself `__main__`.
pub fn new_namespace(at: Attached<'_>) -> Result<Object, Exception> {
    let made = builtins(at).and_then(|builtins| filled(at, &builtins));
    made.ok_or_else(|| Exception::take(at))
}

/// The module `builtins`.
fn builtins(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; the name ends in NUL.
    unsafe { Object::from_owned(at, ffi::PyImport_ImportModule(c"builtins".as_ptr())) }
}

fn filled(at: Attached<'_>, builtins: &Object) -> Option<Object> {
    // SAFETY: attached; each call gets live objects, and a failure is a null that ends the chain.
    unsafe {
        let dict = Object::from_owned(at, ffi::PyDict_New())?;
        let name = Object::text(at, "__main__")?;
        set(&dict, c"__builtins__", builtins)?;
        set(&dict, c"__name__", &name)?;
        set(&dict, c"__doc__", &Object::none(at))?;
        Some(dict)
    }
}

/// # Safety
/// Attached, and `dict` is a dictionary.
unsafe fn set(dict: &Object, key: &std::ffi::CStr, value: &Object) -> Option<()> {
    // SAFETY: live objects; the dictionary takes its own reference.
    let status = unsafe { ffi::PyDict_SetItemString(dict.as_ptr(), key.as_ptr(), value.as_ptr()) };
    (status == 0).then_some(())
}

/// A fresh private namespace before what a [`Backdrop`] has merged.
pub fn before(at: Attached<'_>, merged: &Object) -> Result<Object, Exception> {
    filled(at, merged).ok_or_else(|| Exception::take(at))
}

/// What lies behind the private namespaces of one context.
#[derive(Debug)]
pub struct Backdrop {
    /// The built-ins, and over them the context's own namespace.
    merged: Object,
    builtins: Seen,
    own: Seen,
}

/// A dictionary, and what was in it when it was last looked at.
#[derive(Debug)]
struct Seen {
    dict: Object,
    /// In the dictionary's order. References of their own: an address that is free might be given
    /// to something else, which would then look the same.
    items: Vec<(Object, Object)>,
}

impl Backdrop {
    /// Behind it all is the context's `own` namespace.
    pub fn new(at: Attached<'_>, own: &Object) -> Result<Self, Exception> {
        Self::make(at, own).ok_or_else(|| Exception::take(at))
    }

    fn make(at: Attached<'_>, own: &Object) -> Option<Self> {
        let module = builtins(at)?;
        // SAFETY: attached; a module's dictionary lives as long as the module, and gets a
        // reference.
        let (merged, builtins) = unsafe {
            let dict = Object::from_borrowed(at, ffi::PyModule_GetDict(module.as_ptr()))?;
            (Object::from_owned(at, ffi::PyDict_New())?, dict)
        };
        let mut made = Backdrop {
            merged,
            builtins: Seen::nothing_of(builtins),
            own: Seen::nothing_of(own.clone_ref(at)),
        };
        made.merge(at)?;
        Some(made)
    }

    /// What private namespaces have in the place of the built-ins: always this one dictionary.
    pub fn merged(&self) -> &Object {
        &self.merged
    }

    /// Takes over what has changed in the context's own namespace and the built-ins.
    pub fn refresh(&mut self, at: Attached<'_>) -> Result<(), Exception> {
        if self.own.is_as_seen() && self.builtins.is_as_seen() {
            return Ok(());
        }
        self.merge(at).ok_or_else(|| Exception::take(at))
    }

    /// Names that are new or have another value are set one by one, those that are gone are
    /// removed: code that runs meanwhile in other threads never finds it empty.
    fn merge(&mut self, at: Attached<'_>) -> Option<()> {
        // Kept to the end: letting go of the last reference to something runs Python code.
        let _before = (self.builtins.look(at), self.own.look(at));
        let merged = self.merged.as_ptr();
        let (builtins, own) = (self.builtins.dict.as_ptr(), self.own.dict.as_ptr());
        // SAFETY: attached; all three are dictionaries, their keys are live.
        unsafe {
            let keys = Object::from_owned(at, ffi::PyDict_Keys(merged))?;
            for index in 0..ffi::PyList_Size(keys.as_ptr()) {
                let key = ffi::PyList_GetItem(keys.as_ptr(), index);
                if ffi::PyDict_Contains(own, key) == 0 && ffi::PyDict_Contains(builtins, key) == 0 {
                    ffi::PyDict_DelItem(merged, key);
                }
            }
            for (key, value) in &self.builtins.items {
                let (key, value) = (key.as_ptr(), value.as_ptr());
                if ffi::PyDict_Contains(own, key) == 0 {
                    (ffi::PyDict_SetItem(merged, key, value) == 0).then_some(())?;
                }
            }
            for (key, value) in &self.own.items {
                let done = ffi::PyDict_SetItem(merged, key.as_ptr(), value.as_ptr());
                (done == 0).then_some(())?;
            }
        }
        Some(())
    }
}

impl Seen {
    fn nothing_of(dict: Object) -> Self {
        Seen { dict, items: Vec::new() }
    }

    /// Whether each name still has the value that it had. Compares addresses and runs no code.
    fn is_as_seen(&self) -> bool {
        let mut before = self.items.iter();
        locked(&self.dict, || {
            let same = pairs(&self.dict).all(|(key, value)| {
                before.next().is_some_and(|(k, v)| (k.as_ptr(), v.as_ptr()) == (key, value))
            });
            same && before.next().is_none()
        })
    }

    /// Looks again. What was seen before is given back, to be let go of later.
    fn look(&mut self, at: Attached<'_>) -> Vec<(Object, Object)> {
        let object = |ptr| {
            // SAFETY: attached; a dictionary's keys and values are live.
            unsafe { Object::from_borrowed(at, ptr) }.expect("a dictionary holds no null")
        };
        let now = locked(&self.dict, || {
            pairs(&self.dict).map(|(key, value)| (object(key), object(value))).collect()
        });
        std::mem::replace(&mut self.items, now)
    }
}

/// Does something while no other thread changes the dictionary: they can't anyway where there is a
/// GIL, as long as no Python code runs.
fn locked<T>(dict: &Object, work: impl FnOnce() -> T) -> T {
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: attached, as whoever has an `Object` in hand is; the section lies on this stack and is
    // ended before it goes.
    unsafe {
        let mut section = std::mem::MaybeUninit::uninit();
        ffi::PyCriticalSection_Begin(section.as_mut_ptr(), dict.as_ptr());
        let result = work();
        ffi::PyCriticalSection_End(section.as_mut_ptr());
        result
    }
    #[cfg(not(Py_GIL_DISABLED))]
    {
        let _ = dict;
        work()
    }
}

/// The entries of a dictionary, which must not be changed meanwhile.
fn pairs(
    dict: &Object,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> + use<'_> {
    let mut place = 0;
    std::iter::from_fn(move || {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: attached, as whoever has an `Object` in hand is; it is a dictionary.
        let found = unsafe {
            ffi::PyDict_Next(dict.as_ptr(), &raw mut place, &raw mut key, &raw mut value)
        };
        (found != 0).then_some((key, value))
    })
}
