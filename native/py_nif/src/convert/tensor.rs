//! Arrays: `{ndarray, DType, Shape, Binary}` becomes an array, and an array becomes
//! `#{dtype, shape, data}`.
//!
//! In: numpy makes the array over an `erlang.Buffer`, read-only and without a copy. Out: any object
//! that offers the buffer protocol.

use std::ffi::CStr;

use py_runtime::exception::clear;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use py_runtime::view::View;
use rustler::sys::{ErlNifTerm, enif_make_int64, enif_make_list_from_array};

use super::fail::Fail;
use super::writer::{SHARED_FROM, Writer};
use super::{text, to_plain};
use crate::term::{atom_map, binary};

/// `numpy.dtype(dtype)`. One of Python objects would take the binary's bytes for pointers.
fn element_type(py: Attached<'_>, numpy: &Object, dtype: &Object) -> Result<Object, Fail> {
    let raised = || Fail::raised(py);
    let class = numpy.getattr_c(py, c"dtype").ok_or_else(raised)?;
    let dtype = class.call1(py, dtype).ok_or_else(raised)?;
    let flag = dtype.getattr_c(py, c"hasobject").ok_or_else(raised)?;
    if !flag.is_bool(false) { Err(Fail::refuse("array of Python objects")) } else { Ok(dtype) }
}

/// `numpy.ndarray(shape, dtype, bytes)`, which has to use all of the bytes.
pub(super) fn array(
    py: Attached<'_>,
    dtype: &Object,
    shape: &Object,
    bytes: &Object,
    length: usize,
) -> Result<Object, Fail> {
    let numpy = Object::import(py, c"numpy").ok_or_else(|| Fail::raised(py))?;
    let class = numpy.getattr_c(py, c"ndarray").ok_or_else(|| Fail::raised(py))?;
    let dtype = element_type(py, &numpy, dtype)?;
    let array = class.call(py, [shape, &dtype, bytes]).ok_or_else(|| Fail::raised(py))?;
    let used = array.getattr_c(py, c"nbytes").ok_or_else(|| Fail::raised(py))?;
    // SAFETY: attached; a live object. What is no number gives another length than any binary's.
    let used = unsafe { ffi::PyLong_AsSize_t(used.as_ptr()) };
    clear(py);
    if used == length {
        Ok(array)
    } else {
        Err(Fail::refuse(format!("binary of {length} bytes for an array of {used}")))
    }
}

/// See [`super::Converter::to_buffer`].
///
/// # Safety
/// `object` is live; the writer's `env` may be written to. With `share`, nobody changes the
/// object's bytes from now on.
pub(super) unsafe fn to_term(
    writer: &mut Writer<'_>,
    object: &Object,
    share: bool,
    depth_left: u32,
) -> Result<ErlNifTerm, Fail> {
    let described = to_plain::describe_array(writer.py, &writer.types.array, object)?;
    let exporter = described.as_ref().map_or(object, |(_, exporter)| exporter);
    // SAFETY: passed on to the caller; an array's exporter has the array's bytes.
    unsafe {
        let memory = memory(writer, exporter, share)?;
        let dtype = match &described {
            Some((dtype, _)) => writer.value(dtype.as_ptr(), depth_left)?,
            None => binary(writer.env, memory.dtype.as_bytes()),
        };
        let shape = memory.shape;
        let shape = enif_make_list_from_array(writer.env, shape.as_ptr(), shape.len() as u32);
        Ok(atom_map(writer.env, &[("dtype", dtype), ("shape", shape), ("data", memory.data)]))
    }
}

/// The description of an object's memory. The terms are the writer's.
struct Memory {
    dtype: String,
    shape: Vec<ErlNifTerm>,
    data: ErlNifTerm,
}

/// # Safety
/// As for [`to_term`].
unsafe fn memory(writer: &Writer<'_>, object: &Object, share: bool) -> Result<Memory, Fail> {
    let viewed = View::with(writer.py, object, |view| {
        if text::holds_objects(view) {
            return Err(text::refuse_objects());
        }
        // SAFETY: the writer's `env` may be written to.
        let dimension =
            |size: &ffi::Py_ssize_t| unsafe { enif_make_int64(writer.env, *size as i64) };
        let shape = view.shape().iter().map(dimension).collect();
        let shareable = view.is_contiguous()
            && view.size() >= SHARED_FROM
            && (share || writer.never_changes(object));
        Ok((dtype(view.format(), view.item_size()), shape, shareable))
    });
    let (dtype, shape, shareable) = viewed.ok_or_else(|| Fail::raised(writer.py))??;
    // SAFETY: passed on to the caller.
    let data = unsafe {
        match if shareable { writer.share(object.as_ptr()) } else { None } {
            Some(term) => term,
            None => text::buffer_to_term(writer, object.as_ptr())?,
        }
    };
    Ok(Memory { dtype, shape, data })
}

/// The element type as numpy names it: `float64`; if numpy has no name for it, the format of the
/// buffer (as in Python's `struct`).
fn dtype(format: Option<&CStr>, item_size: ffi::Py_ssize_t) -> String {
    let format = format.map_or("B".into(), CStr::to_string_lossy);
    let native = if cfg!(target_endian = "little") { '<' } else { '>' };
    // The letters' sizes differ between exporters; the size of an item doesn't.
    let kind = match format.trim_start_matches(['@', '=', native]) {
        "?" => return "bool".into(),
        "b" | "h" | "i" | "l" | "q" | "n" => "int",
        "B" | "H" | "I" | "L" | "Q" | "N" | "c" => "uint",
        "e" | "f" | "d" => "float",
        "Ze" | "Zf" | "Zd" => "complex",
        _ => return format.into_owned(),
    };
    format!("{kind}{}", item_size * 8)
}
