//! What is refused as long as Python hasn't been started. In a process of its own: others start it.

#![cfg(not(feature = "loom"))]

use py_runtime::boot;
use py_runtime::interpreter::Interpreter;
use py_runtime::mode::Mode;

#[test]
fn there_is_no_interpreter_before_python_was_started() {
    assert!(!boot::is_booted());
    let entered = Interpreter::enter(Mode::Worker);
    assert_eq!(entered.unwrap_err(), "Python has not been started");
}
