//! A failed conversion, while the nested calls return.

use py_runtime::exception::{Exception, set_no_memory};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use crate::request::error::ConvertError;

/// A failure, while the nested calls return. One word wide, because every level returns it.
#[derive(Debug)]
pub(super) struct Fail(Box<Cause>);

#[derive(Debug)]
enum Cause {
    /// `steps` from the culprit up to the root: known only while unwinding, so that the good case
    /// never builds a path.
    Unconvertible {
        steps: Vec<String>,
        what: String,
    },
    TooDeep,
    /// An error without a place in the value.
    Other(ConvertError),
}

impl Fail {
    #[cold]
    pub(super) fn refuse(what: impl Into<String>) -> Self {
        Fail(Box::new(Cause::Unconvertible { steps: Vec::new(), what: what.into() }))
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Fail(Box::new(Cause::TooDeep))
    }

    #[cold]
    pub(super) fn of(error: ConvertError) -> Self {
        Fail(Box::new(Cause::Other(error)))
    }

    /// Takes the Python exception that is set.
    #[cold]
    pub(super) fn raised(py: Attached<'_>) -> Self {
        Fail::of(ConvertError::Python(Exception::take(py)))
    }

    /// `MemoryError`.
    #[cold]
    pub(super) fn no_memory(py: Attached<'_>) -> Self {
        set_no_memory(py);
        Fail::raised(py)
    }

    /// The same failure, seen from one level further out.
    #[cold]
    pub(super) fn in_element(mut self, step: impl FnOnce() -> String) -> Self {
        if let Cause::Unconvertible { steps, .. } = &mut *self.0 {
            steps.push(step());
        }
        self
    }

    #[cold]
    pub(super) fn into_error(self, root: &str, max_depth: u32) -> ConvertError {
        match *self.0 {
            Cause::Unconvertible { steps, what } => {
                let steps = steps.iter().rev().map(String::as_str);
                let path = std::iter::once(root).chain(steps).collect();
                ConvertError::Unconvertible { path, what }
            }
            Cause::TooDeep => ConvertError::TooDeep(max_depth),
            Cause::Other(error) => error,
        }
    }
}

/// Takes over the result of a C API call that returns a new reference.
///
/// # Safety
/// `ptr` is a reference that the caller owns and passes on, or null with an exception set.
pub(super) unsafe fn owned_or_raised(
    py: Attached<'_>,
    ptr: *mut ffi::PyObject,
) -> Result<Object, Fail> {
    // SAFETY: as the caller vouches.
    unsafe { Object::from_owned(py, ptr) }.ok_or_else(|| Fail::raised(py))
}

/// The depth left one level further in.
pub(super) fn descend(depth_left: u32) -> Result<u32, Fail> {
    depth_left.checked_sub(1).ok_or_else(Fail::too_deep)
}
