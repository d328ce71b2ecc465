//! The jobs in the hands of the context thread, and which of them are interrupted.
//!
//! They are a stack: a job that waits may have others run meanwhile, nested. Everything here is
//! called under the mailbox's lock.

use std::time::Instant;

/// Number of a job within its context, in the order of arrival.
pub type Seq = u64;

#[derive(Debug)]
struct RunningJob<J> {
    seq: Seq,
    job: J,
    /// It has still to raise an exception, as far as is known.
    interrupt_pending: bool,
    /// Whether an exception was ever meant for it.
    was_interrupted: bool,
    /// When it was first interrupted as the innermost.
    interrupted_at: Option<Instant>,
    /// How many finalizers run nested in it, while it waits.
    finalizers: u32,
}

/// The running jobs, innermost last.
#[derive(Debug)]
pub(super) struct RunningJobs<J>(Vec<RunningJob<J>>);

impl<J> Default for RunningJobs<J> {
    fn default() -> Self {
        RunningJobs(Vec::new())
    }
}

impl<J> RunningJobs<J> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Outermost first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, &J)> {
        self.0.iter().map(|running| (running.seq, &running.job))
    }

    pub(super) fn push(&mut self, seq: Seq, job: J) {
        self.0.push(RunningJob {
            seq,
            job,
            interrupt_pending: false,
            was_interrupted: false,
            interrupted_at: None,
            finalizers: 0,
        });
    }

    /// Ends the innermost. `true`: it was interrupted, and may not have raised the exception.
    pub(super) fn pop(&mut self) -> bool {
        self.0.pop().is_some_and(|ended| ended.was_interrupted)
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&J> {
        self.find(seq).map(|running| &running.job)
    }

    /// The innermost job, also if finalizers run nested in it.
    pub(super) fn innermost(&self) -> Option<&J> {
        self.0.last().map(|running| &running.job)
    }

    /// The job that the thread runs. None while it runs finalizers, be they nested in a job.
    pub(super) fn current(&self) -> Option<Seq> {
        self.current_job().map(|running| running.seq)
    }

    /// When the current job was first interrupted.
    pub(super) fn current_interrupted_at(&self) -> Option<Instant> {
        self.current_job().and_then(|running| running.interrupted_at)
    }

    /// Notes that job `seq` is to be interrupted, if it is the current one. Whether it runs.
    pub(super) fn mark_interrupt(&mut self, seq: Seq) -> bool {
        if let Some(current) = self.current_mut().filter(|current| current.seq == seq) {
            current.interrupted_at.get_or_insert_with(Instant::now);
        }
        self.find(seq).is_some()
    }

    /// Notes that job `seq` is to raise an exception. Whether it is the current one; `None`: it has
    /// ended.
    pub(super) fn interrupt(&mut self, seq: Seq) -> Option<bool> {
        let running = self.0.iter_mut().find(|running| running.seq == seq)?;
        running.interrupt_pending = true;
        running.was_interrupted = true;
        Some(self.current() == Some(seq))
    }

    /// Whether job `seq` has still to raise an exception that was meant for it.
    pub(super) fn has_to_raise(&self, seq: Seq) -> bool {
        self.find(seq).is_some_and(|running| running.interrupt_pending)
    }

    /// Whether the current job has still to raise an exception.
    pub(super) fn is_interrupted(&self) -> bool {
        self.current_job().is_some_and(|current| current.interrupt_pending)
    }

    /// As [`RunningJobs::is_interrupted`], and forgets it: the caller raises the exception.
    pub(super) fn take_interrupt(&mut self) -> bool {
        self.current_mut().is_some_and(|current| std::mem::take(&mut current.interrupt_pending))
    }

    /// Finalizers begin to run, nested in the innermost job if there is one.
    pub(super) fn begin_finalizers(&mut self) {
        if let Some(innermost) = self.0.last_mut() {
            innermost.finalizers += 1;
        }
    }

    /// They have ended.
    pub(super) fn end_finalizers(&mut self) {
        if let Some(innermost) = self.0.last_mut() {
            innermost.finalizers -= 1;
        }
    }

    fn find(&self, seq: Seq) -> Option<&RunningJob<J>> {
        self.0.iter().find(|running| running.seq == seq)
    }

    fn current_job(&self) -> Option<&RunningJob<J>> {
        self.0.last().filter(|running| running.finalizers == 0)
    }

    fn current_mut(&mut self) -> Option<&mut RunningJob<J>> {
        self.0.last_mut().filter(|running| running.finalizers == 0)
    }
}
