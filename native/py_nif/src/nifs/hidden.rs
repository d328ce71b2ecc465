//! The NIFs of text that no report shows.

use rustler::{Binary, Env, NewBinary, NifResult, ResourceArc};

use crate::resources::hidden::Hidden;

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
