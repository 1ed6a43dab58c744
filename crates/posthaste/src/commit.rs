//! The commit verb: several things at once, all or none.

use std::future::IntoFuture;
use std::sync::Arc;

use posthaste_core::command::{CommitKey, Edit, QueueSettings};
use posthaste_core::{Command, Commit, Committed, JobId, QueueName, Result};

use crate::digest;
use crate::draft::IntoDraft;
use crate::enqueue::BoxFuture;
use crate::event::{IntoEvent, publish};
use crate::hub::Posthaste;
use crate::policy::Context;

/// A commit that is being put together; `.await` it. All of its commands are applied durably, in
/// order, or none.
///
/// ```
/// # use posthaste::{Draft, Event, Job, JobId, Posthaste};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Job)]
/// # struct Invoice { order: u64 }
/// # #[derive(Serialize, Deserialize, Job)]
/// # struct Reminder { order: u64 }
/// # #[derive(Serialize, Deserialize, Event)]
/// # struct OrderPaid { order: u64 }
/// # async fn paid(hub: &Posthaste, reminder: JobId) -> posthaste::Result<()> {
/// hub.commit()
///     .enqueue(Invoice { order: 42 })
///     .publish(OrderPaid { order: 42 })
///     .cancel(reminder)
///     .idempotency_key("order 42 was paid")
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The first command that can't be obeyed, by its index ([`Error::command`]); then nothing is
/// changed. Dropping the future gives up the answer, not the effect.
///
/// [`Error::command`]: posthaste_core::Error::command
#[derive(Debug)]
#[must_use = "a commit does nothing until it is awaited"]
pub struct CommitBuilder {
    hub: Posthaste,
    key: Option<Arc<str>>,
    commands: Vec<Command>,
    refused: Option<posthaste_core::Error>,
}

impl Posthaste {
    /// Begins a commit: several commands, all or none.
    pub fn commit(&self) -> CommitBuilder {
        CommitBuilder {
            hub: self.clone(),
            key: None,
            commands: Vec::new(),
            refused: None,
        }
    }
}

impl CommitBuilder {
    /// Accept a job.
    pub fn enqueue(self, job: impl IntoDraft) -> Self {
        let job = job.into_draft().build(|| self.hub.mint_id());
        self.push(job.map(Command::Enqueue))
    }

    /// Publish an event. Its reply is [`Reply::Published`](crate::core::Reply::Published), with one
    /// place.
    pub fn publish(self, event: impl IntoEvent) -> Self {
        let command = publish::command(&self.hub, event.into_event());
        self.push(command)
    }

    /// Call a job off. A running one is told at its next heartbeat.
    pub fn cancel(self, id: JobId) -> Self {
        self.push(Ok(Command::Cancel(id)))
    }

    /// Run a waiting job now; bring a dead or cancelled one back with all its attempts.
    pub fn retry(self, id: JobId) -> Self {
        self.push(Ok(Command::Retry(id)))
    }

    /// Forget a job that isn't running.
    pub fn delete(self, id: JobId) -> Self {
        self.push(Ok(Command::Delete(id)))
    }

    /// Change a waiting or dead job.
    pub fn edit(self, id: JobId, edit: Edit) -> Self {
        self.push(Ok(Command::Edit { id, edit }))
    }

    /// Set what is given of a queue's settings.
    pub fn configure(self, queue: &str, settings: QueueSettings) -> Self {
        let queue = QueueName::new(queue);
        self.push(queue.map(|queue| Command::Configure { queue, settings }))
    }

    /// Any command.
    pub fn command(self, command: Command) -> Self {
        self.push(Ok(command))
    }

    /// One effect for one key of at most 255 bytes, for 24 hours: repeated with the same commands
    /// the first answer is given again, with others it is refused (`KeyReused`). Ids that were
    /// minted here don't count.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    fn push(mut self, command: Result<Command>) -> Self {
        match command {
            Ok(command) => self.commands.push(command),
            Err(error) if self.refused.is_none() => {
                self.refused = Some(error.at_command(self.commands.len()));
            }
            Err(_) => {}
        }
        self
    }
}

impl IntoFuture for CommitBuilder {
    type Output = Result<Committed>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(async move {
            if let Some(refused) = self.refused {
                return Err(refused);
            }
            let key = self.key.map(|key| CommitKey {
                key,
                digest: digest::of(&self.commands),
            });
            // After the digest: asked again from elsewhere it is the same commit.
            let mut commands = self.commands;
            commands
                .iter_mut()
                .for_each(|command| context.inherited_by(command));
            let commit = Commit { key, commands };
            self.hub.apply_whole(commit).await
        })
    }
}
