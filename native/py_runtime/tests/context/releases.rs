//! References that left their thread are let go of by the thread that owns them.

use std::sync::mpsc::{Receiver, channel};

use py_runtime::escape::Escaped;
use py_runtime::mode::Mode;

use crate::harness::{Lines, Reply, Subject, in_each_mode, object, wait_for_no_threads};

/// A class whose instances say, when they go, in which thread that is.
fn define_teller(subject: &Subject, lines: &Lines) {
    let source = "\
import os, threading
class Teller:
    def __del__(self, write=os.write, thread=threading.get_native_id):
        write(FD, f'{thread()}\\n'.encode())
";
    subject.run(&source.replace("FD", &lines.write_end().to_string()));
}

/// Has the context evaluate `source` and hand out a reference to the value.
fn escape(subject: &Subject, source: &str) -> Escaped {
    let (sender, escaped): (_, Receiver<Escaped>) = channel();
    let source = source.to_owned();
    let ticket = subject.submit(move |scope| {
        sender.send(Escaped::new(object(scope.at, scope.namespace, &source)?)).unwrap();
        Ok(String::new())
    });
    assert_eq!(ticket.only_reply(), Reply::Value(String::new()));
    escaped.recv().unwrap()
}

fn thread_name(id: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap().trim_end().to_owned()
}

#[test]
fn released_elsewhere_an_object_goes_on_its_own_thread() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_teller(&subject, &lines);
        let owner = subject.context.native_thread_id().to_string();
        for _ in 0..100 {
            let escaped = escape(&subject, "Teller()");
            std::thread::scope(|scope| {
                scope.spawn(|| subject.context.release(escaped));
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
        let many: Vec<_> = (0..100).map(|_| escape(&subject, "kept")).collect();
        assert_eq!(subject.value("sys.getrefcount(kept) - before"), "100");
        many.into_iter().for_each(|escaped| subject.context.release(escaped));
        assert_eq!(subject.value("sys.getrefcount(kept) - before"), "0");
        subject.end();
    });
}

#[test]
fn released_while_the_context_finishes_an_object_goes_on_its_own_thread() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_teller(&subject, &lines);
        let owner = subject.context.native_thread_id().to_string();
        let escaped = escape(&subject, "Teller()");
        let blocked = subject.block();
        subject.context.close("closed");
        subject.context.release(escaped);
        blocked.let_go().only_reply();
        assert_eq!(lines.next(), owner);
        subject.ended();
    });
}

#[test]
fn released_after_the_contexts_end_an_object_of_the_main_interpreter_goes_on_the_main_thread() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        define_teller(&subject, &lines);
        let context = std::sync::Arc::clone(&subject.context);
        let escaped = escape(&subject, "Teller()");
        subject.end();
        wait_for_no_threads();
        context.release(escaped);
        // Elsewhere it went with its interpreter, and there is nothing to be heard.
        if mode == Mode::Worker {
            assert_eq!(thread_name(&lines.next()), "py_main");
        }
    });
}

#[test]
fn a_finaliser_that_raises_does_not_hit_the_next_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run(
            "import sys\nsys.unraisablehook = lambda _: None\n\
             class Bad:\n  def __del__(self): raise ValueError('on purpose')",
        );
        let escaped = escape(&subject, "Bad()");
        subject.context.release(escaped);
        assert_eq!(subject.value("'alive'"), "alive");
        subject.run("sys.unraisablehook = sys.__unraisablehook__");
        subject.end();
    });
}
