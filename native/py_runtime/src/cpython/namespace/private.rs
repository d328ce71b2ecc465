//! Private namespaces, which inherit the names of a context's own.
//!
//! A private namespace has the names that one user has made, and copies of those of the context's
//! own namespace. They are copied because the globals of a function are one plain dictionary.
//! Behind it are only the built-ins, which are the real ones here: code may change them.
//!
//! Copies are updated when a job begins ([`Private::update`]), so private code sees the context's
//! own namespace as it was then. A name that the user has assigned stays: its value is another
//! object than the one that was copied.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pyo3_ffi as ffi;

use super::entries::{get, is_text, locked, lost, names, pairs};
use super::new_namespace;
use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};

/// The names of a context's own namespace, as private ones inherit them.
#[derive(Debug)]
pub struct Inherited {
    own: Object,
    /// A copy of `own`, made when that had last changed. It isn't changed as long as it is here
    /// (see [`Release`]), and never borrowed while Python code may run.
    snapshot: RefCell<Object>,
    /// What new private namespaces begin with, made when the first needs it. Borrowed as the
    /// snapshot is.
    first: RefCell<Option<Rc<Private>>>,
}

/// A replaced copy, which may have the last references to what it contains. Dropping it can run
/// Python code, so it is dropped when nothing is borrowed any more.
#[derive(Debug)]
#[must_use = "it is to be kept until nothing is borrowed"]
pub struct Replaced {
    _copied: Option<Object>,
    _first: Option<Rc<Private>>,
    has_lost: bool,
}

impl Replaced {
    const NOTHING: Replaced = Replaced { _copied: None, _first: None, has_lost: false };

    /// Whether a name is gone, or has another value, whose value may have been large.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.has_lost
    }
}

impl Inherited {
    /// What there is to inherit of the context's `own` namespace.
    pub fn new(py: Attached<'_>, own: &Object) -> Result<Self, Exception> {
        let own = own.clone_ref(py);
        let snapshot = own.dict_copy(py).ok_or_else(|| Exception::take(py))?;
        Ok(Inherited { own, snapshot: RefCell::new(snapshot), first: RefCell::default() })
    }

    /// Takes a new snapshot if the context's own namespace has changed, which it rarely has.
    pub fn refresh(&self, py: Attached<'_>) -> Result<Replaced, Exception> {
        if self.is_unchanged() {
            return Ok(Replaced::NOTHING);
        }
        // Up to 3.11 this may run Python's garbage collection, and that finalizers.
        let now = self.own.dict_copy(py).ok_or_else(|| Exception::take(py))?;
        let before = self.snapshot.replace(now.clone_ref(py));
        let first = self.first.take();
        let has_lost = lost(&before, &now).next().is_some();
        Ok(Replaced { _copied: Some(before), _first: first, has_lost })
    }

    /// Whether each name still has the value that it had. Compares addresses and runs no code.
    fn is_unchanged(&self) -> bool {
        let snapshot = self.snapshot.borrow();
        let mut before = pairs(&snapshot);
        locked(&self.own, || {
            pairs(&self.own).all(|pair| before.next() == Some(pair)) && before.next().is_none()
        })
    }
}

/// The private namespace of one user.
#[derive(Debug)]
pub struct Private {
    dict: Object,
    /// The snapshot of the context's own namespace from which it has inherited.
    inherited: Option<Object>,
    /// The keys of `dict` in their order, up to the last inherited one. While they are the same, no
    /// inherited name has been deleted, nor one of the user's own that hides it.
    order: Rc<Vec<Object>>,
}

impl Private {
    /// A fresh one that has inherited. A copy of another fresh one: that is faster than to inherit
    /// name by name.
    pub fn new(py: Attached<'_>, inherited: &Inherited) -> Result<Self, Exception> {
        let known = inherited.first.borrow().clone();
        let first = match known {
            Some(first) => first,
            None => {
                let dict = new_namespace(py)?;
                let mut first = Private { dict, inherited: None, order: Rc::default() };
                // Nothing was copied before.
                let _ = first.update(py, inherited)?;
                let first = Rc::new(first);
                let _ = inherited.first.replace(Some(Rc::clone(&first)));
                first
            }
        };
        first.copy(py).ok_or_else(|| Exception::take(py))
    }

    fn copy(&self, py: Attached<'_>) -> Option<Self> {
        let dict = self.dict.dict_copy(py)?;
        #[cfg(not(Py_3_14))]
        dict.set_item(py, c"__annotations__", &Object::dict(py)?)?;
        let inherited = self.inherited.as_ref().map(|snapshot| snapshot.clone_ref(py));
        Some(Private { dict, inherited, order: Rc::clone(&self.order) })
    }

    /// The globals.
    pub fn dict(&self) -> &Object {
        &self.dict
    }

    /// Inherits what has changed since the last update, which is mostly nothing. Runs no Python
    /// code.
    pub fn update(
        &mut self,
        py: Attached<'_>,
        inherited: &Inherited,
    ) -> Result<Replaced, Exception> {
        let snapshot = inherited.snapshot.borrow();
        let is_same = |inherited: &Object| inherited.as_ptr() == snapshot.as_ptr();
        if self.inherited.as_ref().is_some_and(is_same) && self.is_in_order() {
            return Ok(Replaced::NOTHING);
        }
        self.inherit(py, &snapshot).ok_or_else(|| Exception::take(py))?;
        let before = self.inherited.replace(snapshot.clone_ref(py));
        // Keys only: text, whose release runs no code.
        self.order = Rc::new(self.keys(py));
        Ok(Replaced { _copied: before, _first: None, has_lost: false })
    }

    /// Values that are replaced or removed here are still referred to by `inherited`.
    fn inherit(&self, py: Attached<'_>, snapshot: &Object) -> Option<()> {
        let inherited = |key| self.inherited.as_ref().and_then(|inherited| get(inherited, key));
        for (key, value) in self.inherited.iter().flat_map(names) {
            if get(snapshot, key).is_none() && get(&self.dict, key) == Some(value) {
                // SAFETY: the dictionary that was inherited keeps the key alive.
                self.dict.remove(py, unsafe { Object::lent(py, &key) })?;
            }
        }
        for (key, value) in names(snapshot) {
            let has = get(&self.dict, key);
            if has.is_none() || (has != Some(value) && has == inherited(key)) {
                // SAFETY: the snapshot, which isn't changed here, keeps both alive.
                let (key, value) = unsafe { (Object::lent(py, &key), Object::lent(py, &value)) };
                self.dict.set(py, key, value)?;
            }
        }
        Some(())
    }

    fn keys(&self, py: Attached<'_>) -> Vec<Object> {
        let inherited = self.inherited.as_ref();
        let mut missing = inherited.map_or(0, |inherited| names(inherited).count());
        let is_inherited = |key| inherited.is_some_and(|inherited| get(inherited, key).is_some());
        let mut keys = Vec::with_capacity(missing);
        locked(&self.dict, || {
            for (key, _) in pairs(&self.dict) {
                if missing == 0 {
                    break;
                }
                missing -= usize::from(is_text(key) && is_inherited(key));
                // SAFETY: attached; a dictionary's keys are live.
                keys.extend(unsafe { Object::from_borrowed(py, key) });
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

/// Releases what the context's own namespace has lost, in private ones that haven't been updated
/// since. They aren't updated by this: most of many have no job for long.
#[derive(Debug)]
pub struct Release<'a> {
    inherited: &'a Inherited,
    /// What is lost of each snapshot that some of them have inherited, by its address.
    copies: HashMap<*mut ffi::PyObject, Lost>,
}

/// A snapshot, and the names and values of it that are lost.
type Lost = (Object, Vec<(Object, Object)>);

impl<'a> Release<'a> {
    /// Of what was inherited from this.
    #[must_use]
    pub fn new(inherited: &'a Inherited) -> Self {
        Release { inherited, copies: HashMap::new() }
    }

    /// Releases it in one of them. Runs no Python code.
    pub fn from(&mut self, py: Attached<'_>, user: &Private) {
        let now = self.inherited.snapshot.borrow();
        let Some(inherited) = &user.inherited else { return };
        if inherited.as_ptr() == now.as_ptr() {
            return;
        }
        let (_, lost) = self.copies.entry(inherited.as_ptr()).or_insert_with(|| {
            let object = |ptr| {
                // SAFETY: attached; a dictionary's keys and values are live.
                unsafe { Object::from_borrowed(py, ptr) }.expect("a dictionary contains no null")
            };
            let lost = lost(inherited, &now).map(|(key, value)| (object(key), object(value)));
            (inherited.clone_ref(py), lost.collect())
        });
        for (key, value) in lost {
            replace(py, &user.dict, key, value, &now);
        }
    }

    /// Releases it for good. With nothing borrowed, because that may run Python code.
    pub fn finish(self, py: Attached<'_>) {
        let now = self.inherited.snapshot.borrow().clone_ref(py);
        for (copy, lost) in self.copies.values() {
            for (key, value) in lost {
                replace(py, copy, key, value, &now);
            }
        }
    }
}

/// Gives a name the value that it has in `now`, or none, if it has `value` in `dict`.
fn replace(py: Attached<'_>, dict: &Object, key: &Object, value: &Object, now: &Object) {
    if get(dict, key.as_ptr()) != Some(value.as_ptr()) {
        return;
    }
    let done = match get(now, key.as_ptr()) {
        // SAFETY: a dictionary keeps its values alive.
        Some(new) => dict.set(py, key, unsafe { Object::lent(py, &new) }),
        None => dict.remove(py, key),
    };
    if done.is_none() {
        // It stays until the next update.
        crate::cpython::exception::clear(py);
    }
}
