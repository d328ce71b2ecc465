//! Private namespaces before a context's own: what is seen, what is hidden, what is let go of; and
//! notices, which come before the jobs that wait.

use py_runtime::code;
use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::namespace::{Backdrop, before};
use py_runtime::object::{Attached, Object};

use crate::harness::{Reply, Subject, eval, in_each_mode};

/// Runs statements, then gives the text of an expression.
fn told(at: Attached<'_>, globals: &Object, source: &str, question: &str) -> String {
    code::exec(at, source.as_bytes(), "<test>", globals).expect("the statements run");
    eval(at, globals, question).expect("the expression has a value")
}

#[test]
fn what_lies_behind_is_seen_hidden_and_uncovered() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("shared = 'own'\ndef len(x): return 'hidden'");
        let ticket = subject.submit(|scope| {
            let (at, own) = (scope.at, scope.namespace);
            let mut backdrop = Backdrop::new(at, own)?;
            let first = before(at, backdrop.merged())?;
            let second = before(at, backdrop.merged())?;
            assert_eq!(
                told(at, &first, "def f(): return shared, len([]), max(1, 2)", "f()"),
                "('own', 'hidden', 2)"
            );
            assert_eq!(told(at, &first, "shared = 'private'", "f()[0]"), "private");
            assert_eq!(told(at, &second, "", "shared"), "own");
            assert_eq!(told(at, &first, "del shared", "f()[0]"), "own");
            // Later changes are there after a refresh, what is gone is gone, built-ins are back.
            code::exec(at, b"shared = 'changed'; del len; new = 1", "<test>", own)?;
            backdrop.refresh(at)?;
            assert_eq!(told(at, &second, "", "(shared, new, len([]))"), "('changed', 1, 0)");
            code::exec(at, b"del new", "<test>", own)?;
            backdrop.refresh(at)?;
            let gone: Result<String, Exception> = eval(at, &second, "new");
            assert_eq!(gone.unwrap_err().class, "NameError");
            Ok(String::new())
        });
        assert_eq!(ticket.only_reply(), Reply::Value(String::new()));
        subject.end();
    });
}

#[test]
fn nothing_that_the_context_lets_go_of_is_kept_behind() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("class Thing: pass\nimport weakref\nthing = Thing()\nref = weakref.ref(thing)");
        let ticket = subject.submit(|scope| {
            let (at, own) = (scope.at, scope.namespace);
            let mut backdrop = Backdrop::new(at, own)?;
            code::exec(at, b"del thing", "<test>", own)?;
            backdrop.refresh(at)?;
            eval(at, own, "ref() is None")
        });
        assert_eq!(ticket.only_reply(), Reply::Value("True".into()));
        subject.end();
    });
}

#[test]
fn a_notice_is_taken_before_the_jobs_that_wait() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let blocked = subject.block();
        let ticket = subject.submit(|scope| {
            // SAFETY: attached; the thread's local is a dictionary.
            let found =
                unsafe { ffi::PyDict_GetItemString(scope.local.as_ptr(), c"noticed".as_ptr()) };
            Ok((!found.is_null()).to_string())
        });
        subject.context.notify(c"noticed");
        blocked.let_go();
        assert_eq!(ticket.only_reply(), Reply::Value("true".into()));
        subject.end();
        // Nobody hears it any more.
    });
}
