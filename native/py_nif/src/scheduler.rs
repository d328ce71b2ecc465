//! The id of this scheduler, as `erlang:system_info(scheduler_id)`, without the call.
//!
//! The VM has no function for it, but it names its threads: `1_scheduler` on OTP 25,
//! `erts_sched_1` since 26. The first run of digits is the id. Read once per thread.

use std::cell::Cell;

use rustler::sys::enif_thread_type;

/// `ERL_NIF_THR_NORMAL_SCHEDULER`.
const NORMAL_SCHEDULER: i32 = 1;

thread_local! {
    /// 0: not looked up yet.
    static ID: Cell<usize> = const { Cell::new(0) };
}

/// The id of the normal scheduler that runs this NIF, from 1. `None` on any other thread, and if
/// the VM should ever name its threads otherwise.
pub(crate) fn current() -> Option<usize> {
    match ID.get() {
        0 => look_up(),
        id => Some(id),
    }
}

/// Whether this is a normal scheduler, whatever its name.
pub(crate) fn is_normal() -> bool {
    // SAFETY: no preconditions.
    unsafe { enif_thread_type() == NORMAL_SCHEDULER }
}

#[cold]
fn look_up() -> Option<usize> {
    if !is_normal() {
        return None;
    }
    let mut name = [0_u8; 16];
    // SAFETY: the buffer is as long as Linux's longest thread name with its NUL.
    let status = unsafe {
        libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr().cast(), name.len())
    };
    let id = (status == 0).then(|| first_number(&name)).flatten()?;
    ID.set(id);
    Some(id)
}

fn first_number(name: &[u8]) -> Option<usize> {
    let digits = name.iter().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit());
    let number = digits.fold(0_usize, |number, c| number * 10 + usize::from(c - b'0'));
    (number > 0).then_some(number)
}
