//! Python object → Erlang term: finds the object's type and hands it to the right file. Lists
//! and tuples are walked here.
//!
//! Runs on a context thread, attached. Exact types first, by pointer comparison, because nearly
//! every value is one; subclasses after. Must never turn an object that it doesn't know into
//! something else: see [`Writer::handle_or_plain`].
//!
//! Converting an element may run Python code (a numpy scalar's `__index__`) or let another thread
//! in, so a container can change meanwhile. An element is kept by a reference of our own while it
//! is converted, and a container that changed its size is refused. Must never make a map that is
//! smaller than the dict it was made from.

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{
    ErlNifTerm, enif_make_list_from_array, enif_make_map_from_arrays, enif_make_tuple_from_array,
};

use super::dict::dict_to_term;
use super::fail::{Fail, descend};
use super::handles::NoHandle;
use super::place::type_name;
use super::writer::Writer;
use super::{number, text, to_plain};
use crate::erlang_types::{buffer, pid_ref};
use crate::request::error::ConvertError;
use crate::request::flags::Values;

/// The VM's header word for a tuple has 24 bits for the arity. A larger one is undefined.
const MAX_ARITY: usize = (1 << 24) - 1;

impl Writer<'_> {
    /// The term for `value`, which may nest `depth_left` levels of containers.
    ///
    /// # Safety
    /// `value` is a live object that the caller keeps alive, and `env` may be written to.
    pub(super) unsafe fn value(
        &mut self,
        value: *mut ffi::PyObject,
        depth_left: u32,
    ) -> Result<ErlNifTerm, Fail> {
        // SAFETY: the caller keeps `value` alive; each writer below is given an object of the type
        // that it asks for.
        unsafe {
            if ffi::PyUnicode_CheckExact(value) != 0 {
                text::str_to_term(self, value)
            } else if ffi::PyLong_CheckExact(value) != 0 {
                number::int_to_term(self.py, self.env, value)
            } else if ffi::PyFloat_CheckExact(value) != 0 {
                Ok(number::float_to_term(self, ffi::PyFloat_AS_DOUBLE(value)))
            } else if value == ffi::Py_None() {
                Ok(self.none)
            } else if value == ffi::Py_True() {
                Ok(self.types.known.r#true)
            } else if value == ffi::Py_False() {
                Ok(self.types.known.r#false)
            } else if ffi::PyList_CheckExact(value) != 0 {
                list_to_term(self, value, descend(depth_left)?)
            } else if ffi::PyDict_CheckExact(value) != 0 {
                dict_to_term(self, value, descend(depth_left)?)
            } else if ffi::PyTuple_CheckExact(value) != 0 {
                tuple_to_term(self, value, descend(depth_left)?)
            } else if ffi::PyBytes_CheckExact(value) != 0 {
                text::bytes_to_term(self, value)
            } else {
                self.uncommon_type(value, depth_left)
            }
        }
    }

    /// The types of module `erlang`, views, subclasses and numpy's scalars.
    ///
    /// # Safety
    /// As for [`Writer::value`].
    #[inline(never)]
    unsafe fn uncommon_type(
        &mut self,
        value: *mut ffi::PyObject,
        depth_left: u32,
    ) -> Result<ErlNifTerm, Fail> {
        self.is_plain = false;
        // SAFETY: as for `value`; the subclass checks allow what the exact ones do.
        unsafe {
            let class = ffi::Py_TYPE(value).cast::<ffi::PyObject>();
            if class == self.types.atom.as_ptr() {
                text::atom_to_term(self, value)
            } else if class == self.types.pid.as_ptr() || class == self.types.reference.as_ptr() {
                Ok(pid_ref::to_term(self.env, value))
            } else if class == self.types.buffer.as_ptr() {
                Ok(buffer::to_term(self.env, value))
            } else if ffi::PyByteArray_Check(value) != 0 {
                text::bytearray_to_term(self, value)
            } else if ffi::PyMemoryView_Check(value) != 0 {
                text::memoryview_to_term(self, value)
            } else if ffi::PyUnicode_Check(value) != 0 {
                text::str_to_term(self, value)
            } else if ffi::PyLong_Check(value) != 0 {
                number::int_to_term(self.py, self.env, value)
            } else if ffi::PyFloat_Check(value) != 0 {
                Ok(number::float_to_term(self, ffi::PyFloat_AS_DOUBLE(value)))
            } else if ffi::PyBytes_Check(value) != 0 {
                text::bytes_to_term(self, value)
            } else if ffi::PyList_Check(value) != 0 {
                list_to_term(self, value, descend(depth_left)?)
            } else if ffi::PyDict_Check(value) != 0 {
                dict_to_term(self, value, descend(depth_left)?)
            } else if ffi::PyTuple_Check(value) != 0 {
                tuple_to_term(self, value, descend(depth_left)?)
            } else if let Some(kind) = number::numpy_scalar(value) {
                number::numpy_to_term(self, value, kind)
            } else {
                self.handle_or_plain(value, depth_left)
            }
        }
    }

    /// Everything else: a handle on the object or, by value, the term for what `to_plain` makes of
    /// it.
    ///
    /// # Safety
    /// As for [`Writer::value`].
    #[inline(never)]
    unsafe fn handle_or_plain(
        &mut self,
        value: *mut ffi::PyObject,
        depth_left: u32,
    ) -> Result<ErlNifTerm, Fail> {
        // SAFETY: `value` is live, and gets a reference.
        let object = unsafe { Object::from_borrowed(self.py, value) }.expect("not null");
        if self.by_value {
            let plain = to_plain::to_plain(self.py, &self.types.plain, &object)?;
            // SAFETY: as for `value`.
            return unsafe { self.value(plain.as_ptr(), descend(depth_left)?) };
        }
        self.handle(object)
    }

    /// A handle on an object, whatever it is.
    pub(super) fn handle(&mut self, object: Object) -> Result<ErlNifTerm, Fail> {
        // SAFETY: the environment may be written to; attached to the context's interpreter.
        let handle = match unsafe { self.handles.new_handle(self.env, object) } {
            Ok(handle) => handle,
            Err(NoHandle::ContextEnded) => return Err(Fail::of(ConvertError::ContextEnded)),
            Err(NoHandle::NoContext(object)) => {
                let class = type_name(self.py, &object);
                let what = format!("{class} object, in a thread that is no context's");
                return Err(Fail::refuse(what));
            }
        };
        Ok(match self.values {
            Values::Erlang => handle,
            Values::Elixir => self.py_object(handle),
        })
    }

    /// `%Py.Object{ref: handle}`.
    fn py_object(&self, handle: ErlNifTerm) -> ErlNifTerm {
        let known = &self.types.known;
        let (keys, values) = ([known.r#struct, known.r#ref], [known.py_object, handle]);
        let mut object = ErlNifTerm::default();
        // SAFETY: the environment may be written to, and the handle is a term of it; both arrays
        // have two terms, and the keys differ.
        unsafe {
            enif_make_map_from_arrays(self.env, keys.as_ptr(), values.as_ptr(), 2, &raw mut object);
        }
        object
    }
}

/// # Safety
/// `list` is a live list, or an instance of a subclass, that the caller keeps alive.
unsafe fn list_to_term(
    writer: &mut Writer<'_>,
    list: *mut ffi::PyObject,
    depth_left: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: `list` is a live list; an element is looked at only through a reference of our own.
    unsafe {
        let length = ffi::PyList_GET_SIZE(list);
        let Ok(count) = u32::try_from(length) else {
            return Err(Fail::refuse("list of more than 2^32 elements"));
        };
        let start = writer.parts.len();
        if writer.parts.try_reserve(count as usize).is_err() {
            return Err(Fail::no_memory(writer.py));
        }
        for index in 0..length {
            let Some(item) = list_item(writer.py, list, index) else { break };
            let term = match number::plain_to_term(writer.env, item.as_ptr()) {
                Some(term) => term,
                None => match writer.value(item.as_ptr(), depth_left) {
                    Ok(term) => term,
                    Err(fail) => return Err(fail.in_element(|| format!("[{index}]"))),
                },
            };
            writer.parts.push(term);
        }
        if ffi::PyList_GET_SIZE(list) != length || writer.parts.len() - start != count as usize {
            return Err(Fail::refuse("list that changed while it was converted"));
        }
        let term = enif_make_list_from_array(writer.env, writer.parts[start..].as_ptr(), count);
        writer.parts.truncate(start);
        Ok(term)
    }
}

/// A reference of our own to an element; `None` when the list has shrunk.
///
/// # Safety
/// `list` is a live list.
unsafe fn list_item(
    py: Attached<'_>,
    list: *mut ffi::PyObject,
    index: ffi::Py_ssize_t,
) -> Option<Object> {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached, so nobody changes the list between the check and the reference.
    unsafe {
        if index >= ffi::PyList_GET_SIZE(list) {
            return None;
        }
        Object::from_borrowed(py, ffi::PyList_GET_ITEM(list, index))
    }
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: the call takes its reference atomically, other threads notwithstanding.
    unsafe {
        let item = Object::from_owned(py, ffi::PyList_GetItemRef(list, index));
        if item.is_none() {
            py_runtime::exception::clear(py);
        }
        item
    }
}

/// # Safety
/// `tuple` is a live tuple, or an instance of a subclass, that the caller keeps alive.
unsafe fn tuple_to_term(
    writer: &mut Writer<'_>,
    tuple: *mut ffi::PyObject,
    depth_left: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: `tuple` is a live tuple. It never changes, so it keeps its elements alive. Theirs is
    // the tuple's reference, so that a count of one says nothing of who else has an element.
    unsafe {
        let arity = ffi::PyTuple_GET_SIZE(tuple);
        if arity as usize > MAX_ARITY {
            return Err(Fail::refuse(format!(
                "tuple of {arity} elements: Erlang's limit is 2^24-1"
            )));
        }
        let start = writer.parts.len();
        if writer.parts.try_reserve(arity as usize).is_err() {
            return Err(Fail::no_memory(writer.py));
        }
        for index in 0..arity {
            let term = match writer.value(ffi::PyTuple_GET_ITEM(tuple, index), depth_left) {
                Ok(term) => term,
                Err(fail) => return Err(fail.in_element(|| format!("[{index}]"))),
            };
            writer.parts.push(term);
        }
        let elements = writer.parts[start..].as_ptr();
        let term = enif_make_tuple_from_array(writer.env, elements, arity as u32);
        writer.parts.truncate(start);
        Ok(term)
    }
}
