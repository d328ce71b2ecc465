//! Text that no report shows: in a child specification or in a process's state stands a reference.

use std::fmt;

use rustler::Resource;

/// Bytes that live as long as the references to them.
pub(crate) struct Hidden(pub(crate) Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

#[rustler::resource_impl]
impl Resource for Hidden {}
