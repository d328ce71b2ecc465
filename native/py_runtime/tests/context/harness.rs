//! A job whose reply goes to a channel, and a context that reports what becomes of it.
//!
//! Tests wait for channels, never for time to pass. One test runs at a time, so that threads can
//! be counted and turns compared.

use std::fmt;
use std::io::{BufRead, BufReader, PipeWriter, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use py_runtime::boot;
use py_runtime::code::{self, Kind};
use py_runtime::context::{Config, Context, LoopOptions, Owner, StartError, SubmitError};
use py_runtime::exception::{Exception, lossy_text};
use py_runtime::ffi;
use py_runtime::handle::Handle;
use py_runtime::job::{Job, OnCallerDown, Outcome, Scope};
use py_runtime::mailbox::Seq;
use py_runtime::mode::Mode;
use py_runtime::object::{Attached, Object};
use py_runtime::quarantine::Quarantine;
use py_runtime::reply_state::{Cancel, ReplyState};

/// Longer than anything takes, even under valgrind. Only a failing test waits this long.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(120);

/// Runs `test` in every mode that the linked Python supports, with no other test beside it.
pub(crate) fn in_each_mode(test: impl Fn(Mode)) {
    in_modes(supported_modes(), test);
}

/// Runs `test` in one mode, which every Python supports, with no other test beside it.
pub(crate) fn in_mode(mode: Mode, test: impl Fn(Mode)) {
    in_modes([mode], test);
}

fn in_modes(modes: impl IntoIterator<Item = Mode>, test: impl Fn(Mode)) {
    static ALONE: Mutex<()> = Mutex::new(());
    static BOOT: Once = Once::new();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let options = boot::Options { executable: None, variables: None, modules: &[] };
    BOOT.call_once(|| boot::boot(&options).unwrap());
    for mode in modes {
        // Shown only if the test fails: which mode it was.
        println!("mode: {mode:?}");
        test(mode);
    }
}

/// The modes of the linked Python.
pub(crate) fn supported_modes() -> impl Iterator<Item = Mode> {
    let all = [Mode::Worker, Mode::SubInterpreter, Mode::OwnGil];
    all.into_iter().filter(|mode| mode.check().is_ok())
}

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Value(String),
    Raised(String),
    Interrupted,
    Died(&'static str),
    Panicked,
}

/// What a job gives back: text, or the exception.
pub(crate) type JobResult = Result<String, Exception>;

type Work = Box<dyn Fn(&mut Scope<'_, TestJob>) -> JobResult + Send + Sync>;

/// A job made of a closure. Its reply channel closes when the last handle on it is gone.
#[derive(Clone)]
pub(crate) struct TestJob(Arc<Inner>);

struct Inner {
    state: ReplyState,
    work: Work,
    replies: Sender<Reply>,
    /// Whether replying that it has panicked panics too.
    cursed: bool,
    /// Whether its caller is gone.
    caller_is_gone: Arc<AtomicBool>,
}

impl fmt::Debug for TestJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestJob").field(&self.0.state).finish()
    }
}

impl TestJob {
    /// A job whose reply nobody waits for.
    pub(crate) fn without_reply(
        work: impl Fn(&mut Scope<'_, TestJob>) -> JobResult + Send + Sync + 'static,
    ) -> Self {
        Self::new(Box::new(work), false).0
    }

    fn new(work: Work, cursed: bool) -> (Self, Receiver<Reply>) {
        let (sender, replies) = channel();
        let state = ReplyState::default();
        let caller_is_gone = Arc::default();
        (TestJob(Arc::new(Inner { state, work, replies: sender, cursed, caller_is_gone })), replies)
    }

    fn reply(&self, reply: Reply) -> bool {
        let won = self.0.state.claim_reply();
        if won {
            // A test that dropped its submitted doesn't want to know.
            let _ = self.0.replies.send(reply);
        }
        won
    }
}

impl Job for TestJob {
    /// Some object, to see that it is dropped in the right place.
    type Local = Object;
    /// A name to put into it.
    type Notice = &'static std::ffi::CStr;
    type ExitReason = &'static str;

    fn thread_ended() -> &'static str {
        "thread ended"
    }

    fn prepare(py: Attached<'_>, _: &LoopOptions) -> Result<Object, Exception> {
        // SAFETY: attached; the result is null or ours.
        unsafe { Object::from_owned(py, ffi::PyDict_New()) }.ok_or_else(|| Exception::take(py))
    }

    fn notice(scope: &Scope<'_, Self>, notice: &'static std::ffi::CStr) {
        scope.local.set_item(scope.py, notice, &Object::none(scope.py)).unwrap();
    }

    fn state(&self) -> &ReplyState {
        &self.0.state
    }

    fn is_same_caller(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn is_same_work(&self, _: &Self) -> bool {
        false
    }

    fn should_stop_for_dead_caller(&self, policy: OnCallerDown) -> bool {
        policy == OnCallerDown::Interrupt && self.0.caller_is_gone.load(Ordering::Acquire)
    }

    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome {
        let (reply, outcome) = match (self.0.work)(scope) {
            Ok(value) => (Reply::Value(value), Outcome::Done),
            Err(e) if e.class == "KeyboardInterrupt" && self.0.state.was_interrupted() => {
                (Reply::Interrupted, Outcome::Interrupted)
            }
            Err(e) => (Reply::Raised(format!("{}: {}", e.class, e.message)), Outcome::Failed),
        };
        if self.reply(reply) { outcome } else { Outcome::Unwanted }
    }

    fn reply_context_died(&self, why: &&'static str) {
        self.reply(Reply::Died(why));
    }

    fn reply_interrupted(&self) {
        self.reply(Reply::Interrupted);
    }

    fn reply_panicked(&self) {
        assert!(!self.0.cursed, "on purpose: a panic while answering for a panic");
        self.reply(Reply::Panicked);
    }
}

/// The caller's side of one job.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) seq: Seq,
    replies: Receiver<Reply>,
    caller_is_gone: Arc<AtomicBool>,
}

impl Submitted {
    /// The caller is gone, as far as the job knows.
    pub(crate) fn drop_caller(&self) {
        self.caller_is_gone.store(true, Ordering::Release);
    }

    /// Waits for the reply.
    pub(crate) fn reply(&self) -> Reply {
        self.replies.recv_timeout(MAX_WAIT).expect("a reply")
    }

    /// Waits for the reply, but not for long.
    pub(crate) fn reply_within(&self, time: Duration) -> Option<Reply> {
        self.replies.recv_timeout(time).ok()
    }

    /// Waits for the reply and for the job to be gone, and finds no second reply.
    pub(crate) fn only_reply(self) -> Reply {
        let reply = self.reply();
        self.silence();
        reply
    }

    /// Waits for the job to be gone and finds no (more) replies.
    pub(crate) fn silence(self) {
        assert_eq!(self.replies.recv_timeout(MAX_WAIT), Err(RecvTimeoutError::Disconnected));
    }
}

#[derive(Debug)]
enum Event {
    Started(Result<(), StartError>),
    Stuck,
    Ended,
}

#[derive(Debug)]
struct Reporter(crossbeam::channel::Sender<Event>);

impl Owner for Reporter {
    fn started(&self, outcome: Result<(), StartError>) {
        // A test that is over doesn't want to know.
        let _ = self.0.send(Event::Started(outcome));
    }

    fn stuck(&self) {
        let _ = self.0.send(Event::Stuck);
    }

    fn ended(&self) {
        let _ = self.0.send(Event::Ended);
    }
}

/// How contexts under test are made, unless a test wants it otherwise.
pub(crate) fn config(mode: Mode) -> Config {
    Config {
        owner_id: 0,
        mode,
        max_queue: 1 << 20,
        preload: Vec::new(),
        spin: Duration::from_micros(20),
        on_caller_down: OnCallerDown::Interrupt,
        stuck_after: None,
        interrupt_grace: Some(Duration::from_millis(20)),
        max_tasks: usize::MAX,
        cancel_grace: Some(Duration::from_millis(20)),
        event_loop: None,
        quarantine: Arc::new(Quarantine::new(usize::MAX)),
        direct_limit: Duration::from_micros(200),
        overload_wait: None,
    }
}

/// A context under test.
pub(crate) struct Subject {
    pub(crate) context: Arc<Context<TestJob>>,
    /// crossbeam's, because a subject is shared between threads.
    events: crossbeam::channel::Receiver<Event>,
}

impl Subject {
    /// A context that serves.
    pub(crate) fn start(mode: Mode) -> Self {
        let subject = Self::launch(mode, 1 << 20, None);
        subject.started().unwrap();
        subject
    }

    /// A context of which it is not yet known whether it serves.
    pub(crate) fn launch(mode: Mode, max_queue: usize, preload: Option<&str>) -> Self {
        let preload = preload.map(|source| source.as_bytes().to_vec()).into_iter().collect();
        Self::with_config(Config { max_queue, preload, ..config(mode) })
    }

    /// A context made to order.
    pub(crate) fn with_config(config: Config) -> Self {
        let (sender, events) = crossbeam::channel::unbounded();
        let context = Context::start(config, Arc::new(Reporter(sender))).unwrap();
        Subject { context, events }
    }

    /// Waits until it serves or has failed to.
    pub(crate) fn started(&self) -> Result<(), StartError> {
        match self.next_event() {
            Event::Started(outcome) => outcome,
            other => panic!("it should have started: {other:?}"),
        }
    }

    fn next_event(&self) -> Event {
        self.events.recv_timeout(MAX_WAIT).expect("a word from the owner")
    }

    /// Waits until nothing of it is left.
    pub(crate) fn ended(&self) {
        match self.next_event() {
            Event::Ended => (),
            other => panic!("it should have ended: {other:?}"),
        }
    }

    /// The same. On a busy machine what its thread does at its end may be found stuck before, too.
    pub(crate) fn ended_after_reports(&self) {
        loop {
            match self.next_event() {
                Event::Ended => return,
                Event::Stuck => (),
                other => panic!("it should have ended: {other:?}"),
            }
        }
    }

    /// Waits until it is found stuck.
    pub(crate) fn stuck(&self) {
        let event = self.next_event();
        assert!(matches!(event, Event::Stuck), "it should be stuck: {event:?}");
    }

    /// Starts the context that is to take over from this one, and waits until it serves.
    pub(crate) fn start_replacement(&self) -> Self {
        let (sender, events) = crossbeam::channel::unbounded();
        let context =
            self.context.start_replacement(Vec::new(), Arc::new(Reporter(sender))).unwrap();
        let replacement = Subject { context, events };
        replacement.started().unwrap();
        replacement
    }

    /// Lets it finish its jobs and end. That may take longer than a short `stuck_after`, where
    /// the machine has much to do.
    pub(crate) fn end(self) {
        self.context.drain();
        while !matches!(self.next_event(), Event::Ended) {}
    }

    pub(crate) fn try_submit(
        &self,
        work: impl Fn(&mut Scope<'_, TestJob>) -> JobResult + Send + Sync + 'static,
    ) -> Result<Submitted, SubmitError<TestJob>> {
        submit_to(&self.context, Box::new(work), false)
    }

    pub(crate) fn submit(
        &self,
        work: impl Fn(&mut Scope<'_, TestJob>) -> JobResult + Send + Sync + 'static,
    ) -> Submitted {
        self.try_submit(work).unwrap()
    }

    /// A job that panics, and panics again when it replies so.
    pub(crate) fn submit_cursed(&self) -> Submitted {
        submit_to(&self.context, Box::new(|_| panic!("on purpose")), true).unwrap()
    }

    /// Submits statements.
    pub(crate) fn exec(&self, source: &str) -> Submitted {
        let source = source.to_owned();
        self.submit(move |scope| {
            code::exec(scope.py, source.as_bytes(), "<test>", scope.namespace)?;
            Ok(String::new())
        })
    }

    /// Submits an expression; the reply is its `str`.
    pub(crate) fn eval(&self, source: &str) -> Submitted {
        let source = source.to_owned();
        self.submit(move |scope| eval(scope.py, scope.namespace, &source))
    }

    /// Runs statements and waits for their end.
    pub(crate) fn run(&self, source: &str) {
        assert_eq!(self.exec(source).only_reply(), Reply::Value(String::new()));
    }

    /// Evaluates an expression and waits for its `str`.
    pub(crate) fn value(&self, source: &str) -> String {
        match self.eval(source).only_reply() {
            Reply::Value(value) => value,
            other => panic!("{source}: {other:?}"),
        }
    }

    pub(crate) fn cancel(&self, submitted: &Submitted) -> Cancel {
        self.context.cancel(submitted.seq)
    }

    /// Submits a job that blocks in "C", detached, until it is released, and waits until it does.
    pub(crate) fn block(&self) -> Blocked {
        let (entered, is_in) = channel();
        let (go, gone) = channel::<()>();
        let gone = Mutex::new(gone);
        let submitted = self.submit(move |scope| {
            entered.send(()).unwrap();
            detached(scope.py, || {
                // Ends with an error too: when the test is over.
                let _ = gone.lock().unwrap_or_else(PoisonError::into_inner).recv();
            });
            eval(scope.py, scope.namespace, "'released'")
        });
        is_in.recv_timeout(MAX_WAIT).expect("the job should be running");
        Blocked { submitted, go }
    }
}

/// Submits statements and waits until they run.
pub(crate) fn running_code(subject: &Subject, source: &str) -> Submitted {
    let (running, is_running) = channel();
    let source = source.to_owned();
    let submitted = subject.submit(move |scope| {
        running.send(()).unwrap();
        code::exec(scope.py, source.as_bytes(), "<test>", scope.namespace)?;
        Ok(String::new())
    });
    is_running.recv_timeout(MAX_WAIT).expect("the job should be running");
    submitted
}

fn submit_to(
    context: &Context<TestJob>,
    work: Work,
    cursed: bool,
) -> Result<Submitted, SubmitError<TestJob>> {
    let (job, replies) = TestJob::new(work, cursed);
    let caller_is_gone = Arc::clone(&job.0.caller_is_gone);
    Ok(Submitted { seq: context.submit(job)?, replies, caller_is_gone })
}

/// A job that is blocked. Dropping this releases it, too.
pub(crate) struct Blocked {
    submitted: Submitted,
    go: Sender<()>,
}

impl Blocked {
    pub(crate) fn submitted(&self) -> &Submitted {
        &self.submitted
    }

    pub(crate) fn release(self) -> Submitted {
        self.go.send(()).unwrap();
        self.submitted
    }
}

/// Does something without the GIL, as C code does that blocks. It may not panic.
pub(crate) fn detached<T>(_: Attached<'_>, work: impl FnOnce() -> T) -> T {
    // SAFETY: attached, as the token proves; `work` touches no Python, and the thread is attached
    // again with its own state before this returns.
    unsafe {
        let state = ffi::PyEval_SaveThread();
        let result = work();
        ffi::PyEval_RestoreThread(state);
        result
    }
}

/// Has the context evaluate `source` and make something of the value that may leave the thread.
pub(crate) fn take_out<T: Send + 'static>(
    subject: &Subject,
    source: &str,
    make: impl Fn(&mut Scope<'_, TestJob>, Object) -> T + Send + Sync + 'static,
) -> T {
    let (sender, taken): (_, Receiver<T>) = channel();
    let source = source.to_owned();
    let submitted = subject.submit(move |scope| {
        let value = object(scope.py, scope.namespace, &source)?;
        sender.send(make(scope, value)).unwrap();
        Ok(String::new())
    });
    assert_eq!(submitted.only_reply(), Reply::Value(String::new()));
    taken.recv().unwrap()
}

/// Has the context evaluate `source`, and makes a handle of the value.
pub(crate) fn handle(subject: &Subject, source: &str) -> Handle<TestJob> {
    take_out(subject, source, |scope, value| Handle::new(scope.context, value).unwrap())
}

/// The value of an expression, as an object.
pub(crate) fn object(
    py: Attached<'_>,
    globals: &Object,
    source: &str,
) -> Result<Object, Exception> {
    let code = code::compile(py, source.as_bytes(), "<test>", Kind::Expression)?;
    code::run(py, &code, globals, globals).ok_or_else(|| Exception::take(py))
}

/// The `str` of an expression's value.
pub(crate) fn eval(py: Attached<'_>, globals: &Object, source: &str) -> JobResult {
    let value = object(py, globals, source)?;
    // SAFETY: attached, and the object is live.
    let text = unsafe { Object::from_owned(py, ffi::PyObject_Str(value.as_ptr())) };
    text.and_then(|text| lossy_text(py, &text)).ok_or_else(|| Exception::take(py))
}

/// The names of this process's threads that belong to contexts.
pub(crate) fn context_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between being listed and being read.
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("py_ctx_") || name.starts_with("py_interrupt")).collect()
}

/// A test that fails leaves no thread behind for which those after it would wait.
impl Drop for Subject {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.context.kill("its test has failed");
        }
    }
}

/// Waits until it is so.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < MAX_WAIT, "never");
        std::thread::yield_now();
    }
}

/// Waits until no context has a thread. A joined thread may still be listed for a moment: the
/// kernel wakes the joiner first and takes the thread off the list then.
pub(crate) fn wait_for_no_threads() {
    let start = Instant::now();
    loop {
        let threads = context_threads();
        if threads.is_empty() {
            return;
        }
        if start.elapsed() > MAX_WAIT {
            end_for_threads_left(&threads);
        }
        std::thread::yield_now();
    }
}

/// Ends the process: each test that follows would wait for these threads, too. Says first where
/// they are, past the capture of the test's own output, which would be lost.
fn end_for_threads_left(threads: &[String]) -> ! {
    let mut report = format!("left behind: {threads:?}\n");
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let line = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let [name, state, place] = ["comm", "syscall", "wchan"].map(line);
        report += &format!("{}: {} in {place}\n", name.trim(), state.trim());
    }
    let _ = std::io::stderr().write_all(report.as_bytes());
    std::process::abort()
}

/// A pipe from Python code whose context may be gone.
pub(crate) struct Lines {
    writer: PipeWriter,
    /// crossbeam's, because it is shared between threads.
    lines: crossbeam::channel::Receiver<String>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let (reader, writer) = pipe().unwrap();
        let (sender, lines) = crossbeam::channel::unbounded();
        // Ends with the write end.
        std::thread::spawn(move || {
            BufReader::new(reader)
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Lines { writer, lines }
    }

    /// What Python code gives to `os.write`.
    pub(crate) fn write_end(&self) -> i32 {
        self.writer.as_raw_fd()
    }

    /// Waits for a line.
    pub(crate) fn next(&self) -> String {
        self.lines.recv_timeout(MAX_WAIT).expect("a line from Python")
    }
}
