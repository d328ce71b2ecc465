//! How a context gets its Python.

/// What a context's thread owns: a namespace, or an interpreter, or an interpreter with its GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A namespace in the main interpreter; all workers share its GIL, modules and types.
    Worker,
    /// An interpreter of its own that shares the GIL: isolation without parallelism.
    SubInterpreter,
    /// An interpreter with a GIL of its own: isolation and parallelism (PEP 684).
    OwnGil,
}

impl Mode {
    /// Whether the linked Python has this mode, or a sentence on why it hasn't.
    pub fn check(self) -> Result<(), String> {
        match self {
            Mode::OwnGil if !cfg!(Py_3_12) => Err(format!(
                "a GIL per interpreter needs CPython 3.12 or newer, and this is {}",
                crate::cpython::version::version()
            )),
            _ => Ok(()),
        }
    }

    /// Whether contexts of this mode share the main interpreter's GIL.
    #[must_use]
    pub fn shares_gil(self) -> bool {
        !cfg!(Py_GIL_DISABLED) && self != Mode::OwnGil
    }
}
