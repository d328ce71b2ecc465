//! Namespaces: what they begin with, what private ones inherit of a context's own one; and notices,
//! which come before the jobs that wait.

use py_runtime::code;
use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::mode::Mode;
use py_runtime::namespace::{Inherited, Private, Release, new_namespace};
use py_runtime::object::{Attached, Object};

use crate::harness::{Reply, Subject, eval, in_each_mode};

/// Runs statements, then gives the text of an expression.
fn value_after(py: Attached<'_>, globals: &Object, source: &str, question: &str) -> String {
    code::exec(py, source.as_bytes(), "<test>", globals).expect("the statements run");
    eval(py, globals, question).expect("the expression has a value")
}

/// What an expression has for a value in each of some namespaces.
fn value_in_each<const N: usize>(
    py: Attached<'_>,
    users: [&Private; N],
    question: &str,
) -> [String; N] {
    users.map(|user| {
        let value: Result<String, Exception> = eval(py, user.dict(), question);
        value.unwrap_or_else(|error| error.class.to_string())
    })
}

/// Runs statements in `own`, then has the namespaces brought up to date.
fn change<const N: usize>(
    py: Attached<'_>,
    source: &[u8],
    (own, inherited): (&Object, &Inherited),
    users: [&mut Private; N],
) -> Result<(), Exception> {
    code::exec(py, source, "<test>", own)?;
    drop(inherited.refresh(py)?);
    users.into_iter().try_for_each(|user| user.update(py, inherited).map(drop))
}

#[test]
fn what_is_inherited_is_seen_hidden_and_uncovered() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("shared = 'own'\ndef len(x): return 'hidden'");
        let submitted = subject.submit(|scope| {
            let (py, own) = (scope.py, scope.namespace);
            let inherited = Inherited::new(py, own)?;
            let behind = (own, &inherited);
            let mut first = Private::new(py, &inherited)?;
            let mut second = Private::new(py, &inherited)?;
            assert_eq!(
                value_after(py, first.dict(), "def f(): return shared, len([]), max(1, 2)", "f()"),
                "('own', 'hidden', 2)"
            );
            assert_eq!(value_after(py, first.dict(), "", "'shared' in globals()"), "True");
            assert_eq!(value_after(py, first.dict(), "shared = 'private'", "f()[0]"), "private");
            // Later changes are there after an update, but where they are hidden.
            change(py, b"shared = 'changed'; new = 1", behind, [&mut first, &mut second])?;
            assert_eq!(value_in_each(py, [&first, &second], "shared"), ["private", "changed"]);
            assert_eq!(value_in_each(py, [&first, &second], "new"), ["1", "1"]);
            // What is gone is gone, but where it is the user's own, and built-ins are back.
            code::exec(py, b"new = 2", "<test>", first.dict())?;
            change(py, b"del new, len", behind, [&mut first, &mut second])?;
            assert_eq!(value_in_each(py, [&first, &second], "new"), ["2", "NameError"]);
            assert_eq!(value_in_each(py, [&first, &second], "len([])"), ["0", "0"]);
            // What the user deletes is gone until the next update.
            code::exec(py, b"del shared", "<test>", first.dict())?;
            code::exec(py, b"del shared", "<test>", second.dict())?;
            assert_eq!(value_in_each(py, [&first, &second], "shared"), ["NameError", "NameError"]);
            change(py, b"", behind, [&mut first, &mut second])?;
            assert_eq!(value_in_each(py, [&first, &second], "shared"), ["changed", "changed"]);
            // Nothing a user does changes what others see.
            assert_eq!(value_after(py, own, "", "shared"), "changed");
            Ok(String::new())
        });
        assert_eq!(submitted.only_reply(), Reply::Value(String::new()));
        subject.end();
    });
}

#[test]
fn changed_built_ins_are_seen_at_once() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let submitted = subject.submit(|scope| {
            let py = scope.py;
            let user = Private::new(py, &Inherited::new(py, scope.namespace)?)?;
            let source = "import builtins; builtins.installed = 1\ndef f(): return installed";
            let value = value_after(py, user.dict(), source, "f(), __builtins__ is builtins");
            code::exec(py, b"del builtins.installed", "<test>", user.dict())?;
            Ok(value)
        });
        assert_eq!(submitted.only_reply(), Reply::Value("(1, True)".into()));
        subject.end();
    });
}

#[test]
fn nothing_that_the_context_drops_is_kept_after_an_update() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("class Thing: pass\nimport weakref\nthing = Thing()\nref = weakref.ref(thing)");
        let submitted = subject.submit(|scope| {
            let (py, own) = (scope.py, scope.namespace);
            let inherited = Inherited::new(py, own)?;
            let mut user = Private::new(py, &inherited)?;
            let idle = Private::new(py, &inherited)?;
            let hides = Private::new(py, &inherited)?;
            code::exec(py, b"thing = 'hidden'", "<test>", hides.dict())?;
            code::exec(py, b"del thing; number = 1", "<test>", own)?;
            let before = inherited.refresh(py)?;
            assert!(before.has_lost());
            drop(before);
            drop(user.update(py, &inherited)?);
            let mut release = Release::new(&inherited);
            for user in [&user, &idle, &hides] {
                release.from(py, user);
            }
            assert_eq!(value_after(py, own, "", "ref() is None"), "False");
            release.finish(py);
            assert_eq!(value_in_each(py, [&user, &idle], "thing"), ["NameError", "NameError"]);
            assert_eq!(value_after(py, hides.dict(), "", "thing"), "hidden");
            code::exec(py, b"number = 2", "<test>", own)?;
            // Nothing that is worth going through every namespace.
            assert!(!inherited.refresh(py)?.has_lost());
            eval(py, own, "ref() is None")
        });
        assert_eq!(submitted.only_reply(), Reply::Value("True".into()));
        subject.end();
    });
}

#[test]
fn namespaces_have_what_a_script_has() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let submitted = subject.submit(|scope| {
            let (py, own) = (scope.py, scope.namespace);
            let user = Private::new(py, &Inherited::new(py, own)?)?;
            let fresh = new_namespace(py)?;
            let question = "sorted(name for name in globals())";
            let names = [own, user.dict(), &fresh].map(|globals| eval(py, globals, question));
            let plain = "import subprocess, sys, builtins\n\
                source = 'print(sorted(name for name in globals()))'\n\
                python = [sys.executable, '-c', source]";
            let plain = value_after(
                py,
                &new_namespace(py)?,
                plain,
                "subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip()",
            );
            for names in names {
                assert_eq!(names?, plain);
            }
            eval(py, &fresh, "(__name__, __doc__, __package__, __spec__, __loader__.__name__)")
        });
        let expected = "('__main__', None, None, None, 'BuiltinImporter')";
        assert_eq!(submitted.only_reply(), Reply::Value(expected.into()));
        subject.end();
    });
}

#[test]
fn an_interpreter_of_its_own_has_the_namespace_as_its_main_module() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let submitted = subject.submit(|scope| {
            let question = "__import__('sys').modules['__main__'].__dict__ is globals()";
            eval(scope.py, scope.namespace, question)
        });
        let is_own = if mode == Mode::Worker { "False" } else { "True" };
        assert_eq!(submitted.only_reply(), Reply::Value(is_own.into()));
        subject.end();
    });
}

#[test]
fn a_notice_is_taken_before_the_jobs_that_wait() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let blocked = subject.block();
        let submitted = subject.submit(|scope| {
            // SAFETY: attached; the thread's local is a dictionary.
            let found =
                unsafe { ffi::PyDict_GetItemString(scope.local.as_ptr(), c"noticed".as_ptr()) };
            Ok((!found.is_null()).to_string())
        });
        subject.context.notify(c"noticed");
        blocked.release();
        assert_eq!(submitted.only_reply(), Reply::Value("true".into()));
        subject.end();
        // It has no receiver any more.
    });
}
