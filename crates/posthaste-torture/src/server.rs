//! The server under torture: a process that is started, killed and started again, and where its
//! clients find it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Where the server is now, if it is.
#[derive(Debug, Default)]
pub(crate) struct Place {
    address: Mutex<Option<SocketAddr>>,
    changed: Condvar,
}

impl Place {
    /// The server's address, waited for a while. `None` where it did not come back.
    pub(crate) fn wait(&self, patience: Duration) -> Option<SocketAddr> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(address, patience, |address| address.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn set(&self, to: Option<SocketAddr>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }
}

/// How to start the server.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    /// The name of a fault that a build with `fault-injection` honours.
    pub(crate) fault: Option<String>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    errors: Option<thread::JoinHandle<String>>,
}

impl Launch {
    /// Starts the server on the store in `dir`, and waits until it listens.
    ///
    /// # Errors
    /// Why it did not come up, with what it wrote to standard error.
    pub(crate) fn start(&self, dir: &Path) -> Result<Server, String> {
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("file:{}", dir.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(fault) = &self.fault {
            command.env("POSTHASTE_FAULT", fault);
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("{} can't be run: {error}", self.binary.display()))?;
        let mut errors = child.stderr.take();
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(errors) = &mut errors {
                let _ = errors.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            let _ = stdout.read_line(&mut line);
            thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        }
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Server {
                child,
                address,
                errors: Some(errors),
            }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                let errors = errors.join().unwrap_or_default();
                Err(format!(
                    "the server did not come up; it printed {:?} and then: {errors}",
                    line.trim()
                ))
            }
        }
    }
}

impl Server {
    /// Stops it where it stands: no thread of it comes back from the kernel any more.
    ///
    /// # Errors
    /// It could not be stopped.
    pub(crate) fn freeze(&self) -> Result<(), String> {
        let id = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -STOP \"$0\"", &id])
            .status();
        if !sent.is_ok_and(|status| status.success()) {
            return Err(format!("process {id} can't be stopped"));
        }
        let until = Instant::now() + STOP_PATIENCE;
        while !is_frozen(&id) {
            if Instant::now() > until {
                return Err(format!("process {id} does not stop"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Kills it with SIGKILL, which it can't notice. What it had written to standard error.
    pub(crate) fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let errors = self.errors.take();
        errors.and_then(|it| it.join().ok()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether every thread of a process is stopped, or waits for a disk and will be stopped on its
/// way back.
fn is_frozen(id: &str) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
        return true; // it has ended
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('T' | 'D' | 'Z' | 'X'))
    })
}
