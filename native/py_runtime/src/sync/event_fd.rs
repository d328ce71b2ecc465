//! Waking a thread that waits for file descriptors: an eventfd among those it polls.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::time::Duration;

/// An eventfd. One thread waits, any thread notifies.
#[derive(Debug)]
pub struct EventFd(File);

impl EventFd {
    /// One that nobody has notified.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no preconditions.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor, which nobody else owns.
        Ok(EventFd(unsafe { File::from_raw_fd(fd) }))
    }

    /// Has the thread's wait end, or the next one at once.
    pub fn notify(&self) {
        // Fails only when the counter is full, and then the wait ends anyway.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Its descriptor, readable once it was notified.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits until it is notified, `other` is readable or `at_most` is over. May return early.
    pub fn wait(&self, other: RawFd, at_most: Option<Duration>) {
        let polled = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [polled(self.0.as_raw_fd()), polled(other)];
        let timeout = at_most.map(timespec);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: two structures and a timeout that live as long as the call; no signal mask.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), 2, timeout, std::ptr::null()) };
        if ready > 0 && fds[0].revents != 0 {
            // What was notified before is over; a later notification counts again.
            let _ = (&self.0).read(&mut [0; 8]);
        }
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::io::pipe;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_wait_ends_when_notified_or_when_the_other_is_readable() {
        let event = Arc::new(EventFd::new().unwrap());
        let (reader, mut writer) = pipe().unwrap();
        let start = Instant::now();
        let notifier = Arc::clone(&event);
        let thread = std::thread::spawn(move || notifier.notify());
        event.wait(reader.as_raw_fd(), LONG);
        thread.join().unwrap();
        writer.write_all(b"x").unwrap();
        event.wait(reader.as_raw_fd(), None);
        assert!(start.elapsed() < LONG.unwrap());
    }

    #[test]
    fn a_notification_counts_once_and_also_before_the_wait() {
        let event = EventFd::new().unwrap();
        let (reader, _writer) = pipe().unwrap();
        event.notify();
        event.notify();
        event.wait(reader.as_raw_fd(), LONG);
        let start = Instant::now();
        let short = Duration::from_millis(20);
        event.wait(reader.as_raw_fd(), Some(short));
        assert!(start.elapsed() >= short);
    }
}
