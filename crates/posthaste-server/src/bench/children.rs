//! Servers that a run starts to be measured: each on a free port of the loopback, with its data in
//! the run's own directory, and ended by its own process id.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use posthaste_core::{Error, ErrorKind, Result};

/// How long a server may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// The servers that run, so that none outlives the program.
#[derive(Clone, Default)]
pub(super) struct Children(Arc<Mutex<Vec<Child>>>);

/// A server that runs until this is dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
    all: Children,
}

impl Children {
    /// Starts `command`, whose output goes to `log`, and waits until it listens at `address`.
    ///
    /// # Errors
    /// `NotFound` where there is no such program; `Io` where it does not come to listen, with the
    /// end of what it said.
    pub(super) async fn start(
        &self,
        mut command: Command,
        log: &Path,
        address: SocketAddr,
    ) -> Result<Running> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, format!("{name} is not installed"))
            }
            _ => Error::new(ErrorKind::Io, format!("{name} can't be started: {error}")),
        };
        let out = File::create(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(failed)?;
        let running = Running {
            address,
            pid: child.id(),
            all: self.clone(),
        };
        self.lock().push(child);
        let until = Instant::now() + READY_WITHIN;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if self.has_ended(running.pid) || Instant::now() > until {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("nothing").to_owned();
                return Err(Error::new(
                    ErrorKind::Io,
                    format!("{name} does not listen; it said last: {last}"),
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(running)
    }

    /// Ends every one.
    pub(super) fn end(&self) {
        for child in self.lock().drain(..) {
            end(child);
        }
    }

    fn has_ended(&self, pid: u32) -> bool {
        let mut all = self.lock();
        let child = all.iter_mut().find(|child| child.id() == pid);
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let found = all.iter().position(|child| child.id() == self.pid);
        let child = found.map(|at| all.swap_remove(at));
        drop(all);
        child.into_iter().for_each(end);
    }
}

/// Ends a process. What it had not written is not asked for again.
fn end(mut child: Child) {
    drop(child.kill());
    drop(child.wait());
}

/// An address of the loopback that nobody listens at now.
pub(super) fn free_address() -> Result<SocketAddr> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0));
    bound
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Error::new(ErrorKind::Io, format!("no port can be had: {error}")))
}

/// The server of this program over a fresh directory below `dir`.
pub(super) async fn posthaste(children: &Children, dir: &Path, name: &str) -> Result<Running> {
    let program = std::env::current_exe()
        .map_err(|error| Error::new(ErrorKind::Io, format!("this program is gone: {error}")))?;
    let address = free_address()?;
    let data = dir.join(name);
    let mut command = Command::new(program);
    command
        .args(["serve", "--store"])
        .arg(format!("file:{}", data.display()))
        .args(["--listen", &address.to_string()])
        .env_remove("POSTHASTE_STORE")
        .env_remove("POSTHASTE_DURABILITY");
    let log = dir.join(format!("{name}.log"));
    children.start(command, &log, address).await
}
