//! The OS process's environment variables.
//!
//! Python reads them when an interpreter imports `posix`, and writes to them under its GIL. The VM
//! has a copy of its own and never reads them after its start.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};

unsafe extern "C" {
    /// An array of `name=value`, which ends in null; or null.
    static mut environ: *const *const c_char;
}

/// All of them, by name.
///
/// # Safety
/// No thread changes them meanwhile. Python code does so under a GIL: with interpreters that have
/// one each this is as safe as CPython's own reading when an interpreter starts.
#[must_use]
pub unsafe fn all() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut variables = Vec::new();
    // SAFETY: as the caller vouches; the array ends in null, and each entry in NUL.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = CStr::from_ptr(*entry).to_bytes();
            if let Some(end) = text.iter().skip(1).position(|byte| *byte == b'=') {
                variables.push((text[..=end].to_vec(), text[end + 2..].to_vec()));
            }
            entry = entry.add(1);
        }
    }
    variables
}

/// Replaces them by these. Before Python starts, on the thread that starts it: no other thread
/// reads them. One whose name or value can't be set is left out.
pub(crate) fn replace(variables: &[(Vec<u8>, Vec<u8>)]) {
    let wanted: HashSet<&[u8]> = variables.iter().map(|(name, _)| name.as_slice()).collect();
    // SAFETY: no Python runs yet, and the VM has a copy of its own.
    for (name, _) in unsafe { all() } {
        if let (false, Ok(name)) = (wanted.contains(name.as_slice()), CString::new(name.clone())) {
            // SAFETY: as above; the name ends in NUL.
            unsafe { libc::unsetenv(name.as_ptr()) };
        }
    }
    for (name, value) in variables {
        if let (Ok(name), Ok(value)) = (CString::new(&name[..]), CString::new(&value[..])) {
            // SAFETY: as above; libc takes copies, and refuses a name that is none.
            unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
        }
    }
}
