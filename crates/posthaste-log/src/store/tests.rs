use std::sync::atomic::AtomicUsize;

use super::*;
use crate::threads::Run;

/// Counts the threads that live; it is their end that takes one off, however they end.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A store whose threads can't all be started leaves none behind, and its directory unlocked.
#[test]
fn a_thread_that_can_not_be_started_leaves_no_other_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    for refused in [
        "posthaste-reader",
        "posthaste-syncer",
        "posthaste-sequencer",
    ] {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&alive);
        let spawn = move |name: &str, run: Run| {
            if name == refused {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            count.fetch_add(1, Ordering::SeqCst);
            let living = Alive(Arc::clone(&count));
            threads::spawn(
                name,
                Box::new(move || {
                    let _living = living;
                    run();
                }),
            )
        };
        let mut options = Options::new(Location::Directory(dir.path().to_owned()));
        options.segment_bytes = 64 * 1024;
        let clock = Arc::downgrade(&options.clock);
        let parts = opening::parts(&options).expect("it opens");
        let error = Log::start(options, parts, &spawn).expect_err(refused);
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.next_step().is_some());
        assert_eq!(alive.load(Ordering::SeqCst), 0, "without a {refused}");
        assert!(clock.upgrade().is_none(), "somebody still holds the store");
        let options = Options::new(Location::Directory(dir.path().to_owned()));
        drop(Log::open(options).expect("its directory is free"));
    }
}
