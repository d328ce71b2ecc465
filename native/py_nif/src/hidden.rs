//! Text that no report shows: in a child specification or in a process's state stands a reference.

use std::fmt;

use rustler::sys::{ErlNifEnv, ErlNifTerm};
use rustler::{Binary, Encoder, Env, NewBinary, NifResult, Resource, ResourceArc};

/// Bytes that live as long as the references to them.
pub(crate) struct Hidden(Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

#[rustler::resource_impl]
impl Resource for Hidden {}

/// A reference to no text.
///
/// # Safety
/// `env` may be written to.
pub(crate) unsafe fn reference(env: *mut ErlNifEnv) -> ErlNifTerm {
    let hidden = ResourceArc::new(Hidden(Vec::new()));
    // SAFETY: passed on to the caller.
    hidden.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// `hide(Text :: binary()) -> reference()`
#[rustler::nif]
fn hide(text: Binary) -> ResourceArc<Hidden> {
    ResourceArc::new(Hidden(text.as_slice().to_vec()))
}

/// `reveal(Hidden) -> binary()`
#[rustler::nif]
fn reveal<'a>(env: Env<'a>, hidden: ResourceArc<Hidden>) -> NifResult<Binary<'a>> {
    let mut text = NewBinary::new(env, hidden.0.len());
    text.as_mut_slice().copy_from_slice(&hidden.0);
    Ok(text.into())
}
