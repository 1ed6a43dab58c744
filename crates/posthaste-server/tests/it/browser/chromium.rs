//! Chromium without a window.

use std::process::{Child, Command, Stdio};

/// What keeps it to itself: nothing but the page is asked for, and no name is looked up.
const FLAGS: [&str; 16] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
];

/// A browser that shows one page. Dropping it ends it.
pub(super) struct Chromium {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Chromium {
    pub(super) fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let child = Command::new("chromium")
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("chromium can't be run ({error}); install it: apt-get install chromium")
        });
        Self {
            child,
            _profile: profile,
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its own children end when their connection to it does.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
