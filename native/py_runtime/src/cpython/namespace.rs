//! The globals that code runs in: a context's own namespace, and private ones of its users.
//!
//! A private namespace holds the names that one user has made, and copies of those of the context's
//! own namespace. They are copied, because to Python the globals of a function are one plain
//! dictionary, and behind it are only the built-ins, which are the real ones here: code may change
//! them. Copies are brought up to date when a job begins ([`Private::update`]), so that private
//! code sees the context's own namespace as it was then. What the user has assigned is left alone;
//! it is told from a copy by not being the object that was copied.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

use pyo3_ffi as ffi;

use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};

const MAIN: &CStr = c"__main__";

/// A fresh dictionary that users' code can run in, with what the globals of a script have.
pub fn new_namespace(at: Attached<'_>) -> Result<Object, Exception> {
    let made = new_dict(at).filter(|dict| fill(at, dict).is_some());
    made.ok_or_else(|| Exception::take(at))
}

/// A fresh dictionary for the library's own code. Its `__name__` is not `__main__`, because by that
/// name users' code is known.
pub fn library_namespace(at: Attached<'_>, name: &str) -> Result<Object, Exception> {
    let make = || {
        let dict = new_dict(at)?;
        set(&dict, c"__builtins__", &builtins(at)?)?;
        set(&dict, c"__name__", &Object::text(at, name)?)?;
        Some(dict)
    };
    make().ok_or_else(|| Exception::take(at))
}

fn new_dict(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached.
    unsafe { Object::from_owned(at, ffi::PyDict_New()) }
}

/// The module `builtins`.
fn builtins(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; the name ends in NUL.
    unsafe { Object::from_owned(at, ffi::PyImport_ImportModule(c"builtins".as_ptr())) }
}

/// Gives a dictionary what the globals of a script begin with. `None`: exception set.
fn fill(at: Attached<'_>, dict: &Object) -> Option<()> {
    let builtins = builtins(at)?;
    let none = Object::none(at);
    let loader = builtins.getattr_c(at, c"__loader__").unwrap_or_else(|| {
        crate::cpython::exception::clear(at);
        Object::none(at)
    });
    set(dict, c"__name__", &Object::text(at, "__main__")?)?;
    set(dict, c"__doc__", &none)?;
    set(dict, c"__package__", &none)?;
    // The importer of built-in modules, as for a script.
    set(dict, c"__loader__", &loader)?;
    set(dict, c"__spec__", &none)?;
    // From 3.14 on annotations are evaluated when they are asked for.
    #[cfg(not(Py_3_14))]
    set(dict, c"__annotations__", &new_dict(at)?)?;
    set(dict, c"__builtins__", &builtins)
}

fn set(dict: &Object, key: &CStr, value: &Object) -> Option<()> {
    // SAFETY: attached, as whoever has an `Object` in hand is; `dict` is a dictionary, which takes
    // its own references.
    let status = unsafe { ffi::PyDict_SetItemString(dict.as_ptr(), key.as_ptr(), value.as_ptr()) };
    (status == 0).then_some(())
}

/// The module `__main__` of an interpreter that one context has to itself. Its dictionary is the
/// context's own namespace. As long as this lives it is in `sys.modules`; dropped attached, it puts
/// the interpreter's first `__main__` back, so that nothing keeps the namespace any longer.
#[derive(Debug)]
pub(crate) struct MainModule {
    first: Option<Object>,
}

impl MainModule {
    /// Puts a new module in place. Also gives its dictionary.
    pub(crate) fn install(at: Attached<'_>) -> Result<(Self, Object), Exception> {
        Self::make(at).ok_or_else(|| Exception::take(at))
    }

    fn make(at: Attached<'_>) -> Option<(Self, Object)> {
        // SAFETY: attached; the name ends in NUL, and a module's dictionary lives as long as the
        // module.
        let (module, namespace) = unsafe {
            let module = Object::from_owned(at, ffi::PyModule_New(MAIN.as_ptr()))?;
            let namespace = ffi::PyModule_GetDict(module.as_ptr());
            (module, Object::from_borrowed(at, namespace)?)
        };
        fill(at, &namespace)?;
        let modules = modules(at)?;
        // SAFETY: attached; a dictionary, and its values are live.
        let first = unsafe {
            let first = ffi::PyDict_GetItemString(modules.as_ptr(), MAIN.as_ptr());
            Object::from_borrowed(at, first)
        };
        set(&modules, MAIN, &module)?;
        Some((MainModule { first }, namespace))
    }
}

impl Drop for MainModule {
    fn drop(&mut self) {
        // SAFETY: dropped attached, as every `Object` is.
        let at = unsafe { Attached::assume() };
        let restored = modules(at).zip(self.first.take());
        let restored = restored.and_then(|(modules, first)| set(&modules, MAIN, &first));
        if restored.is_none() {
            crate::cpython::exception::clear(at);
        }
    }
}

/// `sys.modules`
fn modules(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; a live dictionary.
    unsafe { Object::from_borrowed(at, ffi::PyImport_GetModuleDict()) }
}

/// The names of a context's own namespace, as private ones inherit them.
#[derive(Debug)]
pub struct Inherited {
    own: Object,
    /// A copy of `own`, made when it had last changed. Never changed itself as long as it is here
    /// (see [`Release`]). Never borrowed while Python code may run.
    seen: RefCell<Object>,
    /// What new private namespaces begin with, made when the first needs it. Borrowed as `seen` is.
    first: RefCell<Option<Rc<Private>>>,
}

/// What was copied before, and may be the last that refers to it. Releasing that can run Python
/// code, so it is done when nothing is borrowed any more.
#[derive(Debug)]
#[must_use = "it is to be kept until nothing is borrowed"]
pub struct Before {
    _copied: Option<Object>,
    _first: Option<Rc<Private>>,
    has_lost: bool,
}

impl Before {
    const NOTHING: Before = Before { _copied: None, _first: None, has_lost: false };

    /// Whether a name is gone, or has another value, whose value may have been large.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.has_lost
    }
}

impl Inherited {
    /// What there is to inherit of the context's `own` namespace.
    pub fn new(at: Attached<'_>, own: &Object) -> Result<Self, Exception> {
        let own = own.clone_ref(at);
        let seen = copy(at, &own).ok_or_else(|| Exception::take(at))?;
        Ok(Inherited { own, seen: RefCell::new(seen), first: RefCell::default() })
    }

    /// Looks whether the context's own namespace has changed, which as a rule it hasn't.
    pub fn refresh(&self, at: Attached<'_>) -> Result<Before, Exception> {
        if self.is_as_seen() {
            return Ok(Before::NOTHING);
        }
        // Up to 3.11 this may run Python's garbage collection, and that finalizers.
        let now = copy(at, &self.own).ok_or_else(|| Exception::take(at))?;
        let before = self.seen.replace(now.clone_ref(at));
        let first = self.first.take();
        let has_lost = lost(&before, &now).next().is_some();
        Ok(Before { _copied: Some(before), _first: first, has_lost })
    }

    /// Whether each name still has the value that it had. Compares addresses and runs no code.
    fn is_as_seen(&self) -> bool {
        let seen = self.seen.borrow();
        let mut seen = pairs(&seen);
        locked(&self.own, || {
            pairs(&self.own).all(|pair| seen.next() == Some(pair)) && seen.next().is_none()
        })
    }
}

/// The names of which `now` has another value than `before`, or none, with the values that they
/// had. Those that take next to no memory don't count.
fn lost(
    before: &Object,
    now: &Object,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> {
    // SAFETY: attached, as whoever has an `Object` in hand is, and a dictionary's values are live.
    names(before)
        .filter(|(key, value)| get(now, *key) != Some(*value) && !unsafe { is_small(*value) })
}

fn copy(at: Attached<'_>, dict: &Object) -> Option<Object> {
    // SAFETY: attached; a dictionary.
    unsafe { Object::from_owned(at, ffi::PyDict_Copy(dict.as_ptr())) }
}

/// Whether it doesn't matter how long a value is kept: `None`, a number.
///
/// # Safety
/// Attached, and `value` is live.
unsafe fn is_small(value: *mut ffi::PyObject) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        value == ffi::Py_None()
            || ffi::PyBool_Check(value) != 0
            || ffi::PyLong_CheckExact(value) != 0
            || ffi::PyFloat_CheckExact(value) != 0
    }
}

/// The private namespace of one user.
#[derive(Debug)]
pub struct Private {
    dict: Object,
    /// What it has inherited: a copy of the context's own namespace as that was.
    taken: Option<Object>,
    /// The keys of `dict` in their order, up to the last inherited one. While they are the same, no
    /// inherited name has been deleted, nor one of the user's own that hides it.
    order: Rc<Vec<Object>>,
}

impl Private {
    /// A fresh one, with what is to inherit. A copy of another fresh one: that takes less time than
    /// to look at each name.
    pub fn new(at: Attached<'_>, inherited: &Inherited) -> Result<Self, Exception> {
        let known = inherited.first.borrow().clone();
        let first = match known {
            Some(first) => first,
            None => {
                let dict = new_namespace(at)?;
                let mut first = Private { dict, taken: None, order: Rc::default() };
                // Nothing was copied before.
                let _ = first.update(at, inherited)?;
                let first = Rc::new(first);
                let _ = inherited.first.replace(Some(Rc::clone(&first)));
                first
            }
        };
        first.copy(at).ok_or_else(|| Exception::take(at))
    }

    fn copy(&self, at: Attached<'_>) -> Option<Self> {
        let dict = copy(at, &self.dict)?;
        #[cfg(not(Py_3_14))]
        set(&dict, c"__annotations__", &new_dict(at)?)?;
        let taken = self.taken.as_ref().map(|taken| taken.clone_ref(at));
        Some(Private { dict, taken, order: Rc::clone(&self.order) })
    }

    /// The globals.
    pub fn dict(&self) -> &Object {
        &self.dict
    }

    /// Takes over what has changed in what it inherits. As a rule nothing has. Runs no Python code.
    pub fn update(&mut self, at: Attached<'_>, inherited: &Inherited) -> Result<Before, Exception> {
        let seen = inherited.seen.borrow();
        let is_same = |taken: &Object| taken.as_ptr() == seen.as_ptr();
        if self.taken.as_ref().is_some_and(is_same) && self.is_in_order() {
            return Ok(Before::NOTHING);
        }
        self.inherit(&seen).ok_or_else(|| Exception::take(at))?;
        let before = self.taken.replace(seen.clone_ref(at));
        // Keys only: text, whose release runs no code.
        self.order = Rc::new(self.keys(at));
        Ok(Before { _copied: before, _first: None, has_lost: false })
    }

    /// Values that are replaced or removed here are still referred to by `taken`.
    fn inherit(&self, seen: &Object) -> Option<()> {
        let dict = self.dict.as_ptr();
        let taken = |key| self.taken.as_ref().and_then(|taken| get(taken, key));
        for (key, value) in self.taken.iter().flat_map(names) {
            if get(seen, key).is_none() && get(&self.dict, key) == Some(value) {
                // SAFETY: attached; a dictionary and a live key of it.
                (unsafe { ffi::PyDict_DelItem(dict, key) } == 0).then_some(())?;
            }
        }
        for (key, value) in names(seen) {
            let has = get(&self.dict, key);
            if has.is_none() || (has != Some(value) && has == taken(key)) {
                // SAFETY: attached; a dictionary, which takes its own references to live objects.
                (unsafe { ffi::PyDict_SetItem(dict, key, value) } == 0).then_some(())?;
            }
        }
        Some(())
    }

    fn keys(&self, at: Attached<'_>) -> Vec<Object> {
        let mut missing = self.taken.as_ref().map_or(0, |taken| names(taken).count());
        let is_inherited = |key| self.taken.as_ref().is_some_and(|taken| get(taken, key).is_some());
        let mut keys = Vec::with_capacity(missing);
        locked(&self.dict, || {
            for (key, _) in pairs(&self.dict) {
                if missing == 0 {
                    break;
                }
                missing -= usize::from(is_text(key) && is_inherited(key));
                // SAFETY: attached; a dictionary's keys are live.
                keys.extend(unsafe { Object::from_borrowed(at, key) });
            }
        });
        keys
    }

    fn is_in_order(&self) -> bool {
        locked(&self.dict, || {
            let mut now = pairs(&self.dict);
            self.order.iter().all(|key| now.next().is_some_and(|(now, _)| now == key.as_ptr()))
        })
    }
}

/// Releases what the context's own namespace has lost, in private ones that are behind the times.
/// They are not brought up to date: of many, most have no job for long.
#[derive(Debug)]
pub struct Release<'a> {
    inherited: &'a Inherited,
    /// What is lost of each copy that some of them have inherited, by the copy's address.
    copies: HashMap<*mut ffi::PyObject, Lost>,
}

/// A copy, and the names and values of it that are lost.
type Lost = (Object, Vec<(Object, Object)>);

impl<'a> Release<'a> {
    /// Of what was inherited from this.
    #[must_use]
    pub fn new(inherited: &'a Inherited) -> Self {
        Release { inherited, copies: HashMap::new() }
    }

    /// Releases it in one of them. Runs no Python code.
    pub fn from(&mut self, at: Attached<'_>, user: &Private) {
        let now = self.inherited.seen.borrow();
        let Some(taken) = &user.taken else { return };
        if taken.as_ptr() == now.as_ptr() {
            return;
        }
        let (_, lost) = self.copies.entry(taken.as_ptr()).or_insert_with(|| {
            let object = |ptr| {
                // SAFETY: attached; a dictionary's keys and values are live.
                unsafe { Object::from_borrowed(at, ptr) }.expect("a dictionary holds no null")
            };
            let lost = lost(taken, &now).map(|(key, value)| (object(key), object(value)));
            (taken.clone_ref(at), lost.collect())
        });
        for (key, value) in lost {
            replace(at, &user.dict, key, value, &now);
        }
    }

    /// Releases it for good. With nothing borrowed, because that may run Python code.
    pub fn finish(self, at: Attached<'_>) {
        let now = self.inherited.seen.borrow().clone_ref(at);
        for (copy, lost) in self.copies.values() {
            for (key, value) in lost {
                replace(at, copy, key, value, &now);
            }
        }
    }
}

/// Gives a name the value that it has in `now`, or none, if it has `value` in `dict`.
fn replace(at: Attached<'_>, dict: &Object, key: &Object, value: &Object, now: &Object) {
    if get(dict, key.as_ptr()) != Some(value.as_ptr()) {
        return;
    }
    // SAFETY: attached; dictionaries and live objects.
    let status = unsafe {
        match get(now, key.as_ptr()) {
            Some(new) => ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), new),
            None => ffi::PyDict_DelItem(dict.as_ptr(), key.as_ptr()),
        }
    };
    if status != 0 {
        // It stays until the next update.
        crate::cpython::exception::clear(at);
    }
}

/// What a dictionary has under a key, which is text. Borrowed from it.
fn get(dict: &Object, key: *mut ffi::PyObject) -> Option<*mut ffi::PyObject> {
    // SAFETY: attached, as whoever has an `Object` in hand is; comparing text can't fail.
    let value = unsafe { ffi::PyDict_GetItemWithError(dict.as_ptr(), key) };
    (!value.is_null()).then_some(value)
}

/// The entries of a dictionary that names can find: those of other keys might run code when they
/// are compared.
fn names(
    dict: &Object,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> + use<'_> {
    pairs(dict).filter(|(key, _)| is_text(*key))
}

fn is_text(key: *mut ffi::PyObject) -> bool {
    // SAFETY: a live key of a dictionary in the caller's hands.
    unsafe { ffi::PyUnicode_CheckExact(key) != 0 }
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
