//! Gives space back: copies forward what still lives in a sparse segment, then lets the segment go.
//!
//! Every copy is a commit like any other, so that a crash at any point leaves one place or the
//! other. A segment goes only when its facts are in a snapshot that was read back, and nothing
//! lives in it.

use std::sync::Arc;

use posthaste_core::machine::Place;
use posthaste_core::{Error, ErrorKind, Result};

use crate::commits::Shared;
use crate::files::corrupt;
use crate::format::BLOCK;
use crate::format::body::{self, Owner};
use crate::format::place::{At, pack};
use crate::inbox::{Ask, Copied};
use crate::scan::Group;
use crate::sealed::Sealed;
use crate::segments::Segment;

/// Bytes copied in one commit.
const SLICE: usize = 256 * 1024;

/// Copies forward what lives in `segment`. `go_on` is asked now and then.
///
/// # Errors
/// When the segment can't be read, or the copies can't be written: everything is where it was, or
/// in its new place.
pub(crate) fn copy_forward(
    shared: &Shared,
    segment: &Arc<Segment>,
    mut go_on: impl FnMut() -> bool,
) -> Result<()> {
    let mut sealed = Sealed::open(segment, BLOCK)?;
    let mut copies = Copies::default();
    while go_on() {
        let Some(group) = sealed.next()? else { break };
        copies.group(shared, segment, &group)?;
    }
    copies.write(shared)
}

/// What is copied in one commit. It comes from many groups: each that is written takes blocks of its
/// own, and what was enqueued alone would take as much again.
#[derive(Default)]
struct Copies {
    copies: Vec<Copied>,
    bytes: usize,
}

impl Copies {
    fn group(&mut self, shared: &Shared, segment: &Segment, group: &Group<'_>) -> Result<()> {
        let (bytes, offset) = (group.bytes, group.offset);
        let mut records: Vec<(Owner, Place, usize, usize)> = Vec::new();
        let mut damage = None;
        let read = group.records(|at, record| {
            let place = pack(
                At {
                    segment: segment.number,
                    offset: crate::format::bytes::small(at),
                },
                record.size,
            );
            match body::owner(&record) {
                Ok(Some(owner)) => records.push((owner, place, at - offset, record.size)),
                Ok(None) => {}
                Err(found) => damage = Some(found),
            }
        });
        read.and(damage.map_or(Ok(()), Err))
            .map_err(|damage| corrupt(&segment.path, offset, &damage))?;
        for some in records.chunks(1_000) {
            let asked = some
                .iter()
                .map(|(owner, place, ..)| (*owner, *place))
                .collect();
            let needed = ask(shared, |reply| Ask::Needed(asked, reply))?;
            for ((owner, from, at, len), needed) in some.iter().zip(needed) {
                if needed {
                    self.copies.push(Copied {
                        owner: *owner,
                        from: *from,
                        record: bytes[*at..at + len].to_vec(),
                    });
                    self.bytes += len;
                }
                if self.bytes >= SLICE {
                    self.write(shared)?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, shared: &Shared) -> Result<()> {
        let copies = std::mem::take(&mut self.copies);
        self.bytes = 0;
        if copies.is_empty() || ask(shared, |reply| Ask::Copy(copies, reply))? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::DiskFull,
            "what lives in a sparse segment can't be copied: there is no room",
        )
        .next("make room on the disk of the data directory"))
    }
}

/// Waits until all that was decided so far is durable. What nothing lives in any more may be let go
/// only then: a power cut brings back what the disk does not know to be gone.
///
/// # Errors
/// `Closed` when the store is, or takes nothing any more.
pub(crate) fn until_durable(shared: &Shared) -> Result<()> {
    if ask(shared, |reply| Ask::Copy(Vec::new(), reply))? {
        Ok(())
    } else {
        Err(crate::inbox::closed())
    }
}

/// Has the segment sealed that is written to, where it holds anything. Answers whether it was.
///
/// # Errors
/// When the store is closed.
pub(crate) fn seal(shared: &Shared) -> Result<bool> {
    let (reply, answer) = oneshot::channel();
    shared.inbox.ask(Ask::Seal(reply))?;
    Ok(answer.recv().unwrap_or(false))
}

fn ask<T>(shared: &Shared, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    shared.inbox.ask(ask(reply))?;
    answer.recv().map_err(|_| crate::inbox::closed())
}
