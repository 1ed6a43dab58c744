//! How far a long command came, in a file of its own (`--state`), so that it goes on from there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use posthaste_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file that `--state` names.
#[derive(Debug)]
pub(super) struct Resume(PathBuf);

impl Resume {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What the file says; `None` where there is none yet.
    ///
    /// # Errors
    /// `Invalid` where it can't be read, or was written by something else.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(&error.to_string())),
        };
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|error| self.unreadable(&error.to_string()))
    }

    fn unreadable(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Invalid,
            format!("the state {} can't be used: {why}", self.0.display()),
        )
        .next("name the file that the same command wrote, or one that is not there yet")
    }

    /// That the file is of another topic than the one that is asked for.
    pub(super) fn other_topic(&self, topic: &str) -> Error {
        self.unreadable(&format!("it is of the topic {topic}"))
    }

    /// Replaces the file, durably: whoever reads it finds the old one whole, or the new one.
    ///
    /// # Errors
    /// `Io` or `DiskFull`, naming the file.
    pub(super) fn write(&self, state: &impl Serialize) -> Result<()> {
        let written = serde_json::to_vec(state).map_err(io::Error::other);
        let written = written.and_then(|text| self.replace(&text));
        written.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull => ErrorKind::DiskFull,
                _ => ErrorKind::Io,
            };
            let path = self.0.display();
            Error::new(kind, format!("cannot write the state {path}: {error}"))
                .next("see that its directory is there, and can be written to")
        })
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let mut name = self.0.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.0.with_file_name(name);
        let mut file = File::create(&new)?;
        file.write_all(text)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        let parent = self.0.parent().filter(|of| !of.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let resume = Resume::new(&dir.path().join("state"));
        assert_eq!(resume.read::<u64>(), Ok(None));
        for number in [7_u64, 12] {
            resume.write(&number).expect("it is written");
            assert_eq!(resume.read(), Ok(Some(number)));
        }
        let names = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        fs::write(&path, "my diary").expect("a file");
        let error = Resume::new(&path).read::<u64>().expect_err("no state");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("state can't be used"), "{error}");
        let absent = Resume::new(&dir.path().join("absent/state"));
        let error = absent.write(&1).expect_err("no directory");
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
