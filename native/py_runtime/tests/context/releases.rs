//! Objects with handles or exports are dropped by the right thread.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::AsRawFd;

use py_runtime::export::Export;
use py_runtime::mode::Mode;

use crate::harness::{
    Lines, Subject, TestJob, handle, in_each_mode, take_out, wait_for_no_threads,
};

/// A class whose instances say, when they go, in which thread that is.
fn define_reporter(subject: &Subject, lines: &Lines) {
    let source = "\
import os, threading
class Teller:
    def __del__(self, write=os.write, thread=threading.get_native_id):
        write(FD, f'{thread()}\\n'.encode())
";
    subject.run(&source.replace("FD", &lines.write_end().to_string()));
}

/// Bytes that say, when they go, how the thread is called in which that is.
fn define_namer(subject: &Subject, lines: &Lines) {
    let source = "\
import os
class Data(bytes):
    def __del__(self, os=os):
        name = os.open('/proc/thread-self/comm', os.O_RDONLY)
        os.write(FD, os.read(name, 100))
        os.close(name)
";
    subject.run(&source.replace("FD", &lines.write_end().to_string()));
}

/// A function that reports that it has begun, waits in C until the gate opens, and reports that it
/// is over.
fn define_waiter(subject: &Subject, lines: &Lines, gate: &PipeReader) {
    let source = "\
import atexit, os
def wait(*_, os=os):
    os.write(FD, b'begun\\n')
    os.read(GATE, 1)
    os.write(FD, b'over\\n')
class Waiter(bytes):
    __del__ = wait
";
    let source = source.replace("FD", &lines.write_end().to_string());
    subject.run(&source.replace("GATE", &gate.as_raw_fd().to_string()));
}

fn export(subject: &Subject, source: &str) -> Export<TestJob> {
    take_out(subject, source, |scope, value| {
        // SAFETY: on the context's thread, attached; nobody changes the value.
        unsafe { Export::new(scope.context, scope.py, &value) }.unwrap()
    })
}

#[test]
fn released_elsewhere_an_object_goes_on_its_own_thread() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_reporter(&subject, &lines);
        let owner = subject.context.native_thread_id().to_string();
        for _ in 0..100 {
            let handle = handle(&subject, "Teller()");
            std::thread::scope(|scope| {
                scope.spawn(|| drop(handle));
            });
            assert_eq!(lines.next(), owner);
        }
        subject.end();
    });
}

#[test]
fn a_release_is_one_reference_of_many() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject
            .run("import sys\nclass Thing: pass\nkept = Thing()\nbefore = sys.getrefcount(kept)");
        let many: Vec<_> = (0..100).map(|_| handle(&subject, "kept")).collect();
        assert_eq!(subject.value("sys.getrefcount(kept) - before"), "100");
        drop(many);
        assert_eq!(subject.value("sys.getrefcount(kept) - before"), "0");
        subject.end();
    });
}

#[test]
fn released_while_the_context_finishes_an_object_goes_on_its_own_thread() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_reporter(&subject, &lines);
        let owner = subject.context.native_thread_id().to_string();
        let handle = handle(&subject, "Teller()");
        let blocked = subject.block();
        subject.context.close("closed");
        drop(handle);
        blocked.release().only_reply();
        assert_eq!(lines.next(), owner);
        subject.ended();
    });
}

#[test]
fn objects_with_handles_go_with_their_context() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_reporter(&subject, &lines);
        let owner = subject.context.native_thread_id().to_string();
        let handle = handle(&subject, "Teller()");
        assert_eq!(subject.context.handle_count(), 1);
        subject.end();
        assert_eq!(lines.next(), owner);
        wait_for_no_threads();
        drop(handle);
    });
}

#[test]
fn exported_bytes_are_the_objects_own() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("data = bytes(range(256)) * 1000");
        let export = export(&subject, "data");
        assert_eq!(export.bytes().len(), 256_000);
        assert_eq!(export.bytes()[..4], [0, 1, 2, 3]);
        let address = export.bytes().as_ptr() as usize;
        // Where CPython keeps the bytes of a `bytes`.
        let theirs = subject.value("id(data) + bytes.__basicsize__ - 1");
        assert_eq!(address.to_string(), theirs);
        drop(export);
        subject.end();
    });
}

#[test]
fn an_export_that_goes_lets_its_object_go_on_its_own_thread() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_reporter(&subject, &lines);
        let owner = subject.context.native_thread_id().to_string();
        subject.run("class Data(bytes):\n  __del__ = Teller.__del__");
        let export = export(&subject, "Data(b'x' * 100000)");
        drop(export);
        assert_eq!(lines.next(), owner);
        subject.end();
    });
}

#[test]
fn exported_bytes_outlive_their_context_and_are_freed_in_the_end() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_namer(&subject, &lines);
        let one = export(&subject, "Data(b'x' * 100000)");
        let other = export(&subject, "Data(b'y' * 100000)");
        subject.end();
        wait_for_no_threads();
        assert!(one.bytes().iter().all(|byte| *byte == b'x'));
        drop(one);
        assert_eq!(lines.next(), "py_release");
        assert!(other.bytes().iter().all(|byte| *byte == b'y'));
        drop(other);
        assert_eq!(lines.next(), "py_release");
        // The interpreter has been ended, or kept as new; either way the next one serves.
        let next = Subject::start(mode);
        assert_eq!(next.value("'alive'"), "alive");
        next.end();
    });
}

fn goes_before_the_waiter(data: Export<TestJob>, lines: &Lines, opener: PipeWriter) {
    assert_eq!(lines.next(), "begun");
    drop(data);
    assert_eq!(lines.next(), "py_release");
    drop(opener);
    assert_eq!(lines.next(), "over");
}

#[test]
fn late_exports_do_not_wait_for_a_finaliser_of_another_context() {
    in_each_mode(|mode| {
        let (gate, opener) = pipe().unwrap();
        let (bad, good, lines) = (Subject::start(mode), Subject::start(mode), Lines::new());
        define_waiter(&bad, &lines, &gate);
        define_namer(&good, &lines);
        let (waiter, data) = (export(&bad, "Waiter(b'x')"), export(&good, "Data(b'y')"));
        bad.end();
        good.end();
        drop(waiter);
        goes_before_the_waiter(data, &lines, opener);
    });
}

#[test]
fn late_exports_do_not_wait_for_the_end_of_another_interpreter() {
    in_each_mode(|mode| {
        if mode == Mode::Worker {
            // Its interpreter doesn't end.
            return;
        }
        let (gate, opener) = pipe().unwrap();
        let (bad, good, lines) = (Subject::start(mode), Subject::start(Mode::Worker), Lines::new());
        define_waiter(&bad, &lines, &gate);
        define_namer(&good, &lines);
        bad.run("atexit.register(wait)");
        let (last, data) = (export(&bad, "b'x' * 1000"), export(&good, "Data(b'y')"));
        bad.end();
        good.end();
        drop(last);
        goes_before_the_waiter(data, &lines, opener);
    });
}

#[test]
fn late_exports_of_one_context_go_one_by_one() {
    in_each_mode(|mode| {
        let (gate, opener) = pipe().unwrap();
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_waiter(&subject, &lines, &gate);
        define_namer(&subject, &lines);
        let waiter = export(&subject, "Waiter(b'x')");
        let many: Vec<_> = (0..100).map(|_| export(&subject, "Data(b'y')")).collect();
        subject.end();
        drop(waiter);
        assert_eq!(lines.next(), "begun");
        drop(many);
        drop(opener);
        assert_eq!(lines.next(), "over");
        for _ in 0..100 {
            assert_eq!(lines.next(), "py_release");
        }
        Subject::start(mode).end();
    });
}

#[test]
fn what_offers_no_bytes_is_not_exported() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let none = take_out(&subject, "3", |scope, value| {
            // SAFETY: on the context's thread, attached.
            let export = unsafe { Export::new(scope.context, scope.py, &value) };
            py_runtime::exception::clear(scope.py);
            export.is_none()
        });
        assert!(none);
        subject.end();
    });
}

#[test]
fn a_finaliser_that_raises_does_not_reach_the_next_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run(
            "import sys\nsys.unraisablehook = lambda _: None\n\
             class Bad:\n  def __del__(self): raise ValueError('on purpose')",
        );
        let handle = handle(&subject, "Bad()");
        drop(handle);
        assert_eq!(subject.value("'alive'"), "alive");
        subject.run("sys.unraisablehook = sys.__unraisablehook__");
        subject.end();
    });
}
