//! Looks at the archives of topics, as far as the newest snapshot says that events were moved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::Result;
use posthaste_core::machine::SavedTopic;

use super::Survey;
use crate::archive::verify::{self, Verified};
use crate::archive::{self, Place};
use crate::files::{self, io_error};
use crate::snapshot;
use crate::topics::Home;
use crate::verify::Progress;

/// What was seen of the archive of a topic.
#[derive(Debug)]
pub(crate) struct SeenArchive {
    pub(crate) place: Place,
    /// The topic, as it was when events were moved up to `durable`.
    pub(crate) moved: Option<SavedTopic>,
    pub(crate) name: Arc<str>,
    /// Up to where its events are in the archive alone.
    pub(crate) durable: u64,
    /// It holds events that the journal knows nothing of.
    pub(crate) beyond: bool,
    pub(crate) verified: Verified,
}

/// Where an archive is cut.
#[derive(Debug)]
pub(crate) struct TooFar<'a> {
    /// The file that is cut, and where in it.
    pub(crate) cut: Option<(PathBuf, u64)>,
    /// Files behind that one.
    pub(crate) behind: &'a [PathBuf],
}

impl Survey<'_> {
    /// Takes over what the newest snapshot says of topics.
    pub(super) fn topics_of_snapshot(&mut self) -> Result<()> {
        let Some((path, _)) = self.snapshots.first() else {
            return Ok(());
        };
        let file = self.disk.open(path);
        let file = file.map_err(|error| io_error("open", path, &error))?;
        let meta = snapshot::Reader::open(path, file)?.meta;
        (self.topics, self.moved) = (meta.topics.clone(), meta.topics);
        self.archived = meta.archived;
        Ok(())
    }

    /// The archive of every topic that lives and may have one. A directory without a topic is what a
    /// deletion left.
    pub(super) fn places(&self) -> Result<Vec<(u32, Place)>> {
        let home = Home {
            disk: Arc::clone(self.disk),
            dir: self.dir.to_owned(),
            file_bytes: 0,
        };
        let there = self.list(&files::topics_dir(self.dir))?;
        let numbers = self.topics.by_number.keys();
        let places = numbers.map(|topic| (*topic, home.place(*topic)));
        Ok(places
            .filter(|(topic, place)| self.archived_to(*topic) > 0 || there.contains(&place.dir))
            .collect())
    }

    fn archived_to(&self, topic: u32) -> u64 {
        self.archived.get(&topic).copied().unwrap_or(0)
    }

    /// Bytes of the files in these places.
    pub(super) fn bytes_of(&self, places: &[(u32, Place)]) -> Result<u64> {
        let mut bytes = 0;
        for (_, place) in places {
            for path in self.list(&place.dir)? {
                // One that can't be opened is named when it is read.
                let len = self.disk.open(&path).and_then(|file| file.len());
                bytes += len.unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    pub(super) fn archive(
        &mut self,
        topic: u32,
        place: Place,
        total_bytes: u64,
        progress: &mut dyn FnMut(Progress<'_>),
    ) {
        let durable = self.archived_to(topic);
        let before = self.report.bytes;
        let mut told = |path: &Path, bytes: u64| {
            progress(Progress {
                path,
                done_bytes: (before + bytes).min(total_bytes),
                total_bytes,
            });
        };
        let verified = verify::look_through(&place, durable, &mut told);
        self.report.topics += 1;
        self.report.events += verified.events;
        self.report.bytes += verified.bytes;
        for finding in &verified.damage {
            let offset = usize::try_from(finding.offset).unwrap_or(usize::MAX);
            self.found(&finding.path, offset, &finding.what);
        }
        if let Some(torn) = &verified.torn {
            self.report.torn.get_or_insert_with(|| torn.clone());
        }
        let Some(is) = self.topics.by_number.get(&topic).cloned() else {
            return;
        };
        let beyond = verified.end > is.next;
        if beyond && self.segments.iter().all(|seen| seen.damage.is_none()) {
            let (end, next) = (verified.end, is.next);
            let what = format!("it reaches event {end}, and the journal ends before {next}");
            self.found(&place.dir, 0, what);
        }
        self.archives.push(SeenArchive {
            place,
            moved: self.moved.by_number.get(&topic).cloned(),
            name: is.name,
            durable,
            beyond,
            verified,
        });
    }
}

impl SeenArchive {
    /// What goes of an archive that reaches too far, so that it ends at `durable`. It is in the journal
    /// still, or lost with it.
    pub(crate) fn too_far(&self) -> Result<TooFar<'_>> {
        let behind = |path: &PathBuf| archive::first_of(std::slice::from_ref(path)) < self.durable;
        let paths = &self.verified.paths;
        let kept = paths.partition_point(behind);
        let cut = match kept.checked_sub(1) {
            Some(last) => archive::end_in(&self.place, &paths[last], self.durable)?
                .map(|offset| (paths[last].clone(), offset)),
            None => None,
        };
        Ok(TooFar {
            cut,
            behind: &paths[kept..],
        })
    }

    /// Files that have to go so that the archive opens, from the oldest on, and the first event that
    /// is left then.
    pub(crate) fn unsound(&self) -> (&[PathBuf], u64) {
        let paths = &self.verified.paths;
        if paths.is_empty() {
            return (&[], self.durable);
        }
        if self.verified.unsound == 0 {
            return (&[], archive::first_of(paths));
        }
        let first = archive::first_of(&paths[self.verified.unsound.min(paths.len())..]);
        if self.verified.unsound < paths.len() && first <= self.durable {
            return (&paths[..self.verified.unsound], first);
        }
        (paths, self.durable)
    }
}
